"""Journal files as this library writes them: one JSON object a line, in the format of ``mockserver``'s journals.

The format is written down in ``mockserver/journal.schema.json``.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.deadline import now

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1


class RecordFile:
    """A journal file. Its first record ties the monotonic clock to a boot and to the wall clock.

    One that cannot grow, on a full disk for instance, ends with a whole record. Nobody fails for it: whoever writes has
    something better to do, in a thread of its own.
    """

    def __init__(self, path: Path, party: Mapping[str, Any]) -> None:
        """Begins the file; one that is there is replaced. Raises OSError if not even its anchor can be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.lost: str | None = None
        """Why the file does not have the latest records, if it has not."""
        self._length = 0
        self._file = path.open("wb", buffering=0)
        moment = now()
        anchor = {
            "format": FORMAT_VERSION,
            "boot_id": _boot_id(),
            "monotonic": moment,
            "wall": datetime.now(timezone.utc).isoformat(),
        }
        try:
            self._append(moment, "journal", {**anchor, **party})
        except OSError as failure:
            self._file.close()
            raise OSError(failure.errno, failure.strerror, str(path)) from None

    def write(self, at: float, kind: str, fields: Mapping[str, Any]) -> None:
        """Appends one record. Values that JSON does not know are described: bytes by their length."""
        if self.lost is not None:
            return
        try:
            self._append(at, kind, fields)
        except OSError as failure:
            self.lost = failure.strerror or str(failure)
            with suppress(OSError):
                self._append(now(), "journal_ended", {"why": self.lost})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, at: float, kind: str, fields: Mapping[str, Any]) -> None:
        line = _line({"at": at, "kind": kind, **fields})
        try:
            rest = line
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            with suppress(OSError):  # a half line is worse than none: readers take what is there for records
                self._file.seek(self._file.truncate(self._length))
            raise
        self._length += len(line)


def file_name(alias: str) -> str:
    """A file name for an alias, whatever characters it has."""
    return re.sub(r"[^\w.-]+", "_", alias).strip(".") or "_"


def shown(path: Path) -> str:
    """A path as people see it: from the working directory, if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(record, default=_described)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, cycles, too deep
        text = json.dumps({name: _shallow(value) for name, value in record.items()}, default=_described)
    return text.encode() + b"\n"


def _shallow(value: object) -> object:
    """A value, and those of a dictionary, without what is deeper."""
    if isinstance(value, dict):
        return {str(name): f"<{type(each).__name__}>" if _is_deep(each) else each for name, each in value.items()}
    return f"<{type(value).__name__}>" if _is_deep(value) else value


def _is_deep(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def _described(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
