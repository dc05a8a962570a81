"""Assembles one life's HTTP application: routes, the request port, the journal of requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.middlewares import middlewares_of
from mockserver.comfyui.routes import all_routes
from mockserver.comfyui.routes.internal import make_internal_app
from mockserver.comfyui.routes.websocket import LIFE_HEADER
from mockserver.comfyui.server import SERVER, ComfyServer
from mockserver.requests_journal import journal_answer, journal_request

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


def make_app(server: ComfyServer) -> web.Application:
    """The application that answers on the public port."""
    settings = server.settings
    app = web.Application(
        middlewares=[journal_request, _request_port, *middlewares_of(settings, server.profile)],
        client_max_size=round(settings.max_upload_size * 1024 * 1024),
    )
    app[SERVER] = server
    app.add_subapp("/internal", make_internal_app(server))
    app.add_routes(list(all_routes(server.profile)))
    # Last, for it takes every path: what no route has asked for is a file here, or is missing.
    app.add_routes([web.static("/", server.web_root.directory)])
    app.on_response_prepare.append(journal_answer)
    if not server.settings.strict:
        app.on_response_prepare.append(_name_life)
    return app


@web.middleware
async def _request_port(request: web.Request, handler: Handler) -> web.StreamResponse:
    port = request.app[SERVER].ports.request
    return await (handler(request) if port is None else port(request, handler))


async def _name_life(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[LIFE_HEADER] = request.app[SERVER].settings.life_id
