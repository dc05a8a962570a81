"""Frames that break RFC 6455, and rare ones that a client must take, as bytes of a server."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from mockserver import frames

if TYPE_CHECKING:
    from mockserver.faults.kinds import FrameName

LAST_WORDS: tuple[FrameName | None, ...] = (
    "truncated",
    "oversized_announced",
    "length_63_bits",
    "one_byte_close",
)
"""Frames after which a server says nothing more."""

_TEXT = json.dumps({"type": "mock_fragments", "data": {"text": "one byte in each fragment"}}).encode()
_MASK = b"\x01\x02\x03\x04"


def bytes_of(name: FrameName, size: int) -> bytes:
    """The frame of a name. ``size`` is the payload of an oversized one, in bytes."""
    if name == "oversized":
        return frames.frame(frames.TEXT, b" " * size)
    if name == "oversized_announced":
        return struct.pack("!BBQ", 0x81, 127, size)
    if name == "one_byte_fragments":
        return _one_byte_fragments()
    return _FRAMES[name]


def _one_byte_fragments() -> bytes:
    """A text message, a byte in each fragment, with a ping in the middle (RFC 6455, section 5.4 allows all of it)."""
    parts = []
    for position, byte in enumerate(_TEXT):
        opcode = frames.TEXT if position == 0 else 0
        final = 0x80 if position == len(_TEXT) - 1 else 0
        parts.append(bytes((final | opcode, 1, byte)))
        if position == len(_TEXT) // 2:
            parts.append(frames.frame(frames.PING, b"between"))
    return b"".join(parts)


_FRAMES: dict[FrameName, bytes] = {
    "rsv_bit": b"\xf1\x01a",
    "reserved_opcode": b"\x83\x01a",
    "masked": b"\x81\x84" + _MASK + bytes(a ^ b for a, b in zip(b"mask", _MASK, strict=True)),
    "length_63_bits": struct.pack("!BBQ", 0x81, 127, (1 << 63) - 1) + b"a",
    "fragmented_control": b"\x09\x01a",
    "long_control": b"\x89\x7e\x00\x7e" + b"a" * 126,
    "bad_utf8": frames.frame(frames.TEXT, b"\xc3\x28"),
    "continuation_without_start": b"\x80\x01a",
    "one_byte_close": b"\x88\x01\x03",
    "unasked_pong": frames.frame(frames.PONG, b"unasked"),
    "truncated": frames.frame(frames.TEXT, b'{"type": "status", "data": {"status": ' + b" " * 200)[:40],
}
