"""Facts of a report card, made by hand: what a journal would have said, in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.evidence import Attempt, RecordedRequest, RecordedSocket
from ComfyMockLibrary.engine.outages import load
from ComfyMockLibrary.engine.report.course import Course, FaultSpan, Job, LifeSpan, Window
from ComfyMockLibrary.engine.report.habits import Habits
from ComfyMockLibrary.engine.report.judge import Case, limits_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DAEMON = Habits(websocket=True, jobs="many", stays=True, fetches=True, keeps_id=True)
IDLE = Habits(websocket=True, jobs="none")
POLLER = Habits(websocket=False, jobs="many", fetches=True)
PROGRAM = Habits(websocket=True, jobs="one", stays=False, fetches=True)

STRUCK = 10.0
SERVED = 12.0
"""The server is down from 10 s to 12 s unless a test says otherwise."""


def socket(
    at: float, *, closed: float | None = None, by: str = "life", life: int = 1, who: str = "me"
) -> RecordedSocket:
    return RecordedSocket(
        life=life,
        number=1,
        at=at,
        client_id=who,
        ordinal=1,
        remote="",
        closed_at=closed,
        closed_by=None if closed is None else by,
    )


def refused(*moments: float) -> list[Attempt]:
    return [Attempt(at, "refused") for at in moments]


def connected(*moments: float, life: int = 2) -> list[Attempt]:
    return [Attempt(at, "connected", "me", life) for at in moments]


def request(
    at: float, path: str = "/queue", *, method: str = "GET", status: int | None = 200, life: int = 1
) -> RecordedRequest:
    return RecordedRequest(
        life=life,
        number=1,
        at=at,
        method=method,
        path=path,
        query={},
        headers={},
        body=None,
        remote="",
        status=status,
        answer_body="{}",
    )


def job(queued: float = 8.0, prompt_id: str = "one", **facts: Any) -> Job:
    known: dict[str, Any] = {
        "prompt_id": prompt_id,
        "graph": prompt_id,
        "client_id": "me",
        "life": 1,
        "queued_at": queued,
        "started_at": queued,
        "state": "success" if "ended_at" in facts else "started",
    }
    return Job(**{**known, **facts})


def restart(began: float = STRUCK, ended: float = SERVED, life: int = 2, **facts: Any) -> Window:
    return Window(began, ended, life, **facts)


def cut(at: float = STRUCK) -> Window:
    return Window(at, at, 1)


def fault(kind: str, at: float = STRUCK) -> FaultSpan:
    return FaultSpan(f"{kind}-1", kind, 1, {"fault": kind}, at, None, (at,))


def case(
    name: str,
    habits: Habits = DAEMON,
    *,
    until: float = 20.0,
    is_over: bool = True,
    time_is_up: bool = False,
    timeout: float | None = None,
    **facts: Any,
) -> Case:
    """A case of an outage that comes with the library; facts are fields of its course."""
    lists: dict[str, Sequence[Any]] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()
    }
    course = replace(
        Course(began_at=0.0, until=until, lives=(LifeSpan(1, 0.0, 0.1, None),)),
        **lists,  # type: ignore[arg-type]
    )
    outage = load(name)
    return Case(outage, habits, course, limits_of(outage, timeout), script_is_over=is_over, time_is_up=time_is_up)
