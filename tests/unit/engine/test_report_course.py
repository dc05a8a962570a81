"""What journals tell of an outage: lives, cuts, jobs and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from report_facts import DAEMON
from story import Story

from ComfyMockLibrary.engine.outages import TakenStep
from ComfyMockLibrary.engine.report.course import Course, course_of
from ComfyMockLibrary.engine.report.habits import Habits, NoSuchClient, habits_of
from ComfyMockLibrary.engine.report.recovery import duplicates, is_found, recoveries

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = {"1": {"class_type": "EmptyImage"}}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A server in its first life, which is ready."""
    told = Story(tmp_path)
    begin(told)
    return told


def begin(story: Story) -> None:
    story.begin_life()
    story.record("life", state="ready")


def course(story: Story, steps: tuple[TakenStep, ...] = (), **facts: Any) -> Course:
    return course_of(story.evidence, began_at=100.0, until=story.at + 1, steps=steps, **facts)


def restarted(story: Story, words: str = "restart signal=SIGKILL downtime=1") -> TakenStep:
    """A life ends by order, half a second after its last record, and the next one begins two seconds later."""
    ordered_at = story.at + 0.5
    story.end_life()
    story.at += 2.5
    begin(story)
    return TakenStep("2", words, ordered_at, story.at)


def run_prompt(story: Story, prompt_id: str = "p", *, sockets: list[int], end: str | None = "success") -> None:
    story.record("prompt", prompt_id=prompt_id, state="started", client_id="me")
    if end is not None:
        entry = {"filename": f"{prompt_id}.png", "subfolder": "", "type": "output"}
        data = {"prompt_id": prompt_id, "output": {"images": [entry]}}
        story.record("message_sent", type="executed", data=data, sockets=sockets)
        story.record("prompt", prompt_id=prompt_id, state=end, client_id="me")
        story.record("message_sent", type="execution_success", data={"prompt_id": prompt_id}, sockets=sockets)


class TestCuts:
    @pytest.mark.parametrize("words", ["restart signal=SIGKILL", "after 2 s restart", "at 2 s kill signal=SIGKILL"])
    def test_the_end_of_a_life_is_one_until_the_next_is_ready(self, story: Story, words: str) -> None:
        story.connect()
        step = restarted(story, words)
        (window,) = course(story, (step,)).windows
        assert (window.began_at, window.ended_at, window.life, window.is_over) == (step.began_at, story.at, 2, True)

    def test_it_is_not_over_while_no_life_is_ready(self, story: Story) -> None:
        step = TakenStep("2", "kill signal=SIGKILL", story.at + 1, story.at + 1)
        story.end_life()
        known = course(story, (step,))
        assert [window.is_over for window in known.windows] == [False]
        assert known.served_again_at is None

    def test_a_fault_that_keeps_clients_out_is_one_as_long_as_it_lasts(self, story: Story) -> None:
        story.record("fault_set", fault="f", seed=1, description={"fault": "refuse_upgrade", "status": 503})
        story.record("fault_begun", fault="f")
        began_at = story.at
        assert not course(story).windows[0].is_over
        story.record("fault_ended", fault="f", reason="cleared", strikes=0)
        assert [(each.began_at, each.ended_at) for each in course(story).windows] == [(began_at, story.at)]

    def test_a_reset_is_a_moment(self, story: Story) -> None:
        story.record("fault_set", fault="f", seed=1, description={"fault": "reset_connections"})
        story.record("fault_struck", fault="f", strike=1)
        assert [(each.began_at, each.ended_at) for each in course(story).windows] == [(story.at, story.at)]

    def test_other_faults_are_none(self, story: Story) -> None:
        story.record("fault_set", fault="f", seed=1, description={"fault": "duplicate_message", "message": "*"})
        story.record("fault_struck", fault="f", strike=1)
        assert course(story).windows == ()

    def test_a_frozen_server_is_one(self, story: Story) -> None:
        step = TakenStep("2", "freeze seconds=5", story.at, story.at + 5)
        assert [(each.began_at, each.ended_at) for each in course(story, (step,)).windows] == [(story.at, story.at + 5)]

    def test_two_are_two_only_with_a_connection_between_them(self, story: Story) -> None:
        story.connect()
        first = restarted(story)
        story.connect()
        second = restarted(story)
        assert len(course(story, (first, second)).windows) == 2

    def test_a_client_without_a_websocket_is_connected_by_a_request_that_is_served(self, story: Story) -> None:
        story.request("GET", "/queue")
        first = restarted(story)
        story.request("GET", "/queue")
        second = restarted(story)
        story.request("GET", "/queue", status=503)
        third = restarted(story)
        assert [each.life for each in course(story, (first, second, third)).windows] == [2, 4]

    def test_else_they_are_one(self, story: Story) -> None:
        story.connect()
        first = restarted(story)
        second = restarted(story)
        (window,) = course(story, (first, second)).windows
        assert (window.began_at, window.ended_at, window.life) == (first.began_at, story.at, 3)


class TestComingBack:
    def test_attempts_and_the_connection_belong_to_the_cut(self, story: Story) -> None:
        story.connect()
        step = restarted(story)
        story.refuse(step.began_at + 0.2)
        story.refuse(step.began_at + 1.0)
        story.connect(status=503)
        story.connect()
        known = course(story, (step,))
        (recovery,) = recoveries(known, DAEMON)
        assert recovery.noticed_after == pytest.approx(0.2)
        assert len(recovery.attempts) == 4
        assert recovery.back_at == story.at

    def test_what_comes_later_does_not(self, story: Story) -> None:
        story.connect()
        step = restarted(story)
        story.connect()
        story.connect()
        (recovery,) = recoveries(course(story, (step,)), DAEMON)
        assert len(recovery.attempts) == 1


class TestJobs:
    def test_one_that_is_refused_is_none(self, story: Story) -> None:
        story.queue(GRAPH, status=429)
        assert course(story).jobs == ()

    def test_one_whose_answer_came_in_pieces_is_known_by_the_queue(self, story: Story) -> None:
        story.record("prompt", prompt_id="earlier", state="queued", client_id="you")
        story.request("POST", "/prompt", 200, '{"prompt": {}}', None)
        story.record("prompt", prompt_id="p", state="queued", client_id="me")
        assert [each.prompt_id for each in course(story).jobs] == ["p"]

    def test_the_history_of_its_end_is_its_result(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[])
        story.request("GET", "/history/p", answer="{}")
        assert course(story).jobs[0].fetched_at is None
        story.request("GET", "/api/history/p", answer='{"p": {"status": {"completed": true}}}')
        (job,) = course(story).jobs
        assert job.fetched_at is not None
        assert job.succeeded
        assert is_found(job, course(story), DAEMON)

    def test_so_is_its_file_and_no_other(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[])
        story.request("GET", "/view?filename=q.png")
        assert course(story).jobs[0].fetched_at is None
        story.request("GET", "/view?filename=p.png&type=output", 206)
        assert course(story).jobs[0].fetched_at is not None

    def test_its_last_message_counts_where_somebody_gets_it(self, story: Story) -> None:
        number = story.connect()
        story.queue(GRAPH, "p")
        run_prompt(story, "p", sockets=[])
        story.queue(GRAPH, "q")
        run_prompt(story, "q", sockets=[number])
        p, q = course(story).jobs
        assert p.told_at is None
        assert q.told_at == story.at
        known = course(story)
        assert not is_found(q, known, DAEMON)
        assert is_found(q, known, Habits(fetches=False, jobs="one"))
        assert not is_found(q, known, Habits(fetches=False, jobs="many")), "It may not have listened."
        story.queue(GRAPH, "r")
        assert is_found(q, course(story), Habits(fetches=False, jobs="many"))
        program = Habits(fetches=False, jobs="one", stays=False)
        assert not is_found(q, known, program)
        assert is_found(q, course(story, exit_status=0), program)

    def test_a_message_into_a_dead_connection_counts_for_nobody(self, story: Story) -> None:
        dead = story.connect()
        story.record("fault_set", fault="f", seed=1, description={"fault": "silence", "direction": "both"})
        story.record("fault_begun", fault="f")
        story.queue(GRAPH, "p")
        run_prompt(story, "p", sockets=[dead])
        alive = story.connect()
        story.queue(GRAPH, "q")
        run_prompt(story, "q", sockets=[alive])
        p, q = course(story).jobs
        assert (p.told_at is None, q.told_at is None) == (True, False)

    def test_it_is_lost_with_its_life(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[], end=None)
        step = restarted(story)
        story.request("GET", "/history/p", answer="{}")
        asked_at = story.at - 0.01
        story.request("GET", "/system_stats", answer="{}")
        (job,) = course(story, (step,)).jobs
        assert (job.lost_at, job.ended_at, job.runs) == (step.began_at, None, False)
        assert job.asked_at == (asked_at,)

    def test_one_that_ended_before_is_not(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[])
        step = restarted(story)
        assert course(story, (step,)).jobs[0].lost_at is None

    def test_the_same_workflow_twice_is_noticed(self, story: Story) -> None:
        story.queue(GRAPH, "p")
        story.queue({"2": {}}, "q")
        assert duplicates(course(story), DAEMON) == []
        story.queue(GRAPH, "r")
        ((first, again),) = duplicates(course(story), DAEMON)
        assert (first.prompt_id, again.prompt_id) == ("p", "r")


class TestHabits:
    def test_a_client_that_only_stays_connected(self, story: Story) -> None:
        story.connect()
        known = habits_of(course(story))
        assert known == Habits(websocket=True, jobs="none", stays=True, fetches=False, keeps_id=True)
        assert str(known) == "holds a websocket, queues no jobs by itself"

    def test_one_that_queues_job_after_job_on_one_websocket(self, story: Story) -> None:
        number = story.connect()
        for prompt_id in ("p", "q"):
            story.queue(GRAPH, prompt_id)
            run_prompt(story, prompt_id, sockets=[number])
            story.request("GET", f"/history/{prompt_id}", answer=f'{{"{prompt_id}": {{"status": {{}}}}}}')
        assert habits_of(course(story)) == DAEMON

    def test_one_with_a_websocket_for_each_job(self, story: Story) -> None:
        for prompt_id in ("p", "q"):
            number = story.connect(f"client of {prompt_id}")
            story.queue(GRAPH, prompt_id)
            run_prompt(story, prompt_id, sockets=[number])
            story.lose(number, code=1000, closed_by="client")
        known = habits_of(course(story))
        assert (known.socket_per_job, known.keeps_id, known.fetches) == (True, False, False)
        assert str(known) == "opens a websocket for each job, queues one job after the other, goes by messages alone"

    def test_a_program_without_websocket(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[])
        story.request("GET", "/history", answer='{"p": {"status": {}}}')
        known = habits_of(course(story, exit_status=0, ended_at=story.at))
        assert (known.websocket, known.jobs, known.stays, known.fetches) == (False, "one", False, True)

    @pytest.mark.parametrize("status", [None, 0, 1])
    def test_one_that_never_asks_is_no_client(self, story: Story, status: int | None) -> None:
        with pytest.raises(NoSuchClient, match="without a single request"):
            habits_of(course(story, exit_status=status))

    def test_one_that_fails_without_an_outage_says_nothing(self, story: Story) -> None:
        story.connect()
        with pytest.raises(NoSuchClient, match="fails although nothing goes wrong"):
            habits_of(course(story, exit_status=1))

    def test_one_whose_prompt_is_refused_is_told_why(self, story: Story) -> None:
        story.request("POST", "/prompt", 400, "{}", "no such node")
        with pytest.raises(NoSuchClient, match="refuses its prompt with 400: no such node"):
            habits_of(course(story))

    def test_one_whose_job_fails_is_told_so(self, story: Story) -> None:
        story.queue(GRAPH)
        run_prompt(story, sockets=[], end="execution_error")
        with pytest.raises(NoSuchClient, match="ends with execution_error"):
            habits_of(course(story))
