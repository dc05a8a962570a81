"""``/internal``: an application of its own in the real server, without a twin under ``/api``."""

from __future__ import annotations

import os

from aiohttp import web

from mockserver.comfyui.paths import FILE_FOLDERS, FileFolder
from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER

routes = web.RouteTableDef()

_FOLDERS: dict[str, FileFolder] = {name: name for name in FILE_FOLDERS}


def make_internal_app() -> web.Application:
    """The application under ``/internal``. It needs a server."""
    app = web.Application()
    app.add_routes(routes)
    return app


@routes.get("/logs")
async def get_logs(request: web.Request) -> web.Response:
    """The latest log lines as one text."""
    return web.json_response("".join(f"{entry['t']} - {entry['m']}" for entry in request.app[SERVER].terminal.entries))


@routes.get("/logs/raw")
async def get_raw_logs(request: web.Request) -> web.Response:
    """The latest log lines, and the size of the terminal."""
    terminal = request.app[SERVER].terminal
    return web.json_response({"entries": list(terminal.entries), "size": terminal.size})


@routes.patch("/logs/subscribe")
async def patch_subscription(request: web.Request) -> web.Response:
    """Begins or ends sending new log lines to a client: ``{"clientId": id, "enabled": bool}``."""
    body = await json_body(request)
    client_id, enabled = body["clientId"], body["enabled"]
    terminal = request.app[SERVER].terminal
    if enabled:
        terminal.subscribe(client_id)
    else:
        terminal.unsubscribe(client_id)
    return web.Response()


@routes.get("/folder_paths")
async def get_folder_paths(request: web.Request) -> web.Response:
    """Where model files are looked for."""
    models = request.app[SERVER].models
    return web.json_response({name: models.locations(name) for name in models.folders})


@routes.get("/files/{directory_type}")
async def get_files(request: web.Request) -> web.Response:
    """Files of a directory, latest first."""
    name = request.match_info["directory_type"]
    if name not in _FOLDERS:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    with os.scandir(request.app[SERVER].folders[_FOLDERS[name]]) as entries:
        files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    latest_first = sorted(files, key=lambda entry: -entry.stat(follow_symlinks=False).st_mtime)
    return web.json_response([entry.name for entry in latest_first])
