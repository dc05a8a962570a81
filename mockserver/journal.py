"""The life's record: one JSON object a line, complete up to the moment of a SIGKILL.

The format is written down in ``journal.schema.json`` beside this file. Records are handed to the kernel before
anything that comes of them is on the wire, so that nothing is lost with the process. ``at`` is the system-wide
monotonic clock in seconds; the first record anchors it to the wall clock and names the boot, so that journals of
several processes share one clock.

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
import threading
import time
from collections import deque
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Record = dict[str, Any]
Fields = Record | msgspec.Struct
"""A record that is still to be encoded."""

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("journal.schema.json")


_encoder = msgspec.json.Encoder(enc_hook=str)

LATEST = 1_000
"""How many of the latest records can be read from a life that runs; its file has all."""

LATEST_BYTES = 16 * 1024 * 1024
"""How long they may be together: there are fewer of them where they have long bodies."""

_BLOCK = 16 * 1024
"""How much of the file is read at first, in bytes, to find the latest records."""

_ROOM_FOR_THE_END = 512
"""What is kept free below the limit, for the record that says that it was reached."""


class Journal:
    """Append-only, time-stamped record of one life: complete in its file, or bounded in memory if it has none."""

    def __init__(self, path: Path | None, *, limit: int | None = None, **party: Any) -> None:
        """Opens the file, which must not exist yet, and writes the anchor record with the fields of ``party``.

        ``limit`` is the longest that it may get, in bytes; None is any length. Raises OSError if not even this record
        can be written.
        """
        self.lost: str | None = None
        """Why the file does not have the latest records, if it has not."""
        self._path = path
        self._limit = limit
        self._count = 1
        self._file: int | None = None
        self._length = 0
        self._writing = threading.Lock()
        """Held by the thread that writes, and for good by the one that has written the last record."""
        self._waiting: deque[msgspec.Struct] = deque()
        self._latest: deque[tuple[bytes | msgspec.Struct, int]] = deque()
        self._latest_bytes = 0
        self._awaited: asyncio.Event | None = None
        clocks = anchor()
        first = _line({"at": now(), "kind": "journal", **clocks, **party})
        if path is None:
            self._keep(first, len(first))
        else:
            self._file, self._length = _begin(path, first)

    @property
    def appended(self) -> asyncio.Event:
        """Set with the next record, for good: take it before you look, and nothing comes unnoticed in between."""
        if self._awaited is None:
            self._awaited = asyncio.Event()
        return self._awaited

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one record. ``fields`` must be JSON values; others are written as their ``str()``."""
        with self._writing:
            self._record(kind, fields)
        self._wake()

    def record_last(self, kind: str, **fields: Any) -> None:
        """Appends the last record and wakes nobody who waits for it, so that a thread may that ends the process.

        Whoever wants to write one after it waits for the end of the process: nothing comes of it on the wire.
        """
        self._writing.acquire()
        self._record(kind, fields)

    def append(self, record: msgspec.Struct, *, length: int = 0, may_wait: bool = False) -> None:
        """Appends a record as a structure with ``at`` and ``kind``, which is quicker where there are many.

        ``length`` is about how many bytes it takes, where those are many. One that ``may_wait`` is written with the
        next one, or by ``write_waiting``: whoever appends it sees to it that nothing comes of it on the wire before.
        """
        self._count += 1
        if self._file is None:
            self._keep(record, length)
        else:
            self._waiting.append(record)
            if not may_wait:
                self.write_waiting()
        self._wake()

    def write_waiting(self) -> None:
        """Writes the records that may wait, if there are any."""
        if self._waiting:
            with self._writing:
                self._write_waiting()

    def __len__(self) -> int:
        """How many records there are, those included that are only in the file."""
        return self._count

    def since(self, position: int) -> tuple[int, list[Record]]:
        """The records from a position on, if they are among the latest, and the position of the first of them."""
        self.write_waiting()
        wanted = min(max(0, self._count - position), LATEST)
        if self._file is None:
            skipped = max(0, len(self._latest) - wanted)
            records = [_made(each) for each, _ in islice(self._latest, skipped, None)]
        else:
            records = [_made(line) for line in _last_lines(self._file, self._length, wanted)]
        return self._count - len(records), records

    def _record(self, kind: str, fields: Record) -> None:
        line = _line({"at": now(), "kind": kind, **fields})
        self._write_waiting()
        self._count += 1
        if self._file is None:
            self._keep(line, len(line))
        else:
            self._write(self._file, line)

    def _write_waiting(self) -> None:
        if self._waiting and self._file is not None:
            # One after the other, as another thread may append one meanwhile.
            lines = _lines([self._waiting.popleft() for _ in range(len(self._waiting))])
            self._write(self._file, lines)

    def _wake(self) -> None:
        if self._awaited is not None:
            self._awaited.set()
            self._awaited = None

    def _keep(self, record: bytes | msgspec.Struct, length: int) -> None:
        self._latest.append((record, length))
        self._latest_bytes += length
        while len(self._latest) > LATEST or self._latest_bytes > LATEST_BYTES:
            self._latest_bytes -= self._latest.popleft()[1]

    def _write(self, file: int, lines: bytes) -> None:
        """Appends lines to the file, all or none of them. What keeps it from growing is the end of it."""
        if self._limit is not None and self._length + len(lines) > self._limit - _ROOM_FOR_THE_END:
            self._end_file(file, lines, f"it has reached its limit of {self._limit} bytes")
            return
        try:
            written = os.write(file, lines)
            if written != len(lines):
                _write_all(file, lines[written:])
        except OSError as failure:
            self._end_file(file, lines, failure.strerror or str(failure))
        else:
            self._length += len(lines)

    def _end_file(self, file: int, unwritten: bytes, why: str) -> None:
        self._file = None
        self.lost = why
        latest: list[bytes] = []
        with contextlib.suppress(OSError):
            latest = _last_lines(file, self._length, LATEST)
        for line in (*latest, *unwritten.splitlines(keepends=True)):
            self._keep(line, len(line))
        last: Record = {"at": now(), "kind": "journal_ended", "why": why}
        with contextlib.suppress(OSError):  # a half line is worse than none: readers take what is there for records
            os.ftruncate(file, self._length)
            try:
                _write_all(file, _line(last))
            except OSError:
                os.ftruncate(file, self._length)
        with contextlib.suppress(OSError):
            os.close(file)
        log.critical(
            "the journal %s ends here: %s. The life goes on; GET /journal of its control API has the latest records",
            self._path,
            why,
        )


def _begin(path: Path, line: bytes) -> tuple[int, int]:
    """Makes the file with its first line. Gives its descriptor and its length; leaves nothing if it cannot."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
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


def _last_lines(file: int, length: int, count: int) -> list[bytes]:
    """The last lines of a file that is so long: so many, or as many as there is room for in ``LATEST_BYTES``."""
    data, begin, block, first = b"", length, _BLOCK, max(0, length - LATEST_BYTES)
    while begin > first and data.count(b"\n") <= count:
        end, begin = begin, max(first, begin - block)
        data = _read(file, begin, end - begin) + data
        block *= 2
    lines = data.splitlines(keepends=True)[0 if begin == 0 else 1 :]
    return lines[len(lines) - min(count, len(lines)) :]


def _read(file: int, begin: int, length: int) -> bytes:
    os.lseek(file, begin, os.SEEK_SET)
    data = b""
    while len(data) < length and (more := os.read(file, length - len(data))):
        data += more
    return data


def _made(record: bytes | msgspec.Struct) -> Record:
    made: Record = json.loads(record if isinstance(record, bytes) else _encoded(record))
    return made


def now() -> float:
    """The clock of records, in seconds and whole microseconds."""
    return time.monotonic_ns() // 1000 / 1e6


def _encoded(record: Fields) -> bytes:
    try:
        return _encoder.encode(record)
    except (TypeError, ValueError):  # half a character, or a key that is no text
        return json.dumps(msgspec.to_builtins(record, enc_hook=str), default=str).encode()


def _line(record: Record) -> bytes:
    return _encoded(record) + b"\n"


def _lines(records: Sequence[Fields]) -> bytes:
    try:
        return _encoder.encode_lines(records)
    except (TypeError, ValueError):
        return b"".join(_encoded(each) + b"\n" for each in records)


def anchor() -> dict[str, Any]:
    """Fields of a journal's first record: what ties its monotonic clock to a boot and to the wall clock."""
    return {
        "format": FORMAT_VERSION,
        "boot_id": _boot_id(),
        "monotonic": now(),
        "wall": datetime.now(timezone.utc).isoformat(),
    }


@functools.cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
