"""Records every HTTP request when it comes, and its answer when it goes out."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui.server import SERVER

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler
    from multidict import CIMultiDict, CIMultiDictProxy

BODY_LIMIT = 256 * 1024
"""Longest body in bytes that is recorded; of a longer one only its length."""

_current: ContextVar[tuple[int, float]] = ContextVar("_current")
"""Number and beginning of the request that is being answered: each connection has a context of its own."""

_numbers = itertools.count(1)


@web.middleware
async def journal_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Records the request, so that one whose answer never goes out is known too."""
    number = next(_numbers)
    _current.set((number, time.monotonic()))
    body = await _body_of(request)
    request.config_dict[SERVER].journal.record(
        "request",
        request=number,
        method=request.method,
        path=request.path_qs,
        headers=_as_json(request.headers),
        remote=_peer(request),
        length=request.content_length,
        body=None if body is None else _text_of(body),
    )
    try:
        return await handler(request)
    except asyncio.CancelledError:
        _record_answer(request, None)
        raise


async def journal_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Records the answer when its headers go out: whether there is a file or a websocket is known only then."""
    _record_answer(request, response)


def _record_answer(request: web.Request, response: web.StreamResponse | None) -> None:
    number, began = _current.get()
    body = response.body if isinstance(response, web.Response) else None
    plain = bytes(body) if isinstance(body, bytes | bytearray) and len(body) <= BODY_LIMIT else None
    request.config_dict[SERVER].journal.record(
        "answer",
        request=number,
        status=None if response is None else response.status,
        seconds=round(time.monotonic() - began, 6),
        headers={} if response is None else _as_json(response.headers),
        body=None if plain is None else _text_of(plain),
    )


async def _body_of(request: web.Request) -> bytes | None:
    """The body, where that is short and in one piece. Handlers get it all the same."""
    length = request.content_length
    if not length or length > min(BODY_LIMIT, request.client_max_size) or request.content_type.startswith("multipart/"):
        return None
    return await request.read()


def _text_of(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _as_json(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> dict[str, Any]:
    """Headers by name; several of one name are joined, as RFC 9110 has it."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return f"{peer[0]}:{peer[1]}" if peer else ""
