"""What happened while a client was led through an outage, as the server's side has it. Pure: records in, facts out.

All times are monotonic seconds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.evidence import sent_prompts, workflow_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ComfyMockLibrary.engine.evidence import Attempt, Evidence, RecordedRequest, RecordedSocket
    from ComfyMockLibrary.engine.outages import TakenStep

Json = dict[str, Any]

BLOCKING = frozenset(
    {"slow_start", "refuse_upgrade", "hang_upgrade", "refuse_connections", "ignore_connections", "flap", "freeze"}
)
"""Faults that keep clients out as long as they last."""

CUTTING = frozenset(
    {
        "reset_connections",
        "end_connections",
        "half_close_connections",
        "close_sockets",
        "send_raw_frame",
        "silence",
        "crash",
        "stop",
        "exit",
    }
)
"""Faults that end what is open, or leave it dead, when they strike or begin."""

_MUTE = ("silence", "hold_network")
"""Faults under which a message that is recorded as sent says nothing about what the owner of an older socket got."""

_WORKS_BELOW = 500
"""Statuses from here on say that the server cannot serve; anything below is an answer."""

_END_MESSAGES = ("execution_success", "execution_error", "execution_interrupted")
_RUNS_TO_ITS_END = "success"


@dataclass(frozen=True)
class LifeSpan:
    """A life of the server."""

    number: int
    began_at: float
    ready_at: float | None
    ended_at: float | None
    """None as long as it runs."""


@dataclass(frozen=True)
class Window:
    """A time in which the client was cut off: from the strike until it can be served again."""

    began_at: float
    ended_at: float
    life: int
    """The life that serves clients at its end."""

    is_over: bool = True
    """Whether clients can be served again."""


@dataclass(frozen=True)
class FaultSpan:
    """A fault in one life."""

    id: str
    kind: str
    life: int
    description: Mapping[str, Any]
    began_at: float
    ended_at: float | None
    strikes: tuple[float, ...]


@dataclass(frozen=True)
class Job:
    """A prompt that a client has queued and the server has accepted."""

    prompt_id: str
    graph: str
    """A name for the workflow, the same for the same one."""

    client_id: str | None
    life: int
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    state: str = "queued"
    """As the journal has it: ``queued``, ``started``, ``success``, ``execution_error`` and so on."""

    lost_at: float | None = None
    """When its life ended before it did; None otherwise."""

    fetched_at: float | None = None
    """When the client got its history or one of its files, after its end."""

    told_at: float | None = None
    """When a message said to the client that it has ended, on a websocket that nothing has disturbed."""

    asked_at: tuple[float, ...] = ()
    """When the client asked for it and was told nothing of it."""

    @property
    def runs(self) -> bool:
        """Whether it is under way."""
        return self.ended_at is None and self.lost_at is None

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end."""
        return self.state == _RUNS_TO_ITS_END


@dataclass(frozen=True)
class Course:
    """All that is known of a client and its server up to a moment."""

    began_at: float
    """When the client was started."""

    until: float
    """The moment up to which it is known."""

    lives: tuple[LifeSpan, ...] = ()
    sockets: tuple[RecordedSocket, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Attempts to get a websocket; while the server is down, to get anything."""

    requests: tuple[RecordedRequest, ...] = ()
    """Requests, without handshakes."""

    jobs: tuple[Job, ...] = ()
    faults: tuple[FaultSpan, ...] = ()
    windows: tuple[Window, ...] = ()
    steps: tuple[TakenStep, ...] = ()
    exit_status: int | None = None
    """None while the client's process runs."""

    ended_at: float | None = None
    """When the client's process was seen to have ended."""

    words: tuple[str, ...] = field(default=())
    """The last lines of the client's output."""

    @property
    def struck_at(self) -> float | None:
        """When the outage began for the client; None if nothing has cut it off."""
        return self.windows[0].began_at if self.windows else None

    @property
    def served_again_at(self) -> float | None:
        """When the client could be served again at last; None as long as it cannot."""
        if not self.windows:
            return None
        return self.windows[-1].ended_at if self.windows[-1].is_over else None

    @property
    def open_sockets(self) -> list[RecordedSocket]:
        """Websockets that are open as far as the server knows."""
        return [each for each in self.sockets if each.is_open]


def was_served(request: RecordedRequest) -> bool:
    """Whether a request got an answer that tells of a server that works."""
    return request.status is not None and request.status < _WORKS_BELOW


def course_of(
    evidence: Evidence,
    *,
    began_at: float,
    until: float,
    steps: Sequence[TakenStep] = (),
    exit_status: int | None = None,
    ended_at: float | None = None,
    words: Sequence[str] = (),
) -> Course:
    """The facts in a server's journals as they are now."""
    lives = _lives(evidence.records("journal", "life"), steps)
    sockets = tuple(evidence.sockets())
    requests = tuple(each for each in evidence.requests() if not each.is_handshake)
    faults = tuple(_faults(evidence.records("fault_set", "fault_begun", "fault_struck", "fault_ended")))
    attempts = tuple(evidence.attempts())
    return Course(
        began_at=began_at,
        until=until,
        lives=lives,
        sockets=sockets,
        attempts=attempts,
        requests=requests,
        jobs=tuple(_jobs(evidence, requests, lives, faults)),
        faults=faults,
        windows=_windows(lives, faults, steps, sockets or [each for each in requests if was_served(each)], until),
        steps=tuple(steps),
        exit_status=exit_status,
        ended_at=ended_at,
        words=tuple(words),
    )


def _lives(records: Iterable[tuple[int, Json]], steps: Sequence[TakenStep]) -> tuple[LifeSpan, ...]:
    began: dict[int, float] = {}
    ready: dict[int, float] = {}
    last: dict[int, float] = {}
    for life, record in records:
        began.setdefault(life, record["at"])
        last[life] = record["at"]
        if record["kind"] == "life" and record["state"] == "ready":
            ready[life] = record["at"]
    found = []
    for life, at in began.items():
        following = began.get(life + 1)
        # A life that is killed writes nothing about it: the order is the end. One that ends by itself does.
        orders = [
            step.began_at
            for step in steps
            if _verb(step) in ("restart", "kill")
            and step.began_at >= at
            and (following is None or step.began_at <= following)
        ]
        ended = orders[0] if orders else (last[life] if following is not None else None)
        found.append(LifeSpan(life, at, ready.get(life), ended))
    return tuple(found)


def _faults(records: Iterable[tuple[int, Json]]) -> list[FaultSpan]:
    found: dict[tuple[int, str], Json] = {}
    for life, record in records:
        key = life, record["fault"]
        if record["kind"] == "fault_set":
            found[key] = {"description": record["description"], "began": record["at"], "ended": None, "strikes": []}
            continue
        fault = found.get(key)
        if fault is None:
            continue
        if record["kind"] == "fault_begun":
            fault["began"] = record["at"]
        elif record["kind"] == "fault_struck":
            fault["strikes"].append(record["at"])
        else:
            fault["ended"] = record["at"]
    return [
        FaultSpan(
            fault_id,
            str(each["description"].get("fault", "")),
            life,
            each["description"],
            each["began"],
            each["ended"],
            tuple(each["strikes"]),
        )
        for (life, fault_id), each in found.items()
    ]


def _windows(
    lives: Sequence[LifeSpan],
    faults: Sequence[FaultSpan],
    steps: Sequence[TakenStep],
    contacts: Sequence[RecordedSocket | RecordedRequest],
    until: float,
) -> tuple[Window, ...]:
    """Times in which the client was cut off, one for each time that it could have come back in between.

    ``contacts`` are its websockets, or, of a client without any, its requests that were served. Cuts that follow each
    other without a new one between them are one: nobody can lose what they do not have.
    """
    cuts: list[Window] = []
    for life in lives:
        if life.ended_at is None:
            continue
        following = next((each for each in lives if each.number == life.number + 1), None)
        ready_at = None if following is None else following.ready_at
        cuts.append(
            Window(life.ended_at, until if ready_at is None else ready_at, life.number + 1, ready_at is not None)
        )
    for fault in faults:
        if fault.kind in BLOCKING:
            ended_at = until if fault.ended_at is None else fault.ended_at
            cuts.append(Window(fault.began_at, ended_at, fault.life, fault.ended_at is not None))
        elif fault.kind in CUTTING:
            moments = fault.strikes[:1] if fault.kind != "silence" else (fault.began_at,)
            cuts += [Window(at, at, fault.life) for at in moments]
    cuts += [
        Window(step.began_at, step.ended_at, _life_at(lives, step.began_at))
        for step in steps
        if _verb(step) == "freeze"
    ]
    merged: list[Window] = []
    for cut in sorted(cuts, key=lambda each: (each.began_at, each.ended_at)):
        previous = merged[-1] if merged else None
        came_between = previous is not None and any(
            previous.began_at < each.at < cut.began_at and each.life >= previous.life for each in contacts
        )
        if previous is None or (came_between and cut.began_at > previous.ended_at):
            merged.append(cut)
        else:
            merged[-1] = Window(
                previous.began_at,
                max(previous.ended_at, cut.ended_at),
                max(previous.life, cut.life),
                previous.is_over and cut.is_over,
            )
    return tuple(merged)


def _verb(step: TakenStep) -> str:
    """What a step does, behind the words that say when."""
    found = re.match(r"(?:(?:at|after) \S+ s )?(\w+)", step.words)
    return "" if found is None else found[1]


def _life_at(lives: Sequence[LifeSpan], at: float) -> int:
    return max((each.number for each in lives if each.began_at <= at), default=1)


def _jobs(
    evidence: Evidence, requests: Sequence[RecordedRequest], lives: Sequence[LifeSpan], faults: Sequence[FaultSpan]
) -> list[Job]:
    states: dict[str, list[tuple[str, float]]] = {}
    queued: list[tuple[int, float, str]] = []
    for life, record in evidence.records("prompt"):
        states.setdefault(record["prompt_id"], []).append((record["state"], record["at"]))
        if record["state"] == "queued":
            queued.append((life, record["at"], record["prompt_id"]))
    told = _told(evidence, faults)
    files = _files(evidence)
    found = []
    for request in sent_prompts(requests):
        prompt_id = accepted_id(request) or _queued_by(request, queued)
        if prompt_id is not None:
            ends = {each.number: each.ended_at for each in lives}
            path = states.get(prompt_id, [])
            found.append(_job(request, prompt_id, path, ends.get(request.life), told, files, requests))
    return found


def _job(
    request: RecordedRequest,
    prompt_id: str,
    path: Sequence[tuple[str, float]],
    life_ended_at: float | None,
    told: Mapping[str, float],
    files: Mapping[str, set[str]],
    requests: Sequence[RecordedRequest],
) -> Job:
    started_at = next((at for state, at in path if state == "started"), None)
    ended = next(((state, at) for state, at in path if state not in ("queued", "started")), None)
    lost_at = life_ended_at if ended is None else None
    fetched = [each.at for each in requests if _fetches(each, prompt_id, files.get(prompt_id, set()))]
    asked = [each.at for each in requests if each.at > request.at and _asks_in_vain(each, prompt_id)]
    return Job(
        prompt_id=prompt_id,
        graph=workflow_of(request) or "",
        client_id=request.client_id,
        life=request.life,
        queued_at=request.at,
        started_at=started_at,
        ended_at=None if ended is None else ended[1],
        state=ended[0] if ended is not None else ("started" if started_at is not None else "queued"),
        lost_at=lost_at,
        fetched_at=min(fetched, default=None),
        told_at=told.get(prompt_id),
        asked_at=tuple(asked),
    )


def accepted_id(request: RecordedRequest) -> str | None:
    """The id that a request to queue a prompt got in its answer; None if it was refused or is not answered."""
    if request.status != 200:
        return None
    try:
        answer = json.loads(request.answer_body or "")
    except ValueError:
        return None
    prompt_id = answer.get("prompt_id") if isinstance(answer, dict) else None
    return prompt_id if isinstance(prompt_id, str) else None


def _queued_by(request: RecordedRequest, queued: Sequence[tuple[int, float, str]]) -> str | None:
    """The id for a request whose answer was sent in pieces, and so is not in the journal."""
    if request.status != 200 or request.answer_body is not None:
        return None
    return next((each for life, at, each in queued if life == request.life and at >= request.at), None)


def _told(evidence: Evidence, faults: Sequence[FaultSpan]) -> dict[str, float]:
    """When somebody was told that a prompt has ended, by its id."""
    opened = {(each.life, each.number): each.at for each in evidence.sockets()}
    found: dict[str, float] = {}
    for life, record in evidence.records("message_sent"):
        data = record.get("data") or {}
        prompt_id = data.get("prompt_id")
        is_end = record["type"] in _END_MESSAGES or (record["type"] == "executing" and data.get("node") is None)
        if is_end and isinstance(prompt_id, str):
            at = record["at"]
            mute_since = [each.began_at for each in faults if each.kind in _MUTE and each.life == life]
            since = max((each for each in mute_since if each <= at), default=0.0)
            if any(opened.get((life, number), 0.0) > since for number in record["sockets"]):
                found.setdefault(prompt_id, at)
    return found


def _files(evidence: Evidence) -> dict[str, set[str]]:
    """Names of the files that each prompt has written, as its messages have them."""
    found: dict[str, set[str]] = {}
    for _, record in evidence.records("message_sent"):
        data = record.get("data") or {}
        if record["type"] != "executed" or not isinstance(data.get("prompt_id"), str):
            continue
        for entries in (data.get("output") or {}).values():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and isinstance(entry.get("filename"), str):
                    found.setdefault(data["prompt_id"], set()).add(entry["filename"])
    return found


def _fetches(request: RecordedRequest, prompt_id: str, files: set[str]) -> bool:
    """Whether a request got the history of a prompt that has ended, or one of its files."""
    if request.method != "GET" or request.status not in (200, 206):
        return False
    if request.route == "/view":
        return request.query.get("filename") in files
    if request.route != "/history" and not request.route.startswith(("/history/", "/jobs/")):
        return False
    answer = request.answer_body
    if answer is None:  # longer than the journal keeps
        return prompt_id in request.path
    # Jobs are listed before they have ended too.
    return prompt_id in answer and ('"completed"' if "/jobs/" in request.route else '"status"') in answer


def _asks_in_vain(request: RecordedRequest, prompt_id: str) -> bool:
    """Whether a request asked for a prompt, or for all, and the answer did not have it."""
    if request.method != "GET" or request.status not in (200, 404):
        return False
    is_about_it = request.route in (f"/history/{prompt_id}", f"/jobs/{prompt_id}")
    is_about_all = request.route in ("/history", "/queue", "/jobs")
    return (is_about_it or is_about_all) and prompt_id not in (request.answer_body or "")
