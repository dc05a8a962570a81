"""Drives comfy-api-client: polls the whole history (httpx, pydantic). Its websocket calls a function that it lacks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from comfy_api_client import create_client
from driving import drive_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """It polls as long as the session lives."""
    async with create_client(url, start_state_tracker="http") as client:

        async def run(task: Task) -> list[Any]:
            prompt = await client.submit_workflow(task.workflow)
            result = await prompt.future
            return [item.image for item in result.output_images]

        yield run


drive_async(session)
