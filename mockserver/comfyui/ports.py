"""Where faults attach. Every port is empty until one is set; ``comfyui`` calls them and knows no fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from aiohttp import web
    from aiohttp.typedefs import Handler

    from mockserver.comfyui.execution import Step
    from mockserver.comfyui.messages import AnyMessage
    from mockserver.comfyui.queue import QueueItem
    from mockserver.comfyui.sockets import Socket

Json = dict[str, Any]


Deliver = Callable[["AnyMessage", "Sequence[Socket]"], "Awaitable[None]"]
"""Sends a message to sockets, as the server would."""


@dataclass
class Ports:
    """The places at which something can be made to go wrong on purpose."""

    request: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]] | None = None
    """Requests: answers instead of the handler, or calls it."""

    upgrade: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
    """Upgrade decision: an answer that refuses the websocket, or None to go on."""

    upgraded: Callable[[web.Request, str, web.WebSocketResponse], None] | None = None
    """Connections: told whose websocket a connection becomes, before the answer to its request."""

    socket: Callable[[Socket, bool], Awaitable[None]] | None = None
    """Websockets: one has opened (True), before its first message, or has closed (False)."""

    outgoing: Callable[[AnyMessage, str | None, Sequence[Socket], Deliver], Awaitable[None]] | None = None
    """Outgoing messages: delivers the message for this sid (None: for all) to these sockets, or does something else."""

    ping: Callable[[Socket, bytes], Awaitable[bytes | None]] | None = None
    """Pings: the payload of the pong, or None for no pong."""

    closing: Callable[[Socket], Awaitable[None]] | None = None
    """Closing: may wait before the client's close frame is answered."""

    step: Callable[[QueueItem, Step], Awaitable[None]] | None = None
    """Execution: called before each step; may wait, and raise ``NodeFailure`` or ``Interrupted`` at ``Work``."""

    history: Callable[[QueueItem, Json], Awaitable[Json | None]] | None = None
    """History: the entry to write in place of the given one, or None to write none."""
