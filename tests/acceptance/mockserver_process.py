"""A mock server as any program can have it: a process of its own, an HTTP client, a websocket client."""

from __future__ import annotations

import http.client
import json
import re
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import websocket
from websocket import ABNF

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

Json = dict[str, Any]

DEADLINE = 60.0
"""Longest time in seconds that anything here is waited for."""

ROOT = Path(__file__).parents[2]


def eventually(what: str, is_so: Callable[[], object], log: Callable[[], str] = str) -> None:
    """Waits until something is so; for what no message tells of."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < end, f"{what} did not happen within {DEADLINE:g} s. {log()}"
        pause.wait(0.01)


def read_line(process: subprocess.Popen[bytes], log: Callable[[], str] = str) -> str:
    """The next line of a process's output."""
    assert process.stdout is not None
    readable = select.select([process.stdout], [], [], DEADLINE)[0]
    line = process.stdout.readline().decode() if readable else ""
    assert line.endswith("\n"), f"No line came within {DEADLINE:g} s. Exit status: {process.poll()}. Log:\n{log()}"
    return line


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, collected by its parent or not.

    Its first thread is a zombie as soon as that has ended; what the process holds is held until the last one has.
    """
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | Json | list[Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One HTTP request on a connection of its own. What is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


class Client:
    """A websocket client that says nothing and answers nothing by itself, not even a close frame."""

    def __init__(self, port: int, path: str, **options: Any) -> None:
        self.websocket: websocket.WebSocket = websocket.create_connection(
            f"ws://127.0.0.1:{port}{path}", timeout=DEADLINE, **options
        )
        self.seen: list[Json] = []

    def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        try:
            found = self.websocket.recv_frame()
        except websocket.WebSocketTimeoutException:
            raise AssertionError(f"Nothing came within {DEADLINE:g} s. Seen: {self.seen}") from None
        return found.opcode, found.data

    def message(self) -> Json:
        """The next message, which must be a text message."""
        opcode, payload = self.frame()
        assert opcode == ABNF.OPCODE_TEXT, f"Not a text message: opcode {opcode}, {payload!r}. Seen: {self.seen}"
        message: Json = json.loads(payload)
        self.seen.append(message)
        return message

    def until(self, type_: str, **data: Any) -> list[Json]:
        """The messages up to the first of this type with these data, included."""
        end = time.monotonic() + DEADLINE
        found: list[Json] = []
        while not found or not _matches(found[-1], type_, data):
            assert time.monotonic() < end, f"No {type_} {data} within {DEADLINE:g} s. Seen: {found}"
            found.append(self.message())
        return found

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for this long."""
        pending: object = self.websocket.sock
        return not select.select([pending], [], [], seconds)[0]

    def close_frame(self) -> tuple[int, str]:
        """Reads on to the close frame: its code and reason."""
        end = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < end, f"No close frame within {DEADLINE:g} s."
            opcode, payload = self.frame()
            if opcode == ABNF.OPCODE_CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def answer_close(self, code: int) -> None:
        """Sends a close frame."""
        self.websocket.send_close(code)

    def meets_the_end(self) -> bool:
        """Whether the connection ends without a further frame; anything that comes before the end is a failure."""
        try:
            frame = self.frame()
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return True
        raise AssertionError(f"A frame instead of the end of the connection: {frame}")

    def close(self) -> None:
        """Drops the connection, without a close frame."""
        self.websocket.shutdown()


def _matches(message: Json, type_: str, data: Json) -> bool:
    return message["type"] == type_ and all(message["data"].get(name, ...) == value for name, value in data.items())


class MockProcess:
    """A mock server, started and ready."""

    def __init__(
        self, directory: Path, *arguments: str, supervised: bool = True, journal_file: Path | None = None
    ) -> None:
        directory.mkdir()
        self.log_file = directory / "log"
        self.journal_file = journal_file or directory / "journal"
        options = ["--journal", str(self.journal_file), *(["--supervised"] if supervised else [])]
        self._clients: list[Client] = []
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mockserver", "--port", "0", *options, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.first_line = read_line(self.process, lambda: self.log)
            self.ready: Json = json.loads(self.first_line) if supervised else {}
            self.port: int = self.ready["port"] if supervised else self._port_by_hand()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def ask(self, method: str, path: str, body: bytes | Json | list[Any] | None = None, **headers: str) -> Answer:
        """One HTTP request."""
        return ask(self.port, method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def control(self, path: str, **headers: str) -> Answer:
        """One request to the control API."""
        return ask(int(self.ready["control_url"].rpartition(":")[2]), "GET", path, None, headers)

    def queue(self, prompt: Json, **fields: Any) -> str:
        """Queues a prompt; gives its id."""
        answer = self.ask("POST", "/prompt", {"prompt": prompt, **fields})
        assert answer.status == 200, f"{answer}\n{self.log}"
        prompt_id: str = answer.json["prompt_id"]
        return prompt_id

    def run(self, prompt: Json, **fields: Any) -> Json:
        """Runs a prompt to its end; gives its history entry."""
        prompt_id = self.queue(prompt, **fields)
        self.wait_for_history(prompt_id)
        entry: Json = self.ask("GET", f"/history/{prompt_id}").json[prompt_id]
        return entry

    def wait_for_history(self, prompt_id: str) -> None:
        """Waits until a prompt has ended."""
        eventually(
            f"The end of prompt {prompt_id}",
            lambda: self.ask("GET", f"/history/{prompt_id}").json,
            lambda: f"Log:\n{self.log}",
        )

    def connect(self, client_id: str | None = None, path: str = "/ws", **options: Any) -> Client:
        """Connects a websocket client, which has not read anything yet."""
        query = "" if client_id is None else f"?clientId={client_id}"
        client = Client(self.port, path + query, **options)
        self._clients.append(client)
        return client

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def order(self, line: str) -> None:
        """Writes a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def close_stdin(self) -> None:
        """Ends its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def exit_status(self) -> int:
        """Waits for its end: the exit status, or the negative number of the signal that ended it."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"It did not end within {DEADLINE:g} s. Log:\n{self.log}") from None

    def records(self, *kinds: str) -> list[Json]:
        """The records of its journal, of these kinds or all. The last line may be half written while it lives."""
        complete, _, _ = self.journal_file.read_bytes().rpartition(b"\n")
        records = map(json.loads, complete.split(b"\n"))
        return [record for record in records if not kinds or record["kind"] in kinds]

    def wait_for_record(self, kind: str, **fields: Any) -> None:
        """Waits until the journal has a record with these fields."""

        def is_there() -> bool:
            return any(fields.items() <= record.items() for record in self.records(kind))

        eventually(f"{kind} {fields}", is_there, lambda: f"Journal:\n{self.journal_file.read_text()}")

    def end(self) -> None:
        """Ends it, however it is."""
        for client in self._clients:
            client.close()
        self.process.kill()
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _port_by_hand(self) -> int:
        found = re.search(r"https?://127\.0\.0\.1:(\d+)", self.first_line)
        assert found is not None, f"No address in its first line: {self.first_line!r}"
        return int(found[1])


def types(messages: Iterable[Json]) -> list[str]:
    """The types of messages."""
    return [message["type"] for message in messages]


def node(class_type: str, **inputs: Any) -> Json:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


IMAGE = node("EmptyImage", width=8, height=8, batch_size=1, color=0)
TWO_NODES: Json = {"1": IMAGE, "2": node("SaveImage", images=["1", 0], filename_prefix="a")}
QUICK: Json = {"1": node("PreviewAny", source="quick")}


def sampling(steps: int = 20) -> Json:
    """A prompt whose node 1 is a sampler that takes this many steps."""
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="dreamshaper_8.safetensors"),
        "text": node("CLIPTextEncode", text="a lighthouse", clip=["model", 1]),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "1": node(
            "KSampler",
            model=["model", 0],
            positive=["text", 0],
            negative=["text", 0],
            latent_image=["latent", 0],
            seed=1,
            steps=steps,
            cfg=8.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        "2": node("PreviewAny", source=["1", 0]),
    }


def chain(length: int) -> Json:
    """A prompt of this many nodes, each linked to the one before."""
    nodes = {str(number): node("ImageInvert", image=[str(number - 1), 0]) for number in range(1, length - 1)}
    return {"0": IMAGE, **nodes, "out": node("PreviewImage", images=[str(length - 2), 0])}
