"""The jobs API of newer versions. Its routes are declared with ``/api``: without it they do not exist."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from mockserver.comfyui.jobs import JOB_STATUSES, SORT_KEYS, finished_job, queued_job, sorted_jobs
from mockserver.comfyui.routes.requests import json_body
from mockserver.comfyui.server import SERVER, ComfyServer

Json = dict[str, Any]

routes = web.RouteTableDef()


class _WrongQuery(Exception):
    """A query parameter is wrong. The text is the answer's."""


@routes.get("/api/jobs")
async def get_jobs(request: web.Request) -> web.Response:
    """Jobs: ``?status=&workflow_id=&sort_by=&sort_order=&limit=&offset=``."""
    query = request.query
    try:
        statuses = _statuses(query.get("status", ""))
        sort_by = _one_of(SORT_KEYS, query.get("sort_by", "created_at"), "sort_by")
        descending = _one_of(("asc", "desc"), query.get("sort_order", "desc"), "sort_order") == "desc"
        limit = _integer(query.get("limit"), "limit")
        offset = max(0, _integer(query.get("offset"), "offset") or 0)
        if limit is not None and limit <= 0:
            raise _WrongQuery("limit must be a positive integer")
    except _WrongQuery as wrong:
        return _error(str(wrong))
    jobs = [job for job in _all_jobs(request.app[SERVER]) if job["status"] in statuses]
    if "workflow_id" in query:
        jobs = [job for job in jobs if job.get("workflow_id") == query["workflow_id"]]
    end = len(jobs) if limit is None else offset + limit
    shown = sorted_jobs(jobs, sort_by, descending=descending)[offset:end]
    pagination = {"offset": offset, "limit": limit, "total": len(jobs), "has_more": end < len(jobs)}
    return web.json_response({"jobs": shown, "pagination": pagination})


@routes.get("/api/jobs/{job_id}")
async def get_job(request: web.Request) -> web.Response:
    """One job, with its outputs and its workflow when it has finished."""
    server = request.app[SERVER]
    job_id = request.match_info["job_id"]
    job = next((job for job in _queued_jobs(server) if job["id"] == job_id), None)
    entry = server.history.get(job_id).get(job_id)
    if job is None and entry is not None:
        job = finished_job(job_id, entry, in_full=True)
    return _error("Job not found", status=404) if job is None else web.json_response(job)


@routes.post("/api/jobs/cancel")
async def cancel_jobs(request: web.Request) -> web.Response:
    """Cancels several jobs: ``{"job_ids": [ids]}``."""
    try:
        body = await json_body(request)
    except ValueError:
        return _error("Request body must be valid JSON")
    job_ids = body.get("job_ids") if isinstance(body, dict) else None
    if not isinstance(job_ids, list):
        return _error("job_ids must be a list")
    invalid = [job_id for job_id in job_ids if not is_uuid(job_id)]
    if invalid:
        return web.json_response({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, status=400)
    cancelled = [_cancel(request.app[SERVER], job_id) for job_id in job_ids]
    return web.json_response({"cancelled": any(cancelled)})


@routes.post("/api/jobs/{job_id}/cancel")
async def cancel_job(request: web.Request) -> web.Response:
    """Cancels one job: interrupts it or takes it out of the queue."""
    return web.json_response({"cancelled": _cancel(request.app[SERVER], request.match_info["job_id"])})


def is_uuid(given: object) -> bool:
    """Whether this is a UUID in its canonical form: lower case, with hyphens."""
    try:
        return isinstance(given, str) and str(uuid.UUID(given)) == given
    except ValueError:
        return False


def _cancel(server: ComfyServer, job_id: str) -> bool:
    if server.queue.running is not None and server.queue.running.prompt_id == job_id:
        server.worker.interrupt(job_id)
        return True
    is_deleted = server.queue.delete(job_id)
    if is_deleted:
        server.journal.record("prompt", prompt_id=job_id, state="deleted")
    return is_deleted


def _queued_jobs(server: ComfyServer) -> list[Json]:
    running = [] if server.queue.running is None else [queued_job(server.queue.running, "in_progress")]
    return [*running, *(queued_job(item, "pending") for item in server.queue.waiting)]


def _all_jobs(server: ComfyServer) -> list[Json]:
    finished = [finished_job(prompt_id, entry) for prompt_id, entry in server.history.list().items()]
    return [*_queued_jobs(server), *finished]


def _statuses(text: str) -> list[str]:
    asked = [status.strip().lower() for status in text.split(",") if status.strip()]
    unknown = [status for status in asked if status not in JOB_STATUSES]
    if unknown:
        valid = ", ".join(JOB_STATUSES)
        raise _WrongQuery(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {valid}")
    return asked or list(JOB_STATUSES)


def _one_of(allowed: tuple[Any, ...], given: str, name: str) -> Any:
    if given not in allowed:
        raise _WrongQuery(f"{name} must be {' or '.join(map(repr, allowed))}")
    return given


def _integer(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise _WrongQuery(f"{name} must be an integer") from None


def _error(text: str, *, status: int = 400) -> web.Response:
    return web.json_response({"error": text}, status=status)
