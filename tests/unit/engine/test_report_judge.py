"""Each verdict of the report card both ways, on facts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, get_args

import pytest
from report_facts import (
    DAEMON,
    IDLE,
    POLLER,
    PROGRAM,
    case,
    connected,
    cut,
    fault,
    job,
    refused,
    request,
    restart,
    socket,
)

from ComfyMockLibrary.engine.outages import TakenStep, load
from ComfyMockLibrary.engine.report.advice import ADVICE, Reason
from ComfyMockLibrary.engine.report.check import outages_for_one_client
from ComfyMockLibrary.engine.report.judge import Case, Judgement, judge, limits_of, not_applicable

HELD = socket(1.0, closed=10.0)
BACK = socket(12.5, life=2)


def verdict(asked: Case) -> tuple[str, str]:
    """The verdict and the first thing that the client did."""
    judgement = judge(asked)
    assert judgement is not None, "It is not decided."
    return judgement.verdict, judgement.did[0] if judgement.did else ""


def judged(asked: Case) -> Judgement:
    judgement = judge(asked)
    assert judgement is not None
    return judgement


class TestComingBack:
    def test_a_client_that_has_a_websocket_again_has_survived(self) -> None:
        found = judged(
            case(
                "restart",
                windows=[restart()],
                sockets=[HELD, BACK],
                attempts=[*refused(10.2, 11.0), *connected(12.5)],
            )
        )
        assert (found.verdict, found.did) == ("survived", ("came back", "kept its clientId"))
        assert found.noticed_after == pytest.approx(0.2)
        assert found.attempts == 3
        assert found.back_after == pytest.approx(0.5)
        assert found.advice == ""

    def test_nothing_is_decided_while_it_may_still_come_back(self) -> None:
        facts = {"windows": [restart()], "sockets": [HELD], "attempts": refused(10.2)}
        assert judge(case("restart", **facts)) is None
        assert judge(case("restart", is_over=False, **facts)) is None

    def test_one_that_tried_and_never_came_back_has_not(self) -> None:
        facts = {"windows": [restart()], "sockets": [HELD], "attempts": refused(10.2, 11.0)}
        assert verdict(case("restart", time_is_up=True, **facts)) == ("not survived", "tried, and did not come back")

    def test_one_that_never_tried_has_not_noticed(self) -> None:
        found = judged(case("restart", time_is_up=True, windows=[restart()], sockets=[HELD]))
        assert (found.verdict, found.did[0]) == ("not survived", "never noticed that its connection was gone")
        assert found.advice == ADVICE["not noticed"]

    def test_a_websocket_of_the_life_that_ended_is_none(self) -> None:
        late = socket(10.05, closed=10.06)  # opened while the life was ending
        facts = {"windows": [restart()], "sockets": [HELD, late], "attempts": connected(10.05, life=1)}
        assert verdict(case("restart", time_is_up=True, **facts))[0] == "not survived"

    def test_one_that_takes_too_long_has_not_survived(self) -> None:
        late = socket(28.0, life=2)
        facts = {"until": 40.0, "windows": [restart()], "sockets": [HELD, late], "attempts": connected(28.0)}
        assert verdict(case("restart", **facts)) == ("not survived", "back only after 16 s")
        assert verdict(case("restart", timeout=20.0, **facts))[0] == "survived"

    def test_another_client_id_is_told_where_it_matters(self) -> None:
        facts = {"windows": [restart()], "sockets": [HELD, socket(12.5, life=2, who="you")]}
        assert verdict(case("restart", **facts)) == ("not survived", "came back under another clientId")
        changing = replace(DAEMON, keeps_id=False)
        assert verdict(case("restart", changing, **facts)) == ("survived", "came back")
        assert verdict(case("slow-start", **facts))[0] == "survived"

    def test_each_of_several_outages_must_be_survived(self) -> None:
        windows = [restart(), restart(14.0, 15.0, 3)]
        first = [HELD, socket(12.5, closed=14.0, life=2)]
        attempts = [*refused(10.1), *connected(12.5)]
        facts = {"windows": windows, "attempts": attempts, "until": 60.0}
        assert verdict(case("second-outage", sockets=[*first, socket(15.2, life=3)], **facts)) == (
            "survived",
            "came back twice",
        )
        found = judged(case("second-outage", sockets=first, time_is_up=True, **facts))
        assert found.did[0] == "came back once, and not after outage 2"
        assert found.advice == ADVICE["not again"]

    def test_a_script_that_is_not_over_decides_nothing_good(self) -> None:
        assert judge(case("restart", is_over=False, windows=[restart()], sockets=[HELD, BACK])) is None

    def test_a_process_that_ends_has_not_survived(self) -> None:
        facts = {"windows": [restart()], "sockets": [HELD], "exit_status": 1, "ended_at": 10.5}
        found = judged(case("restart", is_over=False, **facts))
        assert (found.verdict, found.did[0]) == ("not survived", "its process ended with exit status 1")
        assert found.advice == ADVICE["ended"]

    def test_requests_are_the_connection_of_a_client_without_websocket(self) -> None:
        facts = {"windows": [restart()], "attempts": refused(10.2, 11.2)}
        asked = [request(9.9), request(12.3, life=2)]
        assert verdict(case("restart", POLLER, requests=asked, **facts)) == ("survived", "came back")
        unanswered = [request(9.9), request(12.3, status=None, life=2), request(12.6, status=503, life=2)]
        assert verdict(case("restart", POLLER, requests=unanswered, time_is_up=True, **facts))[0] == "not survived"


class TestDeadConnections:
    def test_one_that_is_given_up_and_replaced_has_survived(self) -> None:
        facts = {"windows": [cut()], "faults": [fault("silence")], "until": 70.0}
        sockets = [socket(1.0, closed=25.0, by="client"), socket(25.1)]
        assert verdict(case("half-open", sockets=sockets, attempts=connected(25.1), **facts))[0] == "survived"

    def test_one_that_is_held_on_to_has_not(self) -> None:
        facts = {"windows": [cut()], "faults": [fault("silence")], "sockets": [socket(1.0)]}
        assert judge(case("half-open", is_over=False, until=60.0, **facts)) is None
        found = judged(case("half-open", is_over=False, until=71.0, **facts))
        assert (found.verdict, found.did[0]) == ("not survived", "opened no other connection for 61 s")
        assert found.advice == ADVICE["no heartbeat"]

    def test_a_handshake_that_is_waited_for_without_a_limit_has_not(self) -> None:
        facts = {"windows": [restart(10.0, 10.0, 1, is_over=False)], "faults": [fault("hang_upgrade")]}
        found = judged(
            case("upgrade-unanswered", is_over=False, until=80.0, sockets=[HELD], attempts=refused(10.1), **facts)
        )
        assert found.did[0] == "waited for the answer to its handshake for 70 s"
        assert found.advice == ADVICE["no handshake limit"]


class TestFlood:
    def test_a_few_attempts_are_none(self) -> None:
        facts = {"windows": [restart(10.0, 15.0, 1)], "sockets": [HELD]}
        assert verdict(case("upgrade-refused-403", attempts=refused(10.1, 11.0, 13.0), **facts)) == (
            "survived",
            "made 3 attempts",
        )

    def test_many_are_one_as_soon_as_they_are(self) -> None:
        attempts = refused(*(10 + number / 100 for number in range(1, 30)))
        facts = {"windows": [restart(10.0, 10.3, 1, is_over=False)], "sockets": [HELD], "until": 10.3}
        found = judged(case("upgrade-refused-403", is_over=False, attempts=attempts, **facts))
        assert (found.verdict, found.did[0]) == ("not survived", "made 29 attempts, where 20 are plenty")
        assert found.advice == ADVICE["flood"]

    @pytest.mark.parametrize(("number", "expected"), [(50, "survived"), (51, "not survived")])
    def test_no_outage_is_an_excuse_for_one(self, number: int, expected: str) -> None:
        attempts = [*refused(*(10.5 + count / 100 for count in range(number))), *connected(12.5)]
        facts = {"windows": [restart()], "sockets": [HELD, BACK], "attempts": attempts}
        assert verdict(case("restart", **facts))[0] == expected


class TestFollowingTheScript:
    """A script that has waited in vain for the client was healed, and the client may be back because of that."""

    def test_one_that_makes_no_second_attempt_has_not_survived(self) -> None:
        facts = {"windows": [cut()], "faults": [fault("hang_upgrade")], "sockets": [HELD, socket(18.0)]}
        good = case("upgrade-unanswered", attempts=[*refused(10.1), *connected(18.0)], **facts)
        assert verdict(good)[0] == "survived"
        stuck = replace(good, is_stuck=True)
        assert verdict(stuck) == ("not survived", "waited for the answer to its handshake without a limit")

    @pytest.mark.parametrize("name", ["upgrade-unanswered", "upgrade-refused-403"])
    def test_one_that_makes_no_attempt_at_all_has_not_even_noticed(self, name: str) -> None:
        asked = case(name, windows=[cut()], faults=[fault("hang_upgrade")], sockets=[HELD], until=80.0, time_is_up=True)
        assert verdict(replace(asked, is_stuck=True)) == ("not survived", "never noticed that its connection was gone")

    def test_the_step_is_named(self) -> None:
        step = TakenStep("3", "wait for clients=1", 12.0, 27.0, "timed out", "it had not come")
        facts = {"requests": [request(11.0)], "attempts": refused(10.5), "steps": [step]}
        asked = case("oversized-frame", windows=[cut()], sockets=[HELD], **facts)
        assert verdict(replace(asked, is_stuck=True)) == ("not survived", "was waited for in vain: wait for clients=1")


class TestFindingTheResult:
    def test_a_fetched_history_is_the_result(self) -> None:
        assert verdict(case("history-late", jobs=[job(ended_at=9.0, fetched_at=11.0)])) == (
            "survived",
            "found its result",
        )

    def test_for_a_client_that_goes_by_messages_they_are(self) -> None:
        told = [job(ended_at=9.0, told_at=9.0)]
        by_messages = replace(DAEMON, fetches=False)
        assert judge(case("history-late", by_messages, jobs=told)) is None
        assert verdict(case("history-late", by_messages, jobs=[*told, job(9.5, "two")]))[0] == "survived"
        assert judge(case("history-late", jobs=told)) is None
        assert verdict(case("history-late", jobs=told, time_is_up=True)) == ("not survived", "never found its result")

    def test_to_find_the_next_one_is_to_have_given_this_one_up(self) -> None:
        jobs = [job(ended_at=9.0), job(10.0, "two", ended_at=11.0, fetched_at=11.0)]
        assert verdict(case("history-late", jobs=jobs)) == (
            "not survived",
            "gave its job up, and went on with the next one",
        )

    def test_jobs_that_are_queued_together_may_be_found_in_any_order(self) -> None:
        jobs = [job(ended_at=9.0), job(8.1, "two", ended_at=11.0, fetched_at=11.0)]
        assert judge(case("history-late", jobs=jobs)) is None

    @pytest.mark.parametrize(
        ("status", "text"), [(0, "ended as if all were well, without its result"), (1, "gave up (exit status 1)")]
    )
    def test_a_program_that_ends_without_it_has_not_survived(self, status: int, text: str) -> None:
        facts = {"jobs": [job(ended_at=9.0)], "exit_status": status, "ended_at": 9.5}
        assert verdict(case("history-late", PROGRAM, **facts)) == ("not survived", text)

    def test_a_program_that_ends_with_it_has(self) -> None:
        facts = {"jobs": [job(ended_at=9.0, fetched_at=9.2)], "exit_status": 0, "ended_at": 9.5}
        assert verdict(case("history-late", PROGRAM, **facts))[0] == "survived"


class TestDuplicates:
    def test_a_workflow_that_is_queued_again_while_it_runs_is_one(self) -> None:
        jobs = [job(ended_at=12.0, fetched_at=12.1), job(9.0, "two", graph="one")]
        found = judged(case("history-late", jobs=jobs))
        assert (found.verdict, found.did[0]) == ("not survived", "queued its prompt twice")
        assert found.advice == ADVICE["twice"]

    def test_one_that_ended_unseen_is_one_too(self) -> None:
        jobs = [job(ended_at=9.0), job(12.0, "two", graph="one", ended_at=13.0, fetched_at=13.0)]
        assert verdict(case("job-socket-lost", jobs=jobs))[1] == "queued its prompt twice"

    @pytest.mark.parametrize("first", [job(ended_at=9.0, fetched_at=9.1), job(lost_at=9.5)], ids=["known", "lost"])
    def test_the_same_workflow_once_more_is_none(self, first: object) -> None:
        jobs = [first, job(10.0, "two", graph="one", ended_at=12.0, fetched_at=12.0)]
        assert "twice" not in verdict(case("history-late", jobs=jobs, time_is_up=True))[1]


class TestLostJobs:
    FACTS: ClassVar[dict[str, Any]] = {"windows": [restart()], "sockets": [HELD, BACK]}

    def test_to_go_on_with_another_is_to_know(self) -> None:
        jobs = [job(lost_at=10.0), job(13.0, "two", life=2)]
        assert verdict(case("job-lost", jobs=jobs, **self.FACTS)) == ("survived", "went on with another job")

    def test_to_queue_it_again_too(self) -> None:
        jobs = [job(lost_at=10.0), job(13.0, "two", life=2, graph="one")]
        found = judged(case("job-lost", jobs=jobs, **self.FACTS))
        assert (found.verdict, found.did[0]) == ("survived", "queued its lost job again")
        assert found.job == "lost, queued again"

    def test_to_wait_for_ever_is_not(self) -> None:
        facts = {"jobs": [job(lost_at=10.0)], **self.FACTS}
        assert judge(case("job-lost", **facts)) is None
        found = judged(case("job-lost", time_is_up=True, **facts))
        assert (found.verdict, found.did[0]) == ("not survived", "still waits for its lost job")
        assert found.advice == ADVICE["waits for lost"]

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (1, ("survived", "said so: it ended with exit status 1")),
            (0, ("not survived", "ended as if all were well, though its job was lost")),
        ],
    )
    def test_a_program_says_so_with_its_exit_status(self, status: int, expected: tuple[str, str]) -> None:
        facts = {"jobs": [job(lost_at=10.0)], "exit_status": status, "ended_at": 14.0, **self.FACTS}
        assert verdict(case("job-lost", PROGRAM, **facts)) == expected

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ((12.6, 12.9), ("survived", "asked for its job, and learned that it is lost")),
            ((12.6, 41.0), ("not survived", "asks for its lost job again and again")),
            ((), ("not applicable", "queues one job only: whether it knows that it is lost, no server can see")),
        ],
        ids=["asked", "asks on", "silent"],
    )
    def test_one_that_queues_one_job_and_stays_is_known_by_its_questions(
        self, asked: tuple[float, ...], expected: tuple[str, str]
    ) -> None:
        once = replace(DAEMON, jobs="one")
        facts = {"jobs": [job(lost_at=10.0, asked_at=asked)], "until": 43.0, **self.FACTS}
        assert judge(case("job-lost", once, **facts)) is None
        assert verdict(case("job-lost", once, time_is_up=True, **facts)) == expected


class TestPrograms:
    """Clients that do one job and end, in outages that are about connections."""

    def test_the_result_is_what_counts(self) -> None:
        facts = {"windows": [cut()], "jobs": [job(ended_at=11.0, fetched_at=11.1)], "exit_status": 0, "ended_at": 11.5}
        assert verdict(case("reset", PROGRAM, is_over=False, **facts)) == ("survived", "found its result")

    def test_to_give_up_a_job_that_goes_on_is_not_to_survive(self) -> None:
        facts = {"windows": [cut()], "jobs": [job()], "exit_status": 1, "ended_at": 10.2}
        assert verdict(case("reset", PROGRAM, is_over=False, time_is_up=True, **facts)) == (
            "not survived",
            "gave up (exit status 1), though the server had its job",
        )

    def test_to_give_up_one_that_is_lost_says_nothing_about_connections(self) -> None:
        facts = {"windows": [restart()], "jobs": [job(lost_at=10.0)], "exit_status": 1, "ended_at": 10.2}
        assert verdict(case("restart", PROGRAM, is_over=False, time_is_up=True, **facts))[0] == "not applicable"

    def test_to_call_that_a_success_is_a_lie(self) -> None:
        facts = {"windows": [restart()], "jobs": [job(lost_at=10.0)], "exit_status": 0, "ended_at": 10.2}
        found = judged(case("restart", PROGRAM, is_over=False, time_is_up=True, **facts))
        assert found.advice == ADVICE["false success"]

    def test_to_hang_is_not_to_survive(self) -> None:
        facts = {"windows": [restart()], "jobs": [job(lost_at=10.0)]}
        assert verdict(case("restart", PROGRAM, time_is_up=True, **facts)) == (
            "not survived",
            "still waits for its lost job",
        )


class TestStayingConnected:
    JOBS: ClassVar[list[Any]] = [job(ended_at=11.0, fetched_at=11.1)]

    def test_it_keeps_what_works(self) -> None:
        facts = {"jobs": self.JOBS, "sockets": [socket(1.0)]}
        assert verdict(case("duplicate-messages", **facts))[0] == "survived"

    @pytest.mark.parametrize("by", ["client", "lost"])
    def test_it_must_not_drop_it(self, by: str) -> None:
        facts = {"jobs": self.JOBS, "sockets": [socket(1.0, closed=9.0, by=by), socket(9.1)]}
        found = judged(case("duplicate-messages", **facts))
        assert (found.verdict, found.did[0]) == ("not survived", "gave up a connection that worked")

    def test_to_close_it_behind_each_job_is_another_matter(self) -> None:
        per_job = replace(DAEMON, socket_per_job=True)
        facts = {"jobs": self.JOBS, "sockets": [socket(1.0, closed=11.2, by="client")]}
        assert verdict(case("duplicate-messages", per_job, **facts))[0] == "survived"
        assert verdict(case("duplicate-messages", **facts))[0] == "not survived"


class TestPatience:
    def asked(self, *, again: float | None, **facts: object) -> Case:
        sent = [request(8.0, "/prompt", method="POST", status=429)]
        if again is not None:
            sent.append(request(again, "/prompt", method="POST"))
        return case("too-many-requests", requests=sent, **facts)  # type: ignore[arg-type]

    def test_it_waits_as_long_as_it_is_told_to(self) -> None:
        done = [job(10.1, ended_at=10.2, fetched_at=10.3)]
        assert verdict(self.asked(again=10.1, jobs=done))[0] == "survived"

    def test_it_must_not_ask_again_at_once(self) -> None:
        found = judged(self.asked(again=8.5, jobs=[job(8.5, ended_at=9.0, fetched_at=9.1)]))
        assert (found.verdict, found.did[0]) == ("not survived", "asked again after 0.5 s, told to wait 2.0 s")
        assert found.advice == ADVICE["impatient"]

    def test_a_program_may_say_that_it_was_refused(self) -> None:
        sent = [request(8.0, "/prompt", method="POST", status=429)]
        facts = {"requests": sent, "exit_status": 1, "ended_at": 8.5}
        assert verdict(case("too-many-requests", PROGRAM, **facts))[0] == "survived"

    def test_to_forget_the_prompt_is_not_to_survive(self) -> None:
        assert judge(self.asked(again=None)) is None
        assert verdict(self.asked(again=None, time_is_up=True)) == ("not survived", "did not queue its prompt again")


class TestQueueing:
    def test_one_that_queues_nothing_without_a_websocket_is_told_that_it_could(self) -> None:
        found = judged(case("websocket-refused", time_is_up=True))
        assert (found.verdict, found.did[0], found.advice) == ("not survived", "queued no prompt", ADVICE["not queued"])

    def test_one_whose_prompt_was_refused_is_told_to_queue_it_again(self) -> None:
        sent = [request(8.0, "/prompt", method="POST", status=429)]
        found = judged(case("websocket-refused", requests=sent, time_is_up=True))
        assert found.did[0] == "queued no prompt that was accepted"
        assert found.advice == ADVICE["gave up refused"]


class TestWorkingOn:
    FROZEN: ClassVar[dict[str, Any]] = {"windows": [restart(10.0, 15.0, 1)]}

    def test_a_request_after_the_thaw_is_enough(self) -> None:
        facts = {"sockets": [socket(1.0)], "requests": [request(9.0), request(15.5)], **self.FROZEN}
        assert verdict(case("frozen", **facts)) == ("survived", "went on")

    def test_nothing_any_more_is_not(self) -> None:
        facts = {"sockets": [socket(1.0)], "requests": [request(9.0)], **self.FROZEN}
        assert judge(case("frozen", **facts)) is None
        assert verdict(case("frozen", time_is_up=True, **facts)) == ("not survived", "did nothing any more")

    def test_one_that_has_nothing_to_do_is_connected(self) -> None:
        assert verdict(case("frozen", IDLE, sockets=[socket(1.0)], **self.FROZEN)) == ("survived", "is connected")
        gone = [socket(1.0, closed=11.0, by="client")]
        assert verdict(case("frozen", IDLE, sockets=gone, time_is_up=True, **self.FROZEN))[0] == "not survived"


class TestWhatIsNotAsked:
    @pytest.mark.parametrize(
        ("name", "habits", "reason"),
        [
            ("job-lost", IDLE, "this client queues no jobs by itself"),
            ("half-open", POLLER, "this client has no websocket"),
            ("upgrade-refused-403", POLLER, "this client has no websocket"),
            ("duplicate-messages", POLLER, "this client has no websocket"),
            ("thundering-herd", DAEMON, "it takes 500 clients"),
            (
                "restart",
                replace(IDLE, stays=False),
                "this client ends by itself, and queues no job that could be cut off",
            ),
            ("restart", POLLER, ""),
            ("slow-network", POLLER, ""),
            ("job-lost", DAEMON, ""),
        ],
    )
    def test_outages_that_say_nothing_about_a_client(self, name: str, habits: object, reason: str) -> None:
        assert not_applicable(load(name), habits) == reason  # type: ignore[arg-type]

    def test_the_verdict_gives_the_reason(self) -> None:
        assert verdict(case("job-lost", IDLE)) == ("not applicable", "this client queues no jobs by itself")


@pytest.mark.parametrize("outage", outages_for_one_client(), ids=lambda outage: outage.name)
def test_each_outage_that_comes_with_the_library_asks_for_something(outage: object) -> None:
    """A client that does nothing at all survives none of them: it never gets a verdict by default."""
    nothing = case(outage.name, time_is_up=True, windows=[restart()], sockets=[HELD])  # type: ignore[attr-defined]
    patient = {"upgrade-refused-403"}  # which allows to stay away
    expected = "survived" if outage.name in patient else "not survived"  # type: ignore[attr-defined]
    assert verdict(nothing)[0] == expected


def test_limits_are_the_users_or_the_outages() -> None:
    half_open = load("half-open")
    assert limits_of(half_open, None).notice == 60
    assert limits_of(half_open, None).patience == 60
    assert limits_of(load("restart"), None).back == 15
    assert limits_of(half_open, 5.0) == limits_of(load("restart"), 5.0)


def test_there_is_advice_for_each_reason() -> None:
    assert set(ADVICE) == set(get_args(Reason))
    assert all(advice.endswith(".") for advice in ADVICE.values())
