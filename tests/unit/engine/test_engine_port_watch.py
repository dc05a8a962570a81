"""The port of a server that is down: whoever tries to connect is reset, and none is missed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from engine_helpers import PATIENCE, eventually, finished

from ComfyMockLibrary.engine import port_watch
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.platform import PortHolder
from ComfyMockLibrary.engine.port_watch import PortWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANY = 50


@pytest.fixture
def port() -> Iterator[int]:
    """One that is held, as that of a server is while it is down."""
    holder = PortHolder(0)
    yield holder.port
    holder.release()


def watching(port: int, notice: Callable[[float], object]) -> PortWatch:
    watch = PortWatch(port, notice)
    watch.start()
    return watch


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_attempt_is_reset_and_told_of(port: int, host: str) -> None:
    told: list[float] = []
    has_come = threading.Event()

    def notice(at: float) -> None:
        told.append(at)
        has_come.set()

    began = now()
    watch = watching(port, notice)
    with pytest.raises(ConnectionResetError), socket.create_connection((host, port), timeout=30) as client:
        client.recv(1)
    assert has_come.wait(30)
    watch.close()
    assert len(told) == 1
    assert began <= told[0] <= now()


def test_none_is_missed_when_it_is_closed(port: int) -> None:
    told: list[float] = []
    watch = watching(port, told.append)
    for _ in range(MANY):
        with suppress(ConnectionResetError):
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
    watch.close()
    assert len(told) == MANY


def test_no_client_waits_for_the_record_of_its_attempt(port: int) -> None:
    told: list[float] = []
    may_go_on = threading.Event()

    def be_slow(at: float) -> None:
        may_go_on.wait(PATIENCE)
        told.append(at)

    watch = watching(port, be_slow)
    for _ in range(3):
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.recv(1)
    assert told == []
    may_go_on.set()
    watch.catch_up()
    assert len(told) == 3
    watch.close()


def test_nobody_listens_afterwards(port: int) -> None:
    watching(port, print).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


def test_a_port_that_is_taken_cannot_be_watched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        watching(taken.getsockname()[1], print)


def test_it_needs_no_descriptor_beside_its_sockets(port: int) -> None:
    before, told = psutil.Process().num_fds(), []
    watch = watching(port, told.append)
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.recv(1)
    watch.catch_up()
    assert told
    eventually(lambda: psutil.Process().num_fds() <= before + 4)
    watch.close()


@pytest.mark.parametrize("of", ["mockserver-port-watch", "mockserver-port-watch-teller"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_port_is_free_when_its_start_is_interrupted(
    port: int, monkeypatch: pytest.MonkeyPatch, moment: str, of: str
) -> None:
    start = threading.Thread.start

    def be_interrupted(thread: threading.Thread) -> None:
        if moment == "after" or thread.name != of:
            start(thread)
        if thread.name == of:
            raise KeyboardInterrupt

    watch = PortWatch(port, print)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            watch.start()
    with socket.create_server(("127.0.0.1", port)):
        watch.close()
    eventually(lambda: not (watch._thread.is_alive() or watch._teller.is_alive()))


def test_a_thread_that_comes_too_late_watches_nothing(port: int) -> None:
    watch = PortWatch(port, print)
    watch.close()
    watch._run()
    assert not watch._is_watching


def test_a_close_that_was_interrupted_can_be_repeated(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def be_interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    watch = watching(port, print)
    with monkeypatch.context() as patch:
        patch.setattr(port_watch, "wait_until", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            watch.close()
    finished(watch.close)
    finished(watch.close)
    socket.create_server(("127.0.0.1", port)).close()
