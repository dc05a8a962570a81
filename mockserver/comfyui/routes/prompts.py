"""``/prompt``, ``/queue`` and ``/interrupt``: what goes into the queue and what comes out of it."""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui.queue import QueueItem
from mockserver.comfyui.routes.jobs import is_uuid
from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER, ComfyServer
from mockserver.comfyui.validation import BAD_PROMPT_ID, NO_PROMPT, validate

if TYPE_CHECKING:
    from mockserver.comfyui.profile import Profile

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
        return _refusal(NO_PROMPT)
    prompt_id = _prompt_id(body, server.profile)
    if prompt_id is None:
        return _refusal(BAD_PROMPT_ID)
    prompt = body["prompt"]
    targets = body.get("partial_execution_targets")
    validation = validate(prompt, server.catalog, targets, file_exists=server.has_file, profile=server.profile)
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        extra_data["client_id"] = body["client_id"]
    if validation.refusal is not None:
        log.info("prompt %s: refused, %s", prompt_id, validation.refusal["type"])
        return _refusal(validation.refusal, validation.node_errors)
    if server.profile.stamps_prompts:
        extra_data["create_time"] = time.time_ns() // 1_000_000
        if "Comfy-Usage-Source" in request.headers:
            extra_data["comfy_usage_source"] = request.headers["Comfy-Usage-Source"]
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
    except json.JSONDecodeError:
        body = {}
    request.app[SERVER].worker.interrupt(body.get("prompt_id") or None)
    return web.Response()


def _number(body: Any, server: ComfyServer) -> float:
    """The prompt's number: lowest runs first. Drawn for rejected prompts too, unless the request gives one."""
    if "number" in body:
        return float(body["number"])
    number = server.queue.take_number()
    return -number if "front" in body and body["front"] else number


def _prompt_id(body: Any, profile: Profile) -> str | None:
    """The prompt's id, the client's or a new one. None if the client's may not be one."""
    new = str(uuid.uuid4())
    if not profile.needs_uuid_prompt_ids:
        return str(body.get("prompt_id", new))
    given = body.get("prompt_id")
    if given is None:
        return new
    return str(given) if is_uuid(given) else None


def _refusal(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors or {}}, status=400)
