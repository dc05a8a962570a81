"""Drives comfyui-async-api-tool: chooses a server by its queue, opens a websocket for each job, polls the history."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from comfyui_async_api_tool import ComfyClient
from driving import drive_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """It holds no connection between jobs, but remembers when a server was last there."""
    async with aiohttp.ClientSession() as http:
        client = ComfyClient(http, url)

        async def run(task: Task) -> list[Any]:
            got = []
            async for event in client.run(task.workflow):
                if event["type"] == "error":
                    raise RuntimeError(event["msg"])
                if event["type"] == "image":
                    got.append(event["data"])
            return got

        yield run


drive_async(session)
