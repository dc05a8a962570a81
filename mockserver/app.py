"""Assembles one life's HTTP application: routes, the request port, the journal of requests."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.middlewares import middlewares_of
from mockserver.comfyui.routes import all_routes
from mockserver.comfyui.routes.internal import make_internal_app
from mockserver.comfyui.routes.websocket import LIFE_HEADER
from mockserver.comfyui.server import SERVER, ComfyServer

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

_began: ContextVar[float] = ContextVar("_began")
"""When the request that is being answered came: each connection has a context of its own."""


def make_app(server: ComfyServer) -> web.Application:
    """The application that answers on the public port."""
    settings = server.settings
    app = web.Application(
        middlewares=[_journal_request, _request_port, *middlewares_of(settings, server.profile)],
        client_max_size=round(settings.max_upload_size * 1024 * 1024),
    )
    app[SERVER] = server
    app.add_subapp("/internal", make_internal_app(server))
    app.add_routes(list(all_routes(server.profile)))
    app.add_routes([web.static("/templates", server.web_root.templates)])
    # Last, for it takes every path: what no route has asked for is a file here, or is missing.
    app.add_routes([web.static("/", server.web_root.directory)])
    app.on_response_prepare.append(_journal_file)
    if not server.settings.strict:
        app.on_response_prepare.append(_name_life)
    return app


@web.middleware
async def _journal_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Records each request with its answer; a websocket's when it is answered, which is at its end."""
    _began.set(time.monotonic())
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        _record_request(request, answer.status)
        raise
    except asyncio.CancelledError:
        _record_request(request, None)
        raise
    except Exception:
        _record_request(request, 500)
        raise
    if not isinstance(response, web.FileResponse):
        _record_request(request, response.status)
    return response


async def _journal_file(request: web.Request, response: web.StreamResponse) -> None:
    """Records the request for a file: only when its answer is sent it is known whether there is one."""
    if isinstance(response, web.FileResponse):
        _record_request(request, response.status)


def _record_request(request: web.Request, status: int | None) -> None:
    request.config_dict[SERVER].journal.record(
        "request",
        method=request.method,
        path=request.path_qs,
        status=status,
        seconds=round(time.monotonic() - _began.get(), 6),
    )


@web.middleware
async def _request_port(request: web.Request, handler: Handler) -> web.StreamResponse:
    port = request.app[SERVER].ports.request
    return await (handler(request) if port is None else port(request, handler))


async def _name_life(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[LIFE_HEADER] = request.app[SERVER].settings.life_id
