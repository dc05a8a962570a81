"""A small picture of an outage: server, websockets, attempts and jobs on one time axis. Pure: facts in, shapes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ComfyMockLibrary.engine.report.course import Course

WIDTH = 420.0
"""Of the time axis, in units of the picture."""

MARGIN = 62.0
"""Left of it, for the names of the lanes."""

_ROW = 14.0
_BAR = 10.0
_MOST_ROWS = 4
_MOST_ATTEMPTS = 400


@dataclass(frozen=True)
class Bar:
    """Something that lasts."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """Class for the style: ``life``, ``cut``, ``socket``, ``job`` and so on."""
    title: str


@dataclass(frozen=True)
class Tick:
    """A moment."""

    x: float
    y: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Label:
    """Text at the left or below."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Picture:
    """All shapes, from back to front."""

    height: float
    description: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    labels: tuple[Label, ...]
    width: float = MARGIN + WIDTH + 8


def picture(course: Course, description: str) -> Picture:
    """Draws a course. ``description`` is for those who cannot see it."""
    duration = max(course.until - course.began_at, 0.001)

    def x(at: float) -> float:
        return MARGIN + WIDTH * min(1.0, max(0.0, (at - course.began_at) / duration))

    bars = list(_server(course, x))
    labels = [Label(0, _BAR, "server")]
    y = _ROW
    rows, sockets = _stacked([(each.at, each.closed_at or course.until) for each in course.sockets])
    for row, socket in zip(rows, course.sockets, strict=True):
        end = course.until if socket.closed_at is None else socket.closed_at
        how = "open" if socket.is_open else f"ended by {socket.closed_by}"
        title = f"websocket of {socket.client_id}, {_span(course, socket.at, end)}, {how}"
        bars.append(_bar(x, socket.at, end, y + row * _ROW, "socket", title))
    if sockets:
        labels.append(Label(0, y + _BAR, "websocket"))
    y += sockets * _ROW
    ticks = list(_attempts(course, x, y))
    if ticks:
        labels.append(Label(0, y + _BAR, "attempts"))
        y += _ROW
    if course.jobs:
        labels.append(Label(0, y + _BAR, "jobs"))
    ends = [
        (job.queued_at, job.lost_at or job.fetched_at or job.told_at or job.ended_at or course.until)
        for job in course.jobs
    ]
    rows, job_rows = _stacked(ends)
    for row, job, (began, ended) in zip(rows, course.jobs, ends, strict=True):
        known = job.fetched_at or job.told_at
        kind = "job lost" if job.lost_at is not None else "job found" if known is not None else "job"
        state = "lost" if job.lost_at is not None else f"{job.state}, found" if known is not None else job.state
        title = f"job {job.prompt_id[:8]}, {_span(course, began, ended)}: {state}"
        bars.append(_bar(x, began, ended, y + row * _ROW, kind, title))
        if known is not None:
            ticks.append(Tick(x(known), y + row * _ROW, _BAR, "found", f"knows the result at {known - began:.1f} s"))
    y += job_rows * _ROW
    for window in course.windows:
        width = max(x(window.ended_at) - x(window.began_at), 1.5)
        title = f"cut off, {_span(course, window.began_at, window.ended_at)}"
        bars.insert(0, Bar(x(window.began_at), 0, width, y, "cut", title))
    labels += [Label(MARGIN, y + 11, "0 s"), Label(MARGIN + WIDTH, y + 11, f"{duration:.1f} s", "end")]
    return Picture(y + 14, description, tuple(bars), tuple(ticks), tuple(labels))


def _server(course: Course, x: Callable[[float], float]) -> Iterator[Bar]:
    for life in course.lives:
        began = max(life.began_at, course.began_at)
        end = course.until if life.ended_at is None else life.ended_at
        yield _bar(x, began, end, 0, "life", f"life {life.number}, {_span(course, began, end)}")
    for fault in course.faults:
        end = course.until if fault.ended_at is None else fault.ended_at
        title = f"fault {fault.kind}, {_span(course, fault.began_at, end)}"
        yield Bar(x(fault.began_at), _BAR - 3, max(x(end) - x(fault.began_at), 1.5), 3, "fault", title)


def _attempts(course: Course, x: Callable[[float], float], y: float) -> Iterator[Tick]:
    attempts = course.attempts
    if len(attempts) > _MOST_ATTEMPTS:  # a flood: the picture shows it all the same
        attempts = attempts[:: len(attempts) // _MOST_ATTEMPTS + 1]
    for attempt in attempts:
        kind = "good" if attempt.succeeded else "bad"
        title = f"attempt at {attempt.at - course.began_at:.2f} s: {attempt.outcome}"
        yield Tick(x(attempt.at), y, _BAR, kind, title)


def _bar(x: Callable[[float], float], began: float, ended: float, y: float, kind: str, title: str) -> Bar:
    return Bar(x(began), y, max(x(ended) - x(began), 1.5), _BAR, kind, title)


def _stacked(spans: Sequence[tuple[float, float]]) -> tuple[list[int], int]:
    """A row for each span, so that none hides another, and how many rows that takes. The last row may be crowded."""
    ends: list[float] = []
    rows = []
    for began, ended in spans:
        free = next((row for row, end in enumerate(ends) if end <= began), None)
        if free is None and len(ends) < _MOST_ROWS:
            ends.append(ended)
            rows.append(len(ends) - 1)
            continue
        row = len(ends) - 1 if free is None else free
        ends[row] = max(ends[row], ended)
        rows.append(row)
    return rows, len(ends)


def _span(course: Course, began: float, ended: float) -> str:
    return f"{began - course.began_at:.1f} s to {ended - course.began_at:.1f} s"
