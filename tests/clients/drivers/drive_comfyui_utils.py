"""Drives comfyui-utils: a websocket for each job (aiohttp), the queue after each status, the output of ``executed``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from comfyui_utils import comfy
from driving import drive_async, host

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


class Listener(comfy.Callbacks):
    """Keeps the outputs."""

    def __init__(self) -> None:
        self.outputs: dict[str, Any] = {}

    async def queue_position(self, position: int) -> None:
        """Nothing to do."""

    async def in_progress(self, node_id: int, progress: int, total: int) -> None:
        """Nothing to do."""

    async def completed(self, outputs: dict[str, Any], cached: bool) -> None:
        """The job is done."""
        self.outputs = outputs


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """It holds no connection between jobs."""
    client = comfy.ComfyAPI(host(url))

    async def run(task: Task) -> list[Any]:
        listener = Listener()
        await client.submit(task.workflow, listener)
        got: list[Any] = []

        async def keep(file: io.BytesIO) -> None:
            got.append(file.getvalue())

        for image in listener.outputs["images"]:
            await client.fetch(image, keep)
        return got

    yield run


drive_async(session)
