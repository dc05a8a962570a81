"""Who may ask from where, and in which form answers come (scenario 12)."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

CORS = {
    "Access-Control-Allow-Origin": "http://my.site",
    "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Allow-Credentials": "true",
}


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 200),
        ("127.0.0.1:{port}", "http://127.0.0.1", 200),
        ("127.0.0.1:{port}", "null", 200),
        ("127.0.0.1", "http://127.0.0.1:1", 200),
        ("10.1.2.3:80", "http://evil.org", 200),
        ("127.0.0.1:{port}", "http://example.com", 403),
        ("127.0.0.1:{port}", "http://127.0.0.1:1", 403),
        ("127.0.0.1:{port}", "http://localhost:{port}", 403),
        ("localhost:{port}", "http://evil.org", 403),
        ("[::1]:{port}", "http://evil.org", 403),
    ],
)
def test_pages_of_other_origins_are_refused_on_this_machine(site: Site, host: str, origin: str, status: int) -> None:
    answer = site.get("/queue", Host=host.format(port=site.port), Origin=origin.format(port=site.port))
    assert answer.status == status
    assert answer.is_bare is (status == 403)


def test_every_method_and_the_websocket_are_guarded(site: Site) -> None:
    for method, path in (("POST", "/queue"), ("OPTIONS", "/prompt"), ("GET", "/ws"), ("GET", "/no/such/route")):
        assert site.ask(method, path, Origin="http://example.com").status == 403


def test_options_of_any_path_is_a_bare_answer(site: Site) -> None:
    for path in ("/prompt", "/no/such/route", "/internal/none"):
        answer = site.ask("OPTIONS", path)
        assert (answer.status, answer.is_bare) == (200, True)


def test_cors_lets_everybody_in(serve: Callable[..., Site]) -> None:
    site = serve(enable_cors_header="http://my.site")
    for method, path in (("GET", "/queue"), ("OPTIONS", "/prompt"), ("GET", "/none"), ("GET", "/models/none")):
        answer = site.ask(method, path, Origin="http://example.com")
        assert {name: answer.headers[name] for name in CORS} == CORS
    for method, path, status in (("PUT", "/prompt", 405), ("POST", "/prompt", 500)):
        answer = site.ask(method, path, Origin="http://example.com")
        assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (status, None)


def test_newer_versions_refuse_what_browsers_call_cross_site(serve: Callable[..., Site]) -> None:
    assert serve(profile="0.38").get("/queue", Sec_Fetch_Site="cross-site").status == 403
    assert serve().get("/queue", Sec_Fetch_Site="cross-site").status == 200


def test_json_is_compressed_on_demand(serve: Callable[..., Site]) -> None:
    site = serve(enable_compress_response_body=True)
    zipped = site.get("/queue", Accept_Encoding="gzip")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body).startswith(b'{"queue_running"')
    deflated = site.get("/queue", Accept_Encoding="gzip, deflate")
    assert deflated.headers["Content-Encoding"] == "deflate"
    assert zlib.decompress(deflated.body).startswith(b'{"queue_running"')
    for path, accepted in (("/queue", "deflate"), ("/", "gzip"), ("/none", "gzip")):
        assert "Content-Encoding" not in site.get(path, Accept_Encoding=accepted).headers


def test_without_being_told_nothing_is_compressed(site: Site) -> None:
    assert "Content-Encoding" not in site.get("/queue", Accept_Encoding="gzip").headers


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/assets/style.css", "no-cache"),
        ("/none.js", "no-cache"),
        ("/none.PNG", "public, max-age=86400"),
        ("/models/none.png", "public, max-age=3600"),
        ("/queue", None),
        ("/view?filename=none.png", None),
    ],
)
def test_paths_say_how_long_answers_keep(site: Site, path: str, expected: str | None) -> None:
    assert site.get(path).headers.get("Cache-Control") == expected


@pytest.mark.parametrize("path", ["/prompt", "/interrupt", "/settings", "/userdata/a.bin"])
def test_bodies_have_a_limit(serve: Callable[..., Site], path: str) -> None:
    answer = serve(max_upload_size=0.001).post(path, bytes(5000))
    assert (answer.status, answer.text) == (413, "Maximum request body size 1049 exceeded.")


def test_features_show_the_limit_as_it_was_given(serve: Callable[..., Site]) -> None:
    assert b'"max_upload_size": 104857600}' in serve().get("/features").body
    assert b'"max_upload_size": 1048576.0}' in serve(max_upload_size=1.0).get("/features").body
