"""A server on raw sockets that behaves as each test says, and waits for what threads do."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import random
import signal
import socket
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.servers import MockServer, ServerManager
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from ComfyMockLibrary.engine.client.comfy_client import ComfyClient

Result = TypeVar("Result")

PATIENCE = 20.0
"""Seconds after which something that takes milliseconds counts as never."""

LAUNCHERS = ["fork", "popen"]
"""All ways to start a mock server, the quickest first."""

FROZEN_AT_ITS_START = '[{"fault": "freeze"}]'
"""Faults with which a life never gets ready, however long one waits."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def eventually(look: Callable[[], Result], timeout: float = PATIENCE) -> Result:
    """Waits until ``look`` gives something true, and returns it."""
    found = wait_until(lambda: look() or None, Deadline(timeout), interval=0.005)
    assert found, f"never came true, at the end: {look()!r}"
    return found


def finished(call: Callable[[], Result], timeout: float = PATIENCE) -> Result:
    """Runs what may hang in a thread of its own, and fails instead of hanging."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as failure:  # noqa: BLE001 - raised again below, where the test sees it
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    assert not thread.is_alive(), f"{call} has not ended within {timeout} s"
    for failure in failures:
        raise failure
    return results[0]


class Interruption(Exception):
    """What Robot raises at a test's timeout, or Python at Ctrl-C."""


@contextmanager
def interruptions() -> Iterator[Callable[[Callable[[], object], float], None]]:
    """Gives what does something again and again until it was interrupted, the given seconds from its beginning."""
    struck: list[int] = []

    def interrupt(number: int, _: object) -> None:
        struck.append(number)
        raise Interruption

    def do_until_interrupted(action: Callable[[], object], seconds: float) -> None:
        struck.clear()
        gc.disable()  # what is raised while objects are collected is reported and goes no further
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            while not struck:
                action()
        except Interruption:
            return
        finally:
            gc.enable()
        raise AssertionError("The interruption has got lost.")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield do_until_interrupted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def be_impatient(client: ComfyClient, seconds: float) -> None:
    """Lets a client wait so long for pongs on the connection that it has: it is known to be silent from now on."""
    client._heartbeat.timeout = seconds


def claim_port() -> tuple[socket.socket, int]:
    """A port that is free until the test takes it, and a socket that keeps other tests away from it while it is open.

    It is outside of the range from which the system gives ports to whoever wants any.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:
        first = 32768
    while True:
        port = random.SystemRandom().randrange(10_000, first)
        claim = socket.socket(socket.AF_UNIX)
        try:
            if sys.platform == "linux":
                claim.bind(f"\0port-of-a-test-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            return claim, port


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, announced: int | None = None) -> bytes:
    """A server's frame; ``announced`` is a length that may differ from the payload's."""
    length = len(payload) if announced is None else announced
    first = fin << 7 | rsv << 4 | opcode
    if length < 126:
        return struct.pack("!BB", first, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A server's close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def message(name: str, **data: Any) -> bytes:
    """A text message of ComfyUI's as a frame."""
    return frame(TEXT, json.dumps({"type": name, "data": data}).encode())


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class Peer:
    """The server's end of one connection, its request read already."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unread = b""
        self.request = self._read_request()

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self._sock.sendall(data)

    def answer(self, status: int, body: Any = None, *headers: str) -> None:
        """Answers the request with JSON."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = (f"HTTP/1.1 {status} Some Words", f"Content-Length: {len(content)}", *headers, "", "")
        self.send("\r\n".join(lines).encode() + content)

    def upgrade(self, *headers: str) -> None:
        """Accepts the upgrade."""
        self.send(self.upgrade_answer(*headers))

    def upgrade_answer(self, *headers: str) -> bytes:
        """The bytes that accept the upgrade."""
        key = self.request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            *("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"),
            *headers,
        )
        return "\r\n".join((*lines, "", "")).encode()

    def receive(self) -> tuple[int, bytes]:
        """The client's next frame, unmasked. Raises EOFError at the end of the stream."""
        first, second = self._read(2)
        assert second & 0x80, "clients must mask"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        mask = self._read(4)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._read(length)))

    def frames(self, *, pong: bool = True) -> list[tuple[int, bytes]]:
        """All frames up to the client's end of the stream. Pings are answered, and close frames once."""
        frames: list[tuple[int, bytes]] = []
        with suppress(EOFError, ConnectionError):
            while True:
                opcode, payload = self.receive()
                frames.append((opcode, payload))
                if opcode == PING and pong:
                    self.send(frame(PONG, payload))
                elif opcode == CLOSE:
                    self.send(frame(CLOSE, payload))
        return frames

    def wait_for_end(self) -> None:
        """Takes what comes and says nothing until the client has gone."""
        with suppress(ConnectionError):
            while self._sock.recv(65536):
                continue

    def end(self) -> None:
        """Ends the stream."""
        self._sock.close()

    def reset(self) -> None:
        """Resets the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _read_request(self) -> Request:
        while b"\r\n\r\n" not in self._unread:
            self._fill()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Request(method, path, headers, self._read(int(headers.get("content-length", 0))), now())

    def _read(self, count: int) -> bytes:
        while len(self._unread) < count:
            self._fill()
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    def _fill(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise EOFError
        self._unread += data


def serve(peer: Peer) -> None:
    """Accepts the upgrade and is a good server until the client goes."""
    peer.upgrade()
    peer.frames()


def refuse(peer: Peer) -> None:
    """Refuses the upgrade."""
    peer.answer(403)


def never_answer(peer: Peer) -> None:
    """Takes the request and never answers it."""
    peer.wait_for_end()


def tell_queue(peer: Peer) -> None:
    """Answers any request with an empty queue."""
    peer.answer(200, {"exec_info": {"queue_remaining": 0}, "queue_running": [], "queue_pending": []})


class PatientManager(ServerManager):
    """One for tests of what comes of starts and stops, however long they take, where no time is given."""

    def start(self, *arguments: Any, startup_timeout: float = PATIENCE, **more: Any) -> MockServer:
        """As ever."""
        return super().start(*arguments, startup_timeout=startup_timeout, **more)

    def kill(
        self,
        server: MockServer,
        how: StopSignal = StopSignal.SIGTERM,
        shutdown_timeout: float = PATIENCE,
        **more: Any,
    ) -> int:
        """As ever."""
        return super().kill(server, how, shutdown_timeout, **more)

    def restart(self, server: MockServer, how: StopSignal = StopSignal.SIGTERM, **more: Any) -> None:
        """As ever."""
        super().restart(server, how, **{"startup_timeout": PATIENCE, "shutdown_timeout": PATIENCE, **more})

    def close_server(self, server: MockServer, shutdown_timeout: float = PATIENCE) -> None:
        """As ever."""
        super().close_server(server, shutdown_timeout)


class Script(Protocol):
    """Makes scripted servers."""

    def __call__(self, *websockets: Callable[[Peer], object], **more: Any) -> ScriptedServer:
        """Like ``ScriptedServer``."""


class MakeClient(Protocol):
    """Makes clients."""

    def __call__(self, endpoint: Endpoint, **options: Any) -> ComfyClient:
        """Keywords are options of the client."""


class MakeManager(Protocol):
    """Makes server managers."""

    def __call__(self, directory: Path | Callable[[], Path] | None = None) -> ServerManager:
        """Like ``ServerManager``."""


class ScriptedServer:
    """Listens on a port of 127.0.0.1 and gives each connection, in a thread of its own, to a behaviour.

    Websockets take the ``websockets`` behaviours in turn, the last one for all that come later; requests take ``http``.
    """

    def __init__(
        self,
        *websockets: Callable[[Peer], object],
        http: Callable[[Peer], object] = tell_queue,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.upgrades: list[Request] = []
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self._websockets = websockets or (serve,)
        self._http = http
        self._tls = tls
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listener.getsockname()[1], tls is not None)
        self._threads = [threading.Thread(target=self._accept, name="scripted listener")]
        self._threads[0].start()

    def close(self) -> None:
        """Ends all connections and threads, whatever they are at."""
        with self._lock:
            self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:  # or one that is given its TLS just now is passed over, and the next one too
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} has not ended"
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name="scripted connection")
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self._open.append(sock)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls is not None:
                with self._lock:
                    self._open.remove(sock)
                    sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    self._open.append(sock)
                sock.do_handshake()  # type: ignore[attr-defined]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock)
            self._behaviour_for(peer.request)(peer)
        except (EOFError, OSError):
            pass  # the client has gone, or the test is over
        except BaseException as failure:  # noqa: BLE001 - the fixture raises it in the test
            self.failures.append(failure)
        finally:
            sock.close()

    def _behaviour_for(self, request: Request) -> Callable[[Peer], object]:
        with self._lock:
            if "upgrade" not in request.headers:
                self.requests.append(request)
                return self._http
            self.upgrades.append(request)
            return self._websockets[min(len(self.upgrades), len(self._websockets)) - 1]
