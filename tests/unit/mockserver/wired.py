"""A small aiohttp server in a thread, its connections under rules, and raw sockets that see what is on the wire."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from mockserver.listening import Listener
from mockserver.network.connections import ANYBODY, ByteRule, Connection, Connections, Who

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from mockserver.network.draws import Direction
    from mockserver.network.stages import Stage

T = TypeVar("T")

DEADLINE = 30.0


def rule(stage: Stage, direction: Direction, who: Who = ANYBODY, fault: str = "fault", seed: int = 1) -> ByteRule:
    """A rule, for everybody unless said."""
    return ByteRule(fault, stage, direction, who, seed)


def pattern(length: int) -> bytes:
    """Bytes of which no stretch is like another."""
    return b"".join(b"%08x" % number for number in range(length // 8 + 1))[:length]


class Peer:
    """A raw socket."""

    def __init__(self, port: int, host: str = "127.0.0.1", receive_buffer: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect((host, port))

    def send(self, data: bytes) -> None:
        """Sends all."""
        self.socket.sendall(data)

    def get(self, path: str, *headers: str) -> None:
        """Sends a request."""
        self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode())

    def upgrade(self, path: str) -> None:
        """Asks for a websocket."""
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        self.get(path, "Upgrade: websocket", "Connection: Upgrade", key, "Sec-WebSocket-Version: 13")

    def text(self, payload: bytes) -> None:
        """Sends a short text frame."""
        assert len(payload) < 126
        self.send(bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload)

    def read(self, length: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            assert piece, f"The end after {len(data)} of {length} bytes: {data[:200]!r}"
            data += piece
        return data

    def head(self) -> bytes:
        """An answer's head."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.read(1)
        return data

    def body(self) -> bytes:
        """An answer's body."""
        head = self.head().lower()
        return self.read(int(head.split(b"content-length:")[1].split()[0]))

    def rest(self) -> tuple[bytes, str]:
        """What comes until the end, and what that is: ``fin`` or ``reset``."""
        data = b""
        while True:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                return data, "reset"
            if not piece:
                return data, "fin"
            data += piece

    def is_silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def close(self) -> None:
        """Closes it."""
        self.socket.close()


class Wired:
    """The server. ``run`` runs a function in its loop."""

    def __init__(self, directory: Path, tls: ssl.SSLContext | None = None) -> None:
        self.file = directory / "file"
        self.file.write_bytes(pattern(1 << 20))
        self.strikes: list[tuple[str, str, int, dict[str, Any]]] = []
        self.received: list[str] = []
        self._tls = tls
        self._peers: list[Peer] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._start())

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    def connect(self, host: str = "127.0.0.1", **options: Any) -> Peer:
        """A raw socket that is connected to it."""
        peer = Peer(self.port, host, **options)
        self._peers.append(peer)
        return peer

    def websocket(self, client_id: str) -> Peer:
        """A raw socket that has become a websocket."""
        peer = self.connect()
        peer.upgrade(f"/ws?clientId={client_id}")
        assert peer.head().startswith(b"HTTP/1.1 101")
        return peer

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a function, or a coroutine function, in the loop."""

        async def call() -> Any:
            result = function(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        found: T = self._wait(call())
        return found

    def apply(self, *rules: ByteRule) -> None:
        """Puts all connections under these rules."""
        self.run(self.connections.apply, rules)

    def find(self, who: Who = ANYBODY) -> list[Connection]:
        """The open connections that are meant."""
        return self.run(self.connections.matching, who)

    def connection(self) -> Connection:
        """The only open connection."""
        self.eventually(lambda: len(self.find()) == 1)
        return self.find()[0]

    def eventually(self, is_so: Callable[[], object]) -> None:
        """Waits until something is so."""
        end = time.monotonic() + DEADLINE
        pause = threading.Event()
        while not is_so():
            assert time.monotonic() < end
            pause.wait(0.005)

    def close(self) -> None:
        """Ends it."""
        for peer in self._peers:
            peer.close()
        self._wait(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    async def _start(self) -> None:
        self.connections = Connections()
        self.connections.on_strike = self._note_strike
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/bytes/{length}", self._bytes)
        app.router.add_get("/file", self._file)
        app.router.add_post("/digest", self._digest)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        self.listener = Listener.bind(["127.0.0.1", "::1"], 0)
        await self.listener.serve(self._runner, self.connections, self._tls)

    async def _stop(self) -> None:
        self.listener.close()
        self.connections.clear()
        await self._runner.cleanup()
        for connection in self.connections._connections.values():
            connection.transport.abort()
        for _ in range(10):  # asyncio closes sockets in the loop's next turns
            await asyncio.sleep(0)

    def _note_strike(self, struck: ByteRule, connection: Connection, details: dict[str, Any]) -> None:
        self.strikes.append((struck.fault, connection.client, connection.ordinal, details))

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(compress=False)
        self.connections.bind(request, request.query.get("clientId", "anonymous"), response)
        await response.prepare(request)
        async for message in response:
            self.received.append(message.data)
            await response.send_str(message.data)
        return response

    async def _bytes(self, request: web.Request) -> web.Response:
        return web.Response(body=pattern(int(request.match_info["length"])))

    async def _file(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self.file)

    async def _digest(self, request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())


def connect_error(port: int, host: str = "127.0.0.1", timeout: float = 0.4) -> str:
    """What comes of connecting: the name of the errno, ``timeout``, or nothing."""
    attempt = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    attempt.settimeout(timeout)
    with attempt:
        try:
            attempt.connect((host, port))
        except TimeoutError:
            return "timeout"
        except OSError as failure:
            return errno.errorcode[failure.errno or 0]
    return ""
