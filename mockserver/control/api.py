"""The control API of one life."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from mockserver.comfyui.server import ComfyServer


def make_control_app(server: ComfyServer, port: int) -> web.Application:
    """The application behind ``control_url``. ``port`` is the public one."""

    async def get_life(request: web.Request) -> web.Response:
        settings = server.settings
        return web.json_response(
            {
                "life_id": settings.life_id,
                "pid": os.getpid(),
                "port": port,
                "strict": settings.strict,
                "sockets": len(server.sockets),
                "queue_remaining": server.queue.remaining,
                "journal": None if settings.journal is None else str(settings.journal),
            }
        )

    app = web.Application(middlewares=[_refuse_browsers])
    app.router.add_get("/life", get_life)
    return app


@web.middleware
async def _refuse_browsers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses pages of other origins, which could otherwise steer a life from any browser on this machine."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        raise web.HTTPForbidden(text="The control API answers no page of another origin.")
    return await handler(request)
