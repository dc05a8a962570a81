"""Finds and reads journal files of all parties: lives of servers, clients, and this library's view from outside."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.record_form import record_of
from ComfyMockLibrary.engine.records import FORMAT_VERSION, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Json = dict[str, Any]

ENDING = ".journal.jsonl"
"""How the names of journals end that this library has written."""

_WHERE = f"Journals are the files *{ENDING} below comfymock in Robot's output directory, or what --journal named."


class JournalError(ValueError):
    """Files that are no journals, or do not belong together. The message says which, and what to do."""


@dataclass(frozen=True)
class JournalFile:
    """What one party has recorded."""

    path: Path
    anchor: Json
    """The first record: whose journal it is, and what ties its clock to a boot and to the wall clock."""
    records: list[Json]
    """All others, oldest first."""

    @property
    def party(self) -> str:
        """``server``, ``client`` or ``library``."""
        return str(self.anchor["party"])

    @property
    def begun_at(self) -> float:
        """When it was begun, in monotonic seconds."""
        return float(self.anchor["at"])

    @property
    def last_at(self) -> float:
        """When its last record was made."""
        return float(self.records[-1]["at"]) if self.records else self.begun_at

    def wall_at(self, moment: float) -> datetime:
        """A moment on the wall clock."""
        return datetime.fromisoformat(self.anchor["wall"]) + timedelta(seconds=moment - self.anchor["monotonic"])


def find_journals(sources: Iterable[str | Path]) -> list[Path]:
    """The journals that are meant: files, directories with all below them, and patterns. Raises JournalError.

    One in a directory that says nothing is left out: it is just being begun, or its process ended in that moment.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(each for each in path.rglob(f"*{ENDING}") if each.stat().st_size)
        elif path.exists():
            files = [path]
        else:
            files = sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207 (may be absolute)
        if not files:
            what = "has no journal in it" if path.is_dir() else "does not exist"
            raise JournalError(f"{source} {what}. {_WHERE}")
        found.update(dict.fromkeys(files))
    if not found:
        raise JournalError(f"No journal was given. {_WHERE}")
    return list(found)


def read_journals(paths: Iterable[Path]) -> list[JournalFile]:
    """Reads journals, which must share one clock. Raises JournalError."""
    journals = [read_journal(path) for path in paths]
    _require_one_boot(journals)
    return journals


def read_journal(path: Path) -> JournalFile:
    """Reads a journal, also one that is being written: a last line without its end is left out. Raises JournalError."""
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise JournalError(f"{shown(path)} cannot be read: {failure.strerror or failure}. {_WHERE}") from None
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    anchor = _json(lines[0]) if lines else {}
    if anchor.get("kind") != "journal" or anchor.get("party") not in ("server", "client", "library"):
        raise JournalError(f"{shown(path)} is no journal: its first line does not say whose it is. {_WHERE}")
    if anchor.get("format") != FORMAT_VERSION:
        raise JournalError(
            f"{shown(path)} has format {anchor.get('format')}; this version reads {FORMAT_VERSION}. "
            "Use the version of robotframework-comfymock that has written it."
        )
    _, *records = [_record(path, number, line) for number, line in enumerate(lines, 1)]
    return JournalFile(path, anchor, records)


def _json(line: bytes) -> Json:
    """The object of a first line, whatever else it says: it may be of a format of which nothing is known here."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _record(path: Path, number: int, line: bytes) -> Json:
    record = record_of(line)
    if record is None:
        raise JournalError(f"{shown(path)} is no journal: its line {number} is no record. {_WHERE}")
    return record


def _require_one_boot(journals: Sequence[JournalFile]) -> None:
    """Monotonic clocks of different boots have nothing to do with each other."""
    boots: dict[str, list[JournalFile]] = {}
    for journal in journals:
        boots.setdefault(str(journal.anchor["boot_id"]), []).append(journal)
    if len(boots) > 1:
        listed = "; ".join(
            f"{min(str(each.anchor['wall']) for each in group)[:16]}: {', '.join(shown(each.path) for each in group)}"
            for group in boots.values()
        )
        raise JournalError(
            f"These journals are of {len(boots)} boots or machines, whose clocks cannot be compared. "
            f"Give those of one at a time. {listed}."
        )
