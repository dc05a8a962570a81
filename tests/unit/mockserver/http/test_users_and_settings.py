"""``/users`` and ``/settings``, by the answers of ComfyUI 0.3.64."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site


def test_settings_are_merged_and_unknown_ones_are_null(site: Site) -> None:
    assert site.get("/settings").json == {}
    assert site.post("/settings", {"a": 1, "b": "x"}).is_bare
    assert site.post("/settings/a", {"deep": [1]}).is_bare
    assert site.get("/settings").json == {"a": {"deep": [1]}, "b": "x"}
    assert site.get("/settings/b").json == "x"
    assert site.get("/settings/none").json is None


@pytest.mark.parametrize("body", [b"{bad", b"", b"[]", b"null", b"5"])
def test_settings_that_are_no_object_are_a_500(site: Site, body: bytes) -> None:
    assert site.post("/settings", body).status == 500
    assert site.get("/settings").json == {}


def test_a_spoilt_settings_file_counts_as_empty(site: Site) -> None:
    site.post("/userdata/comfy.settings.json", b"{bad")
    assert site.get("/settings").json == {}


def test_a_single_user_server_says_whether_its_user_has_a_folder(site: Site) -> None:
    assert site.get("/users").json == {"storage": "server", "migrated": False}
    site.get("/settings")
    assert site.get("/users").json == {"storage": "server", "migrated": True}


def test_users_are_added_with_an_id_made_of_their_name(serve: Callable[..., Site]) -> None:
    site = serve(multi_user=True)
    user = site.post("/users", {"username": " Änn & co "}).json
    assert re.fullmatch(r"-nn-co_[0-9a-f-]{36}", user)
    assert site.get("/users").json == {"storage": "server", "users": {user: "Änn & co"}}
    again = site.post("/users", {"username": "Änn & co"})
    assert (again.status, again.json) == (400, {"error": "Duplicate username."})
    assert site.post("/users", {"username": " "}).status == 500
    assert site.post("/users", {}).status == 500


def test_newer_versions_explain_a_blank_name(serve: Callable[..., Site]) -> None:
    answer = serve(profile="0.38").post("/users", {"username": " "})
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_users_and_their_settings_outlive_the_server(serve: Callable[..., Site]) -> None:
    first = serve(multi_user=True)
    user = first.post("/users", {"username": "ann"}).json
    first.post("/settings", {"a": 1}, comfy_user=user)
    second = serve(multi_user=True)
    assert second.get("/settings", comfy_user=user).json == {"a": 1}


@pytest.mark.parametrize("headers", [{}, {"comfy_user": "nobody"}])
def test_settings_of_an_unknown_user_are_unauthorized(serve: Callable[..., Site], headers: dict[str, str]) -> None:
    answer = serve(multi_user=True).get("/settings", **headers)
    assert (answer.status, answer.text) == (401, "401: Unauthorized")
