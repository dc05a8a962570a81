"""What is seen of a server from outside: its lives begin and end, orders reach it, clients knock while it is down.

A life that crashes writes nothing more, and one that is down nothing at all. So this library keeps a journal of each
server beside those of its lives.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.records import RecordFile

if TYPE_CHECKING:
    from pathlib import Path

Order = Literal["SIGTERM", "SIGINT", "SIGKILL", "freeze", "thaw"]
"""What a life was told from outside."""


class OutsideJournal:
    """The journal of one server from outside. Any thread may write."""

    def __init__(self, path: Path, alias: str, port: int) -> None:
        self.path = path
        self.began_at = now()
        self._file: RecordFile | None = RecordFile(path, {"party": "library", "server": alias, "port": port})
        self._lock = threading.RLock()
        self._over: set[str] = set()

    @property
    def lost(self) -> str | None:
        """Why the file does not have the latest records, if it has not."""
        file = self._file  # another thread may close it
        return None if file is None else file.lost

    def life_begun(self, life_id: str, number: int, pid: int) -> None:
        """A life is ready."""
        self._write("life_begun", {"life_id": life_id, "number": number, "pid": pid})

    def life_over(self, life_id: str, status: int) -> None:
        """A life was seen to have ended; only the first time counts."""
        with self._lock:
            if life_id not in self._over:
                self._over.add(life_id)
                self._write("life_over", {"life_id": life_id, "status": status})

    def order(self, life_id: str, order: Order) -> None:
        """A life is told something."""
        self._write("order", {"life_id": life_id, "order": order})

    def attempt(self, at: float) -> None:
        """A client has tried to connect while the server was down."""
        self._write("connection_attempt", {}, at)

    def watch_begun(self) -> None:
        """Attempts are seen from now on."""
        self._write("watch_begun", {})

    def watch_over(self, at: float) -> None:
        """Attempts are not seen any more from now on, until the next life is ready."""
        self._write("watch_over", {}, at)

    def close(self) -> None:
        """Ends the journal; what comes later is lost."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, kind: str, fields: dict[str, Any], at: float | None = None) -> None:
        with self._lock:
            if self._file is not None:
                self._file.write(now() if at is None else at, kind, fields)
