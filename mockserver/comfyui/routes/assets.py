"""The asset API of newer versions, switched off as it is without ``--enable-assets``: every route says so.

Its routes exist with ``/api`` only, and once: they are not among those that the real server doubles.
"""

from __future__ import annotations

from aiohttp import web

_ID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

_PATHS = {
    "/api/assets": ("GET", "POST"),
    f"/api/assets/{{id:{_ID}}}": ("GET", "PUT", "DELETE"),
    f"/api/assets/{{id:{_ID}}}/content": ("GET",),
    f"/api/assets/{{id:{_ID}}}/tags": ("POST", "DELETE"),
    "/api/assets/hash/{hash}": ("HEAD",),
    "/api/assets/from-hash": ("POST",),
    "/api/assets/tags/refine": ("GET",),
    "/api/assets/seed": ("POST",),
    "/api/assets/seed/status": ("GET",),
    "/api/assets/seed/cancel": ("POST",),
    "/api/assets/prune": ("POST",),
    "/api/tags": ("GET",),
}
"""Paths with their methods, read in the source of newer versions and not recorded."""

_TEXT = "Assets system is disabled. Start the server with --enable-assets to use this feature."


async def _say_that_it_is_off(_request: web.Request) -> web.Response:
    error = {"code": "SERVICE_DISABLED", "message": _TEXT, "details": {}}
    return web.json_response({"error": error}, status=503)


routes = [
    web.get(path, _say_that_it_is_off) if method == "GET" else web.route(method, path, _say_that_it_is_off)
    for path, methods in _PATHS.items()
    for method in methods
]
