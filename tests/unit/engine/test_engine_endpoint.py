"""Addresses of servers."""

from __future__ import annotations

import pytest

from ComfyMockLibrary.engine.endpoint import Endpoint


@pytest.mark.parametrize(
    ("url", "http", "websocket"),
    [
        ("127.0.0.1:8188", "http://127.0.0.1:8188", "ws://127.0.0.1:8188/ws"),
        ("localhost:8188", "http://localhost:8188", "ws://localhost:8188/ws"),
        ("http://comfy.example", "http://comfy.example:80", "ws://comfy.example:80/ws"),
        ("https://comfy.example", "https://comfy.example:443", "wss://comfy.example:443/ws"),
        ("ws://127.0.0.1:8188/ws", "http://127.0.0.1:8188", "ws://127.0.0.1:8188/ws"),
        ("ws://127.0.0.1:8188/ws?clientId=x", "http://127.0.0.1:8188", "ws://127.0.0.1:8188/ws"),
        ("wss://comfy.example/api/ws/", "https://comfy.example:443/api", "wss://comfy.example:443/api/ws"),
        ("http://comfy.example/some/path/", "http://comfy.example:80/some/path", "ws://comfy.example:80/some/path/ws"),
        ("http://[::1]:8188", "http://[::1]:8188", "ws://[::1]:8188/ws"),
        ("HTTP://Comfy.Example:1", "http://comfy.example:1", "ws://comfy.example:1/ws"),
    ],
)
def test_a_url_gives_the_urls_of_http_and_websocket(url: str, http: str, websocket: str) -> None:
    endpoint = Endpoint.of_url(url)
    assert (endpoint.url, endpoint.ws_url()) == (http, websocket)
    assert Endpoint.of_url(endpoint.url) == endpoint


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://127.0.0.1", "http://127.0.0.1:port", "http://127.0.0.1:99999", ":8188", "http://[::1"]
)
def test_what_is_no_url_of_a_server_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"give one such as http://127\.0\.0\.1:8188\."):
        Endpoint.of_url(url)


@pytest.mark.parametrize(
    ("client_id", "query"),
    [("abc", "?clientId=abc"), ("a b/c&d=é", "?clientId=a%20b%2Fc%26d%3D%C3%A9"), ("", "?clientId="), (None, "")],
)
def test_the_client_id_is_quoted(client_id: str | None, query: str) -> None:
    assert Endpoint("h", 1).ws_url(client_id) == f"ws://h:1/ws{query}"
