"""``/history``: what has been run."""

from __future__ import annotations

from aiohttp import web

from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER

routes = web.RouteTableDef()


@routes.get("/history")
async def get_history(request: web.Request) -> web.Response:
    """Finished prompts, oldest first: ``?max_items=N``, ``?offset=K``."""
    max_items = request.query.get("max_items")
    offset = int(request.query.get("offset", -1))
    return web.json_response(request.app[SERVER].history.list(None if max_items is None else int(max_items), offset))


@routes.get("/history/{prompt_id}")
async def get_history_of_prompt(request: web.Request) -> web.Response:
    """One finished prompt; an empty object for an unknown or unfinished one."""
    return web.json_response(request.app[SERVER].history.get(request.match_info["prompt_id"]))


@routes.post("/history")
async def post_history(request: web.Request) -> web.Response:
    """Forgets finished prompts: ``{"clear": true}``, ``{"delete": [ids]}`` or both."""
    history = request.app[SERVER].history
    body = await json_body(request)
    if "clear" in body and body["clear"]:
        history.clear()
    if "delete" in body:
        history.delete(body["delete"])
    return web.Response()
