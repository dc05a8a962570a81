"""What a client does when nothing goes wrong: the measure for what it does in an outage. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ComfyMockLibrary.engine.evidence import sent_prompts

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.report.course import Course

Jobs = Literal["none", "one", "many"]


@dataclass(frozen=True)
class Habits:
    """How a client behaves against a healthy server."""

    websocket: bool = True
    """Whether it opens a websocket; else HTTP requests are its connection."""

    jobs: Jobs = "none"
    """Whether it queues prompts by itself: none, one after its start, or one after the other."""

    stays: bool = True
    """Whether its process goes on; else it ends when its job is done."""

    fetches: bool = True
    """Whether it reads the history of a job, or a file, once that has ended; else messages are all it takes."""

    keeps_id: bool = True
    """Whether all its websockets had one clientId."""

    socket_per_job: bool = False
    """Whether it closes its websocket between jobs."""

    def __str__(self) -> str:
        """In words, for people."""
        parts = [
            "holds a websocket" if self.websocket and not self.socket_per_job else "",
            "opens a websocket for each job" if self.websocket and self.socket_per_job else "",
            "has no websocket and asks over HTTP" if not self.websocket else "",
            {
                "none": "queues no jobs by itself",
                "one": "queues one job",
                "many": "queues one job after the other",
            }[self.jobs],
            "fetches the results" if self.jobs != "none" and self.fetches else "",
            "goes by messages alone" if self.jobs != "none" and not self.fetches else "",
            "" if self.stays else "ends when it is done",
        ]
        return ", ".join(filter(None, parts))


class NoSuchClient(RuntimeError):
    """The client does not work with a server that has no fault."""


def habits_of(course: Course) -> Habits:
    """Reads habits from a course without an outage. Raises NoSuchClient when the client does not work at all."""
    if not course.requests and not course.attempts:
        how = "has ended" if course.exit_status is not None else "was given up"
        raise NoSuchClient(f"It {how} without a single request to the server.")
    if course.exit_status not in (None, 0):
        raise NoSuchClient("It fails although nothing goes wrong.")
    if not course.jobs and sent_prompts(course.requests):
        refused = sent_prompts(course.requests)[0]
        raise NoSuchClient(f"The server refuses its prompt with {refused.status}: {(refused.answer_body or '')[:300]}")
    done = [each for each in course.jobs if each.ended_at is not None]
    failed = next((each for each in done if not each.succeeded), None)
    if failed is not None:
        raise NoSuchClient(f"Its job {failed.prompt_id} ends with {failed.state}, on a server that has no fault.")
    jobs: Jobs = "none"
    if course.jobs:
        jobs = "many" if len({each.prompt_id for each in course.jobs}) > 1 else "one"
    first_end = min((each.ended_at for each in done if each.ended_at is not None), default=None)
    closed = [
        each
        for each in course.sockets
        if each.closed_by in ("client", "lost")
        and each.closed_at is not None
        and (course.ended_at is None or each.closed_at < course.ended_at)
        and (first_end is not None and each.closed_at >= first_end)
    ]
    return Habits(
        websocket=bool(course.sockets),
        jobs=jobs,
        stays=course.exit_status is None,
        fetches=any(each.fetched_at is not None for each in done),
        keeps_id=len({each.client_id for each in course.sockets}) <= 1,
        socket_per_job=bool(closed),
    )
