"""Names and data of the server's messages, readable or not."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ComfyMockLibrary.engine.client.messages import UNREADABLE, decode_binary, decode_text


def binary(event: int, *parts: bytes | int) -> bytes:
    return b"".join(part if isinstance(part, bytes) else struct.pack(">I", part) for part in (event, *parts))


@pytest.mark.parametrize(
    ("text", "name", "data"),
    [
        ('{"type": "status", "data": {"sid": "a"}}', "status", {"sid": "a"}),
        ('{"type": "executing", "data": {"node": null}}', "executing", {"node": None}),
        ('{"type": "bare"}', "bare", {}),
        ('{"type": "list", "data": [1, 2]}', "list", {"value": [1, 2]}),
        ('{"type": "null", "data": null}', "null", {"value": None}),
        ('{"type": "", "data": {}}', "", {}),
    ],
)
def test_a_text_message_has_a_name_and_data(text: str, name: str, data: dict[str, Any]) -> None:
    assert decode_text(text) == (name, data)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "no json",
            "null",
            "5",
            '"type"',
            "[]",
            '["type"]',
            "{}",
            '{"data": {}}',
            '{"type": 5}',
            '{"type": null}',
        ),
        '{"type": "cut',
        pytest.param("[" * 100_000, id="nested too deep"),
        pytest.param('{"type": "x", "data": ' + "[" * 100_000 + "]" * 100_000 + "}", id="data nested too deep"),
        pytest.param('{"type": "x", "data": ' + "1" * 10_000 + "}", id="number too long"),
    ],
)
def test_a_text_that_is_no_message_is_kept_as_it_is(text: str) -> None:
    assert decode_text(text) == (UNREADABLE, {"text": text})


METADATA = {"node_id": "3", "image_type": "image/jpeg"}


@pytest.mark.parametrize(
    ("message", "name", "data"),
    [
        (binary(1, 1, b"\xff\xd8jpeg"), "b_preview", {"image_type": "image/jpeg", "image": b"\xff\xd8jpeg"}),
        (binary(1, 2, b"\x89png"), "b_preview", {"image_type": "image/png", "image": b"\x89png"}),
        (binary(1, 9, b"?"), "b_preview", {"image_type": "unknown", "image": b"?"}),
        (binary(1, 2), "b_preview", {"image_type": "image/png", "image": b""}),
        (binary(3, 2, b"12", "größer".encode()), "progress_text", {"node": "12", "text": "größer"}),
        (
            binary(4, len(json.dumps(METADATA)), json.dumps(METADATA).encode(), b"\xff\xd8"),
            "b_preview_with_metadata",
            {**METADATA, "image": b"\xff\xd8"},
        ),
    ],
)
def test_binary_messages_are_decoded(message: bytes, name: str, data: dict[str, Any]) -> None:
    assert decode_binary(message) == (name, data)


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"\0\0\0", binary(1), binary(2, 1, b"image"), binary(99, b"new"), binary(3), binary(3, 5, b"12")),
        *(binary(3, 1, b"\xff", b"text"), binary(3, 1, b"1", b"\xff"), binary(4, 3, b"no!"), binary(4, 2, b"[]", b"x")),
        binary(4, 0xFFFFFFFF, b"{}"),
        pytest.param(binary(4, 100_000, b"[" * 100_000), id="metadata nested too deep"),
    ],
)
def test_a_binary_message_that_is_cut_short_or_unknown_is_kept_as_it_is(message: bytes) -> None:
    assert decode_binary(message) == (UNREADABLE, {"bytes": message})


@given(st.text() | st.from_regex(r'\{"type": "\w*", "data": .*\}', fullmatch=True))
def test_no_text_is_fatal(text: str) -> None:
    name, data = decode_text(text)
    assert isinstance(name, str)
    assert isinstance(data, dict)


@given(st.builds(lambda event, rest: binary(event) + rest, st.integers(0, 5), st.binary()) | st.binary())
def test_no_bytes_are_fatal(message: bytes) -> None:
    name, data = decode_binary(message)
    assert isinstance(name, str)
    assert isinstance(data, dict)
