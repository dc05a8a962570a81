"""``/prompt``, ``/queue`` and ``/interrupt``: what goes into the queue and what comes out of it."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from aiohttp import web

from mockserver.comfyui.queue import QueueItem
from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER, ComfyServer
from mockserver.comfyui.validation import NO_PROMPT, validate

log = logging.getLogger(__name__)
routes = web.RouteTableDef()


@routes.get("/prompt")
async def get_prompt(request: web.Request) -> web.Response:
    """How many prompts wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": request.app[SERVER].queue.remaining}})


@routes.post("/prompt")
async def post_prompt(request: web.Request) -> web.Response:
    """Validates a prompt and queues it."""
    server = request.app[SERVER]
    body = await json_body(request)
    number = _number(body, server)
    if "prompt" not in body:
        return web.json_response({"error": NO_PROMPT, "node_errors": {}}, status=400)
    prompt = body["prompt"]
    prompt_id = str(body.get("prompt_id", uuid.uuid4()))
    validation = validate(prompt, server.catalog, body.get("partial_execution_targets"))
    if validation.refusal is not None:
        log.info("prompt %s: refused, %s", prompt_id, validation.refusal["type"])
        answer = {"error": validation.refusal, "node_errors": validation.node_errors}
        return web.json_response(answer, status=400)
    extra_data = dict(body.get("extra_data", {}))
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    item = QueueItem(number, prompt_id, prompt, extra_data, validation.outputs)
    log.info("prompt %s: queued", prompt_id)
    server.journal.record("prompt", prompt_id=prompt_id, client_id=item.client_id, state="queued")
    server.queue.put(item)
    server.worker.wake()
    return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": validation.node_errors})


@routes.get("/queue")
async def get_queue(request: web.Request) -> web.Response:
    """The prompt that runs and those that wait, the latter in heap order."""
    queue = request.app[SERVER].queue
    running = [] if queue.running is None else [queue.running]
    return web.json_response({"queue_running": running, "queue_pending": queue.waiting})


@routes.post("/queue")
async def post_queue(request: web.Request) -> web.Response:
    """Removes waiting prompts: ``{"clear": true}``, ``{"delete": [ids]}`` or both."""
    server = request.app[SERVER]
    body = await json_body(request)
    if "clear" in body and body["clear"]:
        server.journal.record("queue_cleared")
        server.queue.clear()
    if "delete" in body:
        for prompt_id in body["delete"]:
            if server.queue.delete(prompt_id):
                server.journal.record("prompt", prompt_id=prompt_id, state="deleted")
    return web.Response()


@routes.post("/interrupt")
async def post_interrupt(request: web.Request) -> web.Response:
    """Interrupts the prompt that runs; with ``{"prompt_id": id}`` only if it is that one. Never an error."""
    try:
        body = await json_body(request)
    except ValueError:
        body = {}
    request.app[SERVER].worker.interrupt(body.get("prompt_id") or None)
    return web.Response()


def _number(body: Any, server: ComfyServer) -> float:
    """The prompt's number: lowest runs first. Drawn for rejected prompts too, unless the request gives one."""
    if "number" in body:
        return float(body["number"])
    number = server.queue.take_number()
    return -number if "front" in body and body["front"] else number
