"""Holds what a client did in an outage against what the outage's data expect. Pure: facts in, verdict out.

Each field of an ``expectation`` has one rule here. A rule says that it is met, failed, still open, or that it cannot be
asked of this client. ``docs/report_card.md`` has the rules in words.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ComfyMockLibrary.engine.evidence import sent_prompts
from ComfyMockLibrary.engine.platform import describe_exit
from ComfyMockLibrary.engine.report.advice import ADVICE
from ComfyMockLibrary.engine.report.recovery import Recovery, duplicates, is_found, recoveries

if TYPE_CHECKING:
    from collections.abc import Callable

    from ComfyMockLibrary.engine.report.advice import Reason
    from ComfyMockLibrary.engine.report.course import Course, Job
    from ComfyMockLibrary.engine.report.habits import Habits
    from mockserver.outages.outage import Outage

VerdictWord = Literal["survived", "not survived", "not applicable"]

DEFAULT_LIMIT = 30.0
"""Seconds that a client has where neither the outage nor the user says how long."""

FLOOD = 50
"""Attempts in one second that are too many from one client in any outage."""

_NOT_QUEUED: tuple[str, Reason] = ("queued no prompt", "not queued")
_REFUSED: tuple[str, Reason] = ("queued no prompt that was accepted", "gave up refused")

_TOLERANCE = 0.95
"""How much of a time that it was asked to wait a client has to wait."""


@dataclass(frozen=True)
class Limits:
    """How long a client may take, in seconds."""

    back: float
    """Until it is back, has found its job, or has given it up, from when that is possible."""

    notice: float
    """Until it gives up a connection that is dead."""

    patience: float
    """Until each thing has come that the script of the outage waits for."""


def limits_of(outage: Outage, timeout: float | None) -> Limits:
    """What the user says goes for everything; else what the outage says."""
    if timeout is not None:
        return Limits(timeout, timeout, timeout)
    expected = outage.expectation
    notice = DEFAULT_LIMIT if expected.notices_within is None else expected.notices_within
    patience = outage.patience if expected.notices_within is None else min(outage.patience, expected.notices_within)
    return Limits(DEFAULT_LIMIT if expected.within is None else expected.within, notice, patience)


@dataclass(frozen=True)
class Finding:
    """What one rule says."""

    state: Literal["met", "failed", "open", "not applicable"]
    text: str = ""
    """What happened, in a few words."""

    reason: Reason | None = None
    """What there is advice for, if it has failed."""


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reasons."""

    verdict: VerdictWord
    did: tuple[str, ...]
    """What the client did, in a few words each."""

    advice: str = ""
    """One line; empty where there is nothing to advise."""

    noticed_after: float | None = None
    """Seconds from the strike until the client first did something about it."""

    attempts: int | None = None
    back_after: float | None = None
    """Seconds from when the client could be served again until it was connected."""

    job: str = ""
    """What became of its job, in words; empty if it had none."""


@dataclass(frozen=True)
class Case:
    """What all rules look at."""

    outage: Outage
    habits: Habits
    course: Course
    limits: Limits
    script_is_over: bool
    time_is_up: bool
    """Nothing more is awaited: what is open now has failed."""

    is_stuck: bool = False
    """Whether the script has waited in vain for something that the client had to do."""

    @property
    def recoveries(self) -> list[Recovery]:
        """How the client came back each time."""
        return recoveries(self.course, self.habits)

    @property
    def job(self) -> Job | None:
        """The job that the outage is about: the client's first that was accepted."""
        return self.course.jobs[0] if self.course.jobs else None

    @property
    def has_ended(self) -> bool:
        """Whether the client's process has ended."""
        return self.course.exit_status is not None


def needs_websocket(outage: Outage) -> bool:
    """Whether an outage is about websockets only, so that a client without one meets nothing of it."""
    faults = [each.step.fault for each in outage.steps() if each.step.fault is not None]
    return any(
        type(each).level in ("websocket", "messages")
        or getattr(each, "client_id", None)
        or getattr(getattr(each, "who", None), "client_id", None)
        for each in faults
    )


def not_applicable(outage: Outage, habits: Habits) -> str:
    """Why an outage says nothing about a client with these habits; empty if it does."""
    if outage.clients > 1:
        return f"it takes {outage.clients} clients"
    if outage.needs == "job" and habits.jobs == "none":
        return "this client queues no jobs by itself"
    if not habits.websocket and needs_websocket(outage):
        return "this client has no websocket"
    if not habits.stays and habits.jobs == "none":
        return "this client ends by itself, and queues no job that could be cut off"
    return ""


def judge(case: Case) -> Judgement | None:
    """The verdict; None as long as more is to come."""
    reason = not_applicable(case.outage, case.habits)
    if reason:
        return Judgement("not applicable", (reason,))
    findings = [rule(case) for rule in _rules(case)]
    failed = [each for each in findings if each.state == "failed"]
    pending = [each for each in findings if each.state == "open"]
    if not failed and pending and not case.time_is_up:
        return None
    if not failed and not case.script_is_over and not case.has_ended:
        return None
    bad = [*pending, *failed] if case.is_stuck else failed or pending  # what is still open says more than what is stuck
    decided = [each for each in findings if each.state in ("met", "not applicable")]
    texts = tuple(dict.fromkeys(each.text for each in decided if each.text))
    if bad:
        worst = bad[0]
        advice = "" if worst.reason is None else ADVICE[worst.reason]
        return _judgement(case, "not survived", (*(each.text for each in bad[:1]), *texts), advice)
    if any(each.state == "met" for each in findings):
        return _judgement(case, "survived", texts, "")
    return _judgement(case, "not applicable", texts, "")


def _judgement(case: Case, verdict: VerdictWord, did: tuple[str, ...], advice: str) -> Judgement:
    found = case.recoveries
    noticed = [each.noticed_after for each in found if each.noticed_after is not None]
    back = [each.back_after for each in found if each.back_after is not None]
    return Judgement(
        verdict,
        did,
        advice,
        noticed_after=max(noticed, default=None),
        attempts=sum(len(each.attempts) for each in found) if found else None,
        back_after=max(back, default=None),
        job=_fate(case),
    )


# The rules. One for each field of an expectation, and some for what goes without saying.


def _rules(case: Case) -> list[Callable[[Case], Finding]]:
    """The rules that an outage's data ask for."""
    expected = case.outage.expectation
    asked: list[Callable[[Case], Finding]] = [_goes_on]
    if not case.habits.stays and case.outage.needs == "connection":
        asked.append(_ends_its_job)
    else:
        if expected.reconnects:
            asked.append(_reconnects)
        if expected.notices_within is not None:
            asked.append(_notices)
        if expected.keeps_client_id:
            asked.append(_keeps_client_id)
    if expected.attempts_at_most is not None:
        asked.append(_does_not_flood)
    if expected.waits_at_least is not None:
        asked.append(_waits)
    if expected.stays_connected:
        asked.append(_stays_connected)
    if expected.no_duplicate_prompts:
        asked.append(_sends_once)
    if expected.finds_result:
        asked.append(_finds_result)
    if expected.says_lost:
        asked.append(_says_lost)
    if expected.within is not None and len(asked) == 1:
        asked.append(_works)
    return [*asked, _holds_back, _follows]


def _goes_on(case: Case) -> Finding:
    """The process of a client that stays when nothing goes wrong does not end. Any other may, when it is done."""
    if case.habits.stays and case.has_ended:
        assert case.course.exit_status is not None
        return Finding("failed", f"its process ended with {describe_exit(case.course.exit_status)}", "ended")
    return Finding("not applicable")


def _follows(case: Case) -> Finding:
    """Whatever a script waits for, the client does."""
    if case.is_stuck and not case.has_ended:
        if case.recoveries and not any(each.attempts for each in case.recoveries):
            return _stays_away(case)
        hangs = any(each.kind == "hang_upgrade" for each in case.course.faults)
        step = next((each for each in reversed(case.course.steps) if each.outcome == "timed out"), None)
        waited = "" if step is None else f": {step.words}"
        text = "waited for the answer to its handshake without a limit" if hangs else f"was waited for in vain{waited}"
        return Finding("failed", text, "no handshake limit" if hangs else "not back")
    return Finding("not applicable")


def _reconnects(case: Case) -> Finding:
    wanted = case.outage.expectation.reconnects or 0
    back = [each for each in case.recoveries if each.back_at is not None]
    slow = next((each for each in back if _late(case, each) > case.limits.back), None)
    if slow is not None:
        return Finding("failed", f"back only after {_seconds(_late(case, slow))}", "slow")
    if len(back) >= wanted:
        return Finding("met", "came back" if wanted == 1 else f"came back {_times(wanted)}")
    if not back:
        return _stays_away(case)
    return Finding("open", f"came back {_times(len(back))}, and not after outage {len(back) + 1}", "not again")


def _stays_away(case: Case) -> Finding:
    """What a client does that has not come back at all."""
    if any(each.kind == "silence" for each in case.course.faults):
        return Finding("open", "opened no other connection", "no heartbeat")
    began_at = case.course.struck_at or 0.0
    tries = sum(len(each.attempts) for each in case.recoveries)
    handshakes = [each for each in case.course.attempts if each.at > began_at and each.life is not None]
    served_at = case.course.served_again_at
    works_on = served_at is not None and any(
        each.at > served_at and each.status == 200 for each in case.course.requests
    )
    if case.habits.websocket and works_on and not handshakes:
        return Finding("open", "works on over HTTP, and never opened another websocket", "not noticed")
    if not tries and not case.habits.websocket:
        return Finding("open", "asked for nothing any more", "not back")
    if not tries:
        return Finding("open", "never noticed that its connection was gone", "not noticed")
    text = "tried once, and never again" if tries == 1 else "tried, and did not come back"
    return Finding("open", text, "not back")


def _late(case: Case, recovery: Recovery) -> float:
    """Seconds until it was back: from when that was possible, or from when the loss was noticed where that is hard."""
    assert recovery.back_at is not None
    possible_at = recovery.window.ended_at
    if case.outage.expectation.notices_within is not None and recovery.noticed_at is not None:
        possible_at = max(possible_at, recovery.noticed_at)
    return max(0.0, recovery.back_at - possible_at)


def _notices(case: Case) -> Finding:
    found = case.recoveries
    if not found:
        return Finding("open")
    silence = max(each.longest_silence(case.course.until) for each in found)
    if silence > case.limits.notice:
        hangs = any(each.kind == "hang_upgrade" for each in case.course.faults)
        if hangs and not any(each.attempts for each in found):
            return _stays_away(case)
        what = "waited for the answer to its handshake" if hangs else "opened no other connection"
        return Finding("failed", f"{what} for {_seconds(silence)}", "no handshake limit" if hangs else "no heartbeat")
    return Finding("met" if found[-1].back_at is not None else "open", "", "no heartbeat")


def _keeps_client_id(case: Case) -> Finding:
    if not case.habits.websocket:
        return Finding("not applicable")
    if not case.habits.keeps_id:
        return Finding("not applicable", "takes a new clientId for each websocket, outage or not")
    if len({each.client_id for each in case.course.sockets}) > 1:
        return Finding("failed", "came back under another clientId", "other id")
    if all(each.back_at is not None for each in case.recoveries) and case.recoveries:
        return Finding("met", "kept its clientId")
    return Finding("open", "", "not back")


def _does_not_flood(case: Case) -> Finding:
    limit = case.outage.expectation.attempts_at_most
    assert limit is not None
    most = max((len(each.attempts) for each in case.recoveries), default=0)
    if most > limit:
        return Finding("failed", f"made {most} attempts, where {limit} are plenty", "flood")
    if not case.script_is_over and not case.has_ended:
        return Finding("open")
    return Finding("met", f"made {most} attempt{'' if most == 1 else 's'}")


def _holds_back(case: Case) -> Finding:
    """Whatever an outage asks for, no client makes attempts without any delay between them."""
    moments = sorted(at for each in case.recoveries for at in each.attempts)
    most = max((bisect_left(moments, at + 1) - place for place, at in enumerate(moments)), default=0)
    if most > FLOOD:
        return Finding("failed", f"made {most} attempts in a second", "flood")
    return Finding("not applicable")


def _waits(case: Case) -> Finding:
    asked_for = case.outage.expectation.waits_at_least
    assert asked_for is not None
    sent = sent_prompts(case.course.requests)
    refused = next((each for each in sent if each.status == 429), None)
    if refused is None:
        return Finding("open", "sent no prompt", "not found")
    following = next((each for each in sent if each.at > refused.at), None)
    if following is None:
        if case.has_ended and case.course.exit_status:
            return Finding("met", "said that it was refused: it ended with an error")
        return Finding("open", "did not queue its prompt again", "gave up refused")
    waited = following.at - refused.at
    if waited < asked_for * _TOLERANCE:
        return Finding(
            "failed", f"asked again after {_seconds(waited)}, told to wait {_seconds(asked_for)}", "impatient"
        )
    return Finding("met", f"waited {_seconds(waited)}, as it was told to")


def _stays_connected(case: Case) -> Finding:
    if not case.habits.websocket:
        return Finding("not applicable")
    job = case.job
    lost = [
        each
        for each in case.course.sockets
        if each.closed_by in ("client", "lost") and each.closed_at is not None and _too_early(each.closed_at, case)
    ]
    if lost:
        return Finding("failed", "gave up a connection that worked", "dropped")
    is_done = job is not None and job.ended_at is not None and case.script_is_over
    return Finding("met" if is_done or case.has_ended else "open")


def _too_early(closed_at: float, case: Case) -> bool:
    """Whether a client that closes its websocket then does not do so because it is done."""
    job = case.job
    if case.habits.socket_per_job or not case.habits.stays:
        return job is not None and job.queued_at <= closed_at and (job.ended_at is None or closed_at < job.ended_at)
    return True


def _sends_once(case: Case) -> Finding:
    twice = duplicates(case.course, case.habits)
    if twice:
        return Finding("failed", "queued its prompt twice", "twice")
    return Finding("met" if case.script_is_over or case.has_ended else "open")


def _finds_result(case: Case) -> Finding:
    job = case.job
    if job is None:
        if case.has_ended and case.course.exit_status and case.outage.expectation.waits_at_least is not None:
            return Finding("met")  # it has said that it was refused
        has_sent = bool(sent_prompts(case.course.requests))
        text, reason = _REFUSED if has_sent else _NOT_QUEUED
        return Finding("open", text, reason)
    if is_found(job, case.course, case.habits):
        return Finding("met", "found its result")
    if case.has_ended and (job.ended_at is not None or case.course.exit_status):
        assert case.course.exit_status is not None
        how = describe_exit(case.course.exit_status)
        text = "ended as if all were well, without its result" if case.course.exit_status == 0 else f"gave up ({how})"
        return Finding("failed", text, "not found")
    if job.ended_at is not None and any(
        is_found(each, case.course, case.habits) for each in case.course.jobs[1:] if each.queued_at > job.ended_at
    ):
        return Finding("failed", "gave its job up, and went on with the next one", "not found")
    return Finding("open", "never found its result", "not found")


def _says_lost(case: Case) -> Finding:
    lost = next((each for each in case.course.jobs if each.lost_at is not None), None)
    if lost is None or lost.lost_at is None:
        return Finding("open", "had no job that was lost")
    later = [each for each in case.course.jobs if each.queued_at > lost.lost_at]
    if later:
        again = later[0].graph == lost.graph
        return Finding("met", "queued its lost job again" if again else "went on with another job")
    if case.has_ended:
        if case.course.exit_status == 0:
            return Finding("failed", "ended as if all were well, though its job was lost", "false success")
        assert case.course.exit_status is not None
        return Finding("met", f"said so: it ended with {describe_exit(case.course.exit_status)}")
    if case.habits.jobs == "many" or not case.habits.stays:
        return Finding("open", "still waits for its lost job", "waits for lost")
    return _learns_that_it_is_lost(case, lost)


def _learns_that_it_is_lost(case: Case, lost: Job) -> Finding:
    """For a client that queues one job and stays: all that can be seen is whether it asks for it."""
    assert lost.lost_at is not None
    asked = [at for at in lost.asked_at if at > lost.lost_at]
    if not case.time_is_up:
        return Finding("open")
    if asked and case.course.until - asked[-1] < case.limits.back / 4:
        return Finding("failed", "asks for its lost job again and again", "waits for lost")
    if asked:
        return Finding("met", "asked for its job, and learned that it is lost")
    return Finding("not applicable", "queues one job only: whether it knows that it is lost, no server can see")


def _ends_its_job(case: Case) -> Finding:
    """What is asked of a program that does one job and ends, in place of a connection."""
    job = case.job
    if job is None:
        return Finding("open", "queued no prompt")
    done = next((each for each in case.course.jobs if is_found(each, case.course, case.habits)), None)
    if done is not None:
        return Finding("met", "found its result" if done is job else "queued its job again, and found the result")
    if not case.has_ended:
        what = "still waits for its lost job" if job.lost_at is not None else "never found its result"
        return Finding("open", what, "waits for lost" if job.lost_at is not None else "not found")
    assert case.course.exit_status is not None
    if case.course.exit_status == 0:
        return Finding("failed", "ended as if all were well, without its result", "false success")
    how = describe_exit(case.course.exit_status)
    if job.lost_at is not None:
        return Finding("not applicable", f"does one job and ends; its job was lost, and it ended with {how}")
    return Finding("failed", f"gave up ({how}), though the server had its job", "not found")


def _works(case: Case) -> Finding:
    """It does anything at all once it can be served again; one that has nothing to do is still connected."""
    served_at = case.course.served_again_at
    if served_at is None:
        return Finding("open", "did nothing any more", "dead")
    if case.habits.jobs == "none" and case.habits.websocket:
        is_there = case.script_is_over and bool(case.course.open_sockets)
        return Finding("met" if is_there else "open", "is connected" if is_there else "is not connected", "not back")
    moments = [
        *(each.at for each in case.course.sockets),
        *(each.at for each in case.course.requests if each.status is not None and each.status < 500),
    ]
    first = min((at for at in moments if at > served_at), default=None)
    if first is None:
        return Finding("open", "did nothing any more", "dead")
    if first - served_at > case.limits.back:
        return Finding("failed", f"did nothing for {_seconds(first - served_at)}", "slow")
    return Finding("met", "went on")


def _fate(case: Case) -> str:
    """What became of the job, in words."""
    job = case.job
    if job is None:
        return ""
    if is_found(job, case.course, case.habits):
        return "found"
    if job.lost_at is not None:
        later = [each for each in case.course.jobs if each.queued_at > job.lost_at]
        if not later:
            return "lost"
        return "lost, queued again" if later[0].graph == job.graph else "lost, went on"
    return "not found" if job.ended_at is not None else "runs"


def _seconds(seconds: float | None) -> str:
    assert seconds is not None
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
