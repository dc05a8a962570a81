"""What the server is and can: ``/system_stats`` and ``/features``."""

from __future__ import annotations

import os
import sys

from aiohttp import web

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


@routes.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """System and devices, with the memory of a machine that does not exist."""
    system = {
        "os": os.name,
        **_MEMORY,
        "comfyui_version": "0.3.64",
        "required_frontend_version": "1.27.10",
        "installed_templates_version": "0.1.94",
        "required_templates_version": "0.1.94",
        "python_version": sys.version,
        "pytorch_version": f"0.0.0+mockserver.{__version__}",
        "embedded_python": False,
        "argv": ["main.py", *sys.argv[1:]],
    }
    return web.json_response({"system": system, "devices": [_DEVICE]})


@routes.get("/features")
async def get_features(request: web.Request) -> web.Response:
    """The server's feature flags."""
    return web.json_response(request.app[SERVER].features)
