"""What the journal of a life says about faults. It can be read of a life that runs, is frozen or has ended."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.journal_files import JournalFile

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class FaultInLife:
    """How a fault has fared in one life. Times are monotonic seconds."""

    set_at: float
    begun_at: float | None = None
    """When it was in force; None while it waits, and for faults that only happen."""

    strikes: int = 0
    ended: str | None = None
    """Why it has ended: ``cleared``, ``done``, ``failed``, ``times``, ``seconds``, or ``life`` with its life."""


class FaultRecords:
    """The faults of one life, read from its journal as far as that has been written. Any thread may read."""

    def __init__(self, file: Path) -> None:
        self._file = JournalFile(file, containing=b'"fault_')
        self._lock = threading.Lock()
        self._faults: dict[str, FaultInLife] = {}

    def __contains__(self, fault_id: str) -> bool:
        return fault_id in self._faults

    def get(self, fault_id: str) -> FaultInLife | None:
        """A fault as it stood at the last ``read``; None if it has not been set in this life."""
        return self._faults.get(fault_id)

    def read(self) -> None:
        """Reads what is new. Without a file there is nothing."""
        with self._lock, self._file.unread_if_interrupted():  # to take a record twice changes nothing
            for record in self._file.news():
                if record["kind"].startswith("fault_"):
                    self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        fault_id, kind = record["fault"], record["kind"]
        if kind == "fault_set":
            self._faults[fault_id] = FaultInLife(record["at"])
        elif kind == "fault_begun":
            self._faults[fault_id].begun_at = record["at"]
        elif kind == "fault_struck":
            self._faults[fault_id].strikes = record["strike"]
        else:
            self._faults[fault_id].ended = record["reason"]
