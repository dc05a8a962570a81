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
from functools import partial
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

KEPT_BYTES = 16 * 1024 * 1024
"""How long they may be together: there are fewer of them where they have long bodies."""


class Journal:
    """Append-only, time-stamped record of one life: bounded in memory, complete in its file, if it has one."""

    def __init__(self, path: Path | None, **party: Any) -> None:
        """Opens the file, which must not exist yet, and writes the anchor record with the fields of ``party``."""
        self._latest: deque[tuple[bytes | partial[Record], int]] = deque()
        self._latest_bytes = 0
        self._count = 0
        self.appended = asyncio.Event()
        """Set with each record."""
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self.record("journal", **anchor(), **party)

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one record. ``fields`` must be JSON values; others are written as their ``str()``."""
        self._append({"at": _now(), "kind": kind, **fields})

    def record_by(self, make: Callable[..., Record], *arguments: Any, length: int = 0) -> None:
        """Appends what ``make`` makes of the time and the arguments: when somebody wants it, or for the file at once.

        ``length`` is about how many bytes they take, where those are many.
        """
        if self._file is None:
            self._keep(partial(make, _now(), *arguments), length)
        else:
            self._append(make(_now(), *arguments))

    def _append(self, record: Record) -> None:
        line = _encoded(record) + b"\n"
        if self._file is not None:
            os.write(self._file, line)
        self._keep(line, len(line))

    def _keep(self, record: bytes | partial[Record], length: int) -> None:
        self._latest.append((record, length))
        self._latest_bytes += length
        while len(self._latest) > KEPT_IN_MEMORY or self._latest_bytes > KEPT_BYTES:
            self._latest_bytes -= self._latest.popleft()[1]
        self._count += 1
        self.appended.set()

    def __len__(self) -> int:
        """How many records there are, those included that are only in the file."""
        return self._count

    def since(self, position: int) -> tuple[int, list[Record]]:
        """The records from a position on, as far as they are in memory, and the position of the first of them."""
        first = max(position, self._count - len(self._latest))
        skipped = first - self._count + len(self._latest)
        return first, [_made(each) for each, _ in islice(self._latest, skipped, None)]


def _made(record: bytes | partial[Record]) -> Record:
    made: Record = json.loads(record) if isinstance(record, bytes) else record()
    return made


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
