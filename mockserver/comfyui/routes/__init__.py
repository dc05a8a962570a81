"""The HTTP API, one module per area. Each route exists with and without ``/api``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.routes import history, prompts, system, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_routes() -> Iterator[web.RouteDef]:
    """Every route, under its own path and under ``/api``."""
    for module in (prompts, history, system, websocket):
        for route in module.routes:
            assert isinstance(route, web.RouteDef)
            yield route
            yield web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs)
