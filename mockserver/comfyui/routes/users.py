"""``/users`` and ``/settings``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

routes = web.RouteTableDef()

_SETTINGS_FILE = "comfy.settings.json"


@routes.get("/users")
async def get_users(request: web.Request) -> web.Response:
    """The users; without ``--multi-user`` whether there is a folder of the one user."""
    users = request.app[SERVER].users
    if users.multi_user:
        return web.json_response({"storage": "server", "users": users.names})
    folder = users.folder(request.headers)
    return web.json_response({"storage": "server", "migrated": folder is not None and folder.exists()})


@routes.post("/users")
async def post_users(request: web.Request) -> web.Response:
    """Adds a user; the answer is the id."""
    server = request.app[SERVER]
    body = await json_body(request)
    name = body["username"]
    if name in server.users.names.values():
        return web.json_response({"error": "Duplicate username."}, status=400)
    try:
        return web.json_response(server.users.add(name))
    except ValueError as failure:
        if server.profile.explains_bad_usernames:
            return web.json_response({"error": str(failure)}, status=400)
        raise


@routes.get("/settings")
async def get_settings(request: web.Request) -> web.Response:
    """All settings of the user."""
    return web.json_response(_read(_file(request)))


@routes.get("/settings/{id}")
async def get_setting(request: web.Request) -> web.Response:
    """One setting; null when it is not set."""
    settings = _read(_file(request))
    setting = request.match_info["id"]
    # Anybody can write the file as user data, and then it may hold a list.
    return web.json_response(settings[setting] if setting in settings else None)  # noqa: SIM401


@routes.post("/settings")
async def post_settings(request: web.Request) -> web.Response:
    """Sets several settings and keeps the others."""
    file = _file(request)
    settings = _read(file)
    new = await json_body(request)
    _write(file, {**settings, **new})
    return web.Response()


@routes.post("/settings/{id}")
async def post_setting(request: web.Request) -> web.Response:
    """Sets one setting."""
    file = _file(request)
    settings = _read(file)
    settings[request.match_info["id"]] = await json_body(request)
    _write(file, settings)
    return web.Response()


def _file(request: web.Request) -> Path:
    try:
        file = request.app[SERVER].users.file(request.headers, _SETTINGS_FILE)
    except KeyError:
        raise web.HTTPUnauthorized from None
    if file is None:
        raise ValueError("the user's folder lies outside of the user directory")
    return file


def _read(file: Path) -> Json:
    try:
        settings: Json = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or no JSON
        return {}
    return settings


def _write(file: Path, settings: Json) -> None:
    file.write_text(json.dumps(settings, indent=4), encoding="utf-8")
