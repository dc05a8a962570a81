"""Faults of the application: prompts that fail, stand still or are forgotten, and a history that is late or wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.execution import Interrupted, NodeFailure, Work
from mockserver.comfyui.paths import below
from mockserver.faults.kinds import (
    DelayHistory,
    FailPrompt,
    HoldExecution,
    InterruptPrompt,
    LoseOutputFiles,
    NodeFault,
    PromptFault,
)
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from mockserver.comfyui.execution import Step
    from mockserver.comfyui.folders import Folders
    from mockserver.comfyui.queue import History, PromptQueue, QueueItem
    from mockserver.comfyui.worker import Worker
    from mockserver.faults.background import Background
    from mockserver.faults.forgotten import Forgotten
    from mockserver.faults.registry import Registry, Standing

Json = dict[str, Any]

OUT_OF_MEMORY = (
    "Allocation on device \nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before "
    "you might have accidentally set the batch_size to a large number."
)
"""What ComfyUI says when a node raises ``torch.OutOfMemoryError`` (read in its source)."""

_TYPES = {"OutOfMemoryError": "torch.OutOfMemoryError"}


class ExecutionFaults:
    """The ports of execution and history."""

    def __init__(
        self,
        registry: Registry,
        forgotten: Forgotten,
        background: Background,
        queue: PromptQueue,
        history: History,
        worker: Worker,
        folders: Folders,
    ) -> None:
        self._registry = registry
        self._forgotten = forgotten
        self._background = background
        self._queue = queue
        self._history = history
        self._worker = worker
        self._folders = folders
        self._held: asyncio.Future[None] | None = None
        """What the prompt that runs waits for, where it is held."""
        self._late: set[str] = set()
        """Ids of prompts that the history does not know yet."""

    async def step(self, item: QueueItem, step: Step) -> None:
        """Strikes where a node works: fails, interrupts or holds it."""
        if not isinstance(step, Work):
            return
        self._stop_if_forgotten(item)
        due = [
            (standing, fault)
            for standing, fault in self._registry.active(NodeFault)
            if _is_at(fault, item, step) and standing.is_due(Direction.to_client, item.client_id or "")
        ]
        for standing, fault in due:
            if standing.has_ended:
                continue
            self._registry.strike(
                standing, client_id=item.client_id, prompt_id=item.prompt_id, node=step.node, value=step.value
            )
            if isinstance(fault, FailPrompt):
                raise _failure(fault)
            if isinstance(fault, InterruptPrompt):
                raise Interrupted
            await self._hold(standing)
            self._stop_if_forgotten(item)

    async def _hold(self, standing: Standing) -> None:
        """Until the fault is cleared, or the prompt is forgotten meanwhile."""
        self._held = asyncio.ensure_future(standing.pause())
        try:
            await asyncio.wait([self._held])
        finally:
            self._held.cancel()
            self._held = None

    def _stop_if_forgotten(self, item: QueueItem) -> None:
        if item.prompt_id in self._forgotten:
            raise Interrupted

    async def history(self, item: QueueItem, entry: Json) -> Json | None:
        """The entry to write, or None to write none now."""
        if item.prompt_id in self._forgotten:
            return None
        due = [
            (standing, fault)
            for standing, fault in self._registry.active(PromptFault)
            if fault.prompt_id in (None, item.prompt_id)
            and fault.who.client_id in (None, item.client_id)
            and standing.is_due(Direction.to_client, item.client_id or "")
        ]
        for standing, fault in due:
            self._registry.strike(standing, client_id=item.client_id, prompt_id=item.prompt_id)
            if isinstance(fault, LoseOutputFiles):
                self._delete_files(entry["outputs"])
                continue
            if isinstance(fault, DelayHistory):
                self._late.add(item.prompt_id)
                self._background.add(self._add_late(standing, fault, item.prompt_id, entry))
            return None
        return entry

    async def _add_late(self, standing: Standing, fault: DelayHistory, prompt_id: str, entry: Json) -> None:
        await standing.pause(fault.delay)
        if prompt_id in self._late:
            self._late.discard(prompt_id)
            self._history.add(prompt_id, entry)

    def forget_prompt(self, prompt_id: str | None) -> list[str]:
        """Forgets a prompt wherever it is; the one that runs if none is named. Returns its id, if it is known."""
        running = None if self._queue.running is None else self._queue.running.prompt_id
        if prompt_id is None:
            prompt_id = running
        if prompt_id is None:
            return []
        is_known = prompt_id == running or prompt_id in self._late or bool(self._history.get(prompt_id))
        if prompt_id == running:
            self._forgotten.add(prompt_id)
            self._worker.cut_short()
            if self._held is not None:
                self._held.cancel()
        is_known |= self._queue.delete(prompt_id)
        self._history.delete([prompt_id])
        self._late.discard(prompt_id)
        return [prompt_id] if is_known else []

    def lose_queue(self) -> list[str]:
        """Forgets every prompt that waits or runs. Returns their ids."""
        lost = [item.prompt_id for item in self._queue.waiting]
        self._queue.clear()
        return [*self.forget_prompt(None), *lost]

    def lose_history(self) -> None:
        """Forgets every prompt that has ended."""
        self._late.clear()
        self._history.clear()

    def _delete_files(self, outputs: Json) -> None:
        for output in outputs.values():
            for entries in output.values():
                for entry in entries if isinstance(entries, list) else ():
                    if isinstance(entry, dict) and "filename" in entry:
                        self._delete_file(entry)

    def _delete_file(self, entry: Json) -> None:
        folder = self._folders[entry.get("type") or "output"]
        path = below(folder, f"{entry.get('subfolder') or '.'}/{entry['filename']}")
        if path is not None:
            path.unlink(missing_ok=True)


def _is_at(fault: NodeFault, item: QueueItem, work: Work) -> bool:
    if isinstance(fault, HoldExecution) and fault.value != work.value:
        return False
    if not isinstance(fault, HoldExecution) and work.value:
        return False
    return (
        fault.node in (None, work.node)
        and fault.class_type in (None, work.class_type)
        and fault.prompt_id in (None, item.prompt_id)
        and fault.who.client_id in (None, item.client_id)
    )


def _failure(fault: FailPrompt) -> NodeFailure:
    kind = _TYPES.get(fault.type, fault.type)
    if fault.message is not None:
        message = f"{fault.message}\n"
    elif kind == "torch.OutOfMemoryError":
        message = OUT_OF_MEMORY
    else:
        message = "failed on purpose\n"
    return NodeFailure(kind, message, [f"mock fault {fault.id or 'fail_prompt'}\n"])
