"""Lives to set faults in, and a client that sees what is really on the wire."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from mockserver_process import DEADLINE, ROOT, Answer, MockProcess, ask, eventually, node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]

_unique = itertools.count(os.getpid() << 20)


def unique() -> str:
    """A word that nobody else in this process has been given."""
    return f"u{next(_unique)}"


def three_nodes() -> Json:
    """A prompt of nodes 1, 2 and 3 in a row, never run before; 3 saves an image."""
    return {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=next(_unique) % 0xFFFFFF),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix=unique()),
    }


def sampler(steps: int) -> Json:
    """A prompt whose node 1 is a sampler with this many steps, never run before."""
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="dreamshaper_8.safetensors"),
        "text": node("CLIPTextEncode", text=unique(), clip=["model", 1]),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "1": node(
            "KSampler",
            model=["model", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["latent", 0],
            seed=next(_unique),
            steps=steps,
            cfg=8.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "2": node("PreviewAny", source=["1", 0]),
    }


class Lives:
    """A fork server: its lives are processes of their own that are ready in a moment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = itertools.count()
        self._reports: list[Json] = []
        self._unread = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mockserver.forkserver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def start(self, *arguments: str) -> Life:
        """Starts a life and waits until it is ready."""
        name = f"life-{next(self._numbers)}"
        life = Life(self, name)
        self.order("start", name, arguments=["--port", "0", *life.options, *arguments], log=str(life.log_file))
        life.number = self.report("started", name)["pid"]
        life.ready = self.report("ready", name)["ready"]
        life.port = life.ready["port"]
        return life

    def order(self, order: str, name: str, **facts: Any) -> None:
        """Gives an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"order": order, "id": name, **facts}).encode() + b"\n")

    def report(self, report: str, name: str) -> Json:
        """Waits for a report of a life."""
        end = time.monotonic() + DEADLINE
        while True:
            for each in self._reports:
                if (each["report"], each["id"]) == (report, name):
                    self._reports.remove(each)
                    return each
            left = end - time.monotonic()
            log = self.directory / name / "log"
            assert left > 0, f"No report {report} of {name} within {DEADLINE:g} s. Log:\n{log.read_text()}"
            assert self.process.stdout is not None
            if select.select([self.process.stdout], [], [], left)[0]:
                *lines, self._unread = (self._unread + os.read(self.process.stdout.fileno(), 65536)).split(b"\n")
                self._reports += map(json.loads, lines)

    def end(self) -> None:
        """Ends it and all its lives."""
        with self.process:
            self.process.kill()


class Life(MockProcess):
    """A life that a fork server has started."""

    def __init__(self, lives: Lives, name: str) -> None:
        directory = lives.directory / name
        directory.mkdir()
        self.log_file = directory / "log"
        self.journal_file = directory / "journal"
        self.options = ["--journal", str(self.journal_file)]
        self.number = 0
        self.wires: list[Wire] = []
        self._clients = []
        self._lives = lives
        self._name = name
        self._status: int | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.number

    @property
    def control_port(self) -> int:
        """Port of its control API."""
        return int(self.ready["control_url"].rpartition(":")[2])

    def steer(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request to its control API. What is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return ask(self.control_port, method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})

    def set(self, kind: str, **fields: Any) -> Json:
        """Sets a fault; gives how it stands."""
        answer = self.steer("POST", "/faults", {"fault": kind, **fields})
        assert answer.status == 201, f"{answer.body!r}\n{self.log}"
        standing: Json = answer.json
        return standing

    def fault(self, fault_id: str) -> Json:
        """How a fault stands."""
        standing: Json = self.steer("GET", f"/faults/{fault_id}").json
        return standing

    def clear(self, fault_id: str) -> None:
        """Clears a fault."""
        assert self.steer("DELETE", f"/faults/{fault_id}").status == 200

    def strikes(self, fault_id: str) -> list[Json]:
        """What the journal says of a fault's strikes."""
        return [record for record in self.records("fault_struck") if record["fault"] == fault_id]

    def wait_for_strike(self, fault_id: str, number: int = 1) -> None:
        """Waits until a fault has struck so often."""
        eventually(f"Strike {number} of {fault_id}", lambda: self.fault(fault_id)["strikes"] >= number)

    def wire(self, client_id: str | None = None, **options: Any) -> Wire:
        """Connects a websocket, and reads its first status unless ``greeted=False``."""
        greeted = options.pop("greeted", True)
        wire = Wire(self.port, client_id, **options)
        self.wires.append(wire)
        if greeted:
            wire.expect_upgrade()
            assert wire.message()["type"] == "status"
        return wire

    def wait_until_gone(self, client_id: str) -> None:
        """Waits until the server knows that a client has left."""
        self.wait_for_record("socket_closed", client_id=client_id)

    def queue_leniently(self, prompt: Json) -> None:
        """Asks for a prompt to be queued, whatever comes of it, and does not wait for the answer."""
        body = json.dumps({"prompt": prompt, "client_id": "me"}).encode()
        head = f"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(head.encode() + body)

    def wait_until_idle(self) -> None:
        """Waits until no prompt waits or runs."""
        eventually("An empty queue", lambda: not self.steer("GET", "/life").json["queue_remaining"])

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._lives.order("signal", self._name, signal=number.name)

    def exit_status(self) -> int:
        """Waits for its end."""
        if self._status is None:
            self._status = self._lives.report("ended", self._name)["status"]
        return self._status

    def end(self) -> None:
        """Ends it, however it is."""
        for client in (*self._clients, *self.wires):
            client.close()
        if self.number and self._status is None:
            self.signal(signal.SIGKILL)
            self.exit_status()


class Wire:
    """A TCP connection with a websocket on it, read as bytes. It answers nothing by itself."""

    def __init__(self, port: int, client_id: str | None = None, path: str = "/ws", timeout: float = DEADLINE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.unread = b""
        query = "" if client_id is None else f"?clientId={client_id}"
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path}{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def expect_upgrade(self) -> None:
        """Reads the answer to the handshake, which must be the upgrade."""
        head = self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"The end, with {self.unread!r} before it.")
        self.unread += data

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self.unread) < count:
            self._more()
        found, self.unread = self.unread[:count], self.unread[count:]
        return found

    def until(self, end: bytes) -> bytes:
        """Everything up to these bytes, included."""
        while end not in self.unread:
            self._more()
        return self.exactly(self.unread.index(end) + len(end))

    def frame(self) -> tuple[int, bytes]:
        """The next frame: first byte and payload."""
        first, second = self.exactly(2)
        length = second
        if second == 126:
            (length,) = struct.unpack("!H", self.exactly(2))
        elif second == 127:
            (length,) = struct.unpack("!Q", self.exactly(8))
        return first, self.exactly(length)

    def message(self) -> Json:
        """The next message, which must be a text."""
        first, payload = self.frame()
        assert first == 0x81, (first, payload)
        message: Json = json.loads(payload)
        return message

    def messages(self) -> Iterator[Json]:
        """Messages as they come."""
        while True:
            yield self.message()

    def until_message(self, type_: str, **data: Any) -> list[Json]:
        """The messages up to this one, included."""
        found = []
        for message in self.messages():
            found.append(message)
            if is_of(message, type_, data):
                break
        return found

    def run_of(self, prompt_id: str) -> list[Json]:
        """The messages about a prompt up to its last one; without those about something else."""
        found = self.until_message("executing", node=None, prompt_id=prompt_id)
        return [message for message in found if message["data"].get("prompt_id") == prompt_id]

    def send(self, opcode: int, payload: bytes = b"") -> None:
        """Sends a frame, masked as clients do."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        assert len(payload) < 126
        self.socket.sendall(bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked)

    def rest(self) -> tuple[bytes, str]:
        """Everything that is still to come, and how it ends: ``FIN`` or ``RST``."""
        try:
            while True:
                self._more()
        except EOFError:
            return self.unread, "FIN"
        except ConnectionResetError:
            return self.unread, "RST"

    def messages_of_rest(self) -> list[Json]:
        """The messages that are still to come before the end, however it is."""
        self.rest()
        found = []
        while self.unread:
            found.append(self.message())
        return found

    def is_silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for so long. Something that comes later goes unseen: only for what must not come."""
        return not self.unread and not select.select([self.socket], [], [], seconds)[0]

    def close(self) -> None:
        """Drops the connection."""
        self.socket.close()


def is_of(message: Json, type_: str, data: Json) -> bool:
    """Whether a message has this type and these data."""
    return message["type"] == type_ and all(message["data"].get(name, ...) == value for name, value in data.items())


def shapes(messages: list[Json]) -> list[str]:
    """Messages in short: type, and node where there is one. Without ``progress_state``, of which there are many."""
    return [
        f"{message['type']} {message['data']['node']}" if "node" in message["data"] else message["type"]
        for message in messages
        if message["type"] not in ("progress_state", "status")
    ]


PLAIN = ["execution_start", "execution_cached", "executing 1", "executing 2", "executing 3", "executed 3"]
PLAIN += ["execution_success", "executing None"]
"""A run of ``three_nodes`` without faults."""


def exchange(port: int, request: bytes, until: Callable[[bytes], bool] = lambda _: False) -> tuple[bytes, str]:
    """Sends bytes; gives what comes back, and how it ends: ``FIN``, ``RST``, or ``open`` if it was enough before."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(request)
        found = b""
        try:
            while not until(found):
                data = connection.recv(65536)
                if not data:
                    return found, "FIN"
                found += data
        except ConnectionResetError:
            return found, "RST"
        return found, "open"


def get(path: str, method: str = "GET") -> bytes:
    """A request as bytes, after whose answer the connection ends."""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
