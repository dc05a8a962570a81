"""The HTTP API, one module per area. Each route exists with and without ``/api``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.routes import catalog, files, history, jobs, prompts, system, userdata, users, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockserver.comfyui.profile import Profile


def all_routes(profile: Profile) -> Iterator[web.RouteDef]:
    """Every route of a version, those under ``/api`` first, as the real server has them."""
    modules = [websocket, system, prompts, history, catalog, files, users, userdata]
    if profile.has_jobs:
        modules.append(jobs)
    for prefix in ("/api", ""):
        for module in modules:
            for route in module.routes:
                assert isinstance(route, web.RouteDef)
                yield web.RouteDef(route.method, f"{prefix}{route.path}", route.handler, route.kwargs)
