"""What a crash waits for: that the systems of clients that read have what was sent."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from mockserver.faults import process
from mockserver.faults.process import wait_for_delivery

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is not acknowledged")

SOME = 300_000
"""Bytes: more than a client that does not read takes, and less than the server's system takes from us."""

FAR_TOO_MANY = 50_000_000


def with_connection(test: Callable[[asyncio.Transport, socket.socket], None]) -> None:
    """Runs a test with a server's transport and its client, whose system takes little."""

    async def run() -> None:
        accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

        class Serving(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                accepted.set_result(transport)

        server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", 0)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect(server.sockets[0].getsockname())
            transport = await accepted
            test(transport, client)
            transport.abort()
        server.close()

    asyncio.run(run())


def test_it_waits_for_a_client_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALLED_AFTER", 60.0)
    monkeypatch.setattr(process, "LONGEST_DELIVERY", 60.0)

    def test(transport: asyncio.Transport, client: socket.socket) -> None:
        def read() -> None:
            while len(found) < SOME:
                found.extend(client.recv(4096))

        found = bytearray()
        transport.write(SOME * b"x")
        assert transport.get_write_buffer_size() == 0
        assert process._unacknowledged(transport) > 0
        reader = threading.Thread(target=read)
        reader.start()
        wait_for_delivery([transport])
        assert process._unacknowledged(transport) == 0
        reader.join()

    with_connection(test)


def test_it_does_not_wait_for_long_for_one_that_does_not_read() -> None:
    def test(transport: asyncio.Transport, _client: socket.socket) -> None:
        transport.write(SOME * b"x")
        began = time.monotonic()
        wait_for_delivery([transport])
        assert time.monotonic() - began >= process.STALLED_AFTER
        assert process._unacknowledged(transport) > 0

    with_connection(test)


def test_it_does_not_wait_at_all_for_one_whose_bytes_we_still_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALLED_AFTER", 3600.0)
    monkeypatch.setattr(process, "LONGEST_DELIVERY", 3600.0)

    def test(transport: asyncio.Transport, _client: socket.socket) -> None:
        transport.write(FAR_TOO_MANY * b"x")
        assert transport.get_write_buffer_size() > 0
        wait_for_delivery([transport])

    with_connection(test)


def test_it_never_waits_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALLED_AFTER", 3600.0)
    monkeypatch.setattr(process, "LONGEST_DELIVERY", 0.1)

    def test(transport: asyncio.Transport, _client: socket.socket) -> None:
        transport.write(SOME * b"x")
        wait_for_delivery([transport])
        assert process._unacknowledged(transport) > 0

    with_connection(test)


def test_what_has_ended_is_not_waited_for() -> None:
    def test(transport: asyncio.Transport, _client: socket.socket) -> None:
        transport.abort()
        wait_for_delivery([transport])
        wait_for_delivery([])

    with_connection(test)
