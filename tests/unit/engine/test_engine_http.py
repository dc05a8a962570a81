"""Requests with one deadline over all that they do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from engine_helpers import PATIENCE, Peer, finished, never_answer

from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import now, pause
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.http import HttpError, ask, ask_json

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from engine_helpers import Script


def bytes_of(*parts: bytes) -> Callable[[Peer], object]:
    def behave(peer: Peer) -> None:
        for part in parts:
            peer.send(part)

    return behave


def dribble(data: bytes, first: bytes = b"") -> Callable[[Peer], object]:
    def behave(peer: Peer) -> None:
        peer.send(first)
        for byte in data:
            pause(0.05)
            peer.send(bytes([byte]))

    return behave


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_a_request_says_what_it_is_told(script: Script) -> None:
    server = script(http=lambda peer: peer.answer(200, {"answer": 1}))
    endpoint = Endpoint(server.endpoint.host, server.endpoint.port, path="/api")
    answer = ask_json(endpoint, "POST", "/prompt", Patience(PATIENCE), body={"a": "é"}, headers={"X-Token": "t"})
    (request,) = server.requests
    assert answer == {"answer": 1}
    assert (request.method, request.path, json.loads(request.body)) == ("POST", "/api/prompt", {"a": "é"})
    assert request.headers["x-token"] == "t"
    assert request.headers["host"] == endpoint.authority
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((HEAD, b"Content-Length: 2\r\n\r\n", b"[]"), []),
        ((HEAD, b"\r\n", b'{"until": "the end"}'), {"until": "the end"}),
        ((HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"), []),
        ((HEAD, b"Content-Length: 0\r\n\r\n"), None),
    ],
)
def test_bodies_come_in_any_framing(script: Script, parts: tuple[bytes, ...], expected: Any) -> None:
    assert ask_json(script(http=bytes_of(*parts)).endpoint, "GET", "/", Patience(PATIENCE)) == expected


@pytest.mark.parametrize("status", [201, 400, 404, 500])
def test_any_other_status_than_200_is_an_error_with_the_answer(script: Script, status: int) -> None:
    server = script(http=lambda peer: peer.answer(status, {"error": {"type": "prompt_no_outputs"}}))
    with pytest.raises(HttpError, match=rf"GET http://127\.0\.0\.1:\d+/queue: status {status}, .*prompt_no_outputs"):
        ask_json(server.endpoint, "GET", "/queue", Patience(PATIENCE))
    assert ask(server.endpoint, "GET", "/queue", Patience(PATIENCE)).status == status


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (bytes_of(HEAD, b"Content-Length: 5\r\n\r\n", b"<htm>"), "the answer is no JSON"),
        (bytes_of(b"nonsense\r\n\r\n"), "nonsense"),
        (bytes_of(b"HTTP/1.1 abc\r\n\r\n"), "abc"),
        (bytes_of(HEAD, b"Content-Length: 50\r\n\r\n", b"[1,"), "IncompleteRead"),
        (bytes_of(HEAD, b"\r\n", b"[" * 100_000), "the answer is no JSON"),
        (bytes_of(HEAD, b"Content-Length: 99999999999999999999\r\n\r\n", b"[]"), "GET "),
        (bytes_of(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"ffffffffffffffffff\r\n["), "GET "),
        (Peer.end, "closed connection without response"),
        (Peer.reset, "reset"),
        (bytes_of(HEAD, b"X: " + b"x" * 100_000), "header line"),
    ],
)
def test_an_answer_that_is_none_is_an_error(script: Script, behave: Callable[[Peer], object], message: str) -> None:
    with pytest.raises(HttpError, match=message):
        finished(lambda: ask_json(script(http=behave).endpoint, "GET", "/", Patience(PATIENCE)))


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(never_answer, id="never answered"),
        pytest.param(dribble(HEAD * 100), id="dribbled head"),
        pytest.param(dribble(b"[" * 1000, HEAD + b"Content-Length: 1000\r\n\r\n"), id="dribbled body"),
        pytest.param(dribble(b"[" * 1000, HEAD + b"\r\n"), id="dribbled body up to the end"),
        pytest.param(lambda peer: [peer.send(HEAD + b"\r\n"), *iter(lambda: peer.send(b"[" * 1000), 1)], id="endless"),
    ],
)
def test_an_answer_that_does_not_come_to_an_end_is_an_error_at_the_deadline(
    script: Script, behave: Callable[[Peer], object]
) -> None:
    server, began = script(http=behave), now()
    with pytest.raises(HttpError, match=r"GET http://127\.0\.0\.1:\d+/queue: no answer within 0\.3 s"):
        finished(lambda: ask_json(server.endpoint, "GET", "/queue", Patience(0.3)))
    assert 0.3 <= now() - began < PATIENCE


def test_a_failed_request_holds_nothing_open_while_its_error_is_kept(script: Script) -> None:
    server = script(http=dribble(b"[" * 1000, HEAD + b"\r\n"))
    files = psutil.Process().num_fds()
    try:
        ask_json(server.endpoint, "GET", "/queue", Patience(0.2))
    except HttpError as failure:
        kept = failure
    server.close()
    assert kept
    assert psutil.Process().num_fds() < files, "the server's listener is gone, and so is everything of ours"


def test_nobody_there_is_an_error_at_once() -> None:
    with pytest.raises(HttpError, match=r"GET http://127\.0\.0\.1:1/: .*refused"):
        ask(Endpoint("127.0.0.1", 1), "GET", "/", Patience(PATIENCE))


@pytest.mark.parametrize("headers", [{"X-Name": "日本"}, {"X-Name": "a\r\nb"}])
def test_headers_that_http_cannot_carry_are_an_error_of_the_request(script: Script, headers: dict[str, str]) -> None:
    with pytest.raises(HttpError, match="GET "):
        ask(script().endpoint, "GET", "/", Patience(PATIENCE), headers=headers)


@pytest.mark.usefixtures("trusted")
def test_https_works(script: Script, tls: ssl.SSLContext) -> None:
    body = {"text": "x" * 200_000}
    server = script(http=lambda peer: peer.answer(200, body), tls=tls)
    assert server.endpoint.url.startswith("https://")
    assert ask_json(server.endpoint, "POST", "/", Patience(PATIENCE), body=body) == body
    assert json.loads(server.requests[0].body) == body


def test_https_to_a_stranger_is_an_error(script: Script, tls: ssl.SSLContext) -> None:
    with pytest.raises(HttpError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(script(tls=tls).endpoint, "GET", "/", Patience(PATIENCE))
