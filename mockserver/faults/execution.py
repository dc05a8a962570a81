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
    SkipHistory,
)
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from mockserver.comfyui.execution import Step
    from mockserver.comfyui.folders import Folders
    from mockserver.comfyui.queue import History, PromptQueue, QueueItem
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

    def __init__(self, registry: Registry, queue: PromptQueue, history: History, folders: Folders) -> None:
        self._registry = registry
        self._queue = queue
        self._history = history
        self._folders = folders
        self.forgotten: set[str] = set()
        """Ids of prompts about which nothing is said any more."""
        self._woken = asyncio.Event()

    async def step(self, item: QueueItem, step: Step) -> None:
        """Strikes where a node works: fails, interrupts or holds it."""
        if not isinstance(step, Work):
            return
        if item.prompt_id in self.forgotten:
            raise Interrupted
        for standing, fault in self._registry.active(NodeFault):
            if _is_at(fault, item, step) and standing.is_struck(Direction.to_client, item.client_id or ""):
                self._registry.strike(
                    standing, client_id=item.client_id, prompt_id=item.prompt_id, node=step.node, value=step.value
                )
                await self._strike(standing, fault, item)

    async def _strike(self, standing: Standing, fault: NodeFault, item: QueueItem) -> None:
        if isinstance(fault, FailPrompt):
            raise _failure(fault)
        if isinstance(fault, InterruptPrompt):
            raise Interrupted
        assert isinstance(fault, HoldExecution)
        await self._wait_for_release(standing, item)

    async def _wait_for_release(self, standing: Standing, item: QueueItem) -> None:
        """Until the fault ends, or the prompt is forgotten meanwhile."""
        released = asyncio.ensure_future(standing.ended.wait())
        try:
            while not released.done() and item.prompt_id not in self.forgotten:
                self._woken.clear()
                woken = asyncio.ensure_future(self._woken.wait())
                await asyncio.wait({released, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
        finally:
            released.cancel()
        if item.prompt_id in self.forgotten:
            raise Interrupted

    async def history(self, item: QueueItem, entry: Json) -> Json | None:
        """The entry to write, or None to write none now."""
        if item.prompt_id in self.forgotten:
            return None
        for standing, fault in self._registry.active(PromptFault):
            if fault.prompt_id not in (None, item.prompt_id) or fault.who.client_id not in (None, item.client_id):
                continue
            if not standing.is_struck(Direction.to_client, item.client_id or ""):
                continue
            self._registry.strike(standing, client_id=item.client_id, prompt_id=item.prompt_id)
            if isinstance(fault, LoseOutputFiles):
                self._delete_files(entry["outputs"])
                continue
            if isinstance(fault, DelayHistory):
                asyncio.get_running_loop().call_later(fault.delay, self._history.add, item.prompt_id, entry)
            else:
                assert isinstance(fault, SkipHistory)
            return None
        return entry

    def forget_prompt(self, prompt_id: str | None) -> str | None:
        """Forgets a prompt wherever it is; the one that runs if none is named. Returns its id."""
        running = self._queue.running
        if prompt_id is None:
            if running is None:
                return None
            prompt_id = running.prompt_id
        if running is not None and running.prompt_id == prompt_id:
            self.forgotten.add(prompt_id)
            self._woken.set()
        self._queue.delete(prompt_id)
        self._history.delete([prompt_id])
        return prompt_id

    def lose_queue(self) -> list[str]:
        """Forgets every prompt that waits or runs. Returns their ids."""
        lost = [item.prompt_id for item in self._queue.waiting]
        self._queue.clear()
        running = self.forget_prompt(None)
        return lost if running is None else [running, *lost]

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
