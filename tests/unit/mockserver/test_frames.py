"""Websocket frames, read back by another implementation (websocket-client)."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websocket._abnf import frame_buffer

from mockserver.frames import BINARY, CLOSE, TEXT, close_frame, compressed_frame, frame

if TYPE_CHECKING:
    from websocket import ABNF


def parsed(data: bytes) -> ABNF:
    """The one frame that the bytes are."""
    stream = io.BytesIO(data)
    found = frame_buffer(stream.read, skip_utf8_validation=False).recv_frame()
    assert stream.read() == b""
    return found


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
def test_the_length_takes_as_many_bytes_as_it_must(length: int, header: str) -> None:
    assert frame(BINARY, b"x" * length) == bytes.fromhex(header) + b"x" * length


@given(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300))
def test_a_message_is_one_final_unmasked_uncompressed_frame(opcode: int, payload: bytes) -> None:
    found = parsed(frame(opcode, payload))
    assert (found.opcode, found.data) == (opcode, payload)
    assert (found.fin, found.mask_value, found.rsv1, found.rsv2, found.rsv3) == (1, 0, 0, 0, 0)


@given(
    st.sampled_from([TEXT, BINARY]),
    st.lists(st.binary(max_size=300) | st.integers(0, 9).map(lambda digit: bytes([digit]) * 2000), min_size=1),
    st.integers(9, 15),
)
def test_compressed_messages_can_be_read_together_and_each_alone(
    opcode: int, payloads: list[bytes], window_bits: int
) -> None:
    together = zlib.decompressobj(-window_bits)
    for payload in payloads:
        first, *rest = compressed_frame(opcode, payload, window_bits)
        assert first == 0xC0 | opcode
        found = parsed(bytes([0x80 | opcode, *rest]))  # it does not know the bit that says compressed
        assert not found.data.endswith(b"\0\0\xff\xff")
        compressed = found.data + b"\0\0\xff\xff"
        assert together.decompress(compressed) == payload
        assert zlib.decompressobj(-window_bits).decompress(compressed) == payload


def test_a_long_message_becomes_short() -> None:
    assert len(compressed_frame(TEXT, b"a" * 100_000, 15)) < 1000


def test_a_close_frame_holds_code_and_reason() -> None:
    found = parsed(close_frame(1001, "bye, ü"))
    assert (found.opcode, found.data) == (CLOSE, b"\x03\xe9" + "bye, ü".encode())
