"""The life's record: one JSON object a line, complete up to the moment of a SIGKILL.

The format is written down in ``journal.schema.json`` beside this file. Records are handed to the kernel one by one,
so that nothing is lost with the process. ``at`` is the system-wide monotonic clock in seconds; the first record anchors
it to the wall clock and names the boot, so that journals of several processes share one clock.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
from collections import deque
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Record = dict[str, Any]

FORMAT_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("journal.schema.json")


_encode = msgspec.json.Encoder(enc_hook=str).encode

KEPT_IN_MEMORY = 1_000
"""How many of the latest records can be read from a life that runs; its file has all."""


class Journal:
    """Append-only, time-stamped record of one life: bounded in memory, complete in its file, if it has one."""

    def __init__(self, path: Path | None, **party: Any) -> None:
        """Opens the file, which must not exist yet, and writes the anchor record with the fields of ``party``."""
        self._latest: deque[Record | Callable[[], Record]] = deque(maxlen=KEPT_IN_MEMORY)
        self._count = 0
        self.appended = asyncio.Event()
        """Set with each record."""
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self.record("journal", **anchor(), **party)

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one record. ``fields`` must be JSON values; others are written as their ``str()``."""
        self._append({"at": _now(), "kind": kind, **fields})

    def record_by(self, kind: str, make_fields: Callable[..., Record], *arguments: Any) -> None:
        """Appends a record whose fields are made of ``arguments`` when somebody wants them: the file at once."""
        at = _now()

        def make() -> Record:
            return {"at": at, "kind": kind, **make_fields(*arguments)}

        self._append(make if self._file is None else make())

    def _append(self, record: Record | Callable[[], Record]) -> None:
        self._latest.append(record)
        self._count += 1
        self.appended.set()
        if self._file is not None:
            os.write(self._file, _encoded(_made(record)) + b"\n")

    def __len__(self) -> int:
        """How many records there are, those included that are only in the file."""
        return self._count

    def since(self, position: int) -> tuple[int, list[Record]]:
        """The records from a position on, as far as they are in memory, and the position of the first of them."""
        first = max(position, self._count - len(self._latest))
        skipped = first - self._count + len(self._latest)
        return first, [_made(each) for each in islice(self._latest, skipped, None)]


def _made(record: Record | Callable[[], Record]) -> Record:
    return record() if callable(record) else record


def _now() -> float:
    return round(time.monotonic(), 6)


def _encoded(record: Record) -> bytes:
    try:
        return _encode(record)
    except (TypeError, ValueError):  # half a character, or a key that is no text
        return json.dumps(record, default=str).encode()


def anchor() -> dict[str, Any]:
    """Fields of a journal's first record: what ties its monotonic clock to a boot and to the wall clock."""
    return {
        "format": FORMAT_VERSION,
        "boot_id": _boot_id(),
        "monotonic": _now(),
        "wall": datetime.now(timezone.utc).isoformat(),
    }


@functools.cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
