"""One websocket: what it takes from its client, and how it waits for a reader."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web
from aiohttp._websocket.writer import WebSocketWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

from mockserver import frames
from mockserver.comfyui.messages import BinaryMessage, Message
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.sockets import Socket, Sockets, encode, new_sid
from mockserver.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

DEADLINE = 30.0
FLAGS = '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}'


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


class Connected:
    """A socket on a wire, with the protocol that aiohttp itself uses."""

    def __init__(self, window_bits: int = 0) -> None:
        self.wire = Wire()
        self.protocol = BaseProtocol(asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        request = SimpleNamespace(transport=self.wire, protocol=self.protocol)
        response = SimpleNamespace(compress=window_bits)
        self.socket = Socket(1, "me", cast("web.Request", request), cast("web.WebSocketResponse", response))


def on_the_wire(test: Callable[[Connected], Coroutine[Any, Any, None]]) -> None:
    """Runs a test of a connected socket."""

    async def run() -> None:
        await asyncio.wait_for(test(Connected()), DEADLINE)

    asyncio.run(run())


async def turns_of_the_loop(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_aiohttp_has_the_private_parts_that_hold_a_writer() -> None:
    """``Socket.write`` needs them. When this fails, find out how aiohttp now waits for a paused transport."""
    assert "_paused" in BaseProtocol.__slots__
    assert inspect.iscoroutinefunction(BaseProtocol._drain_helper)
    assert issubclass(RequestHandler, BaseProtocol)
    assert RequestHandler._drain_helper is BaseProtocol._drain_helper
    assert isinstance(inspect.getattr_static(web.Request, "protocol"), property)


def test_aiohttp_makes_no_compressor_before_it_writes_a_message() -> None:
    """Each would take 256 KiB of an idle socket. We compress ourselves, and let aiohttp write control frames only."""

    async def test(connected: Connected) -> None:
        protocol, transport = connected.protocol, connected.wire
        writer = WebSocketWriter(protocol, transport, compress=15)
        assert writer._compressobj is None
        await writer.close(1000)
        assert writer._compressobj is None

    on_the_wire(test)


def test_a_paused_transport_holds_the_writer_until_it_resumes() -> None:
    async def test(connected: Connected) -> None:
        await connected.socket.write(b"one")
        connected.protocol.pause_writing()
        writing = asyncio.ensure_future(connected.socket.write(b"two"))
        await turns_of_the_loop()
        assert connected.wire.written == b"onetwo"
        assert not writing.done()
        connected.protocol.resume_writing()
        await writing

    on_the_wire(test)


@pytest.mark.parametrize("reason", [None, ConnectionResetError("reset")])
def test_a_connection_that_is_lost_lets_the_writer_go(reason: Exception | None) -> None:
    async def test(connected: Connected) -> None:
        connected.protocol.pause_writing()
        writing = asyncio.ensure_future(connected.socket.write(b"one"))
        await turns_of_the_loop()
        connected.protocol.connection_lost(reason)
        await writing

    on_the_wire(test)


def test_a_closing_transport_takes_nothing() -> None:
    async def test(connected: Connected) -> None:
        connected.wire.closing = True
        await connected.socket.write(b"one")
        assert connected.wire.written == b""

    on_the_wire(test)


def test_nothing_follows_a_close_frame() -> None:
    async def test(connected: Connected) -> None:
        connected.socket.handler = asyncio.ensure_future(turns_of_the_loop())
        await connected.socket.close(1001, "bye")
        await connected.socket.write(b"more")
        assert connected.wire.written == b"\x88\x05\x03\xe9bye"

    on_the_wire(test)


def negotiated(*texts: str) -> list[bool]:
    """Which of these messages of a client set its feature flags."""
    found: list[bool] = []

    async def test(connected: Connected) -> None:
        found.extend(connected.socket.negotiate(text) for text in texts)

    on_the_wire(test)
    return found


@pytest.mark.parametrize("first", ["", "no JSON", "[]", "7", "null", '"text"', "[" * 100_000])
def test_what_is_no_object_does_not_use_the_chance_for_feature_flags_up(first: str) -> None:
    assert negotiated(first, FLAGS) == [False, True]


@pytest.mark.parametrize("first", ["{}", '{"type": "other"}', '{"type": null, "data": {}}'])
def test_an_object_of_another_type_uses_it_up(first: str) -> None:
    assert negotiated(first, FLAGS) == [False, False]


def test_feature_flags_are_set_once() -> None:
    assert negotiated(FLAGS, FLAGS) == [True, False]


@pytest.mark.parametrize("data", ["null", "[]", '"text"'])
def test_feature_flags_may_be_anything(data: str) -> None:
    assert negotiated(f'{{"type": "feature_flags", "data": {data}}}') == [True]


def test_messages_are_framed_by_their_kind() -> None:
    assert encode(Message("t", {})) == b"\x81\x19" + b'{"type": "t", "data": {}}'
    assert encode(BinaryMessage(3, b"x")) == b"\x82\x05\0\0\0\x03x"


def test_a_message_is_compressed_once_for_all_who_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[int] = []

    def compress(opcode: int, payload: bytes, window_bits: int) -> bytes:
        compressed.append(window_bits)
        return b"%d" % window_bits

    async def test(_connected: Connected) -> None:
        monkeypatch.setattr(frames, "compressed_frame", compress)
        sockets = Sockets(Ports(), Journal(None))
        receivers = [Connected(bits) for bits in (15, 0, 9, 15, 0, 9)]
        await sockets.deliver(Message("t", {}), [each.socket for each in receivers])
        sockets.put(BinaryMessage(3, b""), [each.socket for each in receivers if not each.socket.window_bits])
        plain = encode(Message("t", {})), encode(BinaryMessage(3, b""))
        assert [each.wire.written for each in receivers] == [b"15", b"".join(plain), b"9", b"15", b"".join(plain), b"9"]
        assert compressed == [15, 9]

    on_the_wire(test)


def test_a_sid_is_32_hexadecimal_digits() -> None:
    assert len({new_sid() for _ in range(10)}) == 10
    assert all(len(sid) == 32 and int(sid, 16) >= 0 for sid in (new_sid() for _ in range(10)))
