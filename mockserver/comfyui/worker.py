"""The one worker that runs prompts: takes them from the queue, drives their runs, writes the history."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from mockserver.comfyui import messages
from mockserver.comfyui.behaviour import Stage
from mockserver.comfyui.execution import Cache, Interrupted, NodeFailure, Outcome, Run, Send, Step, Work

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockserver.comfyui.catalog import Catalog
    from mockserver.comfyui.ports import Ports
    from mockserver.comfyui.queue import History, PromptQueue, QueueItem
    from mockserver.comfyui.sockets import Sockets
    from mockserver.journal import Journal

log = logging.getLogger(__name__)


class Worker:
    """Runs one prompt after the other."""

    def __init__(
        self,
        queue: PromptQueue,
        history: History,
        sockets: Sockets,
        catalog: Catalog,
        ports: Ports,
        journal: Journal,
        node_duration: float,
    ) -> None:
        self._queue = queue
        self._history = history
        self._sockets = sockets
        self._catalog = catalog
        self._ports = ports
        self._journal = journal
        self._node_duration = node_duration
        self._cache = Cache()
        self._stage = Stage(random.Random())
        self._run: Run | None = None
        self._interrupted = False
        self._free_memory = False
        self._prompt_queued = asyncio.Event()

    def wake(self) -> None:
        """Tells the worker that a prompt was queued."""
        self._prompt_queued.set()

    def interrupt(self, prompt_id: str | None) -> None:
        """Interrupts the prompt that runs, at its next step; with a prompt id only if that one runs."""
        running = self._queue.running
        if running is not None and prompt_id in (None, running.prompt_id):
            self._interrupted = True

    def free(self, *, memory: bool) -> None:
        """Frees, between prompts, what ``/free`` asks for; memory means the results of nodes."""
        self._free_memory = self._free_memory or memory

    def node_running_for(self, client_id: str) -> str | None:
        """The node that runs now in a prompt of this client."""
        running = self._queue.running
        if running is None or running.client_id != client_id or self._run is None:
            return None
        return self._run.current_node

    async def run_forever(self) -> None:
        """Runs prompts as they come."""
        while True:
            item = self._queue.take()
            if item is None:
                self._prompt_queued.clear()
                await self._prompt_queued.wait()
                continue
            await self._run_prompt(item)

    async def _run_prompt(self, item: QueueItem) -> None:
        self._interrupted = False
        if self._free_memory:
            self._cache.clear()
            self._free_memory = False
        self._run = Run(item, self._catalog, self._cache, self._stage, _now_ms)
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
        if item.client_id is not None:
            self._sockets.publish(messages.executing_ended(item.prompt_id), item.client_id)

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
        if self._ports.step is not None:
            await self._ports.step(item, step)
        if isinstance(step, Work):
            await self._work(step)
        else:
            self._send(item, step)

    async def _work(self, work: Work) -> None:
        if self._interrupted:
            raise Interrupted
        await asyncio.sleep(self._node_duration / work.of)

    def _send(self, item: QueueItem, step: Send) -> None:
        if item.client_id is not None or step.to_all:
            self._sockets.publish(step.message, item.client_id)

    async def _write_history(self, item: QueueItem, outcome: Outcome) -> None:
        entry = outcome.history_entry(item)
        if self._ports.history is not None:
            replaced = await self._ports.history(item, entry)
            if replaced is None:
                return
            entry = replaced
        self._history.add(item.prompt_id, entry)

    def _note(self, item: QueueItem, state: str) -> None:
        log.info("prompt %s: %s", item.prompt_id, state)
        self._journal.record("prompt", prompt_id=item.prompt_id, client_id=item.client_id, state=state)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
