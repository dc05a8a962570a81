"""Drives comfy-toolkit: a websocket for each job (websocket-client), opened before it posts, and the history."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_toolkit import ComfyClient
from driving import drive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


@contextmanager
def session(url: str) -> Iterator[Run]:
    """It holds no connection between jobs."""
    client = ComfyClient(url)

    def run(task: Task) -> list[Any]:
        result = client.submit_and_track(task.workflow)
        return [client.download(image) for image in result["images"]]

    yield run


drive(session)
