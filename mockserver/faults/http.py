"""Faults of HTTP: what happens to requests and to their answers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

from aiohttp import web

from mockserver.faults.events import Occurrence, is_request
from mockserver.faults.kinds import (
    DelayRequest,
    DribbleAnswer,
    EmptyAnswer,
    FailRequest,
    HangRequest,
    MalformJson,
    RequestFault,
    ResetRequest,
    TruncateAnswer,
    WrongContentType,
)
from mockserver.network import closing
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from mockserver.faults.registry import Registry, Standing

LONGEST_DELIVERY = 10.0
"""Longest time in seconds that a reset waits until the client's system has what was sent before it."""

_OF_THE_CONNECTION = ("Content-Length", "Transfer-Encoding", "Connection", "Date", "Server")
"""Headers that belong to an answer as it was, not as it will be."""


def client_of(request: web.Request) -> str:
    """Who asks, as far as a request says: its ``clientId``, else its address."""
    return request.query.get("clientId") or request.remote or ""


def headers_of_refusal(retry_after: float | None) -> dict[str, str]:
    """``Retry-After`` in whole seconds (RFC 9110, section 10.2.3), where one is given."""
    return {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}


def to_nobody() -> web.Response:
    """An answer to a client that has given up meanwhile."""
    return web.Response(status=503)


class HttpFaults:
    """The port of requests."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers a request as the faults have it. Handshakes of websockets have faults of their own."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        occurrence = Occurrence("request", client_of(request), {"method": request.method, "path": request.path})
        self._registry.notice(occurrence, "before")
        self._registry.notice(occurrence, "after")
        due = [each for each in self._registry.active(RequestFault) if self._is_due(*each, request)]
        if not due:
            return await handler(request)
        return await self._strike(*due[0], request, handler)

    def _is_due(self, standing: Standing, fault: RequestFault, request: web.Request) -> bool:
        client = client_of(request)
        return (
            fault.who.client_id in (None, client)
            and is_request(fault.method, fault.path, request.method, request.path)
            and standing.is_due(Direction.to_server, client)
        )

    async def _strike(
        self, standing: Standing, fault: RequestFault, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        self._registry.strike(standing, client_id=client_of(request), method=request.method, path=request.path_qs)
        if isinstance(fault, FailRequest):
            return web.Response(
                status=fault.status,
                body=fault.body.encode(),
                headers={"Content-Type": fault.content_type, **headers_of_refusal(fault.retry_after)},
            )
        if isinstance(fault, HangRequest | DelayRequest):
            await standing.pause(fault.delay if isinstance(fault, DelayRequest) else None)
            return to_nobody() if request.transport is None else await handler(request)
        return await _alter(standing, fault, request, await _answer_of(handler, request))


async def _answer_of(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as answer:  # aiohttp's way to answer from inside
        return answer


async def _alter(
    standing: Standing, fault: RequestFault, request: web.Request, answer: web.StreamResponse
) -> web.StreamResponse:
    if isinstance(answer, web.FileResponse) and not answer._path.is_file():
        return answer  # aiohttp itself answers 404 to that
    body = _body_of(answer)
    headers = {name: value for name, value in answer.headers.items() if name not in _OF_THE_CONNECTION}
    if isinstance(fault, EmptyAnswer):
        return web.Response(status=answer.status, headers=headers)
    if isinstance(fault, WrongContentType):
        return web.Response(status=answer.status, headers={**headers, "Content-Type": fault.content_type}, body=body)
    if isinstance(fault, MalformJson):
        return web.Response(status=answer.status, headers=headers, body=_broken(body))
    assert isinstance(fault, DribbleAnswer | TruncateAnswer | ResetRequest)
    started = web.StreamResponse(status=answer.status, headers={**headers, "Content-Length": str(len(body))})
    started.force_close()
    with contextlib.suppress(ConnectionError):  # the client may leave at any time
        await started.prepare(request)
        if isinstance(fault, DribbleAnswer):
            await _dribble(standing, fault, started, body)
        else:
            await _break_off(fault, request, started, body)
    return started


async def _dribble(standing: Standing, fault: DribbleAnswer, started: web.StreamResponse, body: bytes) -> None:
    for start in range(0, len(body), fault.size):
        await started.write(body[start : start + fault.size])
        await standing.pause(fault.delay)


async def _break_off(
    fault: TruncateAnswer | ResetRequest, request: web.Request, started: web.StreamResponse, body: bytes
) -> None:
    kept = len(body) // 2 if fault.keep is None else min(fault.keep, len(body))
    if kept:
        await started.write(body[:kept])
    if request.transport is None:
        return
    if isinstance(fault, TruncateAnswer):
        closing.close(request.transport)
        return
    closing.reset_when_delivered(request.transport, time.monotonic() + LONGEST_DELIVERY)
    while request.transport is not None:  # aiohttp itself would end the connection with FIN
        await asyncio.sleep(0.001)


def _body_of(answer: web.StreamResponse) -> bytes:
    """The body that an answer would send."""
    if isinstance(answer, web.FileResponse):
        return answer._path.read_bytes()
    body = answer.body if isinstance(answer, web.Response) else b""
    return bytes(body) if isinstance(body, bytes | bytearray) else b""


def _broken(body: bytes) -> bytes:
    """JSON that breaks off: the last third is missing, its closing bracket at least."""
    return body[: min(len(body) - 1, len(body) * 2 // 3)] if body else b"{"
