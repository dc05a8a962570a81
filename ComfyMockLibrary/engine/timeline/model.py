"""What all parties have recorded, merged on one clock.

Lanes with spans and marks, and one list of all that happened. ``story`` makes it of journals, ``layout`` says where
things are drawn, ``page`` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Tone = Literal["quiet", "plain", "good", "warn", "bad", "fault"]
"""How much something matters. ``quiet`` is for what happens all the time, such as messages."""

RowKind = Literal["bars", "slim", "marks", "ticks"]
"""``bars`` have names in them, ``slim`` ones have not, ``marks`` are few and each is seen, ``ticks`` are many."""


@dataclass(frozen=True)
class Happening:
    """Something that happened at one moment."""

    at: float
    party: str
    what: str
    details: str = ""
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"{self.what} {self.details}".rstrip()


@dataclass(frozen=True)
class Span:
    """Something that lasted."""

    start: float
    end: float
    kind: str
    """What it looks like: ``life``, ``frozen``, ``connected``, ``success`` and so on."""
    names: tuple[str, ...] = ()
    """What is written in it, the longest that has room."""
    details: tuple[str, ...] = ()
    """What is told about it, in lines."""
    is_open: bool = False
    """Whether it had not ended when the journal was read."""


@dataclass(frozen=True)
class Row:
    """Spans and marks at one height."""

    kind: RowKind
    spans: tuple[Span, ...] = ()
    marks: tuple[Happening, ...] = ()


@dataclass(frozen=True)
class Lane:
    """Rows about one subject."""

    name: str
    rows: tuple[Row, ...]
    note: str = ""
    """What else is to be said about it, in a few words."""
    begins_group: bool = False
    """Whether something new begins with it: a server with all that belongs to it."""


@dataclass(frozen=True)
class Timeline:
    """Lanes of all parties between two moments."""

    start: float
    end: float
    wall: datetime
    """The start on the wall clock."""
    lanes: tuple[Lane, ...]
    happenings: tuple[Happening, ...] = field(repr=False)
    """Everything, in order of time, also what the lanes show as spans."""

    @property
    def duration(self) -> float:
        """Seconds; never 0."""
        return max(self.end - self.start, 1e-3)

    def since(self, moment: float) -> Timeline:
        """The part from a moment on. What began before and lasts is cut there."""
        if moment <= self.start:
            return self
        lanes = (replace(lane, rows=tuple(_cut(lane.rows, moment))) for lane in self.lanes)
        return replace(
            self,
            start=min(moment, self.end),
            wall=self.wall + timedelta(seconds=moment - self.start),
            lanes=tuple(lane for lane in lanes if lane.rows),
            happenings=tuple(each for each in self.happenings if each.at >= moment),
        )


def packed(spans: Iterable[Span], most: int) -> tuple[list[list[Span]], list[Span]]:
    """Spans in as few rows as they need without overlap, at most so many, and those that have found no place."""
    rows: list[list[Span]] = []
    left: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        row = next((row for row in rows if row[-1].end <= span.start), None)
        if row is not None:
            row.append(span)
        elif len(rows) < most:
            rows.append([span])
        else:
            left.append(span)
    return rows, left


def _cut(rows: Sequence[Row], moment: float) -> Iterable[Row]:
    for row in rows:
        spans = tuple(
            replace(each, start=max(each.start, moment)) for each in row.spans if each.end > moment or each.is_open
        )
        marks = tuple(each for each in row.marks if each.at >= moment)
        if spans or marks:
            yield replace(row, spans=spans, marks=marks)
