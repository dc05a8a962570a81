"""What a client makes of the server's messages: a name and data for each, binary ones decoded.

Binary messages have the names that ComfyUI's own front-end gives them. Layouts: ComfyUI 0.3.64, recorded; all integers
are big-endian uint32.
"""

from __future__ import annotations

import json
import struct
from typing import Any

UNREADABLE = "unreadable_message"
"""Name of a message that is none of ComfyUI's: no JSON object with a type, or a binary message cut short."""

_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


def decode_text(text: str) -> tuple[str, dict[str, Any]]:
    """Name and data of a text message. Data that is no object is given as ``{"value": data}``."""
    try:
        message = json.loads(text)
        name, data = message["type"], message.get("data", {})
    except (ValueError, TypeError, KeyError, RecursionError):
        return UNREADABLE, {"text": text}
    if not isinstance(name, str):
        return UNREADABLE, {"text": text}
    return name, data if isinstance(data, dict) else {"value": data}


def decode_binary(message: bytes) -> tuple[str, dict[str, Any]]:
    """Name and data of a binary message: previews with their image bytes, texts with their node."""
    try:
        (event,) = struct.unpack_from(">I", message)
        if event == 1:
            (image_format,) = struct.unpack_from(">I", message, 4)
            return "b_preview", {"image_type": _IMAGE_TYPES.get(image_format, "unknown"), "image": message[8:]}
        if event == 3:
            node, text = _prefixed(message)
            return "progress_text", {"node": node.decode(), "text": text.decode()}
        if event == 4:
            metadata, image = _prefixed(message)
            return "b_preview_with_metadata", {**json.loads(metadata), "image": image}
    except (struct.error, ValueError, TypeError, RecursionError):
        pass
    return UNREADABLE, {"bytes": message}


def _prefixed(message: bytes) -> tuple[bytes, bytes]:
    """What stands behind the event number: a part with its length before it, and the rest."""
    (length,) = struct.unpack_from(">I", message, 4)
    if len(message) < 8 + length:
        raise ValueError("cut short")
    return message[8 : 8 + length], message[8 + length :]
