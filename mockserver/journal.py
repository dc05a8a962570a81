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
Fields = Record | msgspec.Struct
"""A record that is still to be encoded."""

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("journal.schema.json")


_encode = msgspec.json.Encoder(enc_hook=str).encode

KEPT_IN_MEMORY = 1_000
"""How many of the latest records can be read from a life that runs; its file has all."""

KEPT_BYTES = 16 * 1024 * 1024
"""How long they may be together: there are fewer of them where they have long bodies."""

_ROOM_FOR_THE_END = 512
"""What is kept free below the limit, for the record that says that it was reached."""


class Journal:
    """Append-only, time-stamped record of one life: bounded in memory, complete in its file, if it has one."""

    def __init__(self, path: Path | None, *, limit: int | None = None, **party: Any) -> None:
        """Opens the file, which must not exist yet, and writes the anchor record with the fields of ``party``.

        ``limit`` is the longest that it may get, in bytes; None is any length. Raises OSError if not even this record
        can be written.
        """
        self._latest: deque[tuple[bytes | partial[Fields], int]] = deque()
        self._latest_bytes = 0
        self._count = 0
        self.appended = asyncio.Event()
        """Set with each record."""
        self.lost: str | None = None
        """Why the file does not have the latest records, if it has not."""
        self._path = path
        self._limit = limit
        self._length = 0
        self._file: int | None = None
        self._waiting = b""
        clocks = anchor()
        first = _encoded({"at": _now(), "kind": "journal", **clocks, **party}) + b"\n"
        if path is not None:
            self._file, self._length = _begin(path, first)
        self._keep(first, len(first))

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one record. ``fields`` must be JSON values; others are written as their ``str()``."""
        self._append({"at": _now(), "kind": kind, **fields})

    def record_by(self, make: Callable[..., Fields], *arguments: Any, length: int = 0, may_wait: bool = False) -> None:
        """Appends what ``make`` makes of the time and the arguments: when somebody wants it, or for the file at once.

        ``length`` is about how many bytes they take, where those are many. One that ``may_wait`` is written with the
        next one, at the latest when the event loop comes round: before anything that comes of it is on the wire.
        """
        if self._file is None:
            self._keep(partial(make, _now(), *arguments), length)
        else:
            self._append(make(_now(), *arguments), may_wait=may_wait)

    def _append(self, record: Fields, *, may_wait: bool = False) -> None:
        line = _encoded(record) + b"\n"
        if self._file is not None:
            if not may_wait:
                self._write(self._file, self._waiting + line)
                self._waiting = b""
            elif self._waiting:
                self._waiting += line
            else:
                self._waiting = line
                asyncio.get_running_loop().call_soon(self._write_waiting)
        self._keep(line, len(line))

    def _write_waiting(self) -> None:
        if self._waiting and self._file is not None:
            self._write(self._file, self._waiting)
        self._waiting = b""

    def _keep(self, record: bytes | partial[Fields], length: int) -> None:
        self._latest.append((record, length))
        self._latest_bytes += length
        while len(self._latest) > KEPT_IN_MEMORY or self._latest_bytes > KEPT_BYTES:
            self._latest_bytes -= self._latest.popleft()[1]
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
        return first, [_made(each) for each, _ in islice(self._latest, skipped, None)]


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


def _made(record: bytes | partial[Fields]) -> Record:
    made: Record = json.loads(record if isinstance(record, bytes) else _encoded(record()))
    return made


def _now() -> float:
    """In whole microseconds."""
    return time.monotonic_ns() // 1000 / 1e6


def _encoded(record: Fields) -> bytes:
    try:
        return _encode(record)
    except (TypeError, ValueError):  # half a character, or a key that is no text
        return json.dumps(msgspec.to_builtins(record, enc_hook=str), default=str).encode()


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
