"""Faults of websockets: the exact bytes of handshakes, pongs, close frames, and of frames that are none."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from faulty import Life, Wire, shapes, three_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

CLOSE_NORMALLY = b"\x03\xe8"


def answer_to_handshake(wire: Wire) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of an answer that is no upgrade."""
    head, body = wire.until(b"\r\n\r\n").decode(), b""
    line, *lines = head.strip().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    if length := int(headers.get("Content-Length", 0)):
        body = wire.exactly(length)
    return line, headers, body


# Handshakes


@pytest.mark.parametrize(
    ("fields", "line", "retry_after", "body"),
    [
        ({}, "HTTP/1.1 503 Service Unavailable", None, b""),
        ({"status": 403, "body": "nö"}, "HTTP/1.1 403 Forbidden", None, "nö".encode()),
        ({"status": 429, "retry_after": 1.2}, "HTTP/1.1 429 Too Many Requests", "2", b""),
        ({"status": 200, "body": "not a websocket"}, "HTTP/1.1 200 OK", None, b"not a websocket"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_handshake_is_refused(life: Life, fields: Json, line: str, retry_after: str | None, body: bytes) -> None:
    life.set("refuse_upgrade", times=1, **fields)
    found_line, headers, found_body = answer_to_handshake(life.wire("me", greeted=False))
    assert (found_line, headers.get("Retry-After"), found_body) == (line, retry_after, body)
    life.wire("me")


def test_handshakes_fail_a_few_times_and_then_succeed(life: Life) -> None:
    life.set("refuse_upgrade", times=3, id="r")
    for _ in range(3):
        assert answer_to_handshake(life.wire("me", greeted=False))[0].startswith("HTTP/1.1 503")
        assert life.ask("GET", "/queue").status == 200
    life.wire("me")
    assert life.fault("r")["state"] == "ended"


def test_only_one_client_may_be_refused(life: Life) -> None:
    life.set("refuse_upgrade", who={"client_id": "me"})
    life.wire("other")
    life.wire()
    assert answer_to_handshake(life.wire("me", greeted=False))[0].startswith("HTTP/1.1 503")


@pytest.mark.parametrize("times", [{}, {"times": 1}], ids=str)
def test_a_handshake_is_accepted_and_answered_only_when_the_fault_is_cleared(life: Life, times: Json) -> None:
    life.set("hang_upgrade", id="h", **times)
    wire = life.wire("me", greeted=False)
    life.wait_for_strike("h")
    assert wire.is_silent()
    assert life.ask("GET", "/queue").status == 200
    if times:
        life.wire("other")
    assert wire.is_silent()
    life.clear("h")
    wire.expect_upgrade()
    assert wire.message()["type"] == "status"


def test_a_refusal_that_is_cleared_while_a_handshake_hangs_does_not_strike_it(life: Life) -> None:
    life.set("hang_upgrade", id="h")
    life.set("refuse_upgrade", id="behind")
    wire = life.wire("me", greeted=False)
    life.wait_for_strike("h")
    assert life.steer("DELETE", "/faults").status == 200
    wire.expect_upgrade()
    assert life.strikes("behind") == []


def test_a_client_may_leave_while_its_handshake_hangs(life: Life) -> None:
    life.set("hang_upgrade", id="h")
    wire = life.wire("me", greeted=False)
    life.wait_for_strike("h")
    wire.close()
    life.clear("h")
    life.wire("other")


# Close frames


@pytest.mark.parametrize("code", [0, 999, 1000, 1001, 1005, 1006, 1015, 4999, 65535])
def test_a_close_frame_has_any_code_and_nothing_follows_it(life: Life, code: int) -> None:
    wire, other = life.wire("me"), life.wire("other")
    life.set("close_sockets", code=code, reason="ö", who={"client_id": "me"})
    payload = struct.pack("!H", code) + "ö".encode()
    assert wire.exactly(2 + len(payload)) == bytes((0x88, len(payload))) + payload
    life.set("send_message", type="more")
    assert other.message()["type"] == "more"
    wire.send(0x8, CLOSE_NORMALLY)
    assert wire.rest() == (b"", "FIN")


def test_a_close_frame_at_an_event_is_the_last_frame(life: Life) -> None:
    wire = life.wire("me")
    life.set("close_sockets", code=1012, when={"event": "executing", "node": "2"})
    life.queue(three_nodes(), client_id="me")
    assert shapes(wire.until_message("executing", node="2"))[-1] == "executing 2"
    assert wire.frame() == (0x88, b"\x03\xf4")
    wire.send(0x8, b"\x03\xf4")
    assert wire.rest() == (b"", "FIN")


def test_the_reply_to_a_close_frame_is_late(life: Life) -> None:
    wire = life.wire("me")
    life.set("slow_close", delay=0.5, what="close_reply", id="s")
    began = time.monotonic()
    wire.send(0x8, CLOSE_NORMALLY)
    assert wire.frame() == (0x88, CLOSE_NORMALLY)
    assert time.monotonic() - began >= 0.5
    assert wire.rest() == (b"", "FIN")
    assert len(life.strikes("s")) == 1


def test_a_close_reply_is_held_by_no_fault_that_was_cleared_while_another_held_it(life: Life) -> None:
    wire = life.wire("me")
    for fault_id in ("s", "behind"):
        life.set("slow_close", delay=80_000, what="close_reply", id=fault_id)
    wire.send(0x8, CLOSE_NORMALLY)
    life.wait_for_strike("s")
    assert life.steer("DELETE", "/faults").status == 200
    assert wire.frame() == (0x88, CLOSE_NORMALLY)
    assert life.strikes("behind") == []


def test_a_close_reply_that_is_held_comes_when_the_fault_is_cleared(life: Life) -> None:
    wire, gone = life.wire("me"), life.wire("gone")
    life.set("slow_close", delay=80_000, what="close_reply", id="s")
    gone.close()
    life.wait_until_gone("gone")
    wire.send(0x8, CLOSE_NORMALLY)
    life.wait_for_strike("s")
    assert wire.is_silent()
    life.clear("s")
    assert wire.frame() == (0x88, CLOSE_NORMALLY)
    assert len(life.strikes("s")) == 1


# Pongs


def test_a_ping_gets_no_pong(life: Life) -> None:
    wire, other = life.wire("me"), life.wire("other")
    life.set("pong", answer="none", times=2, who={"client_id": "me"}, id="p")
    for number in range(3):
        wire.send(0x9, b"%d" % number)
    other.send(0x9, b"other")
    assert other.frame() == (0x8A, b"other")
    assert wire.frame() == (0x8A, b"2")
    assert life.fault("p") | {"seed": 0} == {
        "fault": "pong",
        "id": "p",
        "state": "ended",
        "strikes": 2,
        "seed": 0,
        "times": 2,
        "who": {"client_id": "me"},
    }


@pytest.mark.parametrize("payload", [b"", b"x" * 125])
def test_a_ping_gets_a_wrong_pong(life: Life, payload: bytes) -> None:
    wire = life.wire("me")
    life.set("pong", answer="wrong")
    wire.send(0x9, payload)
    first, found = wire.frame()
    assert first == 0x8A
    assert found != payload
    assert len(found) <= 125


def test_a_late_pong_does_not_hold_what_the_client_sends_meanwhile(life: Life) -> None:
    wire = life.wire("me")
    life.set("pong", answer="late", delay=80_000, times=1, id="p", who={"client_id": "me"})
    wire.send(0x9, b"late")
    wire.send(0x9, b"in time")
    assert wire.frame() == (0x8A, b"in time")
    life.clear("p")
    assert wire.frame() == (0x8A, b"late")


def test_a_late_pong_comes_after_its_delay(life: Life) -> None:
    wire = life.wire("me")
    life.set("pong", answer="late", delay=0.3)
    began = time.monotonic()
    wire.send(0x9, b"late")
    assert wire.frame() == (0x8A, b"late")
    assert time.monotonic() - began >= 0.3


# Frames that are none

FRAGMENTS = b'{"type": "mock_fragments", "data": {"text": "one byte in each fragment"}}'
LAST = b'{"type": "after", "data": {}}'

RAW: dict[str, bytes] = {
    "rsv_bit": b"\xf1\x01a",
    "reserved_opcode": b"\x83\x01a",
    "masked": b"\x81\x84\x01\x02\x03\x04lcpo",
    "length_63_bits": b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xffa",
    "fragmented_control": b"\x09\x01a",
    "long_control": b"\x89\x7e\x00\x7e" + 126 * b"a",
    "bad_utf8": b"\x81\x02\xc3\x28",
    "continuation_without_start": b"\x80\x01a",
    "one_byte_close": b"\x88\x01\x03",
    "unasked_pong": b"\x8a\x07unasked",
    "oversized_announced": b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
    "oversized": b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + 65536 * b" ",
    "one_byte_fragments": b"\x01\x01{"
    + b"".join(b"\x00\x01" + bytes((byte,)) for byte in FRAGMENTS[1:37])
    + b"\x89\x07between"
    + b"".join(b"\x00\x01" + bytes((byte,)) for byte in FRAGMENTS[37:-1])
    + b"\x80\x01}",
    "truncated": b"\x81\x7e\x00\xee" + b'{"type": "status", "data": {"status"',
}

SILENT_AFTERWARDS = {"length_63_bits", "one_byte_close", "oversized_announced", "truncated"}


def test_all_frames_are_proven() -> None:
    from typing import get_args

    from mockserver.faults.kinds import FrameName

    assert set(get_args(FrameName)) == RAW.keys()


@pytest.mark.parametrize("name", RAW)
def test_a_frame_is_on_the_wire_byte_for_byte(life: Life, name: str) -> None:
    wire, other = life.wire("me"), life.wire("other")
    life.set("send_raw_frame", frame=name, size=65536, who={"client_id": "me"})
    assert wire.exactly(len(RAW[name])) == RAW[name]
    life.set("send_message", type="after")
    assert other.frame() == (0x81, LAST)
    wire.send(0x8, CLOSE_NORMALLY)
    if name in SILENT_AFTERWARDS:
        assert wire.rest() == (b"", "FIN")
    else:
        assert wire.frame() == (0x81, LAST)
        assert wire.frame() == (0x88, CLOSE_NORMALLY)
        assert wire.rest() == (b"", "FIN")


@pytest.mark.parametrize(("digits", "expected"), [("88 02 03e8", b"\x88\x02\x03\xe8"), ("FF", b"\xff"), ("", b"")])
def test_any_bytes_are_on_the_wire(life: Life, digits: str, expected: bytes) -> None:
    wire = life.wire("me")
    life.set("send_raw_frame", hex=digits)
    life.set("send_message", type="after")
    assert wire.exactly(len(expected)) == expected
    assert wire.frame() == (0x81, LAST)


def test_a_socket_that_has_said_its_last_word_stays_silent(life: Life) -> None:
    wire = life.wire("me")
    life.set("send_raw_frame", frame="truncated")
    life.set("send_raw_frame", frame="unasked_pong")
    life.set("close_sockets")
    assert wire.exactly(len(RAW["truncated"])) == RAW["truncated"]
    assert wire.is_silent()


# Whom


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ({}, ["a1", "b", "a2"]),
        ({"client_id": "a"}, ["a1", "a2"]),
        ({"client_id": "a", "connection": 2}, ["a2"]),
        ({"connection": 2}, ["b"]),
        ({"client_id": "c"}, []),
    ],
    ids=str,
)
def test_whom_an_action_concerns(life: Life, who: Json, expected: list[str]) -> None:
    wires = {"a1": life.wire("a"), "b": life.wire("b"), "a2": life.wire("a")}
    life.set("send_message", type="meant", who=who, id="m")
    meant = [name for name in wires if name in expected]
    for name in meant:
        assert wires[name].message()["type"] == "meant"
    life.set("send_message", type="all")
    for wire in wires.values():
        assert wire.message()["type"] == "all"
    numbers = {"a1": 1, "b": 2, "a2": 3}
    assert life.strikes("m")[0]["sockets"] == [numbers[name] for name in meant]


def test_a_connection_or_its_end_may_be_the_event(start_life: Callable[..., Life]) -> None:
    life = start_life()
    life.set("send_message", type="welcome", when={"event": "connected", "client_id": "b"}, who={"client_id": "b"})
    life.set("send_message", type="farewell", when={"event": "disconnected", "client_id": "a"})
    a = life.wire("a")
    b = life.wire("b", greeted=False)
    b.expect_upgrade()
    assert [b.message()["type"] for _ in range(2)] == ["welcome", "status"]
    a.close()
    assert b.message()["type"] == "farewell"
