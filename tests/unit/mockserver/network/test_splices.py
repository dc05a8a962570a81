"""Splices that come and go while the connection works."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import random
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest
from aiohttp import web
from aiohttp._websocket.writer import WebSocketWriter
from aiohttp.base_protocol import BaseProtocol
from wired import Wired, pattern, rule

from mockserver.network.draws import Direction
from mockserver.network.stages import Bandwidth, Hold, Latency, Slicer, Stall, StopReading

if TYPE_CHECKING:
    from pathlib import Path

    from mockserver.network.connections import ByteRule

CHANGES, MESSAGES, ANSWERS = 150, 90, 24
"""How many there are at least in a test."""

STAGES = [Hold(), StopReading(), Latency(0.002), Latency(0.002, 0.002), Slicer(3000, 1000), Bandwidth(3e7), Stall(0.02)]


def test_aiohttp_has_the_private_parts_that_a_splice_needs() -> None:
    """When this fails, find out how aiohttp now writes, and change ``aiohttp_internals.py``."""
    assert {"_paused", "transport"} <= set(BaseProtocol.__slots__)
    for name in ("pause_writing", "resume_writing"):
        assert "assert" in inspect.getsource(getattr(BaseProtocol, name))
    assert hasattr(web.WebSocketResponse(), "_writer")
    assert "self.transport = transport" in inspect.getsource(WebSocketWriter.__init__)


def test_a_life_has_no_native_sendfile_which_would_write_past_a_splice() -> None:
    program = (
        "from mockserver.__main__ import prepare_imports; prepare_imports();"
        "from aiohttp import web_fileresponse; assert web_fileresponse.NOSENDFILE"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate and its key for 127.0.0.1."""
    files = directory / "certificate", directory / "key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    try:
        subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return files


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with or without TLS."""
    monkeypatch.setattr("aiohttp.web_fileresponse.NOSENDFILE", True)
    context = None
    if request.param == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate(tmp_path))
    wired = Wired(tmp_path, context)
    yield wired
    wired.close()


class Traffic:
    """Clients that check every byte while the rules change."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sockets: list[socket.socket] = []
        self._messages = 0
        self._answers = 0
        self.changes = 0

    @property
    def is_enough(self) -> bool:
        """Whether all has happened often."""
        return self.changes >= CHANGES and self._messages >= MESSAGES and self._answers >= ANSWERS

    async def run(self) -> None:
        """Three websockets and three keep-alive HTTP clients, until it is enough."""
        async with self._session(limit=0) as session:
            clients = [self._echo(session, f"client {number}", number) for number in range(3)]
            await asyncio.gather(*clients, *(self._exchange(number) for number in range(3)))
        while any(each.fileno() >= 0 for each in self._sockets):  # aiohttp does not wait for the end of TLS
            await asyncio.sleep(0.01)

    def _session(self, limit: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=False, limit=limit, socket_factory=self._new_socket)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30))

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        self._sockets.append(socket.socket(*address[:3]))
        return self._sockets[-1]

    async def _echo(self, session: aiohttp.ClientSession, name: str, seed: int) -> None:
        chance = random.Random(seed)
        async with session.ws_connect(f"{self._url}/ws?clientId={name}", max_msg_size=0) as websocket:
            sent = 0
            while not self.is_enough:
                burst = [f"{sent + number} " + "x" * chance.choice((10, 1000, 70_000)) for number in range(3)]
                for text in burst:
                    await websocket.send_str(text)
                for text in burst:
                    assert await websocket.receive_str() == text
                sent += len(burst)
                self._messages += len(burst)

    async def _exchange(self, seed: int) -> None:
        chance = random.Random(seed)
        async with self._session(limit=1) as session:
            while not self.is_enough:
                data = pattern(chance.choice((10, 5000, 400_000)))
                async with session.post(f"{self._url}/digest", data=data) as answer:
                    assert await answer.text() == hashlib.sha256(data).hexdigest()
                async with session.get(f"{self._url}/file") as answer:
                    assert await answer.read() == pattern(1 << 20)
                self._answers += 2


@pytest.mark.parametrize("server", ["plain", "tls"], indirect=True)
def test_rules_come_and_go_and_no_byte_is_lost_doubled_or_out_of_order(server: Wired, request: Any) -> None:
    scheme = "https" if "tls" in request.node.callspec.params.values() else "http"
    traffic = Traffic(f"{scheme}://127.0.0.1:{server.port}")
    changes = asyncio.run_coroutine_threadsafe(change_rules(server, traffic), server.loop)
    asyncio.run(traffic.run())
    changes.result(30)
    server.eventually(lambda: not any(connection.has_splice for connection in server.find()))


async def change_rules(server: Wired, traffic: Traffic) -> None:
    """Random sets of rules, each for a few milliseconds."""
    chance = random.Random(1)
    present: tuple[ByteRule, ...] = ()
    while not traffic.is_enough:
        new = tuple(
            rule(stage, direction, fault=f"{stage} {direction}")
            for direction in Direction
            for stage in STAGES
            if chance.random() < 0.15
        )
        kept = tuple(each for each in present if chance.random() < 0.3 and each not in new)
        present = () if chance.random() < 0.4 else (*kept, *new)
        server.connections.apply(present)
        traffic.changes += 1
        await asyncio.sleep(chance.choice((0.0, 0.001, 0.005, 0.01)))
    server.connections.apply(())


def test_2000_connections_leave_nothing_behind(wired: Wired) -> None:
    stages = [Hold(), Latency(0.0), Stall(0.1), StopReading()]

    def cycle(number: int) -> None:
        wired.apply(rule(stages[number % len(stages)], list(Direction)[number // 4 % 2]))
        peer = wired.connect()
        peer.upgrade(f"/ws?clientId={number % 7}")
        if number % 3 == 0:
            wired.apply()
        peer.close()

    def left() -> tuple[int, int, int]:
        wired.apply()
        wired.eventually(lambda: not wired.find())
        wired.eventually(lambda: len(wired.run(asyncio.all_tasks)) <= 1)
        gc.collect()
        return (
            psutil.Process().num_fds(),
            len(wired.loop._scheduled),  # type: ignore[attr-defined]
            len(wired.connections._connections),
        )

    for number in range(100):
        cycle(number)
    before = left()
    for number in range(2000):
        cycle(number)
    after = left()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 50
    assert after[2] <= 64
