"""No request ends the server, whatever it is made of: bytes, JSON and forms of every kind to every route."""

from __future__ import annotations

import json
import re
import socket
import struct
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mockserver.comfyui.profile import LATEST, RECORDED
from mockserver.comfyui.routes import all_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

ROUTES = sorted({(route.method, route.path) for route in all_routes(LATEST)} - {("GET", "/ws"), ("GET", "/api/ws")})
WORDS = ("prompt", "prompt_id", "delete", "clear", "number", "front", "extra_data", "client_id", "username", "clientId")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner),
    max_leaves=6,
)
bodies = st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode())
classes = st.sampled_from(["PreviewAny", "SaveImage", "EmptyImage", "LoadImage", "KSampler", "ImageBatch", "none"])
links = st.tuples(st.sampled_from("123x"), st.integers(-2, 2)).map(list)
inputs = st.dictionaries(
    st.sampled_from(["source", "images", "image", "image1", "image2", "width", "height", "batch_size", "color", "odd"]),
    links | values,
    max_size=5,
)
nodes = st.fixed_dictionaries({"class_type": classes, "inputs": inputs}) | values
prompts = st.dictionaries(st.sampled_from("123"), nodes, max_size=3)


def is_alive(site: Site) -> bool:
    return site.is_working and site.get("/queue").status == 200 and site.get("/prompt").status == 200


@pytest.fixture(params=["0.3", "0.38"])
def site(request: pytest.FixtureRequest, serve: Callable[..., Site]) -> Site:
    return serve(profile=request.param, max_upload_size=0.1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), part=st.text(max_size=6), body=bodies, data=st.data())
def test_any_body_to_any_route(site: Site, route: tuple[str, str], part: str, body: bytes, data: st.DataObject) -> None:
    method, path = route
    word = quote(part, safe="", errors="surrogatepass")
    path = re.sub(r"\{id:[^/]*\}", str(uuid.UUID(int=7)), path)
    path = re.sub(r"\{\w+\}", word or "x", path.replace("{filename:.*}", word))
    query = data.draw(st.sampled_from(["", "dir", "path", "filename", "max_items", "limit", "overwrite", "preview"]))
    content_type = data.draw(
        st.sampled_from(
            ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=x", "a/b; charset=x"]
        )
    )
    headers = {"Content_Type": content_type} if content_type else {}
    answer = site.ask(method, f"{path}?{query}={word}", None if method == "GET" else body, **headers)
    assert answer.status in (200, 204, 400, 401, 403, 404, 405, 409, 413, 500, 503)
    assert is_alive(site)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=prompts, targets=st.none() | st.lists(st.sampled_from("123x")))
def test_any_prompt(site: Site, prompt: Any, targets: list[str] | None) -> None:
    body = {"prompt": prompt} if targets is None else {"prompt": prompt, "partial_execution_targets": targets}
    assert site.post("/prompt", body).status in (200, 400, 500)
    assert is_alive(site)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"prompt": ' + b'{"a": ' * 800 + b"1" + b"}" * 801,
        b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": ' + b'{"a": ' * 900 + b"1" + b"}" * 903,
        b'{"number": ' + b"9" * 5000 + b"}",
        b'{"number": 1e999, "prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": NaN}}}}',
        b'{"prompt": {"\\ud800": {"class_type": "PreviewAny", "inputs": {"source": "\\udfff"}}}, "client_id": "\\ud8"}',
        b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": 1}}}, "prompt_id": "'
        + b"x" * 90_000
        + b'"}',
    ],
    ids=["open brackets", "deep prompt", "deep value", "long number", "no number", "no text", "long id"],
)
def test_bodies_that_are_hard_to_read(site: Site, body: bytes) -> None:
    assert site.post("/prompt", body).status in (200, 400, 500)
    follower = site.post("/prompt", {"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": "after"}}}})
    entry = site.wait_until_run(follower.json["prompt_id"])
    assert entry["outputs"] == {"1": {"text": ["after"]}}
    assert site.is_working


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda data: b"GET /" + data + b" HTTP/1.1\r\n\r\n"))
def test_bytes_that_are_no_http(site: Site, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
    assert is_alive(site)


@pytest.mark.parametrize("path", ["/prompt", "/queue", "/interrupt", "/users", "/userdata/x"])
@pytest.mark.parametrize("how", ["ends", "resets"])
def test_bodies_that_are_cut_off(site: Site, caplog: pytest.LogCaptureFixture, path: str, how: str) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{{".encode())
        if how == "resets":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert is_alive(site)
    assert caplog.text == ""  # no handler has failed


def test_all_routes_of_the_recorded_version_are_in_the_latest() -> None:
    recorded = {(route.method, route.path) for route in all_routes(RECORDED)}
    assert recorded < {(route.method, route.path) for route in all_routes(LATEST)}
