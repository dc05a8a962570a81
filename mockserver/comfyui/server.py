"""The mock ComfyUI as one object: everything that its routes need, wired together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui import messages
from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.folders import Folders
from mockserver.comfyui.queue import History, PromptQueue
from mockserver.comfyui.sockets import Sockets
from mockserver.comfyui.worker import Worker

if TYPE_CHECKING:
    from mockserver.comfyui.ports import Ports
    from mockserver.journal import Journal
    from mockserver.settings import Settings

log = logging.getLogger(__name__)

FEATURES: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": 104857600}
"""Feature flags of the server (ComfyUI 0.3.64 with default arguments, recorded)."""


class ComfyServer:
    """State and background work of one life."""

    def __init__(self, settings: Settings, ports: Ports, journal: Journal) -> None:
        self.settings = settings
        self.ports = ports
        self.journal = journal
        self.features = FEATURES
        self.catalog = Catalog.assemble(settings.nodes, with_api_nodes=not settings.disable_api_nodes)
        self.folders = Folders(settings)
        self.history = History()
        self.sockets = Sockets(ports, journal)
        self.queue = PromptQueue(self.publish_status)
        self.worker = Worker(
            self.queue, self.history, self.sockets, self.catalog, ports, journal, settings.node_duration
        )
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the background work: publisher, worker, periodic status."""
        self.folders.clear_temp()
        work = [self.sockets.publish_forever(), self.worker.run_forever()]
        if self.settings.status_interval > 0:
            work.append(self._publish_status_forever(self.settings.status_interval))
        self._background = [asyncio.ensure_future(each) for each in work]
        for task in self._background:
            task.add_done_callback(_report_death)

    async def stop(self) -> None:
        """Ends the background work. A prompt that runs is lost, as with the real server."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.folders.remove()

    def publish_status(self) -> None:
        """Tells everybody how long the queue is."""
        self.sockets.publish(messages.status(self.queue.remaining))

    async def _publish_status_forever(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.publish_status()


def _report_death(task: asyncio.Task[None]) -> None:
    """Background work never ends by itself: without this a server that does nothing any more would not say why."""
    if not task.cancelled():
        log.critical("background work of the mock server ended", exc_info=task.exception())


SERVER = web.AppKey("SERVER", ComfyServer)
