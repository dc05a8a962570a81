"""What the server is and can: ``/``, ``/system_stats``, ``/features``, ``/free``."""

from __future__ import annotations

import os
import sys
from typing import Any

from aiohttp import web

from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER
from mockserver.version import __version__

routes = web.RouteTableDef()

_GIB = 1024**3
_MEMORY = {"ram_total": 24 * _GIB, "ram_free": 16 * _GIB}
_DEVICE = {
    "name": "cpu",
    "type": "cpu",
    "index": None,
    "vram_total": 24 * _GIB,
    "vram_free": 16 * _GIB,
    "torch_vram_total": 24 * _GIB,
    "torch_vram_free": 16 * _GIB,
}


@routes.get("/")
async def get_index(request: web.Request) -> web.FileResponse:
    """The page for people."""
    server = request.app[SERVER]
    response = web.FileResponse(server.web_root.index)
    storing = "no-store, must-revalidate" if server.profile.never_stores_index else "no-cache"
    response.headers.update({"Cache-Control": storing, "Pragma": "no-cache", "Expires": "0"})
    return response


@routes.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """System and devices, with the memory of a machine that does not exist."""
    profile = request.app[SERVER].profile
    system: dict[str, Any] = {
        "os": sys.platform if profile.names_platform else os.name,
        **_MEMORY,
        "comfyui_version": profile.comfyui_version,
        "required_frontend_version": "1.27.10",
        "installed_templates_version": "0.1.94",
        "required_templates_version": "0.1.94",
        "python_version": sys.version,
        "pytorch_version": f"0.0.0+mockserver.{__version__}",
        "embedded_python": False,
        "argv": ["main.py", *sys.argv[1:]],
    }
    if profile.names_platform:
        system |= {"comfy_package_versions": [], "deploy_environment": "local-git"}
    return web.json_response({"system": system, "devices": [_DEVICE]})


@routes.get("/features")
async def get_features(request: web.Request) -> web.Response:
    """The server's feature flags."""
    return web.json_response(request.app[SERVER].features)


@routes.post("/free")
async def post_free(request: web.Request) -> web.Response:
    """Frees memory when no prompt runs: ``{"free_memory": bool}``. There are no models to unload."""
    body = await json_body(request)
    request.app[SERVER].worker.free(memory=bool(body.get("free_memory", False)))
    return web.Response()
