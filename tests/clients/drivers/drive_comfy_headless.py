"""Drives comfy-headless: one websocket that stays (websockets), with pings; HTTP by httpx."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from comfy_headless import ComfyWSClient
from driving import OUTPUT, drive_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """Its socket lives as long as the session."""
    async with ComfyWSClient(url) as client:

        async def run(task: Task) -> list[Any]:
            prompt_id = await client.queue_prompt(task.workflow)
            progress = await client.wait_for_completion(prompt_id)
            if progress.status != "completed":
                raise RuntimeError(f"It ended as {progress.status}.")
            history = await client.get_history(prompt_id)
            images = history[prompt_id]["outputs"][OUTPUT]["images"]
            return [await client.get_image(image["filename"], image["subfolder"], image["type"]) for image in images]

        yield run


drive_async(session)
