"""The worker: what it publishes to whom around a run, and that nothing stops it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from acting import node, sample

from mockserver.comfyui import messages
from mockserver.comfyui.execution import Compute, Interrupted, NodeFailure, Send, Step, Work
from mockserver.comfyui.folders import Folders
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.queue import History, PromptQueue, QueueItem
from mockserver.comfyui.sockets import NOBODY
from mockserver.comfyui.worker import Worker, _ComputeThread
from mockserver.journal import Journal
from mockserver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mockserver.comfyui.catalog import Catalog
    from mockserver.comfyui.messages import AnyMessage, Message
    from mockserver.comfyui.sockets import Sockets

Json = dict[str, Any]

DEADLINE = 60.0
PREVIEW: Json = {"1": node("PreviewAny", source=7)}
SAMPLER = sample(steps=3)
AN_HOUR = 3600.0


class Outbox:
    """In place of the sockets: keeps what is published for somebody. No client has sent feature flags."""

    def __init__(self) -> None:
        self.published: list[tuple[Message, str | None]] = []

    def publish(self, message: AnyMessage, sid: str | None = None) -> None:
        if sid != NOBODY:
            self.published.append((cast("Message", message), sid))

    def flag(self, _sid: str | None, _name: str) -> None:
        """No flag."""


class Bench:
    """A worker with its queue and history."""

    def __init__(self, catalog: Catalog, ports: Ports, settings: Settings) -> None:
        self.outbox = Outbox()
        self.history = History()
        self.queue = PromptQueue(self._on_change)
        sockets = cast("Sockets", self.outbox)
        self.worker = Worker(
            self.queue, self.history, sockets, catalog, Folders(settings), ports, Journal(None), settings
        )
        self._all_done = asyncio.Event()

    def run(self, *items: QueueItem) -> None:
        """Runs these prompts to their end."""
        asyncio.run(asyncio.wait_for(self._run(items), DEADLINE))

    async def _run(self, items: tuple[QueueItem, ...]) -> None:
        working = asyncio.ensure_future(self.worker.run_forever())
        for item in items:
            self.queue.put(item)
        self.worker.wake()
        all_done = asyncio.ensure_future(self._all_done.wait())
        await asyncio.wait({working, all_done}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, all_done):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    def _on_change(self) -> None:
        self.outbox.publish(messages.status(self.queue.remaining))
        if not self.queue.remaining:
            self._all_done.set()

    def sent_since(self, prompt_id: str) -> list[tuple[str, str | None]]:
        """Types and receivers of what was published, from the first message of this prompt on."""
        published = self.outbox.published
        first = next(at for at, (message, _) in enumerate(published) if message.data.get("prompt_id") == prompt_id)
        return [(message.type, receiver) for message, receiver in published[first:]]

    def status_of(self, prompt_id: str) -> tuple[str, str]:
        """Status of a prompt in the history, and the last message that it keeps."""
        status = self.history.get(prompt_id)[prompt_id]["status"]
        return status["status_str"], status["messages"][-1][0] if status["messages"] else ""


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nodes take no time."""
    return Settings(base_directory=tmp_path, node_duration=0.0)


@pytest.fixture
def bench(catalog: Catalog, ports: Ports, settings: Settings) -> Bench:
    return Bench(catalog, ports, settings)


def prompt(prompt_id: str, nodes: Json, client_id: str | None = None) -> QueueItem:
    """A prompt to queue; a later letter runs later."""
    extra_data = {} if client_id is None else {"client_id": client_id}
    return QueueItem(0, prompt_id, nodes, extra_data, [list(nodes)[-1]])


def test_statuses_say_when_a_prompt_is_queued_taken_and_done(bench: Bench) -> None:
    bench.run(prompt("a", PREVIEW, "me"))
    published = [message for message, _ in bench.outbox.published]
    assert [message.type for message in published[:3]] == ["status", "status", "execution_start"]
    statuses = [message.data["status"]["exec_info"] for message in published if message.type == "status"]
    assert [status["queue_remaining"] for status in statuses] == [1, 1, 0]
    assert published[-1] == messages.executing_ended("a")


START = ["execution_start", "execution_cached"]
END = ["status", "executing"]


@pytest.mark.parametrize(
    ("stroke", "of_an_owner", "of_nobody"),
    [
        (
            Interrupted(),
            [*START, "progress_state", "executing", "execution_interrupted", *END],
            ["progress_state", "execution_interrupted", "status"],
        ),
        (
            NodeFailure("ValueError", "bad"),
            [*START, "progress_state", "executing", "execution_error", *END],
            ["progress_state", "status"],
        ),
        (
            None,
            [*START, "progress_state", "executing", "executed", "progress_state", "execution_success", *END],
            ["progress_state", "progress_state", "status"],
        ),
    ],
    ids=["interrupted", "failed", "fresh"],
)
@pytest.mark.parametrize("owner", ["me", None])
def test_each_end_has_its_messages_and_receivers(
    bench: Bench,
    ports: Ports,
    owner: str | None,
    stroke: Exception | None,
    of_an_owner: list[str],
    of_nobody: list[str],
) -> None:
    async def strike(_item: QueueItem, step: Step) -> None:
        if isinstance(step, Work) and stroke is not None:
            raise stroke

    ports.step = strike
    bench.run(prompt("a", PREVIEW, owner))
    expected = of_nobody if owner is None else of_an_owner
    assert bench.sent_since("a") == [(each, None if each == "status" else owner) for each in expected]


@pytest.mark.parametrize(
    ("owner", "expected"),
    [("me", [*START, "executed", "progress_state", "execution_success", *END]), (None, ["progress_state", "status"])],
)
def test_a_cached_prompt_has_its_messages_and_receivers(bench: Bench, owner: str | None, expected: list[str]) -> None:
    bench.run(prompt("a", PREVIEW), prompt("b", PREVIEW, owner))
    assert bench.sent_since("b") == [(each, None if each == "status" else owner) for each in expected]


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
        if sid != NOBODY:
            known.append("a" in bench.history.list())
        publish(message, sid)

    monkeypatch.setattr(bench.outbox, "publish", look)
    bench.run(prompt("a", PREVIEW))
    assert known[-2:] == [False, True]


def strike_at(value: int, stroke: Callable[[], None]) -> Callable[[QueueItem, Step], Awaitable[None]]:
    """A port that strikes prompt a at one stretch of its sampler's work."""

    async def port(item: QueueItem, step: Step) -> None:
        if item.prompt_id == "a" and isinstance(step, Work) and step.node == "4" and step.value == value:
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


@pytest.mark.parametrize(
    ("works", "finished", "struck"),
    [("1", ["3", "1"], "2"), ("4", ["3", "1", "2"], "4")],
    ids=["any node", "a sampler"],
)
def test_an_interrupt_during_work_waits_for_the_next_update_or_node(
    catalog: Catalog,
    ports: Ports,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    works: str,
    finished: list[str],
    struck: str,
) -> None:
    bench = Bench(catalog, ports, replace(settings, node_duration=AN_HOUR))
    node_at_work = ""

    async def note(_item: QueueItem, step: Step) -> None:
        nonlocal node_at_work
        if isinstance(step, Work):
            node_at_work = step.node

    async def sleep(_seconds: float) -> None:
        if node_at_work == works:
            bench.worker.interrupt(None)

    ports.step = note
    monkeypatch.setattr(asyncio, "sleep", sleep)
    bench.run(prompt("a", SAMPLER, "me"))
    last, _ = bench.outbox.published[-3]
    assert (last.type, last.data["node_id"]) == ("execution_interrupted", struck)
    assert last.data["executed"] == finished


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
    assert seen == [("4", None)]
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


def test_the_step_port_sees_each_message_before_it_is_published_and_each_stretch_of_work(
    bench: Bench, ports: Ports
) -> None:
    seen: list[str] = []

    async def look(item: QueueItem, step: Step) -> None:
        assert item.prompt_id == "a"
        assert isinstance(step, Send | Work)
        if isinstance(step, Work):
            seen.append(f"work {step.value}/{step.of}")
        else:
            assert step.message not in [message for message, _ in bench.outbox.published]
            seen.append(cast("Message", step.message).type)

    ports.step = look
    bench.run(prompt("a", PREVIEW, "me"))
    assert seen == [
        "execution_start",
        "execution_cached",
        "progress_state",
        "executing",
        "work 0/1",
        "executed",
        "progress_state",
        "execution_success",
    ]


def test_freed_memory_makes_the_next_prompt_run_in_full(bench: Bench, ports: Ports) -> None:
    async def free(item: QueueItem, entry: Json) -> Json:
        bench.worker.free(memory=item.prompt_id == "b")
        return entry

    ports.history = free
    bench.run(*(prompt(prompt_id, PREVIEW, "me") for prompt_id in "abcd"))
    cached = [message.data["nodes"] for message, _ in bench.outbox.published if message.type == "execution_cached"]
    assert cached == [[], ["1"], [], ["1"]]


def test_a_history_port_that_fails_leaves_the_entry_as_it_is(
    bench: Bench, ports: Ports, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_item: QueueItem, _entry: Json) -> Json | None:
        raise ZeroDivisionError

    ports.history = fail
    bench.run(prompt("a", PREVIEW), prompt("b", PREVIEW))
    assert [bench.status_of(each) for each in "ab"] == [("success", "execution_success")] * 2
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


IMAGE: Json = {
    "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
    "2": node("PreviewImage", images=["1", 0]),
}


def compute_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "compute"}


def test_nodes_compute_in_a_thread_that_ends_with_the_worker(bench: Bench, ports: Ports) -> None:
    before, during = compute_threads(), set()

    async def look(_item: QueueItem, entry: Json) -> Json:
        during.update(compute_threads() - before)
        return entry

    ports.history = look
    bench.run(prompt("a", IMAGE))
    (thread,) = during
    thread.join(DEADLINE)
    assert not thread.is_alive()


class TestComputeThread:
    """What computes may go on after everybody has stopped to wait for it."""

    @pytest.fixture
    def may_end(self) -> threading.Event:
        return threading.Event()

    @pytest.fixture
    def begun(self) -> threading.Event:
        return threading.Event()

    @pytest.fixture
    def long_task(self, begun: threading.Event, may_end: threading.Event) -> Compute:
        def compute() -> None:
            begun.set()
            assert may_end.wait(DEADLINE)

        return Compute(compute)

    def test_the_loop_goes_on_while_it_computes(self, long_task: Compute, may_end: threading.Event) -> None:
        async def test() -> None:
            thread = _ComputeThread()
            asyncio.get_running_loop().call_soon(may_end.set)
            await asyncio.wait_for(thread.run(long_task), DEADLINE)
            thread.end()

        asyncio.run(test())

    def test_whoever_waits_for_it_may_go(
        self, long_task: Compute, begun: threading.Event, may_end: threading.Event
    ) -> None:
        complaints: list[Json] = []

        async def test() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
            thread = _ComputeThread()
            waiting = asyncio.ensure_future(thread.run(long_task))
            await asyncio.to_thread(begun.wait, DEADLINE)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            may_end.set()
            await asyncio.wait_for(thread.run(Compute(int)), DEADLINE)
            thread.end()

        asyncio.run(test())
        assert complaints == []

    def test_the_loop_may_end_while_it_computes(
        self, long_task: Compute, begun: threading.Event, may_end: threading.Event
    ) -> None:
        before = compute_threads()

        async def test() -> None:
            waiting = asyncio.ensure_future(_ComputeThread().run(long_task))
            await asyncio.to_thread(begun.wait, DEADLINE)
            waiting.cancel()

        asyncio.run(test())
        (thread,) = compute_threads() - before
        may_end.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()

    def test_a_thread_that_could_not_start_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async def test() -> None:
            thread = _ComputeThread()
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", fail)
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await thread.run(Compute(int))
            await asyncio.wait_for(thread.run(Compute(int)), DEADLINE)
            thread.end()

        asyncio.run(test())

    def test_a_process_ends_while_it_computes(self) -> None:
        program = """
import asyncio, threading
from mockserver.comfyui.execution import Compute
from mockserver.comfyui.worker import _ComputeThread

async def main():
    begun = threading.Event()
    forever = lambda: (begun.set(), threading.Event().wait())
    asyncio.ensure_future(_ComputeThread().run(Compute(forever)))
    await asyncio.to_thread(begun.wait)

asyncio.run(main())
"""
        ended = subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=DEADLINE
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
