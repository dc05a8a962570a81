"""Drives pycomfy: one websocket that stays (websocket-client), and the output of ``executed``."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from driving import drive, folder, host
from pycomfy import ComfyAPI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


@contextmanager
def session(url: str) -> Iterator[Run]:
    """Its socket lives as long as the session, and is opened anew before a job if it is known to be closed."""
    file = folder() / "workflow.json"
    with ComfyAPI(host(url)) as api:

        def run(task: Task) -> list[Any]:
            file.write_text(json.dumps(task.workflow), encoding="utf-8")
            images: list[Any] = api.load_workflow(str(file)).execute()
            return images

        yield run


drive(session)
