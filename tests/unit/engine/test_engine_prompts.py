"""Prompts, and what becomes of them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from engine_helpers import PATIENCE, Peer, eventually, finished, message, tell_queue

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.http import HttpError, NoAnswer
from ComfyMockLibrary.engine.prompts import (
    PromptOutcome,
    QueuedPrompt,
    example_workflow,
    interrupt_prompt,
    load_workflow,
    queue_prompt,
    wait_for_prompt,
)
from ComfyMockLibrary.engine.servers import ServerOptions
from ComfyMockLibrary.types import BackoffStrategy, PromptResult, StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engine_helpers import MakeClient, Script

    from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
    from ComfyMockLibrary.engine.servers import MockServer, ServerManager

QUICK = Backoff(BackoffStrategy.constant, base_delay=0.01)
GONE = "neither in the queue nor in the history"


class TestWorkflows:
    @pytest.mark.parametrize("kind", ["path", "text", "mapping"])
    def test_a_workflow_comes_from_a_file_or_a_mapping(self, tmp_path: Path, kind: str) -> None:
        workflow, path = example_workflow(), tmp_path / "wörkflow.json"
        path.write_text(json.dumps(workflow), encoding="utf-8")
        assert load_workflow({"path": path, "text": str(path), "mapping": workflow}[kind]) == workflow

    def test_the_example_differs_each_time_so_that_nothing_is_cached(self) -> None:
        assert len({json.dumps(load_workflow(None)) for _ in range(5)}) == 5

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (None, r"missing\.json cannot be read: No such file"),
            ("{ no json", r"missing\.json is no JSON: "),
            ("\xff", r"missing\.json is no JSON: "),
            ("[]", "A workflow is an object of nodes by id, not list"),
            ("null", "not NoneType"),
            ('{"nodes": [], "links": [], "version": 0.4}', r"saved for the editor. Export it with 'Export \(API\)'"),
        ],
    )
    def test_what_is_no_workflow_is_refused(self, tmp_path: Path, content: str | None, text: str) -> None:
        path = tmp_path / "missing.json"
        if content is not None:
            path.write_bytes(content.encode("latin-1"))
        with pytest.raises(ValueError, match=text):
            load_workflow(path)

    def test_an_editors_workflow_is_refused_as_a_mapping_too(self) -> None:
        with pytest.raises(ValueError, match="saved for the editor"):
            load_workflow({"nodes": [], "links": []})


class TestAgainstServers:
    @pytest.fixture
    def server(self, manager: ServerManager) -> MockServer:
        return manager.start(ServerOptions(node_duration=0.01))

    @pytest.fixture
    def slow(self, manager: ServerManager) -> MockServer:
        return manager.start(ServerOptions(node_duration=PATIENCE * 5))

    @pytest.fixture
    def connect(self, new_client: MakeClient) -> Iterator[Callable[[MockServer], ComfyClient]]:
        def connect(server: MockServer) -> ComfyClient:
            client = new_client(server.endpoint, backoff=QUICK, max_attempts=None)
            client.connect()
            eventually(lambda: client.is_connected)
            return client

        return connect

    def test_a_prompt_that_succeeds_has_outputs(
        self, server: MockServer, connect: Callable[[MockServer], ComfyClient]
    ) -> None:
        client = connect(server)
        prompts = [queue_prompt(client, timeout=PATIENCE) for _ in range(3)]
        for prompt in reversed(prompts):
            outcome = finished(lambda prompt=prompt: wait_for_prompt(client, prompt, PATIENCE))
            assert isinstance(outcome, PromptOutcome)
            assert (outcome.prompt_id, outcome.result, outcome.error) == (prompt.prompt_id, PromptResult.success, None)
            assert outcome.outputs["3"]["images"][0]["type"] == "output"

        def ends() -> list[str]:
            return [event.data["prompt_id"] for event in client.journal.since(0) if event.name == "execution_success"]

        eventually(lambda: len(ends()) >= 3)  # the websocket may be later than the history
        assert ends() == [prompt.prompt_id for prompt in prompts]

    def test_a_client_without_websocket_learns_of_the_end_too(self, server: MockServer, new_client: MakeClient) -> None:
        client = new_client(server.endpoint)
        outcome = finished(lambda: wait_for_prompt(client, queue_prompt(client, timeout=PATIENCE), PATIENCE))
        assert isinstance(outcome, PromptOutcome)
        assert outcome.result is PromptResult.success

    @pytest.mark.parametrize("which", ["this", "any"])
    def test_a_prompt_that_is_interrupted_has_failed(
        self, server: MockServer, connect: Callable[[MockServer], ComfyClient], which: str
    ) -> None:
        client = connect(server)
        server.faults.set({"fault": "hold_execution", "node": "2"})
        prompt = queue_prompt(client, timeout=PATIENCE)
        eventually(lambda: [event for event in client.journal.since(0) if event.name == "executing"])
        interrupt_prompt(client, "another", PATIENCE)
        eventually(lambda: wait_for_prompt(client, prompt, 0.0) == "it runs")
        interrupt_prompt(client, prompt.prompt_id if which == "this" else None, PATIENCE)
        server.faults.release("execution")
        outcome = finished(lambda: wait_for_prompt(client, prompt, PATIENCE))
        assert isinstance(outcome, PromptOutcome)
        assert outcome.result is PromptResult.failure
        assert str(outcome.error).startswith("interrupted at node ")

    @pytest.mark.parametrize("how", [StopSignal.SIGKILL, StopSignal.SIGTERM])
    def test_a_prompt_is_lost_with_the_life_that_knew_it(
        self,
        manager: ServerManager,
        slow: MockServer,
        connect: Callable[[MockServer], ComfyClient],
        how: StopSignal,
    ) -> None:
        client = connect(slow)
        running, waiting = queue_prompt(client, timeout=PATIENCE), queue_prompt(client, timeout=PATIENCE)
        manager.restart(slow, how)
        for prompt in (running, waiting):
            outcome = finished(lambda prompt=prompt: wait_for_prompt(client, prompt, PATIENCE))
            assert outcome == PromptOutcome(prompt.prompt_id, PromptResult.lost, error=GONE)

    def test_a_prompt_that_ended_in_an_earlier_life_is_lost_too(
        self, manager: ServerManager, server: MockServer, connect: Callable[[MockServer], ComfyClient]
    ) -> None:
        client = connect(server)
        prompt = queue_prompt(client, timeout=PATIENCE)
        assert isinstance(finished(lambda: wait_for_prompt(client, prompt, PATIENCE)), PromptOutcome)
        manager.restart(server)
        eventually(lambda: client.life_id == server.life_id)
        outcome = finished(lambda: wait_for_prompt(client, prompt, PATIENCE))
        assert isinstance(outcome, PromptOutcome)
        assert outcome.result is PromptResult.lost

    def test_the_timeout_says_how_the_prompt_stood(
        self, manager: ServerManager, slow: MockServer, connect: Callable[[MockServer], ComfyClient]
    ) -> None:
        client = connect(slow)
        running, waiting = queue_prompt(client, timeout=PATIENCE), queue_prompt(client, timeout=PATIENCE)
        eventually(lambda: wait_for_prompt(client, running, 0.1) == "it runs")
        eventually(lambda: wait_for_prompt(client, waiting, 0.1) == "it waits in the queue")
        manager.freeze(slow)
        assert "no answer within 0.1 s" in str(finished(lambda: wait_for_prompt(client, running, 0.0)))
        manager.kill(slow)
        assert "refused" in str(finished(lambda: wait_for_prompt(client, running, 0.1)))

    def test_an_outage_during_the_wait_is_lived_through(
        self, manager: ServerManager, server: MockServer, connect: Callable[[MockServer], ComfyClient]
    ) -> None:
        client = connect(server)
        manager.freeze(server)
        results: list[Any] = []
        prompt = QueuedPrompt("unknown", 1, {})
        results.append(finished(lambda: wait_for_prompt(client, prompt, 0.0)))
        manager.thaw(server)
        results.append(finished(lambda: wait_for_prompt(client, prompt, PATIENCE)))
        assert isinstance(results[0], str)
        assert results[1].result is PromptResult.lost

    def test_a_workflow_that_the_server_refuses_is_an_error_with_its_reason(
        self, server: MockServer, connect: Callable[[MockServer], ComfyClient]
    ) -> None:
        with pytest.raises(HttpError, match=r"POST http://\S+/prompt: status 400, .*prompt_no_outputs"):
            queue_prompt(connect(server), {"1": {"class_type": "EmptyImage", "inputs": {}}})

    def test_a_server_that_is_down_is_an_error(self, new_client: MakeClient) -> None:
        with pytest.raises(HttpError, match="refused"):
            queue_prompt(new_client(Endpoint("127.0.0.1", 1)))


def history(status: dict[str, Any] | None) -> Callable[[Peer], object]:
    """Answers with an empty queue and a history in which the prompt stands with this status; None: with no entry."""

    def answer(peer: Peer) -> None:
        if peer.request.path == "/queue":
            peer.answer(200, {"queue_running": [], "queue_pending": []})
        else:
            peer.answer(200, {} if status is None else {"p": {"outputs": {"9": {}}, "status": status}})

    return answer


PROMPT = QueuedPrompt("p", 1, {})


@pytest.mark.parametrize(
    ("status", "result", "error"),
    [
        ({"status_str": "success", "completed": True, "messages": []}, PromptResult.success, None),
        ({}, PromptResult.success, None),
        (
            {
                "completed": False,
                "messages": [
                    ["execution_start", {}],
                    [
                        "execution_error",
                        {"node_id": "3", "node_type": "KSampler", "exception_message": "out of memory\n"},
                    ],
                ],
            },
            PromptResult.failure,
            "node 3 (KSampler): out of memory",
        ),
        ({"completed": False, "status_str": "error"}, PromptResult.failure, "error"),
        ({"completed": False}, PromptResult.failure, "unknown"),
    ],
)
def test_the_history_decides(
    script: Script, new_client: MakeClient, status: dict[str, Any], result: PromptResult, error: str | None
) -> None:
    client = new_client(script(http=history(status)).endpoint)
    outcome = finished(lambda: wait_for_prompt(client, PROMPT, PATIENCE))
    assert outcome == PromptOutcome("p", result, {"9": {}}, error)


def test_a_history_that_is_late_is_waited_for_when_this_life_has_said_the_end(
    script: Script, new_client: MakeClient
) -> None:
    status: list[dict[str, Any] | None] = [None]

    def live(peer: Peer) -> None:
        peer.upgrade("X-Mock-Life: life")
        peer.send(message("executing", node=None, prompt_id="p"))
        peer.frames()

    def answer(peer: Peer) -> None:
        history(status[0])(peer)

    server = script(live, http=answer)
    client = new_client(server.endpoint)
    client.connect()
    eventually(lambda: len(client.journal) == 2)

    def is_lost_at_the_end_of_the_time() -> bool:
        began = time.monotonic()
        said = wait_for_prompt(client, PROMPT, 1.0)
        assert time.monotonic() - began >= 1.0
        return said == PromptOutcome("p", PromptResult.lost, error=GONE)

    eventually(is_lost_at_the_end_of_the_time)
    status[0] = {"completed": True}
    assert isinstance(finished(lambda: wait_for_prompt(client, PROMPT, PATIENCE)), PromptOutcome)


def test_a_look_that_the_deadline_cuts_short_says_nothing_about_the_server(
    new_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client(Endpoint("127.0.0.1", 1))
    answers: list[Any] = [{"queue_running": [[0, "p"]], "queue_pending": []}]

    def ask(_method: str, path: str, timeout: float, _body: Any = None) -> Any:
        if not answers:
            raise NoAnswer(f"GET {path}: no answer within {timeout:g} s")
        return answers.pop()

    monkeypatch.setattr(client, "ask", ask)
    assert finished(lambda: wait_for_prompt(client, PROMPT, 0.3)) == "it runs"
    assert "no answer within 0.1 s" in str(finished(lambda: wait_for_prompt(client, PROMPT, 0.0)))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        *[("/queue", answer) for answer in (None, [], {}, "text")],
        ("/queue", {"queue_running": 5, "queue_pending": []}),
        ("/queue", {"queue_running": [[1]], "queue_pending": []}),
        *[("/history/p", answer) for answer in (None, [], "text", {"p": []}, {"p": {"status": "bad"}})],
        ("/history/p", {"p": {"status": {"completed": False, "messages": ["bad"]}}}),
    ],
)
def test_an_answer_of_another_shape_is_said_at_the_timeout(
    script: Script, new_client: MakeClient, path: str, answer: Any
) -> None:
    def http(peer: Peer) -> None:
        if peer.request.path == path:
            peer.answer(200, answer)
        else:
            tell_queue(peer)

    client = new_client(script(http=http).endpoint)
    said = f"GET {client.endpoint.url}{path}: the answer is not as ComfyUI gives it"
    eventually(lambda: said in str(wait_for_prompt(client, PROMPT, 0.0)))


@pytest.mark.parametrize("answer", [None, [], {}, "text"])
def test_an_answer_to_a_prompt_of_another_shape_is_an_error(
    script: Script, new_client: MakeClient, answer: Any
) -> None:
    client = new_client(script(http=lambda peer: peer.answer(200, answer)).endpoint)
    with pytest.raises(HttpError, match=r"POST .*/prompt: the answer is not as ComfyUI gives it"):
        queue_prompt(client, timeout=PATIENCE)
