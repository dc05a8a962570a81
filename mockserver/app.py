"""Assembles one life's HTTP application: its routes, and what all requests pass on their way to them."""

from __future__ import annotations

from aiohttp import web

from mockserver.comfyui.middlewares import middlewares_of
from mockserver.comfyui.routes import all_routes
from mockserver.comfyui.routes.internal import make_internal_app
from mockserver.comfyui.server import SERVER, ComfyServer
from mockserver.requests_journal import RequestsJournal


def make_app(server: ComfyServer) -> web.Application:
    """The application that answers on the public port."""
    routed = _prepared.pop(_kind(server), None) or _Routed(server)
    app = routed.app
    app[SERVER] = routed.internal[SERVER] = server
    requests = RequestsJournal(server)
    app.middlewares.extend([requests.take, *middlewares_of(server.settings, server.profile)])
    app.on_response_prepare.append(requests.answer)
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
