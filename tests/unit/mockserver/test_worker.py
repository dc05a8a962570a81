"""The worker: what it publishes to whom around a run, and that nothing stops it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from mockserver.comfyui import messages
from mockserver.comfyui.execution import Interrupted, NodeFailure, Step, Work
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.queue import History, PromptQueue, QueueItem
from mockserver.comfyui.worker import Worker
from mockserver.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mockserver.comfyui.catalog import Catalog
    from mockserver.comfyui.messages import AnyMessage, Message
    from mockserver.comfyui.sockets import Sockets

Json = dict[str, Any]

DEADLINE = 30.0
PREVIEW: Json = {"1": {"class_type": "PreviewAny", "inputs": {"source": 7}}}
SAMPLER: Json = {
    "1": {"class_type": "KSampler", "inputs": {"steps": 3}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}


class Outbox:
    """In place of the sockets: keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[Message, str | None]] = []

    def publish(self, message: AnyMessage, sid: str | None = None) -> None:
        self.published.append((cast("Message", message), sid))


class Bench:
    """A worker with its queue and history."""

    def __init__(self, catalog: Catalog, ports: Ports) -> None:
        self.outbox = Outbox()
        self.history = History()
        self.queue = PromptQueue(lambda: self.outbox.publish(messages.status(self.queue.remaining)))
        self.worker = Worker(self.queue, self.history, cast("Sockets", self.outbox), catalog, ports, Journal(None), 0.0)

    def run(self, *items: QueueItem) -> None:
        """Runs these prompts to their end."""
        asyncio.run(asyncio.wait_for(self._run(items), DEADLINE))

    async def _run(self, items: tuple[QueueItem, ...]) -> None:
        working = asyncio.ensure_future(self.worker.run_forever())
        for item in items:
            self.queue.put(item)
        self.worker.wake()
        while self.queue.remaining and not working.done():
            await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    def status_of(self, prompt_id: str) -> tuple[str, str]:
        """Status of a prompt in the history, and the last message that it keeps."""
        status = self.history.get(prompt_id)[prompt_id]["status"]
        return status["status_str"], status["messages"][-1][0] if status["messages"] else ""


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def bench(catalog: Catalog, ports: Ports) -> Bench:
    return Bench(catalog, ports)


def prompt(prompt_id: str, nodes: Json, client_id: str | None = None) -> QueueItem:
    """A prompt to queue; a later letter runs later."""
    extra_data = {} if client_id is None else {"client_id": client_id}
    return QueueItem(0, prompt_id, nodes, extra_data, [list(nodes)[-1]])


def test_an_owner_gets_the_messages_of_the_prompt_and_everybody_the_statuses(bench: Bench) -> None:
    bench.run(prompt("a", PREVIEW, "me"))
    assert [(message.type, sid) for message, sid in bench.outbox.published] == [
        ("status", None),
        ("status", None),
        ("execution_start", "me"),
        ("execution_cached", "me"),
        ("progress_state", "me"),
        ("executing", "me"),
        ("executed", "me"),
        ("progress_state", "me"),
        ("execution_success", "me"),
        ("status", None),
        ("executing", "me"),
    ]
    assert [m.data["status"]["exec_info"]["queue_remaining"] for m, sid in bench.outbox.published if sid is None] == [
        1,
        1,
        0,
    ]
    assert bench.outbox.published[-1][0] == messages.executing_ended("a")


def test_without_an_owner_everybody_gets_the_progress(bench: Bench) -> None:
    bench.run(prompt("a", SAMPLER))
    assert {sid for _, sid in bench.outbox.published} == {None}
    assert {message.type for message, _ in bench.outbox.published} == {"status", "progress_state", "progress"}


def test_the_next_prompt_starts_after_the_end_of_the_one_before(bench: Bench) -> None:
    bench.run(prompt("a", PREVIEW, "me"), prompt("b", PREVIEW, "me"))
    types = [message.type for message, _ in bench.outbox.published]
    end = types.index("execution_success")
    assert types[end : end + 5] == ["execution_success", "status", "executing", "status", "execution_start"]
    remaining = [
        m.data["status"]["exec_info"]["queue_remaining"] for m, _ in bench.outbox.published if m.type == "status"
    ]
    assert remaining == [1, 2, 2, 1, 1, 0]


def test_the_history_has_the_prompt_before_its_last_status(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[bool] = []
    publish = bench.outbox.publish

    def look(message: AnyMessage, sid: str | None = None) -> None:
        known.append("a" in bench.history.list())
        publish(message, sid)

    monkeypatch.setattr(bench.outbox, "publish", look)
    bench.run(prompt("a", PREVIEW))
    assert known[-2:] == [False, True]


def strike_at(value: int, stroke: Callable[[], None]) -> Callable[[QueueItem, Step], Awaitable[None]]:
    """A port that strikes prompt a at one stretch of its first node's work."""

    async def port(item: QueueItem, step: Step) -> None:
        if item.prompt_id == "a" and isinstance(step, Work) and step.node == "1" and step.value == value:
            stroke()

    return port


@pytest.mark.parametrize(("interrupted", "ends_as"), [(None, "error"), ("a", "error"), ("other", "success")])
def test_an_interrupt_strikes_the_running_prompt_at_its_next_step(
    bench: Bench, ports: Ports, interrupted: str | None, ends_as: str
) -> None:
    ports.step = strike_at(1, lambda: bench.worker.interrupt(interrupted))
    bench.run(prompt("a", SAMPLER, "me"), prompt("b", PREVIEW))
    assert bench.status_of("a")[0] == ends_as
    assert bench.status_of("b")[0] == "success"
    values = [message.data["value"] for message, _ in bench.outbox.published if message.type == "progress"]
    assert values == ([1] if ends_as == "error" else [1, 2, 3])


def test_an_interrupt_while_nothing_runs_has_no_later_effect(bench: Bench) -> None:
    bench.worker.interrupt(None)
    bench.run(prompt("a", PREVIEW))
    assert bench.status_of("a") == ("success", "execution_success")


def test_the_current_node_is_known_to_its_owner_only(bench: Bench, ports: Ports) -> None:
    seen: list[tuple[str | None, str | None]] = []

    def look() -> None:
        seen.append((bench.worker.node_running_for("me"), bench.worker.node_running_for("other")))

    ports.step = strike_at(0, look)
    bench.run(prompt("a", SAMPLER, "me"))
    assert seen == [("1", None)]
    assert bench.worker.node_running_for("me") is None


@pytest.mark.parametrize(
    ("stroke", "last"),
    [(Interrupted(), "execution_interrupted"), (NodeFailure("ValueError", "bad"), "execution_error")],
)
def test_what_a_port_raises_at_work_strikes_the_node(bench: Bench, ports: Ports, stroke: Exception, last: str) -> None:
    def strike() -> None:
        raise stroke

    ports.step = strike_at(0, strike)
    bench.run(prompt("a", SAMPLER, "me"), prompt("b", PREVIEW))
    assert bench.status_of("a") == ("error", last)
    assert bench.status_of("b") == ("success", "execution_success")


def test_a_prompt_that_the_server_cannot_run_does_not_stop_it(
    bench: Bench, ports: Ports, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(item: QueueItem, _step: Step) -> None:
        if item.prompt_id == "a":
            raise ZeroDivisionError

    ports.step = fail
    bench.run(prompt("a", PREVIEW, "me"), prompt("b", PREVIEW))
    assert bench.status_of("a")[0] == "error"
    assert bench.status_of("b")[0] == "success"
    assert (messages.executing_ended("a"), "me") in bench.outbox.published
    assert "prompt a: the mock server itself failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("written", "listed"), [({"other": 1}, {"a": {"other": 1}}), (None, {})])
def test_the_history_port_decides_what_is_written(
    bench: Bench, ports: Ports, written: Json | None, listed: Json
) -> None:
    async def write(item: QueueItem, entry: Json) -> Json | None:
        assert entry["prompt"][1] == item.prompt_id
        return written

    ports.history = write
    bench.run(prompt("a", PREVIEW))
    assert bench.history.list() == listed
