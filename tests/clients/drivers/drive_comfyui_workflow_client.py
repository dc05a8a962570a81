"""Drives comfyui-workflow-client: one websocket that stays (aiohttp), and the history when ``executing`` is null."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from comfyuiclient import ComfyUIClientAsync
from driving import drive_async, folder, host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """Its socket lives as long as the session; it reads each workflow from a file."""
    file = folder() / "workflow_api.json"
    file.write_text("{}", encoding="utf-8")
    client = ComfyUIClientAsync(host(url), str(file))
    await client.connect()

    async def run(task: Task) -> list[Any]:
        file.write_text(json.dumps(task.workflow), encoding="utf-8")
        client.reload()
        return list((await client.generate(["Save Image"])).values())

    try:
        yield run
    finally:
        await client.close()


drive_async(session)
