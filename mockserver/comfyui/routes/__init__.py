"""The HTTP API, one module per area. Each route exists with and without ``/api``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.routes import catalog, files, history, prompts, system, userdata, users, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_routes() -> Iterator[web.RouteDef]:
    """Every route, those under ``/api`` first, as the real server has them."""
    for prefix in ("/api", ""):
        for module in (websocket, system, prompts, history, catalog, files, users, userdata):
            for route in module.routes:
                assert isinstance(route, web.RouteDef)
                yield web.RouteDef(route.method, f"{prefix}{route.path}", route.handler, route.kwargs)
