"""The HTTP API, one module per area. Each route exists with and without ``/api``, but for those of the assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.comfyui.routes import (
    assets,
    catalog,
    files,
    history,
    jobs,
    prompts,
    replacements,
    system,
    userdata,
    users,
    websocket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockserver.comfyui.profile import Profile


def all_routes(profile: Profile) -> Iterator[web.RouteDef]:
    """Every route of a version, those under ``/api`` first, as the real server has them."""
    modules = [websocket, system, prompts, history, catalog, files, users, userdata]
    if profile.has_jobs:
        modules.append(jobs)
    if profile.has_replacements:
        modules.append(replacements)
    if profile.has_assets:
        yield from assets.routes
    for prefix in ("/api", ""):
        for module in modules:
            for route in module.routes:
                assert isinstance(route, web.RouteDef)
                yield web.RouteDef(route.method, f"{prefix}{route.path}", route.handler, route.kwargs)
