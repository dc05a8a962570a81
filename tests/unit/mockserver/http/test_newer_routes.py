"""Routes that only newer versions have (read, not recorded): assets, subgraphs, replacements of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mockserver.comfyui.profile import LATEST
from mockserver.comfyui.routes import all_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

ID = "00000000-0000-4000-8000-00000000000A"
EMPTY = [("/global_subgraphs", {}), ("/global_subgraphs/x", None), ("/node_replacements", {})]
ASSETS = [
    *(("GET", path) for path in ("", f"/{ID}", f"/{ID}/content", "/seed/status", "/tags/refine")),
    *(("POST", path) for path in ("", f"/{ID}/tags", "/from-hash", "/seed", "/seed/cancel", "/prune")),
    ("PUT", f"/{ID}"),
    ("DELETE", f"/{ID}"),
    ("DELETE", f"/{ID}/tags"),
]
OFF = {
    "code": "SERVICE_DISABLED",
    "message": "Assets system is disabled. Start the server with --enable-assets to use this feature.",
    "details": {},
}


@pytest.fixture
def latest(serve: Callable[..., Site]) -> Site:
    return serve(profile="0.38")


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(("path", "expected"), EMPTY)
def test_there_are_no_subgraphs_and_no_replacements(latest: Site, prefix: str, path: str, expected: object) -> None:
    answer = latest.get(prefix + path)
    assert (answer.status, answer.json) == (200, expected)


def test_every_asset_route_says_that_assets_are_off(latest: Site) -> None:
    for method, path in [*(("GET", "/api/tags"),), *((method, f"/api/assets{path}") for method, path in ASSETS)]:
        answer = latest.ask(method, f"{path}?limit=x", None if method == "GET" else b"anything")
        assert (answer.status, answer.reason, answer.json) == (503, "Service Unavailable", {"error": OFF})
    head = latest.ask("HEAD", "/api/assets/hash/blake3:00")
    assert (head.status, head.body) == (503, b"")


def test_no_asset_route_is_left_out() -> None:
    tested = {(method, f"/api/assets{path}".replace(ID, "{id}")) for method, path in ASSETS}
    tested |= {("GET", "/api/tags"), ("HEAD", "/api/assets/hash/{hash}")}
    routes = {(route.method, route.path) for route in all_routes(LATEST)}
    found = {(method, path) for method, path in routes if path.startswith(("/api/assets", "/api/tags"))}
    assert len(found) == len(tested)


@pytest.mark.parametrize("path", ["/api/api/assets", "/tags", "/api/assets/no-id", f"/api/assets/{ID}/more"])
def test_asset_routes_exist_once(latest: Site, path: str) -> None:
    assert latest.get(path).status == 404
    assert latest.ask("PUT", path).status == 405


def test_the_recorded_version_has_none_of_them(site: Site) -> None:
    for path in [*(path for path, _ in EMPTY), f"/api/assets/{ID}", "/api/assets/seed", "/api/tags"]:
        assert site.get(path).status == 404
        assert site.post(path).status == 405
    for method in ("POST", "PUT", "DELETE"):
        assert site.ask(method, "/api/assets").status == 405
