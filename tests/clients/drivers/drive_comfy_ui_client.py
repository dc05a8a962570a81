"""Drives comfy-ui-client of PyPI: one websocket (websocket-client), the queue after each status, the whole history."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_ui_client.client import ComfyUIClient
from driving import drive, host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


@contextmanager
def session(url: str) -> Iterator[Run]:
    """It connects when a job needs it, and closes the socket after each job."""
    client = ComfyUIClient(host(url))

    def run(task: Task) -> list[Any]:
        outputs = client.get_outputs(task.workflow)["images"].values()
        folders = [folder for kinds in outputs for subfolders in kinds.values() for folder in subfolders.values()]
        return [data for folder in folders for data in folder.values()]

    yield run


drive(session)
