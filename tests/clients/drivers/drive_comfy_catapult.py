"""Drives comfy-catapult: a websocket that it renews every 20 s (websockets), polls every 2 s (aiohttp, pydantic)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import Path
from comfy_catapult.api_client import ComfyAPIClient
from comfy_catapult.catapult import ComfyCatapult
from comfy_catapult.comfy_schema import APIHistoryEntry
from comfy_catapult.comfy_utils import DownloadPreviewImage
from comfy_catapult.remote_file_api_comfy import ComfySchemeRemoteFileAPI
from driving import OUTPUT, drive_async, folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """It monitors as long as the session lives."""
    file = Path(folder(), "picture.png")
    files = ComfySchemeRemoteFileAPI(comfy_api_urls=[url], overwrite=True)
    async with (
        ComfyAPIClient(comfy_api_url=url) as client,
        ComfyCatapult(comfy_client=client, debug_path=None) as catapult,
    ):

        async def run(task: Task) -> list[Any]:
            _, future = await catapult.Catapult(
                job_id=f"job-{task.number}",
                prepared_workflow=task.workflow,
                important=[OUTPUT],
                use_future_api=True,
            )
            await DownloadPreviewImage(
                node_id=OUTPUT,
                job_history=APIHistoryEntry.model_validate(await future),
                field_path="images[0]",
                comfy_api_url=url,
                remote=files,
                local_dst_path=file,
            )
            return [await file.read_bytes()]

        yield run


drive_async(session)
