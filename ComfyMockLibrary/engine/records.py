"""Journal files as this library writes them: one JSON object a line, in the format of ``mockserver``'s journals.

The format is written down in ``mockserver/journal.schema.json``.
"""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.deadline import now

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1


class RecordFile:
    """A journal file. Its first record ties the monotonic clock to a boot and to the wall clock."""

    def __init__(self, path: Path, party: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", buffering=1)
        moment = now()
        anchor = {
            "format": FORMAT_VERSION,
            "boot_id": _boot_id(),
            "monotonic": moment,
            "wall": datetime.now(timezone.utc).isoformat(),
        }
        self.write(moment, "journal", {**anchor, **party})

    def write(self, at: float, kind: str, fields: Mapping[str, Any]) -> None:
        """Appends one record. Values that JSON does not know are described: bytes by their length."""
        self._file.write(json.dumps({"at": at, "kind": kind, **fields}, default=_described) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def file_name(alias: str) -> str:
    """A file name for an alias, whatever characters it has."""
    return re.sub(r"[^\w.-]+", "_", alias).strip(".") or "_"


def shown(path: Path) -> str:
    """A path as people see it: from the working directory, if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _described(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
