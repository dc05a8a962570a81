"""Where the things of a timeline are drawn. Pure: moments become percentages of the axis, heights are pixels.

A picture is as wide as the page lets it be, and its letters stay as large as they are. So lengths along the axis are
percentages, and what depends on how many pixels these are (which names have room, which marks would lie on each other)
is worked out for several widths, of which the page shows the one that fits.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ComfyMockLibrary.engine.timeline.model import Happening, Lane, Row, RowKind, Span, Timeline, Tone

WIDTHS = {"narrow": 300, "small": 440, "medium": 740, "wide": 1140, "zoomed": 3600}
"""Least width of the axis in pixels, by the class of what is shown then."""

ROW_HEIGHTS: dict[RowKind, int] = {"bars": 22, "slim": 11, "marks": 22, "ticks": 18}
BAR, SLIM_BAR = 16, 8
"""Heights of bars."""
LETTER = 6.4
"""Width of a letter in pixels, rather too much."""
PILL = 22
"""Width of a mark that stands for several."""
MARK = 12
"""Width of a mark."""
TICK = 6
"""Distance of two ticks."""
MOST_LINES, MOST_TICK_LINES = 10, 4
"""Of what is told about one place."""

_RANKS: dict[Tone, int] = {"quiet": 0, "plain": 1, "good": 2, "warn": 3, "fault": 4, "bad": 5}

_STEPS = (1, 2, 5)
_STEPS_OF_A_MINUTE = (10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)


@dataclass(frozen=True)
class Bar:
    """A span."""

    x: float
    width: float
    y: float
    height: float
    kind: str
    title: str
    is_open: bool


@dataclass(frozen=True)
class Name:
    """A text that begins or ends at a place."""

    x: float
    shift: float
    """Pixels from there."""
    y: float
    text: str
    is_before: bool = False
    """Whether it ends there."""


@dataclass(frozen=True)
class Mark:
    """A mark, or a pill with the number of those that would lie on each other."""

    x: float
    y: float
    tone: Tone
    title: str
    count: int = 1


@dataclass(frozen=True)
class Tick:
    """How much happened at a place."""

    x: float
    y: float
    height: float
    tone: Tone
    title: str


@dataclass
class Detail:
    """What is shown at one width."""

    width: str
    names: list[Name] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)


@dataclass(frozen=True)
class LaneDrawing:
    """A lane to draw."""

    name: str
    note: str
    begins_group: bool
    height: float
    bars: tuple[Bar, ...]
    details: tuple[Detail, ...]


@dataclass(frozen=True)
class AxisTick:
    """A moment that the axis names."""

    x: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """A timeline to draw."""

    axes: dict[str, tuple[AxisTick, ...]]
    """By width."""
    lanes: tuple[LaneDrawing, ...]


@dataclass(frozen=True)
class Axis:
    """From moments to places."""

    start: float
    duration: float

    def x(self, moment: float) -> float:
        """A moment's place in percent."""
        return round(min(max((moment - self.start) / self.duration, 0.0), 1.0) * 100, 3)

    def told(self, moment: float) -> str:
        """A moment in words."""
        return f"+{moment - self.start:.3f} s"


def draw(timeline: Timeline) -> Drawing:
    """Where everything of a timeline is drawn."""
    axis = Axis(timeline.start, timeline.duration)
    axes = {name: tuple(_axis_ticks(timeline.duration, pixels)) for name, pixels in WIDTHS.items()}
    return Drawing(axes, tuple(_lane(lane, axis) for lane in timeline.lanes))


def time_step(duration: float, most: int) -> float:
    """The distance of the moments that an axis names, in seconds: round, and so that there are at most so many."""
    least = duration / max(most, 1)
    if least > 5:
        return next((float(step) for step in _STEPS_OF_A_MINUTE if step >= least), math.ceil(least / 86_400) * 86_400.0)
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (*_STEPS, 10) if step * power >= least * (1 - 1e-9))


def moment_in_words(seconds: float, step: float) -> str:
    """A moment as the axis names it: as exact as its steps are."""
    if step < 0.001:
        return f"{seconds * 1000:.{max(0, -math.floor(math.log10(step * 1000)))}f} ms"
    if step < 1:
        return f"{seconds:.{max(1, -math.floor(math.log10(step) + 1e-9))}f} s"
    if step < 10:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clusters(places: Sequence[float], reach: float) -> list[list[int]]:
    """Positions in an ascending sequence of places, those together that lie within ``reach`` from the first of them."""
    found: list[list[int]] = []
    for position, place in enumerate(places):
        if found and place - places[found[-1][0]] < reach:
            found[-1].append(position)
        else:
            found.append([position])
    return found


def text_width(text: str) -> float:
    """About how many pixels a text takes."""
    return sum(LETTER * (2 if unicodedata.east_asian_width(letter) in "WF" else 1) for letter in text)


def _axis_ticks(duration: float, pixels: int) -> Iterator[AxisTick]:
    step = time_step(duration, pixels // 70)
    for number in range(int(duration / step + 1e-9) + 1):
        yield AxisTick(round(number * step / duration * 100, 3), moment_in_words(number * step, step))


def _lane(lane: Lane, axis: Axis) -> LaneDrawing:
    y, bars = 2.0, []
    details = [Detail(width) for width in WIDTHS]
    for row in lane.rows:
        height = SLIM_BAR if row.kind == "slim" else BAR
        bars += [_bar(span, axis, y, height) for span in row.spans]
        for detail in details:
            pixels = WIDTHS[detail.width]
            if row.kind == "ticks":
                detail.ticks += _ticks(row.marks, axis, y, pixels)
            elif row.kind == "marks":
                _marks(row, axis, y, pixels, detail)
            elif row.kind == "bars":
                detail.names += _names(row.spans, axis, y, pixels)
        y += ROW_HEIGHTS[row.kind]
    return LaneDrawing(lane.name, lane.note, lane.begins_group, y + 2, tuple(bars), tuple(details))


def _bar(span: Span, axis: Axis, y: float, height: float) -> Bar:
    lasted = span.end - span.start
    when = f"{axis.told(span.start)}, {'so far' if span.is_open else 'for'} {lasted:.3f} s"
    x = axis.x(span.start)
    title = _lines([*filter(None, span.details), when])
    return Bar(x, round(axis.x(span.end) - x, 3), y, height, span.kind, title, span.is_open)


def _names(spans: Iterable[Span], axis: Axis, y: float, pixels: int) -> Iterator[Name]:
    """The longest name of each span that has room in its bar."""
    for span in spans:
        start, end = _extent(span, axis, pixels)
        name = _longest(span.names, end - start - 10)
        if name is not None:
            yield Name(axis.x(span.start), 6, y + BAR / 2, name)


def _names_among_marks(
    spans: Sequence[Span], marks: Sequence[float], axis: Axis, y: float, pixels: int
) -> Iterator[Name]:
    """The longest name of each span that has room in its bar before the first mark, or else behind it."""
    extents = [_extent(span, axis, pixels) for span in spans]
    for span, (start, end) in zip(spans, extents, strict=True):
        first = min([end, *(each for each in marks if each > start - MARK)])
        name = _longest(span.names, first - start - 10)
        if name is not None:
            yield Name(axis.x(span.start), 6, y + BAR / 2, name)
            continue
        following = [each for each in (*marks, *(other for other, _ in extents)) if each > start]
        name = _longest(span.names, min([float(pixels), *following]) - end - MARK)
        if name is not None:
            yield Name(axis.x(span.end), 5, y + BAR / 2, name)


def _longest(texts: Iterable[str], room: float) -> str | None:
    """The first text that has room; the longest come first."""
    return next((each for each in texts if text_width(each) <= room), None)


def _extent(span: Span, axis: Axis, pixels: int) -> tuple[float, float]:
    return axis.x(span.start) / 100 * pixels, axis.x(span.end) / 100 * pixels


def _marks(row: Row, axis: Axis, y: float, pixels: int, detail: Detail) -> None:
    """Marks, and names beside them where nothing is in the way."""
    marks = sorted(row.marks, key=lambda each: each.at)
    places = [axis.x(each.at) / 100 * pixels for each in marks]
    groups = clusters(places, PILL + 4)
    middle = y + BAR / 2
    bars = [_extent(span, axis, pixels) for span in row.spans]
    detail.names += _names_among_marks(row.spans, places, axis, y, pixels)
    for number, group in enumerate(groups):
        members = [marks[each] for each in group]
        chief = max(members, key=lambda each: _RANKS[each.tone])
        place = places[group[0]]
        detail.marks.append(Mark(axis.x(members[0].at), middle, chief.tone, _told(members, axis), len(members)))
        left = place + (MARK / 2 if len(members) == 1 else PILL - MARK / 2) + 3
        following = places[groups[number + 1][0]] - MARK / 2 if number + 1 < len(groups) else float(pixels)
        right = min([following, *(max(start, left) for start, end in bars if end > left)])
        text = _longest(_texts(members), right - left - 4)
        if text is not None:
            detail.names.append(Name(axis.x(members[0].at), left - place, middle, text))


def _texts(members: Sequence[Happening]) -> list[str]:
    """What can be written beside marks, the longest first."""
    chief = max(members, key=lambda each: _RANKS[each.tone])
    if len({each.what for each in members}) > 1:
        return [f"{chief.what} …"]
    return [str(chief), chief.what] if len(members) == 1 and len(str(chief)) <= 40 else [chief.what]


def _ticks(marks: Sequence[Happening], axis: Axis, y: float, pixels: int) -> Iterator[Tick]:
    """Ticks, the higher the more has happened there."""
    bins: dict[int, list[Happening]] = {}
    for mark in sorted(marks, key=lambda each: each.at):
        bins.setdefault(int(axis.x(mark.at) / 100 * (pixels - 1) / TICK), []).append(mark)
    highest = ROW_HEIGHTS["ticks"] - 4
    for position, members in bins.items():
        height = min(highest, 6 + 2.5 * math.log2(len(members)))
        chief = max(members, key=lambda each: _RANKS[each.tone])
        x = round((position + 0.5) * TICK / pixels * 100, 3)
        title = _told(members, axis, MOST_TICK_LINES)
        yield Tick(x, round(y + highest - height, 1), round(height, 1), chief.tone, title)


def _told(members: Sequence[Happening], axis: Axis, most: int = MOST_LINES) -> str:
    lines = [f"{axis.told(each.at)}  {each}" for each in members[:most]]
    more = len(members) - len(lines)
    return _lines([*lines, *([f"… and {more} more"] if more else [])])


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(line if len(line) <= 160 else f"{line[:159]}…" for line in lines)
