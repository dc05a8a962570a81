"""The port of a server that is down: whoever tries to connect is reset, and none is missed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.platform import PortHolder
from ComfyMockLibrary.engine.port_watch import PortWatch

MANY = 50


@pytest.fixture
def port() -> int:
    holder = PortHolder(0)
    port = holder.port
    holder.release()
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_attempt_is_reset_and_told_of(port: int, host: str) -> None:
    told: list[float] = []
    has_come = threading.Event()

    def notice(at: float) -> None:
        told.append(at)
        has_come.set()

    began = now()
    watch = PortWatch(port, notice)
    with pytest.raises(ConnectionResetError), socket.create_connection((host, port), timeout=30) as client:
        client.recv(1)
    assert has_come.wait(30)
    watch.close()
    assert len(told) == 1
    assert began <= told[0] <= now()


def test_none_is_missed_when_it_is_closed(port: int) -> None:
    told: list[float] = []
    watch = PortWatch(port, told.append)
    for _ in range(MANY):
        with suppress(ConnectionResetError):
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
    watch.close()
    assert len(told) == MANY


def test_nobody_listens_afterwards(port: int) -> None:
    PortWatch(port, print).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


def test_a_port_that_is_taken_cannot_be_watched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        PortWatch(taken.getsockname()[1], print)
