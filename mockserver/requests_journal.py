"""Records every HTTP request when it comes, and its answer when it goes out."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import types
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from mockserver.comfyui.routes.websocket import LIFE_HEADER
from mockserver.journal import now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

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
        self.began = now()
        self.is_answered = False


_current: ContextVar[_Exchange | None] = ContextVar("_current", default=None)
"""Each connection has a context of its own."""


class RequestsJournal:
    """Writes the requests of one life into its journal. The outermost middleware, since all that comes passes here."""

    def __init__(self, server: ComfyServer) -> None:
        self._append = server.journal.append
        self._write_waiting = server.journal.write_waiting
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
            handled = handler(request) if port is None else port(request, handler)
            return await _awaited(handled, self._write_waiting)
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
        record = _Request(
            now(),
            "request",
            exchange.number,
            request.method,
            request.raw_path,
            _as_json(request.headers),
            f"{peer[0]}:{peer[1]}" if peer else "",
            length,
            None if body is None else _text_of(body),
            digest,
        )
        # With its answer, if that is there at once: to write to a file twice is dear.
        self._append(record, length=0 if body is None else len(body), may_wait=True)

    def _record_no_answer(self, exchange: _Exchange) -> None:
        if not exchange.is_answered:  # as a websocket is that is open when its life ends
            self._record_answer(exchange, None, {}, None)

    def _record_answer(self, exchange: _Exchange, status: int | None, headers: Headers, body: object) -> None:
        exchange.is_answered = True
        at = now()
        kept = body if isinstance(body, bytes | bytearray) and len(body) <= BODY_LIMIT else None
        text = None if kept is None else _text_of(kept)
        seconds = round(at - exchange.began, 6)
        record = _Answer(at, "answer", exchange.number, status, seconds, _as_json(headers), text)
        self._append(record, length=0 if kept is None else len(kept))


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


def _text_of(body: bytes | bytearray) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


@types.coroutine
def _awaited(handled: Any, before_it_waits: Callable[[], None]) -> Generator[Any, Any, web.StreamResponse]:
    """Awaits a coroutine. Calls ``before_it_waits`` if it has to wait, before others get their turn."""
    given: Any = None
    thrown: BaseException | None = None
    is_waiting = False
    while True:
        try:
            awaited = handled.send(given) if thrown is None else handled.throw(thrown)
        except StopIteration as ended:
            response: web.StreamResponse = ended.value
            return response
        finally:
            given = thrown = None  # nothing is kept for as long as he waits
        if not is_waiting:
            before_it_waits()
            is_waiting = True
        try:
            given = yield awaited
        except GeneratorExit:
            handled.close()
            raise
        except BaseException as failure:  # noqa: BLE001 - it is his, whatever it is
            came_from = failure.__traceback__
            thrown = failure.with_traceback(came_from and came_from.tb_next)  # not from here


def _as_json(headers: Headers) -> dict[str, str]:
    """Headers by name; several of one name are joined, as RFC 9110 has it."""
    if len(joined := dict(headers.items())) == len(headers):
        return joined
    joined = {}
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
