"""Drives comfy-api-simplified: posts, then opens a websocket for this job (websockets), then reads the history."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from driving import drive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


@contextmanager
def session(url: str) -> Iterator[Run]:
    """It holds no connection between jobs."""
    api = ComfyApiWrapper(url)

    def run(task: Task) -> list[Any]:
        workflow = ComfyWorkflowWrapper(task.workflow)
        return list(api.queue_and_wait_images(workflow, "Save Image").values())

    yield run


drive(session)
