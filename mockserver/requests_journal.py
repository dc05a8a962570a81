"""Records every HTTP request when it comes, and its answer when it goes out."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui.routes.websocket import LIFE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

    from mockserver.comfyui.server import ComfyServer

    Json = dict[str, Any]
    Headers = Mapping[str, str]

BODY_LIMIT = 256 * 1024
"""Longest body in bytes that is recorded; of a longer one only its length."""

_current: ContextVar[tuple[int, float] | None] = ContextVar("_current", default=None)
"""Number and beginning of the request that is being answered: each connection has a context of its own."""


class RequestsJournal:
    """Writes the requests of one life into its journal. The outermost middleware, since all that comes passes here."""

    def __init__(self, server: ComfyServer) -> None:
        self._record = server.journal.record_by
        self._ports = server.ports
        self._life_id = None if server.settings.strict else server.settings.life_id
        self._numbers = itertools.count(1)

    @web.middleware
    async def take(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Records the request when it comes, so that one whose answer never goes out is known too."""
        began = self._number()
        _current.set(began)
        length = request.content_length
        self._request(request, began[0], length, await _body_of(request, length) if length else None)
        port = self._ports.request
        try:
            return await (handler(request) if port is None else port(request, handler))
        except asyncio.CancelledError:
            self._record("answer", _answer, began[0], time.monotonic() - began[1], None, {}, None)
            raise
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # The client has gone before it was answered. To aiohttp this would be a handler that fails.
            self._record("answer", _answer, began[0], time.monotonic() - began[1], None, {}, None)
            raise asyncio.CancelledError from None

    async def answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Records the answer when its headers go out: whether there is a file or a websocket is known only then."""
        if self._life_id is not None:
            response.headers[LIFE_HEADER] = self._life_id
        body = response.body if isinstance(response, web.Response) else None
        known = _current.get()
        _current.set(None)
        if known is None:  # aiohttp itself answers it: there is an Expect header that it cannot fulfil
            known = self._number()
            self._request(request, known[0], request.content_length, None)
        number, began = known
        self._record("answer", _answer, number, time.monotonic() - began, response.status, response.headers, body)

    def _number(self) -> tuple[int, float]:
        """Number of a request that comes now, and when that is."""
        return next(self._numbers), time.monotonic()

    def _request(self, request: web.Request, number: int, length: int | None, body: bytes | None) -> None:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        self._record("request", _request, number, request.method, request.raw_path, request.headers, peer, length, body)


def _request(
    number: int, method: str, path: str, headers: Headers, peer: Any, length: int | None, body: bytes | None
) -> Json:
    return {
        "request": number,
        "method": method,
        "path": path,
        "headers": _as_json(headers),
        "remote": f"{peer[0]}:{peer[1]}" if peer else "",
        "length": length,
        "body": None if body is None else _text_of(body),
    }


def _answer(number: int, seconds: float, status: int | None, headers: Headers, body: object) -> Json:
    return {
        "request": number,
        "status": status,
        "seconds": round(seconds, 6),
        "headers": _as_json(headers),
        "body": _text_of(body) if isinstance(body, bytes | bytearray) and len(body) <= BODY_LIMIT else None,
    }


async def _body_of(request: web.Request, length: int) -> bytes | None:
    """The body, where that is short and comes in one piece and whole. Handlers get it all the same."""
    if length > min(BODY_LIMIT, request.client_max_size) or request.content_type.startswith("multipart/"):
        return None
    try:
        return await request.read()
    except Exception:  # noqa: BLE001 - a handler that wants the body meets the same
        return None


def _text_of(body: bytes | bytearray) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _as_json(headers: Headers) -> dict[str, str]:
    """Headers by name; several of one name are joined, as RFC 9110 has it."""
    if len(joined := dict(headers)) == len(headers):
        return joined
    joined = {}
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
