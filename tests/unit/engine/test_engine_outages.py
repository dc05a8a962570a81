"""Outages that a server is led through, and what our own client makes of those that come with the library."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
from engine_helpers import PATIENCE, be_impatient, eventually, finished

from ComfyMockLibrary.engine import outages, platform, prompts
from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.http import HttpError
from ComfyMockLibrary.engine.outages import OutageRun, OutageRuns
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState, PromptResult, StopSignal
from mockserver.outages.reading import parse_outage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ComfyMockLibrary.engine.servers import MockServer, ServerManager
    from mockserver.outages.outage import Outage

TIMEOUT = 120.0

OPTIONS = ClientOptions(
    backoff=Backoff(BackoffStrategy.exponential, 0.05, 0.2),
    max_attempts=None,
    connect_timeout=PATIENCE,
    ping_interval=0.2,
    pong_timeout=PATIENCE,
)

OURS = [
    file.stem
    for file in outages.shipped()
    if file.stem not in {"long-outage", "thundering-herd", "too-many-requests"}  # slow, for many, needs a retry
]


def outage(*script: str, **fields: str) -> Outage:
    """An outage with these steps."""
    more = "\n".join(f"{name}: {value}" for name, value in fields.items())
    steps = "\n".join(f"  - {step}" for step in script)
    text = (
        f"name: made\ntitle: Made\ndocumentation: For a test.\n{more}\nscript:\n{steps}\nexpectation: {{words: none}}\n"
    )
    return parse_outage(text, "made.yaml")


@pytest.fixture
def server(manager: ServerManager) -> MockServer:
    return manager.start()


@pytest.fixture
def runs() -> Iterator[OutageRuns]:
    """Runs that end with the test."""
    made = OutageRuns()
    yield made
    made.close()


@pytest.fixture
def clients() -> Iterator[list[ComfyClient]]:
    """Takes clients that are closed with the test."""
    made: list[ComfyClient] = []
    yield made
    for client in made:
        client.close()


def connected(server: MockServer, clients: list[ComfyClient]) -> ComfyClient:
    """A client that comes back quickly."""
    client = ComfyClient(server.endpoint, OPTIONS)
    clients.append(client)
    client.connect()
    return client


class TestOutagesOfTheLibrary:
    """Each is led to its end, and our own client does what a good one does."""

    @pytest.mark.parametrize("name", OURS)
    def test_our_client_survives(
        self, name: str, manager: ServerManager, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        chosen = outages.load(name)
        server = manager.start(outages.server_options(chosen))
        run = runs.start(chosen, manager, server)
        client = connected(server, clients)
        if name == "half-open":
            eventually(lambda: [step for step in run.taken if "silence" in step.words], TIMEOUT)
            be_impatient(client, 0.5)
        if name == "upgrade-unanswered":
            eventually(lambda: client.positions_of_state(ConnectionState.connected), TIMEOUT)
            client.options = replace(client.options, connect_timeout=1.0)
        prompt = None
        if chosen.needs == "job":
            if name != "websocket-refused":
                ClientWaits(client, server).for_connection(TIMEOUT)
            prompt = prompts.queue_prompt(client, timeout=PATIENCE)
        result = run.wait(TIMEOUT)

        assert result is not None, run.describe()
        assert result.problem == ""
        ClientWaits(client, server).for_connection(TIMEOUT)
        if prompt is not None:
            outcome = prompts.wait_for_prompt(client, prompt, TIMEOUT)
            assert not isinstance(outcome, str), outcome
            wanted = PromptResult.lost if chosen.expectation.says_lost else PromptResult.success
            assert outcome.result is wanted
        if chosen.expectation.reconnects is not None:
            fired = [event for event in client.journal.since(0) if event.name == "reconnected"]
            assert len(fired) == chosen.expectation.reconnects
        if chosen.expectation.stays_connected:
            assert not [event for event in client.journal.since(0) if event.name == "disconnected"]

    def test_a_refused_prompt_is_said_to_be_refused(
        self, manager: ServerManager, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        shipped = (outages.DIRECTORY / "too-many-requests.yaml").read_text(encoding="utf-8")
        chosen = parse_outage(shipped.replace("optional: true", "optional: true, timeout: 500 ms"), "short.yaml")
        server = manager.start(outages.server_options(chosen))
        run = runs.start(chosen, manager, server)
        client = connected(server, clients)
        assert eventually(server.faults.all, TIMEOUT)
        with pytest.raises(HttpError, match="429"):
            prompts.queue_prompt(client, timeout=PATIENCE)
        result = run.wait(TIMEOUT)
        assert result is not None
        assert result.problem == ""
        assert [step.outcome for step in result.steps] == ["done", "done", "timed out", "done"]


class TestRun:
    """Steps over time and events."""

    def test_each_step_is_noted_with_its_time(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        result = runs.start(outage("{at: 50 ms, kill: {}}", "{after: 100 ms, start: {}}"), manager, server).wait(
            TIMEOUT
        )
        assert result is not None
        assert result.is_complete
        assert [(step.number, step.words, step.outcome) for step in result.steps] == [
            ("1", "at 0.05 s kill", "done"),
            ("2", "after 0.1 s start", "done"),
            ("end", "heal", "done"),
        ]
        kill, start, heal = result.steps
        assert kill.began_at >= result.began_at + 0.05
        assert start.began_at >= kill.ended_at + 0.1
        assert result.ended_at >= heal.ended_at >= start.ended_at
        assert len(server.lives) == 2

    def test_a_fault_strikes_at_its_event_while_the_script_goes_on(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        run = runs.start(
            outage(
                '{fault: {fault: crash, when: {event: executing, node: "2"}}}',
                "{wait_for: {event: life_ended}}",
                "{start: {}}",
                "{wait_for: {clients: 1}}",
            ),
            manager,
            server,
        )
        prompts.queue_prompt(connected(server, clients), timeout=PATIENCE)
        result = run.wait(TIMEOUT)
        assert result is not None
        assert result.problem == ""
        assert server.lives[0].exit_status == -9
        assert len(server.lives) == 2

    def test_what_the_script_begins_with_is_there_when_the_start_returns(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        run = runs.start(
            outage(
                "{fault: {fault: refuse_upgrade, status: 503, id: gone}}",
                "{fault: {fault: refuse_upgrade, status: 502, id: there}}",
                "{clear: gone}",
                "{wait_for: {event: connected}}",
                "{fault: {fault: refuse_upgrade, status: 501, id: later}}",
            ),
            manager,
            server,
        )
        assert {fault.id: fault.has_ended for fault in server.faults.all()} == {"gone": True, "there": False}
        assert not run.is_over

    def test_a_start_returns_although_the_script_cannot_begin(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        manager.kill(server)
        run = runs.start(outage("{fault: {fault: fail_prompt}}"), manager, server)
        result = run.wait(TIMEOUT)
        assert result is not None
        assert not result.is_complete

    def test_repeated_steps_are_taken_as_often(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        run = runs.start(outage("{repeat: {times: 3, steps: [{restart: {signal: SIGKILL}}]}}"), manager, server)
        assert run.wait(TIMEOUT) is not None
        assert [step.number for step in run.taken] == ["1.1 (round 1)", "1.1 (round 2)", "1.1 (round 3)", "end"]
        assert len(server.lives) == 4

    def test_prompts_of_its_own_keep_the_server_busy(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        run = runs.start(
            outage("{queue_prompt: {times: 2}}", "{wait_for: {event: execution_success, nth: 2}}"), manager, server
        )
        result = run.wait(TIMEOUT)
        assert result is not None
        assert result.problem == ""

    def test_ids_of_client_and_prompt_are_filled_in(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        client = connected(server, clients)
        ClientWaits(client, server).for_connection(TIMEOUT)
        prompt = prompts.queue_prompt(client, timeout=PATIENCE)
        run = runs.start(
            outage(
                '{wait_for: {event: execution_success, prompt_id: "{prompt_id}"}}',
                '{fault: {fault: send_message, type: mine, data: {whose: "{client_id}", which: ["{prompt_id}"]}}}',
            ),
            manager,
            server,
        )
        assert run.wait(TIMEOUT) is not None
        assert eventually(lambda: [each for each in client.journal.since(0) if each.name == "mine"], TIMEOUT)
        (event,) = [each for each in client.journal.since(0) if each.name == "mine"]
        assert event.data == {"whose": client.client_id, "which": [prompt.prompt_id]}


class TestWaits:
    """What the script waits for, and from where it looks."""

    def test_what_came_before_the_first_outage_counts(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        ClientWaits(connected(server, clients), server).for_connection(TIMEOUT)
        result = runs.start(outage("{wait_for: {event: connected}}"), manager, server).wait(TIMEOUT)
        assert result is not None
        assert result.is_complete

    def test_what_came_before_the_next_outage_does_not(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        ClientWaits(connected(server, clients), server).for_connection(TIMEOUT)
        waiting = outage("{wait_for: {event: connected, timeout: 100 ms}}")
        first = runs.start(waiting, manager, server).wait(TIMEOUT)
        second = runs.start(waiting, manager, server).wait(TIMEOUT)
        assert first is not None
        assert first.is_complete
        assert second is not None
        assert second.problem == (
            "step 1 (wait for event=connected timeout=0.1) timed out: "
            "it had not come within 0.1 s. 1 client is connected."
        )

    def test_what_came_in_an_earlier_life_does_not(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        client = connected(server, clients)
        ClientWaits(client, server).for_connection(TIMEOUT)
        client.close()
        manager.restart(server)
        result = runs.start(outage("{wait_for: {event: connected, timeout: 100 ms}}"), manager, server).wait(TIMEOUT)
        assert result is not None
        assert "timed out" in result.problem

    def test_each_wait_finds_an_event_of_its_own(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, clients: list[ComfyClient]
    ) -> None:
        ClientWaits(connected(server, clients), server).for_connection(TIMEOUT)
        waits = ("{wait_for: {event: connected}}", "{wait_for: {event: connected, timeout: 100 ms}}")
        result = runs.start(outage(*waits), manager, server).wait(TIMEOUT)
        assert result is not None
        assert result.problem.startswith("step 2 ")

    def test_an_optional_wait_does_not_stop_the_script(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        result = runs.start(
            outage("{wait_for: {clients: 1, timeout: 50 ms, optional: true}}", "{restart: {}}"), manager, server
        ).wait(TIMEOUT)
        assert result is not None
        assert result.is_complete
        assert [step.outcome for step in result.steps] == ["timed out", "done", "done"]

    def test_the_failure_names_the_step_the_server_and_what_to_do(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        result = runs.start(outage("{wait_for: {clients: 2}}"), manager, server, patience=0.05).wait(TIMEOUT)
        assert result is not None
        text = outages.failure_of(result, server)
        assert text.startswith(
            "Outage 'made' was not led to its end: step 1 (wait for clients=2) timed out: it had not come within "
            f"0.05 s. No client is connected. Server: running, pid {server.pid}. Log: "
        )
        assert text.endswith(
            "The client has to be connected before or while the outage runs; a slow one needs a longer patience."
        )


class TestHealing:
    """However a run ends, the server works afterwards."""

    @pytest.mark.parametrize(
        "steps",
        [
            ["{kill: {}}"],
            ["{freeze: {}}"],
            ["{fault: {fault: refuse_connections}}"],
            ["{fault: {fault: hold_network, direction: both, id: held}}", "{restart: {}}"],
            ["{fault: {fault: refuse_connections}}", "{freeze: {}}"],
        ],
        ids=lambda steps: steps[-1],
    )
    @pytest.mark.parametrize("ending", ["over", "stuck", "aborted"])
    def test_the_server_is_healed(
        self,
        steps: list[str],
        ending: str,
        manager: ServerManager,
        server: MockServer,
        runs: OutageRuns,
        clients: list[ComfyClient],
    ) -> None:
        limit = {"over": [], "stuck": ["{wait_for: {clients: 9, timeout: 50 ms}}"], "aborted": ["{after: 1 h}"]}[ending]
        run = runs.start(outage(*steps, *limit), manager, server)
        if ending == "aborted":
            assert eventually(lambda: len(run.taken) == len(steps), TIMEOUT)
            run.abort()
        result = run.wait(TIMEOUT)
        assert result is not None
        assert result.is_complete is (ending == "over")
        ClientWaits(connected(server, clients), server).for_connection(TIMEOUT)
        assert not [fault for fault in server.faults.all() if not fault.has_ended]

    def test_a_run_that_is_aborted_says_so(self, manager: ServerManager, server: MockServer, runs: OutageRuns) -> None:
        run = runs.start(outage("{after: 1 h}"), manager, server)
        assert not run.is_over
        run.abort()
        result = run.wait(0)
        assert result is not None
        assert result.problem == "it was aborted"
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("OutageRun")]

    def test_an_abort_that_was_interrupted_can_be_repeated(
        self, manager: ServerManager, server: MockServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = OutageRun(outage("kill: {}", "after: 1 h\n    freeze: {}"), manager, server)
        waits_again, heal, wait = threading.Event(), run._heal, run.wait

        def heal_late() -> str:
            waits_again.wait(TIMEOUT)
            return heal()

        def be_interrupted(*_: object) -> None:
            run._thread._is_stopped = True  # type: ignore[attr-defined] # as an interrupted join does, before 3.13
            raise KeyboardInterrupt

        def wait_again(timeout: float | None) -> object:
            waits_again.set()
            return wait(timeout)

        monkeypatch.setattr(run, "_heal", heal_late)
        run.start()
        eventually(lambda: run.taken)
        with monkeypatch.context() as patch:
            patch.setattr(run, "wait", be_interrupted)
            patch.setattr(run._thread, "join", be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                run.abort()
        with monkeypatch.context() as patch:
            patch.setattr(run, "wait", wait_again)
            finished(run.abort)
        was_over = run.is_over
        waits_again.set()
        assert finished(lambda: wait(None))
        assert was_over
        assert server.is_running

    def test_a_run_that_is_aborted_before_it_has_begun_does_nothing(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        run = OutageRun(outage("kill: {}"), manager, server)
        finished(run.abort)
        run._run()
        assert run.taken == []
        assert len(server.lives) == 1

    def test_a_step_that_cannot_be_done_is_named(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        result = runs.start(outage("{start: {}}"), manager, server).wait(TIMEOUT)
        assert result is not None
        assert result.problem == (
            "step 1 (start) failed: the server runs; let the script wait for life_ended, or kill it, before"
        )
        assert result.steps[0].outcome == "failed"

    def test_a_server_that_ends_just_before_it_is_thawed_is_healed(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        thaw = platform.thaw

        def thaw_when_killed(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not psutil.pid_exists(pid))
            thaw(pid)

        monkeypatch.setattr(platform, "thaw", thaw_when_killed)
        result = runs.start(outage("freeze: {}"), manager, server).wait(TIMEOUT)
        assert result is not None
        assert result.is_complete
        assert len(server.lives) == 2
        assert server.is_running

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    @pytest.mark.parametrize("step", ["_do", "_heal"])
    def test_a_run_is_over_whatever_happens(
        self, manager: ServerManager, server: MockServer, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        run = OutageRun(outage("freeze: {seconds: 0.1 s}"), manager, server)
        monkeypatch.setattr(run, step, fail)
        finished(run.start)
        result = finished(lambda: run.wait(None))
        assert result is not None
        assert result.problem == "it ran into an error that nobody has foreseen, whose traceback is on stderr"


class TestRuns:
    """One at a time on each server."""

    def test_a_second_one_has_to_wait(self, manager: ServerManager, server: MockServer, runs: OutageRuns) -> None:
        runs.start(outage("{after: 1 h}"), manager, server)
        with pytest.raises(ValueError, match="Wait for its end with `Wait For Outage To End`"):
            runs.start(outage("{after: 1 h}"), manager, server)

    def test_two_servers_have_one_each(self, manager: ServerManager, server: MockServer, runs: OutageRuns) -> None:
        other = manager.start()
        both = [runs.start(outage("{restart: {}}"), manager, each) for each in (server, other)]
        assert [run.wait(TIMEOUT) is not None for run in both] == [True, True]
        assert [len(server.lives), len(other.lives)] == [2, 2]

    def test_the_latest_is_the_one_that_is_meant(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        with pytest.raises(ValueError, match="No outage was started"):
            _ = runs.latest
        run = runs.start(outage("{after: 10 ms}"), manager, server)
        assert runs.latest is run

    def test_a_life_that_was_killed_from_outside_does_not_stop_it(
        self, manager: ServerManager, server: MockServer, runs: OutageRuns
    ) -> None:
        run = runs.start(outage("{wait_for: {event: life_ended}}"), manager, server)
        manager.kill(server, StopSignal.SIGKILL)
        result = run.wait(TIMEOUT)
        assert result is not None
        assert result.is_complete
        assert server.is_running


class TestLoad:
    """Names and files."""

    def test_a_name_that_is_none_is_corrected(self) -> None:
        with pytest.raises(ValueError, match=r"There is no outage 'half-opne'\. Did you mean 'half-open'\?"):
            outages.load("half-opne")

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"The outage nowhere\.yaml cannot be read: No such file or directory\."):
            outages.load("nowhere.yaml")

    def test_a_run_on_a_given_server_keeps_its_patience(self, manager: ServerManager, server: MockServer) -> None:
        run = OutageRun(outage("{after: 0}", patience="7 s"), manager, server)
        run.start()
        assert run.wait(TIMEOUT) is not None
