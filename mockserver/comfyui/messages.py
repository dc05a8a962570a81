"""Messages of the websocket, by their names on the wire (ComfyUI 0.3.64, recorded).

A text message is the JSON object ``{"type": ..., "data": ...}``. A binary message starts with its event number as a
big-endian uint32.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
ImageFormat = Literal["jpeg", "png"]

PREVIEW_IMAGE = 1
TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4

TYPES = (
    "status",
    "feature_flags",
    "execution_start",
    "execution_cached",
    "progress_state",
    "executing",
    "progress",
    "executed",
    "execution_success",
    "execution_interrupted",
    "execution_error",
    "logs",
    *(f"binary_{event}" for event in (PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA)),
)
"""Types of the messages that are ComfyUI's own, as journals and faults name them."""

_IMAGE_FORMAT_NUMBERS: dict[ImageFormat, int] = {"jpeg": 1, "png": 2}


@dataclass(frozen=True)
class Message:
    """A text message."""

    type: str
    data: Json

    def payload(self) -> bytes:
        """Bytes of the websocket message: JSON as Python writes it, non-ASCII escaped."""
        return json.dumps({"type": self.type, "data": self.data}).encode()


@dataclass(frozen=True)
class BinaryMessage:
    """A binary message: event number and what follows it."""

    event: int
    content: bytes

    def payload(self) -> bytes:
        """Bytes of the websocket message."""
        return struct.pack(">I", self.event) + self.content


AnyMessage = Message | BinaryMessage


@dataclass(frozen=True)
class Progress:
    """Progress of one node, as ``progress_state`` shows it.

    A node that runs counts in floats from 0.0 to 1.0 until its own progress bar gives integers; one that came from the
    cache shows the integers 1 of 1.
    """

    node: str
    value: float
    max: float
    state: Literal["running", "finished"]

    def as_json(self, prompt_id: str) -> Json:
        """The node's entry in ``progress_state``."""
        return {
            "value": self.value,
            "max": self.max,
            "state": self.state,
            "node_id": self.node,
            "prompt_id": prompt_id,
            "display_node_id": self.node,
            "parent_node_id": None,
            "real_node_id": self.node,
        }


def status(queue_remaining: int, sid: str | None = None) -> Message:
    """Queue length, waiting and running. Only a socket's first status carries its ``sid``."""
    data: Json = {"status": {"exec_info": {"queue_remaining": queue_remaining}}}
    if sid is not None:
        data["sid"] = sid
    return Message("status", data)


def feature_flags(flags: Json) -> Message:
    """Answer to a client's feature flags."""
    return Message("feature_flags", flags)


def execution_start(prompt_id: str, timestamp: int) -> Message:
    """The worker took the prompt. ``timestamp`` in milliseconds since the epoch, here and below."""
    return Message("execution_start", {"prompt_id": prompt_id, "timestamp": timestamp})


def execution_cached(prompt_id: str, nodes: list[str], timestamp: int) -> Message:
    """Nodes that need no run, in the order of the prompt; sent with an empty list too."""
    return Message("execution_cached", {"nodes": nodes, "prompt_id": prompt_id, "timestamp": timestamp})


def progress_state(prompt_id: str, nodes: list[Progress]) -> Message:
    """State of every node visited so far."""
    return Message(
        "progress_state", {"prompt_id": prompt_id, "nodes": {node.node: node.as_json(prompt_id) for node in nodes}}
    )


def executing(prompt_id: str, node: str) -> Message:
    """A node starts."""
    return Message("executing", {"node": node, "display_node": node, "prompt_id": prompt_id})


def executing_ended(prompt_id: str) -> Message:
    """The end of a prompt, whatever its outcome: ``executing`` with node null."""
    return Message("executing", {"node": None, "prompt_id": prompt_id})


def executing_resumed(node: str) -> Message:
    """What a client that reconnects during its prompt gets after its first status: no prompt id, no display node."""
    return Message("executing", {"node": node})


def progress(prompt_id: str, node: str, value: int, maximum: int) -> Message:
    """A node's progress bar."""
    return Message("progress", {"value": value, "max": maximum, "prompt_id": prompt_id, "node": node})


def executed(prompt_id: str, node: str, output: Json | None) -> Message:
    """An output node has its result, from a run or from the cache."""
    return Message("executed", {"node": node, "display_node": node, "output": output, "prompt_id": prompt_id})


def execution_success(prompt_id: str, timestamp: int) -> Message:
    """Every node has run."""
    return Message("execution_success", {"prompt_id": prompt_id, "timestamp": timestamp})


def execution_interrupted(
    prompt_id: str, node: str, node_type: str, executed_nodes: list[str], timestamp: int
) -> Message:
    """The prompt was interrupted at this node."""
    return Message(
        "execution_interrupted",
        {
            "prompt_id": prompt_id,
            "node_id": node,
            "node_type": node_type,
            "executed": executed_nodes,
            "timestamp": timestamp,
        },
    )


def execution_error(
    prompt_id: str, node: str, node_type: str, executed_nodes: list[str], error: Json, timestamp: int
) -> Message:
    """A node failed. ``error`` holds exception_message, exception_type, traceback, current_inputs, current_outputs."""
    return Message(
        "execution_error",
        {
            "prompt_id": prompt_id,
            "node_id": node,
            "node_type": node_type,
            "executed": executed_nodes,
            **error,
            "timestamp": timestamp,
        },
    )


def preview_image(image: bytes, image_format: ImageFormat) -> BinaryMessage:
    """A preview for clients that did not send ``supports_preview_metadata: true``."""
    return BinaryMessage(PREVIEW_IMAGE, struct.pack(">I", _IMAGE_FORMAT_NUMBERS[image_format]) + image)


def preview_image_with_metadata(image: bytes, image_format: ImageFormat, prompt_id: str, node: str) -> BinaryMessage:
    """The same preview for clients that did."""
    metadata = json.dumps(
        {
            "node_id": node,
            "prompt_id": prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
            "image_type": f"image/{image_format}",
        }
    ).encode()
    return BinaryMessage(PREVIEW_IMAGE_WITH_METADATA, struct.pack(">I", len(metadata)) + metadata + image)


def progress_text(node: str, text: str) -> BinaryMessage:
    """A text that a node shows while it runs."""
    node_id = node.encode()
    return BinaryMessage(TEXT, struct.pack(">I", len(node_id)) + node_id + text.encode())
