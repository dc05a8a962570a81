"""A server's lives: when each ran, when it stood still, how it ended, and who knocked while there was none."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.timeline.faults import kinds_of_faults
from ComfyMockLibrary.engine.timeline.model import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ComfyMockLibrary.engine.timeline.files import JournalFile

Json = dict[str, Any]

_FATAL_FAULTS = {"crash": "crashed by a fault", "exit": "exited by a fault"}
"""Faults after which a life can write nothing more."""


@dataclass
class LifeStory:
    """One run of a server's process."""

    journal: JournalFile
    number: int
    records: list[Json]
    pid: int
    port: int | None
    ready_at: float | None
    end: float
    ended: str | None
    """How it ended, in words; None if nothing says that it has."""
    ending: str
    """What its end looks like: ``stopped``, ``crashed`` or ``open``."""
    frozen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def stopping_at(self) -> float | None:
        """When it was told to stop, as far as it could still note it."""
        return next((each["at"] for each in self.records if _is(each, "life", "stopping")), None)

    @property
    def start(self) -> float:
        """When its process began its journal."""
        return self.journal.begun_at

    @property
    def life_id(self) -> str:
        """Its id."""
        return str(self.journal.anchor["life_id"])


@dataclass
class ServerStory:
    """A server over all its lives."""

    name: str
    port: int | None
    lives: list[LifeStory]
    attempts: list[float]
    """When clients knocked while it was down, as far as its port was watched."""

    def records(self, *kinds: str) -> Iterator[tuple[LifeStory, Json]]:
        """Records of these kinds of all lives."""
        for life in self.lives:
            for record in life.records:
                if record["kind"] in kinds:
                    yield life, record


def server_stories(journals: Sequence[JournalFile], end: float) -> list[ServerStory]:
    """The servers of these journals, in the order in which they began. ``end`` is where the picture ends."""
    outside = [each for each in journals if each.party == "library"]
    lives = [each for each in journals if each.party == "server"]
    owner = {
        record["life_id"]: journal
        for journal in outside
        for record in journal.records
        if record["kind"] == "life_begun"
    }
    groups: dict[object, tuple[JournalFile | None, list[JournalFile]]] = {}
    for life in sorted(lives, key=lambda each: each.begun_at):
        journal = owner.get(life.anchor["life_id"])
        key: object = _port(life) or life.path if journal is None else journal.path
        groups.setdefault(key, (journal, []))[1].append(life)
    return [_server(journal, group, end) for journal, group in groups.values()]


def _port(life: JournalFile) -> int | None:
    return next((record["port"] for record in life.records if _is(record, "life", "ready")), None)


def _is(record: Json, kind: str, state: str) -> bool:
    return record["kind"] == kind and record.get("state") == state


def _server(journal: JournalFile | None, lives: Sequence[JournalFile], end: float) -> ServerStory:
    outside = [] if journal is None else journal.records
    port = _port(lives[0]) if journal is None else journal.anchor["port"]
    name = str(journal.anchor["server"]) if journal is not None else f"port {port}" if port else lives[0].path.name
    numbers = {each["life_id"]: each["number"] for each in outside if each["kind"] == "life_begun"}
    told = []
    for position, life in enumerate(lives):
        following = lives[position + 1].begun_at if position + 1 < len(lives) else None
        told.append(_life(life, numbers.get(life.anchor["life_id"], position + 1), outside, following, end))
    attempts = [each["at"] for each in outside if each["kind"] == "connection_attempt"]
    return ServerStory(name, port, told, attempts)


def _life(journal: JournalFile, number: int, outside: Sequence[Json], following: float | None, end: float) -> LifeStory:
    mine = [each for each in outside if each.get("life_id") == journal.anchor["life_id"]]
    ended_at, ended, ending = _end_of_life(journal, mine, following, end)
    return LifeStory(
        journal,
        number,
        journal.records,
        int(journal.anchor["pid"]),
        _port(journal),
        next((each["at"] for each in journal.records if _is(each, "life", "ready")), None),
        ended_at,
        ended,
        ending,
        _frozen(journal.records, mine, ended_at),
    )


def _end_of_life(
    journal: JournalFile, outside: Sequence[Json], following: float | None, end: float
) -> tuple[float, str | None, str]:
    """When it ended, how in words, and what that looks like. The best witness is the life itself."""
    own_words = _last_words(journal.records)
    if own_words is not None:
        return *own_words, "stopped"
    over = next((each for each in outside if each["kind"] == "life_over"), None)
    how = None if over is None else platform.describe_exit(over["status"])
    fault = _fatal_fault(journal.records)
    if fault is not None:
        at, what = fault
        return at, what if how is None else f"{what} ({how})", "crashed"
    if over is not None:
        return over["at"], f"ended with {how}", "crashed"
    if following is not None:
        return journal.last_at, "ended, and no journal says how", "crashed"
    return end, None, "open"


def _last_words(records: Sequence[Json]) -> tuple[float, str] | None:
    """When and how it ended, if it could still say so."""
    order = next((each["order"] for each in records if _is(each, "life", "stopping")), None)
    for record in records:
        if _is(record, "life", "stopped"):
            return record["at"], f"stopped gracefully ({order})"
        if _is(record, "life", "ended"):
            return record["at"], f"ended at once ({record['order']})"
    return None


def _fatal_fault(records: Sequence[Json]) -> tuple[float, str] | None:
    kinds = kinds_of_faults(records)
    for record in reversed(records):
        if record["kind"] == "fault_struck" and kinds.get(record["fault"]) in _FATAL_FAULTS:
            return record["at"], _FATAL_FAULTS[kinds[record["fault"]]]
    return None


def _frozen(records: Sequence[Json], outside: Sequence[Json], end: float) -> list[tuple[float, float]]:
    """When a life stood still: a frozen one writes nothing, so its next record shows that it goes on."""
    kinds = kinds_of_faults(records)
    frozen = [each["at"] for each in outside if each.get("order") == "freeze"]
    frozen += [
        each["at"] for each in records if each["kind"] == "fault_struck" and kinds.get(each["fault"]) == "freeze"
    ]
    thawed = sorted(
        [*(each["at"] for each in outside if each.get("order") == "thaw"), *(each["at"] for each in records)]
    )
    spans: list[tuple[float, float]] = []
    for start in sorted(frozen):
        if not spans or start >= spans[-1][1]:
            spans.append((start, next((at for at in thawed if at > start), end)))
    return [(start, min(until, end)) for start, until in spans]


def life_spans(server: ServerStory) -> Iterator[Span]:
    for life in server.lives:
        about = (f"life {life.number}, pid {life.pid}, id {life.life_id}", life.ended or "runs")
        names = (f"life {life.number} · pid {life.pid}", f"life {life.number}", str(life.number))
        ready = life.end if life.ready_at is None else life.ready_at
        yield Span(life.start, ready, "starting", (), ("starting", *about))
        if life.ready_at is not None:
            yield Span(ready, life.end, f"life-{life.ending}", names, about, is_open=life.ending == "open")
        if life.stopping_at is not None and life.end > life.stopping_at:
            yield Span(life.stopping_at, life.end, "stopping", ("stopping",), ("stopping", about[0]))
        for start, end in life.frozen:
            yield Span(start, end, "frozen", ("frozen",), ("frozen", about[0]))
    for earlier, later in pairwise(server.lives):
        if later.start > earlier.end:
            how = earlier.ended or ""
            yield Span(earlier.end, later.start, "down", (f"down, {how}", "down"), ("down", how))
