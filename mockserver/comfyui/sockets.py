"""Open websockets, and the one publisher through which all messages go, in one order for everybody."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from mockserver import frames
from mockserver.comfyui import messages
from mockserver.comfyui.messages import AnyMessage, Message
from mockserver.ordinals import Ordinals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockserver.comfyui.ports import Ports
    from mockserver.journal import Journal

Json = dict[str, Any]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Longest message that a client may send; a longer one closes its socket with 1009 (recorded)."""


_FAILURES = (1002, 1007, 1009)
"""Close codes with which the server ends a websocket whose client breaks the protocol."""

NOBODY = ""
"""A sid that no socket can have: what goes to it is a message all the same, to whoever watches the publisher."""


def encode(message: AnyMessage, window_bits: int = 0) -> bytes:
    """The message as one websocket frame, compressed if the client's window has any bits."""
    opcode = frames.TEXT if isinstance(message, Message) else frames.BINARY
    if window_bits:
        return frames.compressed_frame(opcode, message.payload(), window_bits)
    return frames.frame(opcode, message.payload())


def _framed(message: AnyMessage) -> Callable[[int], bytes]:
    """Encodes the message for windows of a size when the first client needs it, and once for all clients that do."""
    return functools.cache(functools.partial(encode, message))


_NO_FLAGS: Json = {}


class Socket:
    """One open websocket. Messages are written to its transport as frames of our own."""

    __slots__ = (
        "_may_negotiate",
        "_protocol",
        "ended_with",
        "feature_flags",
        "handler",
        "is_closing",
        "is_mute",
        "number",
        "ordinal",
        "response",
        "sid",
        "window_bits",
    )

    def __init__(
        self, number: int, sid: str, request: web.Request, response: web.WebSocketResponse, ordinal: int = 1
    ) -> None:
        self.number = number
        self.sid = sid
        self.ordinal = ordinal
        """Which socket under its sid it is in this life, from 1."""
        self.response = response
        self.window_bits = int(response.compress)
        """Size of the window in which its messages are compressed, as was agreed with the client. 0: they are not."""
        self.handler = asyncio.current_task()
        self.is_closing = False
        self.is_mute = False
        """Whether nothing more is sent on it, although it stays open."""
        self.feature_flags: Json = _NO_FLAGS
        self.ended_with: int | None = None
        """Close code with which the connection ended, as aiohttp may forget it. None while it is not known."""
        self._protocol = request.protocol
        self._may_negotiate = True

    @property
    def is_open(self) -> bool:
        """Whether its connection can be written to."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport | None:
        """What it is written to; None once the connection is lost."""
        return self._protocol.transport

    @property
    def close_code(self) -> int | None:
        """Close code of the connection: ours if the client was wrong, else the client's. None while it is open."""
        return self.response.close_code if self.ended_with is None else self.ended_with

    async def write(self, data: bytes) -> None:
        """Writes bytes and waits while the transport is paused, as the real one does. A dead socket takes nothing."""
        if self.put(data) and self.is_paused:
            await self.drain()

    @property
    def is_paused(self) -> bool:
        """Whether the client takes less than is written, so that the real server would wait."""
        return self._protocol._paused

    async def drain(self) -> None:
        """Waits while it is paused, or until the connection is lost."""
        with contextlib.suppress(ConnectionError):
            await self._protocol._drain_helper()

    @property
    def closed_by(self) -> str:
        """Who has ended it: ``server`` or ``client`` by a close frame, else it was ``lost``."""
        if self.is_closing or self.close_code in _FAILURES:
            return "server"
        return "lost" if self.close_code in (None, WSCloseCode.ABNORMAL_CLOSURE) else "client"

    def put(self, data: bytes) -> bool:
        """Writes bytes at once, also where the transport is paused. False if the socket takes nothing any more."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing() or self.is_closing or self.is_mute:
            return False
        transport.write(data)
        return True

    async def close(self, code: int, reason: str) -> None:
        """Sends a close frame, after which nothing is sent any more, and waits until the client has answered it."""
        self.begin_close(code, reason)
        if self.handler is not None:
            await asyncio.wait([self.handler])

    def begin_close(self, code: int, reason: str) -> None:
        """Sends a close frame, after which nothing is sent any more."""
        self.put(frames.close_frame(code, reason))
        self.is_closing = True

    async def finish(self) -> None:
        """Ends the connection: answers the client's close frame, unless that is itself an answer."""
        transport = self.transport
        if not self.is_closing and not self.is_mute:
            said = self.response.close_code  # which aiohttp forgets where the answer cannot be sent any more
            await self.response.close(drain=False)
            if self.ended_with is None:
                self.ended_with = said
        elif transport is not None:
            transport.close()

    def negotiate(self, text: str) -> bool:
        """Takes a client's message. True if it set feature flags: only the first message that is an object can."""
        if not self._may_negotiate:
            return False
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(message, dict):
            return False
        self._may_negotiate = False
        if message.get("type") != "feature_flags":
            return False
        self.feature_flags = message.get("data", {})
        return True


class Sockets:
    """Registry of the open websockets by sid, and their publisher.

    A sid belongs to the newest socket under it; an older one stays open and gets nothing. When the older one closes the
    newer one is unregistered too (recorded: a fault of the real server).
    """

    def __init__(self, ports: Ports, journal: Journal) -> None:
        self._ports = ports
        self._journal = journal
        self._registered: dict[str, Socket] = {}
        self._open: dict[int, Socket] = {}
        self._numbers = itertools.count(1)
        self._ordinals = Ordinals(lambda: (socket.sid for socket in self._open.values()))
        self._outbox: asyncio.Queue[tuple[AnyMessage, str | None]] = asyncio.Queue()
        self.are_closing = False
        """Whether all of them have been told to close, so that there are to be no more."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open(self) -> list[Socket]:
        """All open sockets, also those that get nothing any more, in the order in which they came."""
        return list(self._open.values())

    def unregister(self, sid: str) -> None:
        """Lets whoever is under a sid stay open and get nothing, as when a twin comes or leaves."""
        self._registered.pop(sid, None)

    def is_connected(self, sid: str) -> bool:
        """Whether messages for this sid reach anybody."""
        return sid in self._registered

    def flag(self, sid: str | None, name: str) -> object:
        """A feature flag of the client under a sid. Raises AttributeError if what it sent as flags is no object."""
        if sid is None or sid not in self._registered:
            return False
        return self._registered[sid].feature_flags.get(name, False)

    def publish(self, message: AnyMessage, sid: str | None = None) -> None:
        """Queues a message for the owner of a sid, or for all."""
        self._outbox.put_nowait((message, sid))

    async def publish_forever(self) -> None:
        """Sends what is published. One socket that does not read holds everybody, as in the real server."""
        while True:
            message, sid = await self._outbox.get()
            if sid is None:
                await self._send(message, sid, list(self._registered.values()))
            else:
                await self._send(message, sid, [self._registered[sid]] if sid in self._registered else [])

    async def serve(
        self, request: web.Request, response: web.WebSocketResponse, welcome: list[AnyMessage], sid: str, flags: Json
    ) -> None:
        """Serves one websocket, already upgraded, until it closes. Sends ``welcome`` first, and empties it."""
        socket = Socket(next(self._numbers), sid, request, response, self._ordinals.next(sid))
        self._registered[sid] = socket
        self._open[socket.number] = socket
        self._journal.record(
            "socket_opened", socket=socket.number, client_id=sid, ordinal=socket.ordinal, remote=_peer(request)
        )
        try:
            if self._ports.socket is not None:
                await self._ports.socket(socket, True)
            while welcome:  # not to be kept as long as it is open
                await self._send(welcome.pop(0), sid, [socket])
            async for received in response:
                await self._receive(socket, received, flags)
            if self._ports.closing is not None:
                await self._ports.closing(socket)
            await socket.finish()
        finally:
            self._registered.pop(sid, None)
            del self._open[socket.number]
            self._journal.record(
                "socket_closed",
                socket=socket.number,
                client_id=sid,
                code=socket.close_code,
                closed_by=socket.closed_by,
            )
            if self._ports.socket is not None:
                await self._ports.socket(socket, False)

    async def close_all(self, code: int, reason: str, timeout: float) -> None:
        """Closes every socket with a close frame, and waits at most ``timeout`` seconds for the replies."""
        self.are_closing = True
        closing = [asyncio.ensure_future(socket.close(code, reason)) for socket in self._open.values()]
        if closing:
            await asyncio.wait(closing, timeout=timeout)

    async def _receive(self, socket: Socket, received: Any, flags: Json) -> None:
        if received.type is WSMsgType.ERROR:  # too long or no valid frame; the socket is closed already
            if isinstance(received.data, WebSocketError):  # whose code aiohttp has forgotten, once it has sent it
                socket.ended_with = received.data.code
            return
        if received.type is WSMsgType.PING:
            await self._answer_ping(socket, received.data)
            return
        if received.type is WSMsgType.PONG:
            return
        text: str | None = received.data if received.type is WSMsgType.TEXT else None
        self._journal.record("message_received", socket=socket.number, text=text, length=len(received.data))
        if text is not None and socket.negotiate(text):
            self._journal.record("feature_flags", socket=socket.number, flags=socket.feature_flags)
            await self._send(messages.feature_flags(flags), socket.sid, [socket])

    async def _answer_ping(self, socket: Socket, payload: bytes) -> None:
        answer: bytes | None = payload
        if self._ports.ping is not None:
            answer = await self._ports.ping(socket, payload)
        if answer is not None:
            await socket.write(frames.frame(frames.PONG, answer))

    async def _send(self, message: AnyMessage, sid: str | None, receivers: list[Socket]) -> None:
        if self._ports.outgoing is None:
            await self.deliver(message, receivers)
        else:
            await self._ports.outgoing(message, sid, receivers, self.deliver)

    async def deliver(self, message: AnyMessage, receivers: Sequence[Socket]) -> None:
        """Sends a message to sockets at once, not through the publisher."""
        self._record_sent(message, receivers)
        frame_of = _framed(message)
        for socket in receivers:
            if socket.put(frame_of(socket.window_bits)) and socket.is_paused:  # a coroutine each would take its time
                await socket.drain()

    def put(self, message: AnyMessage, receivers: Sequence[Socket]) -> None:
        """Sends a message to sockets without waiting for any of them."""
        self._record_sent(message, receivers)
        frame_of = _framed(message)
        for socket in receivers:
            socket.put(frame_of(socket.window_bits))

    def _record_sent(self, message: AnyMessage, receivers: Sequence[Socket]) -> None:
        numbers = [socket.number for socket in receivers]
        if isinstance(message, Message):
            self._journal.record("message_sent", type=message.type, data=message.data, sockets=numbers)
        else:
            length = len(message.content) + 4
            self._journal.record("message_sent", type=f"binary_{message.event}", length=length, sockets=numbers)


def new_sid() -> str:
    """A sid for a client that gave none: 32 hexadecimal digits without dashes (recorded)."""
    return uuid.uuid4().hex


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return f"{peer[0]}:{peer[1]}" if peer else ""
