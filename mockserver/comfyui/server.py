"""The mock ComfyUI as one object: everything that its routes need, wired together."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui import messages
from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.folders import Folders
from mockserver.comfyui.models import Models
from mockserver.comfyui.option_lists import OptionLists
from mockserver.comfyui.paths import below, without_annotation
from mockserver.comfyui.profile import PROFILES
from mockserver.comfyui.queue import History, PromptQueue
from mockserver.comfyui.sockets import Sockets
from mockserver.comfyui.terminal import Terminal
from mockserver.comfyui.users import Users
from mockserver.comfyui.web_root import WebRoot
from mockserver.comfyui.worker import Worker

if TYPE_CHECKING:
    from mockserver.comfyui.ports import Ports
    from mockserver.journal import Journal
    from mockserver.settings import Settings

log = logging.getLogger(__name__)


class ComfyServer:
    """State and background work of one life."""

    def __init__(self, settings: Settings, ports: Ports, journal: Journal) -> None:
        self.settings = settings
        self.ports = ports
        self.journal = journal
        self.profile = PROFILES[settings.profile]
        self.folders = Folders(settings)
        self.models = Models.of(settings)
        self.users = Users(self.folders, multi_user=settings.multi_user)
        self.web_root = WebRoot.of(settings)
        self.catalog = Catalog.assemble(
            settings.nodes,
            with_api_nodes=not settings.disable_api_nodes,
            option_lists=OptionLists(self.models, self.list_input_files, any_model=settings.any_model),
        )
        self.history = History()
        self.sockets = Sockets(ports, journal)
        self.terminal = Terminal(self.sockets)
        self.queue = PromptQueue(self.publish_status)
        self.worker = Worker(
            self.queue, self.history, self.sockets, self.catalog, self.folders, ports, journal, settings
        )
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the background work: publisher, worker, periodic status."""
        self.folders.clear_temp()
        self.terminal.start()
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
        self.terminal.stop()
        self.folders.remove()

    @functools.cached_property
    def features(self) -> dict[str, Any]:
        """Feature flags of the server."""
        flags = {"supports_preview_metadata": True, "max_upload_size": self.settings.max_upload_size * 1024 * 1024}
        return flags | self.profile.more_features

    def list_input_files(self) -> list[str]:
        """Names of the files in the input directory itself."""
        return [path.name for path in self.folders["input"].iterdir() if path.is_file()]

    def has_file(self, name: str) -> bool:
        """Whether there is a file of this name, in the input directory unless it ends in ``[output]`` or ``[temp]``."""
        plain, folder = without_annotation(name)
        path = below(self.folders[folder or "input"], plain)
        try:
            return path is not None and path.exists()
        except (OSError, ValueError):  # no name of a file, before Python 3.12
            return False

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
