"""Prompts, as far as reconnection needs them: queue one, and find out what became of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.deadline import Deadline, wait_until
from ComfyMockLibrary.engine.http import HttpError, NoAnswer
from ComfyMockLibrary.types import PromptResult

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.client.client import Client

LOOK_INTERVAL = 0.2
"""Seconds between two looks at queue and history while no message of the server says that there is news."""

REQUEST_TIMEOUT = 5.0

_GONE = "neither in the queue nor in the history"
_END_MESSAGES = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True)
class QueuedPrompt:
    """A prompt that a server has accepted."""

    prompt_id: str
    number: float
    workflow: Mapping[str, Any] = field(repr=False)
    position: int = 0
    """Position in the client's journal when it was queued."""


@dataclass(frozen=True)
class PromptOutcome:
    """What became of a prompt."""

    prompt_id: str
    result: PromptResult
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """Outputs by node id, as in the history."""

    error: str | None = None
    """Why it did not succeed."""


def example_workflow() -> dict[str, Any]:
    """A small workflow without models: an image of a random colour (so that nothing is cached), inverted and saved."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": random.randrange(0x1000000)},
        },
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "mock"}},
    }


def load_workflow(source: Mapping[str, Any] | Path | str | None) -> dict[str, Any]:
    """A workflow in API format, from a file or a dictionary; left out, the example. Raises ValueError."""
    if source is None:
        return example_workflow()
    if isinstance(source, Mapping):
        workflow: Any = dict(source)
    else:
        try:
            workflow = json.loads(Path(source).read_text(encoding="utf-8"))
        except OSError as failure:
            raise ValueError(f"The workflow {source} cannot be read: {failure.strerror}.") from failure
        except ValueError as failure:
            raise ValueError(f"The workflow {source} is no JSON: {failure}.") from failure
    if not isinstance(workflow, dict):
        raise ValueError(f"A workflow is an object of nodes by id, not {type(workflow).__name__}.")
    if "nodes" in workflow and "links" in workflow:
        raise ValueError("This workflow was saved for the editor. Export it with 'Export (API)' and give that file.")
    return workflow


def queue_prompt(
    client: Client, workflow: Mapping[str, Any] | Path | str | None = None, timeout: float = REQUEST_TIMEOUT
) -> QueuedPrompt:
    """Queues a workflow under the client's id. Raises HttpError when the server refuses it or cannot be reached."""
    if not client.client_id:
        raise ValueError(
            f"Nobody knows the clientId of client '{client.alias}', under which its prompt would be queued. "
            "Give it an attribute client_id."
        )
    graph = load_workflow(workflow)
    position = len(client.journal)
    answer = client.ask("POST", "/prompt", timeout, {"prompt": graph, "client_id": client.client_id})
    with _reading(f"POST {client.endpoint.url}/prompt", answer):
        return QueuedPrompt(answer["prompt_id"], answer["number"], graph, position)


def interrupt_prompt(client: Client, prompt_id: str | None = None, timeout: float = REQUEST_TIMEOUT) -> None:
    """Interrupts the prompt that runs; with an id only if it is that one. Raises HttpError."""
    client.ask("POST", "/interrupt", timeout, {} if prompt_id is None else {"prompt_id": prompt_id})


def wait_for_prompt(client: Client, prompt: QueuedPrompt, timeout: float) -> PromptOutcome | str:
    """Waits until a prompt has ended or is lost. At the timeout, a text that says how it stood instead.

    The history decides; messages of the server only say when to look. A prompt is lost when it is neither in the queue
    nor in the history at two looks in a row; where this life of the server has said that it ended, the history may be
    late, and has until the deadline. A look that the deadline cuts short says nothing about the server.
    """
    deadline = Deadline(timeout)
    stood: str | None = None
    missed = 0
    seen_ends = 0
    while True:
        last_look = deadline.expired
        ends = _ends(client, prompt)
        patience = max(0.1, min(REQUEST_TIMEOUT, deadline.remaining))
        try:
            standing = _look(client, prompt.prompt_id, patience)
        except HttpError as failure:
            is_cut_short = isinstance(failure, NoAnswer) and patience < REQUEST_TIMEOUT
            standing = stood if stood and is_cut_short else str(failure)
        else:
            missed += 1
        if isinstance(standing, PromptOutcome):
            return standing
        if standing != _GONE:
            missed = 0
        may_be_late = client.life_id is not None and client.life_id in ends
        if missed > 1 and (last_look or not may_be_late):
            return PromptOutcome(prompt.prompt_id, PromptResult.lost, error=_GONE)
        if last_look:
            return standing
        stood = standing
        seen_ends = len(ends)
        wait_until(
            lambda known=seen_ends: len(_ends(client, prompt)) > known or None,  # type: ignore[misc]
            Deadline(min(LOOK_INTERVAL, deadline.remaining)),
            client.journal.condition,
        )


def _ends(client: Client, prompt: QueuedPrompt) -> list[str | None]:
    """Lives of the server that have said that the prompt ended."""
    return [
        event.life_id
        for event in client.journal.since(prompt.position)
        if event.source == "server"
        and event.data.get("prompt_id") == prompt.prompt_id
        and (event.name in _END_MESSAGES or (event.name == "executing" and event.data.get("node") is None))
    ]


def _look(client: Client, prompt_id: str, timeout: float) -> PromptOutcome | str:
    """The outcome; a text for a prompt that waits or runs, or that the server does not know.

    The queue is read first: a prompt that ends between the two reads is in the history then.
    """
    queue = client.ask("GET", "/queue", timeout)
    with _reading(f"GET {client.endpoint.url}/queue", queue):
        for name, rows in (("it runs", queue["queue_running"]), ("it waits in the queue", queue["queue_pending"])):
            if any(row[1] == prompt_id for row in rows):
                return name
    history = client.ask("GET", f"/history/{prompt_id}", timeout)
    with _reading(f"GET {client.endpoint.url}/history/{prompt_id}", history):
        entry = history.get(prompt_id)
        if entry is None:
            return _GONE
        status = entry.get("status") or {}
        if status.get("completed", True):
            return PromptOutcome(prompt_id, PromptResult.success, entry.get("outputs", {}))
        return PromptOutcome(prompt_id, PromptResult.failure, entry.get("outputs", {}), _reason(status))


@contextmanager
def _reading(request: str, answer: Any) -> Iterator[None]:
    """Raises HttpError when an answer is JSON, but not of the shape that is read here."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        raise HttpError(f"{request}: the answer is not as ComfyUI gives it: {str(answer)[:80]}") from None


def _reason(status: Mapping[str, Any]) -> str:
    for name, data in reversed(status.get("messages", [])):
        if name == "execution_error":
            return f"node {data['node_id']} ({data['node_type']}): {data['exception_message'].strip()}"
        if name == "execution_interrupted":
            return f"interrupted at node {data['node_id']} ({data['node_type']})"
    return str(status.get("status_str", "unknown"))
