"""Faults of websockets: handshakes, pings, close frames, and frames that are none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.faults.events import Occurrence
from mockserver.faults.http import client_of, headers_of_refusal
from mockserver.faults.kinds import HangUpgrade, Pong, RefuseUpgrade, SlowClose
from mockserver.faults.messages import concerns
from mockserver.faults.raw_frames import bytes_of
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from mockserver.comfyui.sockets import Socket
    from mockserver.faults.kinds import CloseSockets, SendRawFrame
    from mockserver.faults.messages import MessageFaults
    from mockserver.faults.registry import Registry


class WebsocketFaults:
    """The ports of handshakes, sockets, pings and close frames."""

    def __init__(self, registry: Registry, messages: MessageFaults) -> None:
        self._registry = registry
        self._messages = messages

    async def upgrade(self, request: web.Request) -> web.StreamResponse | None:
        """The answer that refuses a handshake, or None. Waits where it hangs."""
        client_id = request.query.get("clientId", "")
        for standing, hanging in self._registry.active(HangUpgrade):
            if hanging.who.client_id in (None, client_id) and standing.is_struck(
                Direction.to_server, client_of(request)
            ):
                self._registry.strike(standing, client_id=client_id)
                await standing.ended.wait()
        for standing, fault in self._registry.active(RefuseUpgrade):
            if fault.who.client_id in (None, client_id) and standing.is_struck(Direction.to_server, client_of(request)):
                self._registry.strike(standing, client_id=client_id, status=fault.status)
                return web.Response(status=fault.status, text=fault.body, headers=headers_of_refusal(fault.retry_after))
        return None

    async def socket(self, socket: Socket, opened: bool) -> None:
        """Begins what waits for a connection or its end."""
        name = "connected" if opened else "disconnected"
        if not opened:
            self._messages.forget(socket)
        self._registry.notice(Occurrence(name, socket.sid), "before")
        self._registry.notice(Occurrence(name, socket.sid), "after")

    async def ping(self, socket: Socket, payload: bytes) -> bytes | None:
        """The payload of the pong, or None for no pong."""
        for standing, fault in self._registry.active(Pong):
            if not concerns(fault.who, socket.sid, socket.ordinal, socket.number) or not standing.is_struck(
                Direction.to_client, socket.sid, socket.ordinal, count_by=socket.sid
            ):
                continue
            self._registry.strike(standing, socket.sid, client_id=socket.sid, socket=socket.number)
            if fault.answer == "wrong":
                return b"wrong" + payload[:100]
            if fault.answer == "none":
                return None
            await asyncio.sleep(fault.delay)
        return payload

    async def closing(self, socket: Socket) -> None:
        """Waits before a client's close frame is answered."""
        for standing, fault in self._registry.active(SlowClose):
            if fault.what == "close_reply" and concerns(fault.who, socket.sid, socket.ordinal, socket.number):
                self._registry.strike(standing, socket.sid, client_id=socket.sid, socket=socket.number)
                await asyncio.sleep(fault.delay)


def close(fault: CloseSockets, sockets: list[Socket]) -> list[asyncio.Task[None]]:
    """Sends close frames; the sockets end when the clients have answered."""
    return [asyncio.ensure_future(socket.close(fault.code, fault.reason)) for socket in sockets]


def send_raw(fault: SendRawFrame, sockets: list[Socket]) -> None:
    """Writes bytes as they are. Nothing follows a frame that was begun only: it would pass for its rest."""
    data = bytes.fromhex(fault.hex) if fault.hex is not None else bytes_of(fault.frame or "rsv_bit", fault.size)
    for socket in sockets:
        if socket.transport is not None and not socket.transport.is_closing():
            socket.transport.write(data)
        socket.is_mute = fault.frame in ("truncated", "oversized_announced", "length_63_bits")
