"""Faults of websockets: handshakes, pings, close frames, and frames that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver import frames
from mockserver.faults.events import Occurrence
from mockserver.faults.http import client_of, headers_of_refusal, to_nobody
from mockserver.faults.kinds import HangUpgrade, Matching, Pong, RefuseUpgrade, SlowClose
from mockserver.faults.messages import concerns
from mockserver.faults.raw_frames import LAST_WORDS, bytes_of
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from mockserver.comfyui.sockets import Socket
    from mockserver.faults.background import Background
    from mockserver.faults.kinds import CloseSockets, SendRawFrame
    from mockserver.faults.messages import MessageFaults
    from mockserver.faults.registry import Registry, Standing


class WebsocketFaults:
    """The ports of handshakes, sockets, pings and close frames."""

    def __init__(self, registry: Registry, messages: MessageFaults, background: Background) -> None:
        self._registry = registry
        self._messages = messages
        self._background = background

    async def upgrade(self, request: web.Request) -> web.StreamResponse | None:
        """The answer that refuses a handshake, or None. Waits where it hangs."""
        client = client_of(request)
        due = [
            (standing, fault)
            for standing, fault in self._registry.active(Matching)
            if isinstance(fault, HangUpgrade | RefuseUpgrade)
            and fault.who.client_id in (None, client)
            and standing.is_due(Direction.to_server, client)
        ]
        for standing, fault in due:
            if standing.has_ended:
                continue
            if isinstance(fault, RefuseUpgrade):
                self._registry.strike(standing, client_id=client, status=fault.status)
                return web.Response(status=fault.status, text=fault.body, headers=headers_of_refusal(fault.retry_after))
            self._registry.strike(standing, client_id=client)
            await standing.pause()
            if request.transport is None:
                return to_nobody()
        return None

    async def socket(self, socket: Socket, opened: bool) -> None:
        """Begins what waits for a connection or its end."""
        name = "connected" if opened else "disconnected"
        if not opened:
            self._messages.forget(socket)
        self._registry.notice(Occurrence(name, socket.sid), "before")
        self._registry.notice(Occurrence(name, socket.sid), "after")

    async def ping(self, socket: Socket, payload: bytes) -> bytes | None:
        """The payload of the pong, or None for no pong now."""
        due = [
            (standing, fault)
            for standing, fault in self._registry.active(Pong)
            if concerns(fault.who, socket)
            and standing.is_due(Direction.to_client, socket.sid, socket.ordinal, count_by=socket.sid)
        ]
        if not due:
            return payload
        standing, fault = due[0]
        self._registry.strike(standing, socket.sid, client_id=socket.sid, socket=socket.number)
        if fault.answer == "wrong":
            return b"wrong" + payload[:100]
        if fault.answer == "late":
            self._background.add(_pong_late(standing, fault, socket, payload))
        return None

    async def closing(self, socket: Socket) -> None:
        """Waits before a client's close frame is answered."""
        if not socket.is_open:
            return
        for standing, fault in self._registry.active(SlowClose):
            if fault.what == "close_reply" and concerns(fault.who, socket) and not standing.has_ended:
                self._registry.strike(standing, client_id=socket.sid, socket=socket.number)
                await standing.pause(fault.delay)


async def _pong_late(standing: Standing, fault: Pong, socket: Socket, payload: bytes) -> None:
    await standing.pause(fault.delay)
    await socket.write(frames.frame(frames.PONG, payload))


def close(fault: CloseSockets, sockets: list[Socket]) -> None:
    """Sends close frames; the sockets end when the clients have answered."""
    for socket in sockets:
        socket.begin_close(fault.code, fault.reason)


def send_raw(fault: SendRawFrame, sockets: list[Socket]) -> None:
    """Writes bytes as they are.

    Nothing follows a frame that was only begun, as it would pass for its rest, nor a close frame.
    """
    data = bytes.fromhex(fault.hex) if fault.hex is not None else bytes_of(fault.frame or "rsv_bit", fault.size)
    for socket in sockets:
        socket.put(data)
        if fault.frame in LAST_WORDS:
            socket.is_mute = True
