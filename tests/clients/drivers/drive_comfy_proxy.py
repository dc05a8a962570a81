"""Drives comfy-proxy: posts, then opens a websocket that stays (websockets), and takes the picture from it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from comfy_proxy.comfy import SingleComfy
from comfy_proxy.workflow import ComfyWorkflow
from driving import OUTPUT, drive_async, host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from driving import RunAsync, Task


class Wrapped(ComfyWorkflow):
    """A task in its words: it reads the output of a node of this name only, which sends its images over the socket."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        for id_, node in task.workflow.items():
            if id_ != OUTPUT:
                self.add_node(node["class_type"], node["inputs"], node_id=id_)
        images = task.workflow[OUTPUT]["inputs"]["images"]
        self.add_node("SaveImageWebsocket", {"images": images}, node_id="save_image_websocket_node")


@asynccontextmanager
async def session(url: str) -> AsyncIterator[RunAsync]:
    """Its socket is opened by the first job, and stays."""
    client = SingleComfy(host(url))

    async def run(task: Task) -> list[Any]:
        return [image async for image in client.generate(Wrapped(task))]

    try:
        yield run
    finally:
        await client.disconnect()


drive_async(session)
