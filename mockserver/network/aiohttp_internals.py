"""The private parts of aiohttp that a splice needs. A test fails loudly when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web
    from aiohttp.web_protocol import RequestHandler


def is_writing_paused(protocol: RequestHandler) -> bool:
    """Whether the protocol was told to pause writing; telling it twice is an assertion error."""
    return protocol._paused


def set_transport(
    protocol: RequestHandler, websocket: web.WebSocketResponse | None, old: asyncio.Transport, new: asyncio.Transport
) -> None:
    """Makes all that holds a transport write to another one; what no longer has the old one stays as it is.

    The HTTP writer looks at the protocol's attribute each time. A websocket's writer has a reference of its own, from
    its upgrade on. Aiohttp sets the attribute to None when it closes.
    """
    if protocol.transport is old:
        protocol.transport = new
    writer = None if websocket is None else websocket._writer
    if writer is not None and writer.transport is old:
        writer.transport = new
