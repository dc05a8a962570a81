"""Websocket frames as bytes (RFC 6455, section 5.2), as a server sends them: final and unmasked."""

from __future__ import annotations

import struct
import zlib

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

_FIN = 0x80
_COMPRESSED = 0x40
_END_OF_FLUSH = b"\x00\x00\xff\xff"


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole message in one frame."""
    return _framed(_FIN | opcode, payload)


def compressed_frame(opcode: int, payload: bytes, window_bits: int) -> bytes:
    """One whole message in one frame, for a client that has agreed to permessage-deflate (RFC 7692).

    It refers to no earlier message, so any number of clients can be sent the same bytes, whether their server may take
    its context over or not. The level is the one that the real server compresses with.
    """
    compressor = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return _framed(_FIN | _COMPRESSED | opcode, data.removesuffix(_END_OF_FLUSH))


def _framed(first_byte: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        header = struct.pack("!BB", first_byte, length)
    elif length < 1 << 16:
        header = struct.pack("!BBH", first_byte, 126, length)
    else:
        header = struct.pack("!BBQ", first_byte, 127, length)
    return header + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())
