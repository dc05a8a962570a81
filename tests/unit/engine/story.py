"""Journals of a server's lives, written as a test tells them."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ComfyMockLibrary.engine.evidence import Evidence
from ComfyMockLibrary.engine.verdicts import Verdicts

Json = dict[str, Any]


@dataclass
class ToldLife:
    """One life, as far as evidence looks at it."""

    number: int
    journal_file: Path
    life_id: str
    is_running: bool = True


@dataclass
class Story:
    """A server whose lives do what the test says. ``at`` is the clock: seconds, moved on by each call."""

    directory: Path
    at: float = 100.0
    lives: list[ToldLife] = field(default_factory=list)
    is_running: bool = True
    is_frozen: bool = False
    log_file: Path = Path("server.log")
    _requests: Any = field(default_factory=lambda: itertools.count(1))
    _sockets: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def life(self) -> Any:
        """What failures say of the server."""
        return self

    def describe(self) -> str:
        """Its state in words."""
        return "running, pid 7"

    @property
    def faults(self) -> Any:
        """None were set."""
        return SimpleNamespace(all=list)

    @property
    def evidence(self) -> Evidence:
        """All that is told."""
        return Evidence(self)  # type: ignore[arg-type]

    @property
    def verdicts(self) -> Verdicts:
        """What is made of it."""
        return Verdicts(self, self.evidence)  # type: ignore[arg-type]

    def begin_life(self) -> None:
        """A new life begins."""
        number = len(self.lives) + 1
        self.lives.append(ToldLife(number, self.directory / f"life-{number}.jsonl", f"id-{number}"))
        self.record("journal")

    def end_life(self) -> None:
        """The life ends, without another word."""
        self.lives[-1].is_running = False

    @property
    def outside_file(self) -> Path:
        """What the library saw."""
        return self.directory / "outside.jsonl"

    def refuse(self, at: float) -> None:
        """A client tries to connect while there is no life."""
        self._write(self.outside_file, "connection_attempt", at)

    def watch(self) -> None:
        """Somebody looks at the port from now on."""
        self._write(self.outside_file, "watch_begun", self.at + 1e-6)

    def stop_watching(self, begin: float, end: float) -> None:
        """Nobody looks at the port any more, until the next life is ready."""
        self._write(self.outside_file, "watch_over", begin)
        self._write(self.outside_file, "life_begun", end, life_id="id", number=2, pid=7)

    def kill(self, order: str = "SIGKILL") -> None:
        """The life is told to end, a hundredth of a second after what it did last, and does."""
        self.at = round(self.at + 0.01, 6)
        self._write(self.outside_file, "order", self.at, life_id=self.lives[-1].life_id, order=order)
        self.end_life()

    @staticmethod
    def _write(file: Path, kind: str, at: float, **fields: Any) -> None:
        with file.open("a") as journal:
            journal.write(json.dumps({"at": at, "kind": kind, **fields}) + "\n")

    def record(self, kind: str, **fields: Any) -> None:
        """Appends a record, a hundredth of a second after the last."""
        self.at = round(self.at + 0.01, 6)
        self._write(self.lives[-1].journal_file, kind, self.at, **fields)

    def request(
        self,
        method: str,
        path: str,
        status: int | None = 200,
        body: str | None = None,
        answer: str | None = None,
        **headers: str,
    ) -> int:
        """A request, and its answer unless that has no status. Returns its number."""
        number: int = next(self._requests)
        remote = f"127.0.0.1:{40_000 + number}"
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        self.record(
            "request", request=number, method=method, path=path, headers=shown, remote=remote, length=None, body=body
        )
        if status is not None:
            self.record("answer", request=number, status=status, seconds=0.01, headers={}, body=answer)
        return number

    def queue(self, prompt: Any, prompt_id: str = "p", status: int | None = 200, client_id: str = "me") -> None:
        """A request that queues a prompt."""
        body = json.dumps({"prompt": prompt, "client_id": client_id})
        self.request("POST", "/prompt", status, body, json.dumps({"prompt_id": prompt_id, "number": 0}))

    def connect(self, client_id: str = "me", status: int | None = 101, **headers: str) -> int:
        """A handshake, and the websocket if it is answered with 101. Returns the number of the websocket, or 0."""
        request = self.request("GET", f"/ws?clientId={client_id}", status, Upgrade="websocket", **headers)
        if status != 101:
            return 0
        number: int = next(self._sockets)
        remote = f"127.0.0.1:{40_000 + request}"
        self.record("socket_opened", socket=number, client_id=client_id, ordinal=1, remote=remote)
        return number

    def lose(self, socket: int, client_id: str = "me", code: int = 1006, closed_by: str = "lost") -> None:
        """A websocket ends."""
        self.record("socket_closed", socket=socket, client_id=client_id, code=code, closed_by=closed_by)
