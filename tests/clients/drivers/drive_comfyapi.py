"""Drives comfyapi: polls the history of its prompt (requests), through errors too; its websocket is never used."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyapi import ComfyAPIManager
from driving import drive, folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


@contextmanager
def session(url: str) -> Iterator[Run]:
    """It holds no connection at all."""
    directory = folder()
    file = directory / "workflow.json"
    manager = ComfyAPIManager()
    manager.set_base_url(url)

    def run(task: Task) -> list[Any]:
        file.write_text(json.dumps(task.workflow), encoding="utf-8")
        manager.load_workflow(str(file))
        prompt_id = manager.submit_workflow()
        manager.wait_for_finish(prompt_id, poll_interval=0.2)
        output = manager.download_output(manager.find_output(prompt_id), save_path=str(directory))
        return [Path(output).read_bytes()]

    yield run


drive(session)
