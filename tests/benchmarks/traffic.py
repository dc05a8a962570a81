"""Rows about a server that serves: events, broadcasts, memory, requests, the proxy. See ``rows.py``."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import resource
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import psutil

from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.matching import EventPattern
from ComfyMockLibrary.engine.waiting import ClientWaits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

BROADCAST_SOCKETS = 5_000
MANY_SOCKETS = 10_000
IDLE_SOCKETS = 1_000
JOURNALLED_SOCKETS = 1_000
BROADCASTS = 50
"""How many in a round: the system counts a process's time in hundredths of a second."""
REQUESTS = 4_000
REQUESTS_OF_A_ROUND = 20_000
"""How many are needed for their processor time, which the system counts in hundredths of a second."""
REQUEST_CONNECTIONS = 8
BULK = 64 * 1024 * 1024
STATUS = b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}'
PLAIN_UPGRADE = (
    "GET /ws?clientId={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

BARE_SENDER = f"""
import selectors, socket, sys
listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listening.getsockname()[1], flush=True)
frame = {struct.pack("!BB", 0x81, len(STATUS)) + STATUS!r}
count = int(sys.argv[1])
sockets = [listening.accept()[0] for _ in range(count)]
print("accepted", flush=True)
for line in sys.stdin:
    for each in sockets:
        each.send(frame)
"""

BARE_HANDLER = """
import asyncio, sys
from aiohttp import web
async def handle(request):
    return web.json_response({"queue_running": [], "queue_pending": []})
async def main():
    app = web.Application()
    app.router.add_get("/queue", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""

BULK_SERVER = f"""
import socket, threading
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
def serve(connection):
    with connection:
        while request := connection.recv(1):
            if request == b"p":
                connection.sendall(b"p")
            else:
                block = bytes(1 << 20)
                for _ in range({BULK} >> 20):
                    connection.sendall(block)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def event_to_keyword() -> Iterator[float]:
    """event on the wire, to the waiting keyword's return"""
    with _Peer() as peer, closing(ComfyClient(Endpoint("127.0.0.1", peer.port))) as client:
        client.connect()
        waits = ClientWaits(client)
        waits.for_connection(10)
        number = 0
        while True:
            number += 1
            sent = peer.send_after(0.02, number)
            waits.for_event(EventPattern("tick", {"number": number}), 10)
            returned = time.perf_counter()
            sent.join()
            yield (returned - peer.sent_at) * 1000


def bare_broadcast() -> Iterator[float]:
    """a message to 5,000 sockets, by a loop of send"""
    with _child("-c", BARE_SENDER, str(BROADCAST_SOCKETS)) as (process, port), _Crowd() as crowd:
        crowd.connect(port, BROADCAST_SOCKETS)
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        while True:
            yield crowd.milliseconds_until_all_have_it(lambda: _order(process))


def status_broadcast() -> Iterator[float]:
    """a status to 5,000 websockets, by the mock server"""
    yield from _status_broadcast(BROADCAST_SOCKETS)


def idle_sockets() -> Iterator[float]:
    """memory of an idle websocket"""
    yield from _memory_per_socket("")


def idle_sockets_with_compression() -> Iterator[float]:
    """memory of an idle websocket whose client offers compression"""
    yield from _memory_per_socket(DEFLATE)


def bare_accepting() -> Iterator[float]:
    """10,000 connections to a loop of accept"""
    while True:
        with _child("-c", BARE_SENDER, str(MANY_SOCKETS)) as (_, port), _Crowd() as crowd:
            rate = crowd.connections_per_second(port, MANY_SOCKETS)
        yield rate  # when all are closed: the next row needs as many descriptors


def connecting() -> Iterator[float]:
    """10,000 websockets to the mock server, held by one process"""
    while True:
        with _mock_server() as (port, _), _Crowd() as crowd:
            rate = crowd.connections_per_second(port, MANY_SOCKETS, upgrade=True)
        yield rate


def status_to_all() -> Iterator[float]:
    """a status to these 10,000, until the last one has it"""
    while True:
        with closing(_status_broadcast(MANY_SOCKETS)) as broadcasts:
            took = next(broadcasts)
        yield took


def bare_requests() -> Iterator[float]:
    """GET by 8 connections, an empty aiohttp handler"""
    with _child("-c", BARE_HANDLER) as (_, port):
        yield from _requests_per_second(port)


def queue_requests() -> Iterator[float]:
    """GET /queue by 8 connections, the mock server"""
    with _mock_server() as (port, _):
        yield from _requests_per_second(port)


def queue_requests_without_journal() -> Iterator[float]:
    """GET /queue by 8 connections, the mock server without a journal file"""
    with _mock_server(journal=False) as (port, _):
        yield from _requests_per_second(port)


def processor_time_of_requests() -> Iterator[float]:
    """processor time of a GET /queue, with a journal file"""
    yield from _processor_time_of_requests(journal=True)


def processor_time_of_requests_without_journal() -> Iterator[float]:
    """processor time of a GET /queue, without a journal file"""
    yield from _processor_time_of_requests(journal=False)


def processor_time_of_broadcasts() -> Iterator[float]:
    """processor time of a status to 1,000 websockets, with a journal file"""
    yield from _processor_time_of_broadcasts(journal=True)


def processor_time_of_broadcasts_without_journal() -> Iterator[float]:
    """processor time of a status to 1,000 websockets, without a journal file"""
    yield from _processor_time_of_broadcasts(journal=False)


def direct_hop() -> Iterator[float]:
    """a byte there and back, direct"""
    with _child("-c", BULK_SERVER) as (_, port):
        yield from _round_trips(port)


def proxy_hop() -> Iterator[float]:
    """a byte there and back, through the proxy"""
    with _child("-c", BULK_SERVER) as (_, port), _proxy(port) as through:
        yield from _round_trips(through)


def direct_bulk() -> Iterator[float]:
    """64 MiB, direct"""
    with _child("-c", BULK_SERVER) as (_, port):
        yield from _bulk(port)


def proxy_bulk() -> Iterator[float]:
    """64 MiB, through the proxy"""
    with _child("-c", BULK_SERVER) as (_, port), _proxy(port) as through:
        yield from _bulk(through)


class _Peer:
    """A server of one websocket that sends a message when it is told."""

    def __enter__(self) -> _Peer:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.sent_at = 0.0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self._connection.close()

    def _accept(self) -> None:
        self._connection, _ = self._listening.accept()
        request = b""
        while b"\r\n\r\n" not in request:
            request += self._connection.recv(4096)
        key = re.search(rb"sec-websocket-key: (\S+)", request, re.IGNORECASE)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self._connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def send_after(self, delay: float, number: int) -> threading.Timer:
        """Sends a message later: the keyword waits by then."""

        def send() -> None:
            text = json.dumps({"type": "tick", "data": {"number": number}}).encode()
            self.sent_at = time.perf_counter()
            self._connection.sendall(struct.pack("!BB", 0x81, len(text)) + text)

        timer = threading.Timer(delay, send)
        timer.start()
        return timer


class _Crowd:
    """Many connections of this process to one server."""

    def __enter__(self) -> _Crowd:
        _allow_many_files()
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for each in self._sockets:
            each.close()

    def connect(self, port: int, count: int, *, upgrade: bool = False, more: str = "") -> None:
        """Connects, and takes what a websocket gets to begin with."""
        for number in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            if upgrade:
                connection.sendall(PLAIN_UPGRADE.format(name=f"c{number}", more=more).encode())
                greeting = b""
                while not greeting.partition(b"\r\n\r\n")[2]:  # the first status, which comes in one piece
                    greeting += connection.recv(65536)
            connection.setblocking(False)
            self._sockets.append(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def connections_per_second(self, port: int, count: int, *, upgrade: bool = False) -> float:
        """Connects one after the other."""
        began = time.perf_counter()
        self.connect(port, count, upgrade=upgrade)
        return count / (time.perf_counter() - began)

    def milliseconds_until_all_have_it(self, trigger: object) -> float:
        """From the order to send until the last connection has a message."""
        waiting = len(self._sockets)
        began = time.perf_counter()
        trigger()  # type: ignore[operator]
        while waiting > 0:
            for key, _ in self._selector.select(0):  # asleep it would have to be woken, at the server's expense
                key.fileobj.recv(65536)  # type: ignore[union-attr]
                waiting -= 1
        return (time.perf_counter() - began) * 1000


def _status_broadcast(sockets: int) -> Generator[float, None, None]:
    with _mock_server() as (port, _), _Crowd() as crowd:
        crowd.connect(port, sockets, upgrade=True)
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            while True:
                yield crowd.milliseconds_until_all_have_it(lambda: _clear_queue(connection))


def _memory_per_socket(more: str) -> Iterator[float]:
    while True:
        with _mock_server() as (port, process), _Crowd() as crowd:
            with _Crowd() as first:
                first.connect(port, 50, upgrade=True, more=more)
            before = psutil.Process(process.pid).memory_full_info().uss
            crowd.connect(port, IDLE_SOCKETS, upgrade=True, more=more)
            after = psutil.Process(process.pid).memory_full_info().uss
        yield (after - before) / IDLE_SOCKETS / 1024


def _requests_per_second(port: int) -> Iterator[float]:
    request = b"GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(REQUEST_CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            selector.register(connection, selectors.EVENT_READ)
        connections = [key.fileobj for key in selector.get_map().values()]
        while True:
            answered = 0
            began = time.perf_counter()
            for each in connections:
                each.sendall(request)  # type: ignore[union-attr]
            while answered < REQUESTS:
                for key, _ in selector.select(0):  # awake, as above
                    key.fileobj.recv(65536)  # type: ignore[union-attr]
                    answered += 1
                    if answered <= REQUESTS - REQUEST_CONNECTIONS:
                        key.fileobj.sendall(request)  # type: ignore[union-attr]
            yield answered / (time.perf_counter() - began)


def _processor_time_of_requests(*, journal: bool) -> Iterator[float]:
    with _mock_server(journal=journal) as (port, process):
        server = psutil.Process(process.pid)
        batches = _requests_per_second(port)

        def ask() -> None:
            for _ in range(REQUESTS_OF_A_ROUND // REQUESTS):
                next(batches)

        while True:
            yield _processor_seconds(server, ask) / REQUESTS_OF_A_ROUND * 1e6


def _processor_time_of_broadcasts(*, journal: bool) -> Iterator[float]:
    with _mock_server(journal=journal) as (port, process), _Crowd() as crowd:
        crowd.connect(port, JOURNALLED_SOCKETS, upgrade=True)
        server = psutil.Process(process.pid)
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:

            def broadcast() -> None:
                for _ in range(BROADCASTS):
                    crowd.milliseconds_until_all_have_it(lambda: _clear_queue(connection))

            while True:
                yield _processor_seconds(server, broadcast) / BROADCASTS * 1e3


def _processor_seconds(process: psutil.Process, action: Callable[[], object]) -> float:
    """What a process works meanwhile. Unlike what passes on the clock it is the same on a busy machine."""
    before = process.cpu_times()
    action()
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


def _round_trips(port: int, count: int = 200) -> Iterator[float]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            began = time.perf_counter()
            for _ in range(count):
                connection.sendall(b"p")
                connection.recv(1)
            yield (time.perf_counter() - began) / count * 1e6


def _bulk(port: int) -> Iterator[float]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            left = BULK
            began = time.perf_counter()
            connection.sendall(b"b")
            while left:
                left -= len(connection.recv(1 << 18))
            yield BULK / (time.perf_counter() - began) / 1e6


@contextmanager
def _child(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program whose first line is its port, or a JSON object with it."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=_allow_many_files,  # noqa: PLW1509 - this process has no threads by now
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready = json.loads(line)
        yield process, ready["port"] if isinstance(ready, dict) else ready
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _mock_server(*, journal: bool = True) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with tempfile.TemporaryDirectory() as directory:
        more = ("--journal", f"{directory}/journal.jsonl") if journal else ()
        with _child("-m", "mockserver", "0", "--supervised", "--status-interval", "0", *more) as (process, port):
            yield port, process


@contextmanager
def _proxy(upstream: int) -> Iterator[int]:
    addresses = ("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream}", "--api", "127.0.0.1:0")
    with _child("-m", "mockserver.proxy", *addresses, "--supervised") as (_, port):
        yield port


def _allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _order(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _clear_queue(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/queue", body=b'{"clear": true}')
    connection.getresponse().read()
