"""The one worker that runs prompts: takes them from the queue, drives their runs, writes the history."""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
import time
from typing import TYPE_CHECKING

from mockserver.comfyui import messages
from mockserver.comfyui.behaviour import Stage
from mockserver.comfyui.execution import Cache, Compute, Interrupted, NodeFailure, Outcome, Run, Send, Step, To, Work
from mockserver.comfyui.profile import PROFILES
from mockserver.comfyui.sockets import NOBODY
from mockserver.comfyui.tempo import Tempo

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockserver.comfyui.catalog import Catalog
    from mockserver.comfyui.folders import Folders
    from mockserver.comfyui.ports import Ports
    from mockserver.comfyui.queue import History, PromptQueue, QueueItem
    from mockserver.comfyui.sockets import Sockets
    from mockserver.journal import Journal
    from mockserver.settings import Settings

log = logging.getLogger(__name__)


class Worker:
    """Runs one prompt after the other."""

    def __init__(
        self,
        queue: PromptQueue,
        history: History,
        sockets: Sockets,
        catalog: Catalog,
        folders: Folders,
        ports: Ports,
        journal: Journal,
        settings: Settings,
    ) -> None:
        self._queue = queue
        self._history = history
        self._sockets = sockets
        self._catalog = catalog
        self._ports = ports
        self._journal = journal
        self._profile = PROFILES[settings.profile]
        self._tempo = Tempo.of(settings)
        self._cache = Cache(0 if settings.cache_none else settings.cache_lru or None)
        self._stage = Stage(
            random.Random(),
            folders,
            settings.preview_method,
            settings.preview_size,
            write_metadata=not settings.disable_metadata,
        )
        self._thread = _ComputeThread()
        self._run: Run | None = None
        self._interrupted = False
        self._prompt_queued = asyncio.Event()
        self._free_memory = False
        self._time_computed = 0.0
        self._pause: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Tells the worker that a prompt was queued."""
        self._prompt_queued.set()

    def free(self, *, memory: bool) -> None:
        """Forgets the results of nodes before the next prompt. There is nothing else to free."""
        self._free_memory = self._free_memory or memory

    def interrupt(self, prompt_id: str | None) -> None:
        """Interrupts the prompt that runs, at its next step; with a prompt id only if that one runs."""
        running = self._queue.running
        if running is not None and prompt_id in (None, running.prompt_id):
            self._interrupted = True

    def cut_short(self) -> None:
        """Ends the stretch of work that the prompt which runs is in."""
        if self._pause is not None:
            self._pause.cancel()

    def node_running_for(self, client_id: str) -> str | None:
        """The node that runs now in a prompt of this client."""
        running = self._queue.running
        if running is None or running.client_id != client_id or self._run is None:
            return None
        return self._run.current_node

    async def run_forever(self) -> None:
        """Runs prompts as they come."""
        try:
            while True:
                item = self._queue.take()
                if item is None:
                    self._prompt_queued.clear()
                    await self._prompt_queued.wait()
                    continue
                await self._run_prompt(item)
        finally:
            self._thread.end()

    async def _run_prompt(self, item: QueueItem) -> None:
        self._interrupted = False
        if self._free_memory:
            self._free_memory = False
            self._cache.clear()
        self._run = Run(
            item,
            self._catalog,
            self._cache,
            self._stage,
            _now_ms,
            self._tempo,
            lambda: self._sockets.flag(item.client_id, "supports_preview_metadata"),
            self._profile,
        )
        self._note(item, "started")
        outcome = self._run.outcome
        try:
            await self._drive(item, self._run.steps())
        except Exception:
            log.exception("prompt %s: the mock server itself failed", item.prompt_id)
            outcome.completed = False
            state = "crashed"
        else:
            state = "success" if outcome.completed else outcome.messages[-1][0]
        self._run = None
        await self._write_history(item, outcome)
        self._note(item, state)
        self._queue.finish()
        owner = NOBODY if item.client_id is None else item.client_id
        self._sockets.publish(messages.executing_ended(item.prompt_id), owner)

    async def _drive(self, item: QueueItem, steps: Generator[Step, None, None]) -> None:
        try:
            step = next(steps)
            while True:
                try:
                    await self._perform(item, step)
                except (Interrupted, NodeFailure) as stroke:
                    step = steps.throw(stroke)
                else:
                    step = next(steps)
        except StopIteration:
            return

    async def _perform(self, item: QueueItem, step: Step) -> None:
        if isinstance(step, Compute):
            began = time.monotonic()
            await self._thread.run(step)
            self._time_computed += time.monotonic() - began
            return
        if self._ports.step is not None:
            await self._ports.step(item, step)
        if isinstance(step, Work):
            await self._work(step)
        else:
            self._send(item, step)

    async def _work(self, work: Work) -> None:
        self._stop_if_interrupted()
        # What was computed since the last stretch of work has taken a part of this one's time already.
        rest, self._time_computed = work.seconds - self._time_computed, 0.0
        if rest > 0:
            await self._take(rest)
        if work.then_updates:
            self._stop_if_interrupted()

    async def _take(self, seconds: float) -> None:
        self._pause = asyncio.ensure_future(asyncio.sleep(seconds))
        try:
            await asyncio.wait([self._pause])
        finally:
            self._pause.cancel()
            self._pause = None

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            self._interrupted = False
            raise Interrupted

    def _send(self, item: QueueItem, step: Send) -> None:
        if step.to is To.ALL:
            self._sockets.publish(step.message)
        elif item.client_id is not None or step.to is To.OWNER_OR_ALL:
            self._sockets.publish(step.message, item.client_id)
        else:
            self._sockets.publish(step.message, NOBODY)

    async def _write_history(self, item: QueueItem, outcome: Outcome) -> None:
        entry = outcome.history_entry(item)
        if self._ports.history is not None:
            try:
                replaced = await self._ports.history(item, entry)
            except Exception:
                log.exception("prompt %s: its history entry is written as it is", item.prompt_id)
                replaced = entry
            if replaced is None:
                return
            entry = replaced
        self._history.add(item.prompt_id, entry)

    def _note(self, item: QueueItem, state: str) -> None:
        log.info("prompt %s: %s", item.prompt_id, state)
        self._journal.record("prompt", prompt_id=item.prompt_id, client_id=item.client_id, state=state)


class _ComputeThread:
    """Computes what nodes compute, so that the server goes on answering. Starts with the first task."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Compute, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, task: Compute) -> None:
        """Carries out the task and waits until it is done."""
        if self._thread is None:
            # A daemon, so that a life that is told to stop does not wait for a node that computes.
            thread = threading.Thread(target=self._work, name="compute", daemon=True)
            thread.start()  # may fail, and be tried again with the next task
            self._thread = thread
        done = asyncio.get_running_loop().create_future()
        self._tasks.put((task, done))
        await done

    def end(self) -> None:
        """Lets the thread end as soon as it has nothing more to compute. Nobody waits for it."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (next_one := self._tasks.get()) is not None:
            task, done = next_one
            task.run()
            try:
                done.get_loop().call_soon_threadsafe(_finish, done)
            except RuntimeError:  # the loop is closed: the life ends
                return


def _finish(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.set_result(None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
