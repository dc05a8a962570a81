"""Drives comfy-script: makes functions of all of ``/object_info``, watches by a websocket that it renews (aiohttp)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from comfy_script import runtime
from driving import OUTPUT, drive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driving import Run, Task


def write(task: Task, node_id: str, written: dict[str, Any]) -> Any:
    """Writes a task as a script would be: a call for each node, with the outputs of the calls before."""
    from comfy_script.runtime import nodes  # Has its functions only after load().

    if node_id not in written:
        node = task.workflow[node_id]
        inputs = {}
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                outputs = write(task, value[0], written)
                inputs[name] = outputs[value[1]] if isinstance(outputs, (list, tuple)) else outputs
            else:
                inputs[name] = value
        written[node_id] = getattr(nodes, node["class_type"])(**inputs)
    return written[node_id]


@contextmanager
def session(url: str) -> Iterator[Run]:
    """Its watching thread lives as long as the process."""
    runtime.load(url)

    def run(task: Task) -> list[Any]:
        with runtime.Workflow(wait=True):
            output = write(task, OUTPUT, {})
        return [image for image in output.wait() if image is not None]

    yield run


drive(session)
