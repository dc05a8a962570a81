"""The life's record: one JSON object a line, complete up to the moment of a SIGKILL.

The format is written down in ``journal.schema.json`` beside this file. Records are handed to the kernel one by one,
so that nothing is lost with the process. ``at`` is the system-wide monotonic clock in seconds; the first record anchors
it to the wall clock and names the boot, so that journals of several processes share one clock.

A file that cannot grow, because the disk is full or the journal has reached its limit, ends with a whole record, which
is of kind ``journal_ended`` where there is room for one. The life goes on: its clients are not to suffer from a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import time
from collections import deque
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Record = dict[str, Any]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("journal.schema.json")


_encode = msgspec.json.Encoder(enc_hook=str).encode

KEPT_IN_MEMORY = 1_000
"""How many of the latest records can be read from a life that runs; its file has all."""

KEPT_BYTES = 32 * 1024 * 1024
"""How much text those may have together; with longer ones there are fewer of them."""

_ROOM_FOR_THE_END = 512
"""What is kept free below the limit, for the record that says that it was reached."""


class Journal:
    """Append-only, time-stamped record of one life: bounded in memory, complete in its file, if it has one."""

    def __init__(self, path: Path | None, *, limit: int | None = None, **party: Any) -> None:
        """Opens the file, which must not exist yet, and writes the anchor record with the fields of ``party``.

        ``limit`` is the longest that it may get, in bytes; None is any length. Raises OSError if not even this record
        can be written.
        """
        self._latest: deque[tuple[int, Record | Callable[[], Record]]] = deque()
        self._kept_bytes = 0
        self._count = 0
        self.appended = asyncio.Event()
        """Set with each record."""
        self.lost: str | None = None
        """Why the file does not have the latest records, if it has not."""
        self._path = path
        self._limit = limit
        self._length = 0
        self._file: int | None = None
        clocks = anchor()
        first: Record = {"at": _now(), "kind": "journal", **clocks, **party}
        if path is not None:
            self._file, self._length = _begin(path, _encoded(first) + b"\n")
        self._keep(first, 0)

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one record. ``fields`` must be JSON values; others are written as their ``str()``."""
        self._append({"at": _now(), "kind": kind, **fields}, _weight(fields.values()))

    def record_by(self, kind: str, make_fields: Callable[..., Record], *arguments: Any) -> None:
        """Appends a record whose fields are made of ``arguments`` when somebody wants them: the file at once."""
        at = _now()

        def make() -> Record:
            return {"at": at, "kind": kind, **make_fields(*arguments)}

        self._append(make if self._file is None else make(), _weight(arguments))

    def _append(self, record: Record | Callable[[], Record], weight: int) -> None:
        self._keep(record, weight)
        if self._file is not None:
            self._write(self._file, _encoded(_made(record)) + b"\n")

    def _keep(self, record: Record | Callable[[], Record], weight: int) -> None:
        self._latest.append((weight, record))
        self._kept_bytes += weight
        while len(self._latest) > KEPT_IN_MEMORY or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= self._latest.popleft()[0]
        self._count += 1
        self.appended.set()

    def _write(self, file: int, line: bytes) -> None:
        """Appends a line to the file, whole or not at all. What keeps it from growing is the end of it."""
        if self._limit is not None and self._length + len(line) > self._limit - _ROOM_FOR_THE_END:
            self._end_file(file, f"it has reached its limit of {self._limit} bytes")
            return
        try:
            _write_all(file, line)
        except OSError as failure:
            self._end_file(file, failure.strerror or str(failure))
        else:
            self._length += len(line)

    def _end_file(self, file: int, why: str) -> None:
        self._file = None
        self.lost = why
        last: Record = {"at": _now(), "kind": "journal_ended", "why": why}
        with contextlib.suppress(OSError):  # a half line is worse than none: readers take what is there for records
            os.ftruncate(file, self._length)
            try:
                _write_all(file, _encoded(last) + b"\n")
            except OSError:
                os.ftruncate(file, self._length)
        with contextlib.suppress(OSError):
            os.close(file)
        log.critical(
            "the journal %s ends here: %s. The life goes on; GET /journal of its control API has the latest records",
            self._path,
            why,
        )

    def __len__(self) -> int:
        """How many records there are, those included that are only in the file."""
        return self._count

    def since(self, position: int) -> tuple[int, list[Record]]:
        """The records from a position on, as far as they are in memory, and the position of the first of them."""
        first = max(position, self._count - len(self._latest))
        skipped = first - self._count + len(self._latest)
        return first, [_made(each) for _, each in islice(self._latest, skipped, None)]


def _weight(values: Iterable[Any]) -> int:
    """About how much text a record has, without making it: it is the long texts that matter."""
    return sum(len(each) for each in values if isinstance(each, str | bytes | bytearray))


def _begin(path: Path, line: bytes) -> tuple[int, int]:
    """Makes the file with its first line. Gives its descriptor and its length; leaves nothing if it cannot."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    try:
        _write_all(file, line)
    except OSError as failure:
        os.close(file)
        path.unlink()
        raise OSError(failure.errno, failure.strerror, str(path)) from None
    return file, len(line)


def _write_all(file: int, data: bytes) -> None:
    """The kernel may take a part only, for instance as much as the disk has room for."""
    while data:
        data = data[os.write(file, data) :]


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
