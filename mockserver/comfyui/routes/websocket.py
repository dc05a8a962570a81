"""``/ws``: the websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui import messages
from mockserver.comfyui.server import SERVER
from mockserver.comfyui.sockets import MAX_MESSAGE_BYTES, new_sid

if TYPE_CHECKING:
    from mockserver.comfyui.messages import AnyMessage

routes = web.RouteTableDef()

LIFE_HEADER = "X-Mock-Life"


@routes.get("/ws")
async def get_websocket(request: web.Request) -> web.StreamResponse:
    """Upgrades to a websocket and serves it. ``clientId`` is kept as the sid; without one the server makes it."""
    server = request.app[SERVER]
    if server.ports.upgrade is not None:
        refusal = await server.ports.upgrade(request)
        if refusal is not None:
            return refusal
    if server.sockets.are_closing:  # it would get no close frame
        refusal = web.Response(status=503, text="The server is shutting down.")
        refusal.force_close()
        return refusal
    limit = server.settings.max_sockets
    if limit is not None and len(server.sockets) >= limit:
        return web.Response(status=503, text=f"{limit} websockets are open, which is the limit (--max-sockets).")
    sid = request.query.get("clientId") or new_sid()
    response = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, autoclose=False, autoping=False)
    response.headers[LIFE_HEADER] = server.settings.life_id
    if server.ports.upgraded is not None:
        server.ports.upgraded(request, sid, response)
    await response.prepare(request)
    welcome: list[AnyMessage] = [messages.status(server.queue.remaining, sid)]
    node = server.worker.node_running_for(sid)
    if node is not None:
        welcome.append(messages.executing_resumed(node))
    await server.sockets.serve(request, response, welcome, sid, server.features)
    return response
