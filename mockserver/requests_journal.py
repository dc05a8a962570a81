"""Records every HTTP request when it comes, and its answer when it goes out."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from mockserver.comfyui.routes.websocket import LIFE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

    from mockserver.comfyui.server import ComfyServer

    Headers = Mapping[str, str]

BODY_LIMIT = 256 * 1024
"""Longest body in bytes that is recorded; of a longer one the digest."""


class _Request(Struct, gc=False):
    """An HTTP request came. As a structure, since there may be thousands in a second."""

    at: float
    kind: str
    request: int
    method: str
    path: str
    headers: dict[str, str]
    remote: str
    length: int | None
    body: str | None
    digest: str | UnsetType


class _Answer(Struct, gc=False):
    """The answer went out, or will never."""

    at: float
    kind: str
    request: int
    status: int | None
    seconds: float
    headers: dict[str, str]
    body: str | None


class _Exchange:
    """A request that is being answered."""

    __slots__ = ("began", "is_answered", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.began = time.monotonic_ns()
        self.is_answered = False


_current: ContextVar[_Exchange | None] = ContextVar("_current", default=None)
"""Each connection has a context of its own."""


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
        exchange = _Exchange(next(self._numbers))
        _current.set(exchange)
        length = body = too_large = None
        digest: str | UnsetType = UNSET
        if request.body_exists:
            length = request.content_length
            try:
                body = await _body_of(request, length)
            except web.HTTPRequestEntityTooLarge as failure:  # a handler would take what is left for all of it
                too_large = failure
            if body is not None and len(body) > BODY_LIMIT:
                digest, body = hashlib.sha256(body).hexdigest(), None
        self._record_request(request, exchange, length, body, digest)
        port = self._ports.request
        try:
            if too_large is not None:
                raise too_large
            return await (handler(request) if port is None else port(request, handler))
        except asyncio.CancelledError:
            self._record_no_answer(exchange)
            raise
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # The client has gone before it was answered. To aiohttp this would be a handler that fails.
            self._record_no_answer(exchange)
            raise asyncio.CancelledError from None

    async def answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """Records the answer when its headers go out: whether there is a file or a websocket is known only then."""
        if self._life_id is not None:
            response.headers[LIFE_HEADER] = self._life_id
        body = response.body if isinstance(response, web.Response) else None
        exchange = _current.get()
        if exchange is None or exchange.is_answered:  # aiohttp itself answers an Expect header that it cannot fulfil
            exchange = _Exchange(next(self._numbers))
            _current.set(exchange)
            self._record_request(request, exchange, request.content_length, None, UNSET)
        self._record_answer(exchange, response.status, response.headers, body)

    def _record_request(
        self,
        request: web.Request,
        exchange: _Exchange,
        length: int | None,
        body: bytes | None,
        digest: str | UnsetType,
    ) -> None:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        asked = request.method, request.raw_path, request.headers, peer, length, body, digest
        # With its answer, if that is there at once: writing to a file is half of what a record costs.
        self._record(_request, exchange.number, *asked, length=0 if body is None else len(body), may_wait=True)

    def _record_no_answer(self, exchange: _Exchange) -> None:
        if not exchange.is_answered:  # as a websocket is that is open when its life ends
            self._record_answer(exchange, None, {}, None)

    def _record_answer(self, exchange: _Exchange, status: int | None, headers: Headers, body: object) -> None:
        exchange.is_answered = True
        seconds = (time.monotonic_ns() - exchange.began) // 1000 / 1e6
        kept = body if isinstance(body, bytes | bytearray) and len(body) <= BODY_LIMIT else None
        answered = seconds, status, headers, kept
        self._record(_answer, exchange.number, *answered, length=0 if kept is None else len(kept))


def _request(
    at: float,
    number: int,
    method: str,
    path: str,
    headers: Headers,
    peer: Any,
    length: int | None,
    body: bytes | None,
    digest: str | UnsetType,
) -> _Request:
    remote = f"{peer[0]}:{peer[1]}" if peer else ""
    return _Request(at, "request", number, method, path, _as_json(headers), remote, length, _text_of(body), digest)


def _answer(
    at: float, number: int, seconds: float, status: int | None, headers: Headers, body: bytes | bytearray | None
) -> _Answer:
    return _Answer(at, "answer", number, status, seconds, _as_json(headers), _text_of(body))


async def _body_of(request: web.Request, length: int | None) -> bytes | None:
    """The body, where it comes in one piece and whole: with its length announced, or in chunks. Handlers get it too.

    Raises HTTPRequestEntityTooLarge for chunks that never end.
    """
    if (length or 0) > request.client_max_size or request.content_type.startswith("multipart/"):
        return None
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise
    except Exception:  # noqa: BLE001 - a handler that wants the body meets the same
        return None


def _text_of(body: bytes | bytearray | None) -> str | None:
    try:
        return None if body is None else body.decode()
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
