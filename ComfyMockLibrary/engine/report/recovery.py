"""How a client came back from each time that it was cut off, and what became of its job. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.report.course import was_served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ComfyMockLibrary.engine.report.course import Course, Job, Window
    from ComfyMockLibrary.engine.report.habits import Habits


@dataclass(frozen=True)
class Recovery:
    """One time that a client was cut off. A moment is None if it has not come. Times are monotonic seconds."""

    window: Window
    noticed_at: float | None
    """First attempt, or close by the client, after the strike."""

    attempts: tuple[float, ...]
    """All attempts from the strike until it was back, the last one included."""

    back_at: float | None

    @property
    def noticed_after(self) -> float | None:
        """Seconds from the strike."""
        return None if self.noticed_at is None else self.noticed_at - self.window.began_at

    @property
    def back_after(self) -> float | None:
        """Seconds from when it could be served again."""
        return None if self.back_at is None else max(0.0, self.back_at - self.window.ended_at)

    def longest_silence(self, until: float) -> float:
        """The longest time between two attempts, from the strike until it was back, or until a moment."""
        moments = [self.window.began_at, *self.attempts, until if self.back_at is None else self.back_at]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)


def recoveries(course: Course, habits: Habits) -> list[Recovery]:
    """How the client came back from each window, oldest first."""
    found = []
    for position, window in enumerate(course.windows):
        following = course.windows[position + 1 : position + 2]
        end = following[0].began_at if following else float("inf")
        back_at = min((at for at in _connections(course, habits, window) if at < end), default=None)
        attempts = tuple(
            sorted({at for at in _attempts(course, habits) if window.began_at < at <= min(end, back_at or end)})
        )
        closed = [
            each.closed_at
            for each in course.sockets
            if each.closed_by == "client"
            and each.closed_at is not None
            and window.began_at < each.closed_at < end
            and not habits.socket_per_job
        ]
        found.append(Recovery(window, min([*attempts[:1], *closed], default=back_at), attempts, back_at))
    return found


def is_found(job: Job, course: Course, habits: Habits) -> bool:
    """Whether the client knows how a job has ended, in the way that it knows it when nothing goes wrong.

    One that goes by messages alone has got the message, and does what it does then: queues the next job, or ends.
    """
    if job.fetched_at is not None or habits.fetches or job.told_at is None:
        return job.fetched_at is not None
    if not habits.stays:
        return course.exit_status == 0
    return habits.jobs == "one" or any(each.queued_at > job.told_at for each in course.jobs)


def duplicates(course: Course, habits: Habits) -> list[tuple[Job, Job]]:
    """Pairs of one workflow, queued again while the server still had it, or before its result was known."""
    found = []
    for position, first in enumerate(course.jobs):
        for again in course.jobs[position + 1 :]:
            is_lost = first.lost_at is not None and first.lost_at <= again.queued_at
            known_at = first.fetched_at if habits.fetches else first.told_at
            is_known = known_at is not None and known_at <= again.queued_at
            if again.graph == first.graph and not is_lost and not is_known:
                found.append((first, again))
    return found


def _connections(course: Course, habits: Habits, window: Window) -> Iterator[float]:
    """When the client was connected anew after a strike."""
    if habits.websocket:
        for socket in course.sockets:
            if socket.at > window.began_at and socket.life >= window.life:
                yield socket.at
        return
    for request in course.requests:
        if was_served(request) and request.at > window.began_at and request.life >= window.life:
            yield request.at


def _attempts(course: Course, habits: Habits) -> Iterator[float]:
    for attempt in course.attempts:
        yield attempt.at
    if not habits.websocket:
        for request in course.requests:
            yield request.at
