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
    routed = _prepared.pop(_kind(server), None) or _Routed(server)
    app = routed.app
    app[SERVER] = routed.internal[SERVER] = server
    app.middlewares.extend([journal_request, _request_port, *middlewares_of(server.settings, server.profile)])
    app.on_response_prepare.append(journal_answer)
    if not server.settings.strict:
        app.on_response_prepare.append(_name_life)
    return app


def prepare_app(server: ComfyServer) -> None:
    """Lets the next ``make_app`` for a server of this kind find its routes: in a process that forks lives."""
    _prepared[_kind(server)] = _Routed(server)


class _Routed:
    """An application with its routes and nothing else: what takes the time, and is the same for many servers."""

    def __init__(self, server: ComfyServer) -> None:
        self.internal = make_internal_app()
        self.app = web.Application(client_max_size=_max_body(server))
        self.app.add_subapp("/internal", self.internal)
        self.app.add_routes(list(all_routes(server.profile)))
        self.app.add_routes([web.static("/templates", server.web_root.templates)])
        # Last, for it takes every path: what no route has asked for is a file here, or is missing.
        self.app.add_routes([web.static("/", server.web_root.directory)])


def _kind(server: ComfyServer) -> tuple[object, ...]:
    """What the routes of a server depend on."""
    return server.profile.name, _max_body(server), server.web_root.directory


def _max_body(server: ComfyServer) -> int:
    return round(server.settings.max_upload_size * 1024 * 1024)


_prepared: dict[tuple[object, ...], _Routed] = {}


@web.middleware
async def _request_port(request: web.Request, handler: Handler) -> web.StreamResponse:
    port = request.app[SERVER].ports.request
    return await (handler(request) if port is None else port(request, handler))


async def _name_life(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[LIFE_HEADER] = request.app[SERVER].settings.life_id
