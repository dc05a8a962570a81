"""What one life plays of an outage by itself: its first life's part, up to and with the end of that life."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
from typing import TYPE_CHECKING, Any

from mockserver.faults.kinds import Freeze, as_json, read_fault
from mockserver.outages.outage import LIFE_ENDED, Step
from mockserver.outages.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver.faults.faults import Faults
    from mockserver.journal import Journal
    from mockserver.outages.outage import NumberedStep, Outage, QueuePrompt, WaitFor

log = logging.getLogger(__name__)

ENDINGS = ("kill", "restart")
"""Steps with which a life ends."""


class Scenario:
    """Leads the life that it is part of through the steps of a script."""

    def __init__(self, outage: Outage, faults: Callable[[], Faults], journal: Journal, port: int) -> None:
        """``faults`` is called when the first is set; ``port`` is the public one."""
        self._outage = outage
        self._steps = outage.steps()
        self._faults = faults
        self._journal = journal
        self._port = port
        self._recorded = Recorded()
        self._read = 0
        self._cursor = 0
        self._began = 0.0

    def start(self) -> asyncio.Task[None]:
        """Begins to take the steps, and says in the log which. To be cancelled when the life ends."""
        task = asyncio.ensure_future(self._run())
        task.add_done_callback(_report_failure)
        return task

    async def _run(self) -> None:
        own, foreign = self._own_steps()
        log.info("scenario %s: %s", self._outage.name, self._outage.title)
        if foreign:
            log.warning(
                "scenario %s: from step %s on it is about later lives, which this process cannot start; "
                "`Run Outage` leads a server through all of them",
                self._outage.name,
                foreign[0].number,
            )
        self._began = asyncio.get_running_loop().time()
        for position, numbered in enumerate(own):
            following = own[position + 1].step if position + 1 < len(own) else None
            await self._wait_for_time(numbered.step)
            log.info("scenario %s, %s", self._outage.name, numbered)
            await self._take(numbered.step, following)
        log.info("scenario %s: over", self._outage.name)

    def _own_steps(self) -> tuple[list[NumberedStep], list[NumberedStep]]:
        """The steps up to the end of this life, and those behind it."""
        for position, each in enumerate(self._steps):
            if each.step.actions and each.step.actions[0] in ENDINGS:
                return self._steps[: position + 1], self._steps[position + 1 :]
            wait = each.step.wait_for
            if each.step.start is not None or (wait is not None and wait.event == LIFE_ENDED):
                return self._steps[:position], self._steps[position:]
        return self._steps, []

    async def _wait_for_time(self, step: Step) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._began + step.at - now) if step.at is not None else step.after or 0.0)

    async def _take(self, step: Step, following: Step | None) -> None:
        if step.wait_for is not None:
            await self._wait_for(step.wait_for)
            return
        self._cursor = self._look()
        if step.fault is not None:
            self._faults().registry.set(read_fault(self._recorded.filled(as_json(step.fault))))
        elif step.clear is not None:
            self._clear(step.cleared)
        elif step.freeze is not None:
            self._faults().registry.set(Freeze(thaw_after=_thaw_after(step, following)))
        elif step.queue_prompt is not None:
            await self._queue(step.queue_prompt)
        elif step.kill is not None or step.restart is not None:
            ending = step.kill or step.restart
            assert ending is not None
            os.kill(os.getpid(), signal.Signals[ending.signal])

    def _clear(self, names: list[str]) -> None:
        registry = self._faults().registry
        for name in names:
            if name == "all":
                registry.clear_all()
            else:
                registry.clear(name)

    async def _wait_for(self, wait: WaitFor) -> None:
        """Waits for what the script waits for: for ever unless it says how long, since people start clients by hand."""
        loop = asyncio.get_running_loop()
        end = None if wait.timeout is None else loop.time() + wait.timeout
        while True:
            appended = self._journal.appended
            self._look()
            found = self._recorded.find(wait, self._cursor)
            if found is not None:
                self._cursor = found
                return
            try:
                await asyncio.wait_for(appended.wait(), None if end is None else max(0, end - loop.time()))
            except asyncio.TimeoutError:
                log.warning("scenario %s: it has not come within %g s", self._outage.name, wait.timeout)
                return

    def _look(self) -> int:
        """Reads what is new in the journal. The position behind it."""
        first, records = self._journal.since(self._read)
        self._read = first + len(records)
        for record in records:
            self._recorded.add(record)
        return len(self._recorded)

    async def _queue(self, order: QueuePrompt) -> None:
        """Queues prompts as any client would: over HTTP."""
        for _ in range(order.times):
            owner = {} if order.client_id is None else {"client_id": order.client_id}
            body = json.dumps({"prompt": order.workflow or _small_workflow(), **owner}).encode()
            head = ("POST /prompt HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}")
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write("\r\n".join((*head, "", "")).encode() + body)
                answer = await reader.read()
            finally:
                writer.close()
            if b" 200 " not in answer[:16]:
                log.warning("scenario %s: the prompt was not queued: %r", self._outage.name, answer[:300])


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the scenario has ended early", exc_info=task.exception())


def _thaw_after(step: Step, following: Step | None) -> float | None:
    """How long a life stands still: a frozen one cannot take the step that thaws it."""
    assert step.freeze is not None
    if step.freeze.seconds is not None:
        return step.freeze.seconds
    if following is not None and following.thaw is not None:
        return following.after or 0.0
    return None


def _small_workflow() -> dict[str, Any]:
    """A picture of a random colour (so that nothing is cached), inverted and saved; no models."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": random.randrange(0x1000000)},
        },
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "outage"}},
    }
