"""The control API of one life: sets, lists and clears faults, releases what is held, reads the journal.

It is described by the document that it serves itself at ``/openapi.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.control import live

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from mockserver.comfyui.server import ComfyServer
    from mockserver.faults.faults import Faults
    from mockserver.faults.registry import Standing

LONGEST_WAIT = 60.0
"""Longest time in seconds that a request for the journal waits for a record."""

HOLDING = {
    None: ("hold_execution", "hold_network"),
    "execution": ("hold_execution",),
    "network": ("hold_network",),
}
"""Faults that hold something, by what they hold."""

MAX_BODY = 8 * 1024 * 1024
"""Longest body in bytes."""


class ControlApi:
    """Handlers of the control API. ``faults`` is called when it is first needed: most lives have no faults."""

    def __init__(self, server: ComfyServer, port: int, faults: Callable[[], Faults]) -> None:
        self._server = server
        self._port = port
        self._faults = faults

    async def get_life(self, _request: web.Request) -> web.Response:
        """What runs here."""
        settings = self._server.settings
        return web.json_response(
            {
                "life_id": settings.life_id,
                "pid": os.getpid(),
                "port": self._port,
                "strict": settings.strict,
                "seed": settings.seed,
                "tasks": len(asyncio.all_tasks()),
                "sockets": len(self._server.sockets),
                "queue_remaining": self._server.queue.remaining,
                "journal": None if settings.journal is None else str(settings.journal),
                "journal_lost": self._server.journal.lost,
            }
        )

    async def get_state(self, _request: web.Request) -> web.Response:
        """Open websockets in the order in which they came, and prompts in the order in which they run."""
        sockets = [
            {"socket": each.number, "client_id": each.sid, "ordinal": each.ordinal, "is_mute": each.is_mute}
            for each in self._server.sockets.open
        ]
        queue = self._server.queue
        running = [] if queue.running is None else [queue.running]
        prompts = [
            {"prompt_id": each.prompt_id, "client_id": each.client_id, "is_running": each is queue.running}
            for each in (*running, *sorted(queue.waiting, key=lambda each: each.number))
        ]
        return web.json_response({"sockets": sockets, "prompts": prompts}, dumps=_dumps)

    async def get_document(self, _request: web.Request) -> web.Response:
        """This API, described as OpenAPI 3.1."""
        from mockserver.control.openapi import document

        return web.json_response(document())

    async def get_faults(self, _request: web.Request) -> web.Response:
        """All faults, and how they stand."""
        await self._faults().settled()
        return web.json_response({"faults": [each.as_json() for each in self._faults().registry.all()]})

    async def post_faults(self, request: web.Request) -> web.StreamResponse:
        """Sets a fault, or several that all are right. One that ends or freezes the life does so after the answer."""
        from mockserver.faults.kinds import EndsOrFreezes, FaultError, SlowStart, read_fault

        body = await _json(request)
        registry = self._faults().registry
        try:
            wanted = [read_fault(each) for each in (body if isinstance(body, list) else [body])]
            standing = registry.set_all(wanted, but=EndsOrFreezes | SlowStart)
        except FaultError as failure:
            raise _error(400, str(failure)) from None
        await self._faults().settled()
        described = [each.as_json() for each in standing]
        answer = web.json_response(described if isinstance(body, list) else described[0], status=201)
        held = [each for each in standing if each.fault.when is None and isinstance(each.fault, EndsOrFreezes)]
        if held:
            with contextlib.suppress(ConnectionError):  # whoever asks need not stay for the answer
                await answer.prepare(request)
                await answer.write_eof()
        for each in held:
            registry.begin(each)
        return answer

    async def get_fault(self, request: web.Request) -> web.Response:
        """One fault, and how it stands: one that has ended does so on the network too."""
        await self._faults().settled()
        return web.json_response(self._find(request).as_json())

    async def delete_fault(self, request: web.Request) -> web.Response:
        """Clears a fault. What it held back goes on; one that has ended stays as it is."""
        standing = self._find(request)
        self._faults().registry.clear(standing.id)
        await self._faults().settled()
        return web.json_response(standing.as_json())

    async def delete_faults(self, _request: web.Request) -> web.Response:
        """Clears all faults."""
        cleared = self._faults().registry.clear_all()
        await self._faults().settled()
        return web.json_response({"faults": [each.as_json() for each in cleared]})

    async def post_release(self, request: web.Request) -> web.Response:
        """Lets go on what is held: executions, the network, or both (``{"what": "execution"}``, ``"network"``)."""
        body = await _json(request) if request.can_read_body else {}
        what = body.get("what") if isinstance(body, dict) else body
        if not isinstance(what, str | None) or what not in HOLDING:
            raise _error(400, f"what is {what!r}; give 'execution' or 'network', or leave it out for both.")
        released = self._faults().release(HOLDING[what])
        await self._faults().settled()
        return web.json_response({"faults": [each.as_json() for each in released]})

    async def get_journal(self, request: web.Request) -> web.Response:
        """Records from position ``since`` on; with ``kind`` only those; ``wait`` seconds for one if there is none."""
        since, wait = int(_number(request, "since")), _number(request, "wait")
        kind = request.query.get("kind")
        journal = self._server.journal
        deadline = asyncio.get_running_loop().time() + min(wait, LONGEST_WAIT)
        while True:
            appended = journal.appended
            first, records = journal.since(min(since, len(journal)))
            wanted = [each for each in records if kind in (None, each["kind"])]
            left = deadline - asyncio.get_running_loop().time()
            if wanted or left <= 0:
                return web.json_response({"records": wanted, "first": first, "next": len(journal)}, dumps=_dumps)
            try:
                await asyncio.wait_for(appended.wait(), left)
            except asyncio.TimeoutError:
                continue

    def _find(self, request: web.Request) -> Standing:
        fault_id = request.match_info["fault_id"]
        try:
            return self._faults().registry.get(fault_id)
        except KeyError:
            known = ", ".join(each.id for each in self._faults().registry.all()) or "none"
            raise _error(404, f"There is no fault {fault_id!r}. Known: {known}.") from None


def make_control_app(
    server: ComfyServer, port: int, faults: Callable[[], Faults], token: str | None = None
) -> web.Application:
    """The application behind ``control_url``. ``port`` is the public one; ``token`` is asked of everybody."""
    api = ControlApi(server, port, faults)
    app = web.Application(middlewares=[_say_errors_in_json, _guard(token)], client_max_size=MAX_BODY)
    app.router.add_get(live.PATH, live.get_live_page)
    app.router.add_get("/life", api.get_life)
    app.router.add_get("/state", api.get_state)
    app.router.add_get("/openapi.json", api.get_document)
    app.router.add_get("/faults", api.get_faults)
    app.router.add_post("/faults", api.post_faults)
    app.router.add_delete("/faults", api.delete_faults)
    app.router.add_get("/faults/{fault_id}", api.get_fault)
    app.router.add_delete("/faults/{fault_id}", api.delete_fault)
    app.router.add_post("/release", api.post_release)
    app.router.add_get("/journal", api.get_journal)
    return app


def _guard(token: str | None) -> Any:
    """Keeps away pages of other origins, which could steer a life from any browser here, and who has no token."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            raise _error(403, "The control API answers no page of another origin.")
        if token is None and not _is_loopback(request.host):
            raise _error(403, "The control API answers on loopback only, under a loopback name such as 127.0.0.1.")
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        is_known = token is None or hmac.compare_digest(given, f"Bearer {token}".encode())
        if not is_known and request.path != live.PATH:
            raise _error(
                401,
                "The control API wants the header Authorization: Bearer TOKEN, with the token of the ready line or "
                "of --control-token.",
                **{"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)

    return guard


@web.middleware
async def _say_errors_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What aiohttp itself answers, in the form of all other errors."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as answer:
        allowed = ", ".join(sorted(answer.allowed_methods))
        answer.text = _dumps({"error": f"{request.path} takes {allowed}. All of it is described at /openapi.json."})
        failure: web.HTTPException = answer
    except web.HTTPRequestEntityTooLarge as answer:
        answer.text = _dumps({"error": f"The body is too long; {MAX_BODY} bytes are allowed."})
        failure = answer
    except web.HTTPNotFound as answer:
        if answer.content_type == "application/json":
            raise
        failure = _error(404, f"There is no {request.path}. What there is is described at /openapi.json.")
    failure.content_type = "application/json"
    raise failure


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine to itself: a page that has rebound its own name does not."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as failure:
        raise _error(400, f"The body is no JSON: {failure}.") from None


def _number(request: web.Request, name: str) -> float:
    text = request.query.get(name, "0")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise _error(400, f"{name}={text!r} is no number; give one from 0 on.")
    return number


def _dumps(value: Any) -> str:
    return json.dumps(value, default=str)


def _error(status: int, message: str, **headers: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
    }
    return kinds[status](text=_dumps({"error": message}), content_type="application/json", headers=headers)
