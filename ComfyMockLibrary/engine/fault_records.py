"""What the journal of a life says about faults. It can be read of a life that runs, is frozen or has ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    """Why it has ended: ``cleared``, ``done``, ``times``, ``seconds``, or ``life`` with its life."""


class FaultRecords:
    """The faults of one life, read from its journal as far as that has been written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._faults: dict[str, FaultInLife] = {}

    def __contains__(self, fault_id: str) -> bool:
        return fault_id in self._faults

    def get(self, fault_id: str) -> FaultInLife | None:
        """A fault as it stood at the last ``read``; None if it has not been set in this life."""
        return self._faults.get(fault_id)

    def read(self) -> None:
        """Reads what is new. Without a file there is nothing."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except OSError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            if b'"fault_' in line:  # no other kind of record needs to be taken apart
                self._take(json.loads(line))

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
