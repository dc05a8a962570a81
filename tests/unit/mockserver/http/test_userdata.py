"""``/userdata``: answers recorded from ComfyUI 0.3.64 (scenarios 2, 10 and 12), and rules of its protocol page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Site


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    return tmp_path / "base" / "user" / "default"


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("", 400, "Directory not provided"),
        ("?dir=", 400, "Directory not provided"),
        ("?dir=none", 404, "Directory not found"),
        ("?dir=../..", 403, "Invalid directory"),
        ("?dir=%252e%252e/x", 403, "Invalid directory"),
        ("?dir=/etc", 403, "Invalid directory"),
    ],
)
def test_a_listing_says_what_is_wrong_with_its_folder(site: Site, query: str, status: int, text: str) -> None:
    answer = site.get(f"/userdata{query}")
    assert (answer.status, answer.text) == (status, text)


def test_a_file_is_written_read_listed_moved_and_deleted(site: Site) -> None:
    assert site.post("/userdata/workflows%2Fa.json", b'{"a": 1}').json == "workflows/a.json"
    read = site.get("/userdata/workflows%2Fa.json")
    assert (read.status, read.body, read.headers["Content-Type"]) == (200, b'{"a": 1}', "application/json")
    assert site.get("/userdata?dir=workflows").json == ["a.json"]
    assert site.post("/userdata/workflows%2Fa.json/move/b.json").json == "b.json"
    assert site.get("/userdata/workflows%2Fa.json").is_bare
    deleted = site.ask("DELETE", "/userdata/b.json")
    assert (deleted.status, deleted.is_bare) == (204, True)
    again = site.ask("DELETE", "/userdata/b.json")
    assert (again.status, again.is_bare) == (404, True)


def test_overwriting_can_be_refused(site: Site) -> None:
    site.post("/userdata/a.json", b"1")
    refused = site.post("/userdata/a.json?overwrite=false", b"2")
    assert (refused.status, refused.text) == (409, "File already exists")
    assert site.get("/userdata/a.json").body == b"1"
    site.post("/userdata/b.json", b"3")
    assert site.post("/userdata/b.json/move/a.json?overwrite=false").status == 409
    assert site.post("/userdata/b.json/move/a.json").json == "a.json"
    assert site.get("/userdata/a.json").body == b"3"


def test_full_info_gives_times_in_seconds(site: Site, user_folder: Path) -> None:
    info = site.post("/userdata/a.json?full_info=true", b"xyz").json
    stat = (user_folder / "a.json").stat()
    assert info == {"path": "a.json", "size": 3, "modified": stat.st_mtime, "created": stat.st_ctime}
    assert list(info) == ["path", "size", "modified", "created"]


def test_newer_versions_give_times_in_milliseconds(serve: Callable[..., Site]) -> None:
    info = serve(profile="0.38").post("/userdata/a.json?full_info=true", b"xyz").json
    assert isinstance(info["modified"], int)
    assert info["modified"] > 10**12


def test_listings_recurse_split_and_leave_dot_files_out(site: Site) -> None:
    for name in ("w/a.json", "w/sub/b.json", "w/.hidden", "w/.dir/c.json"):
        site.post(f"/userdata/{name.replace('/', '%2F')}", b"{}")
    assert site.get("/userdata?dir=w").json == ["a.json"]
    assert site.get("/userdata?dir=w&recurse=true").json == ["a.json", "sub/b.json"]
    split = site.get("/userdata?dir=w&recurse=True&split=true").json
    assert split == [["a.json", "a.json"], ["sub/b.json", "sub", "b.json"]]


def test_v2_lists_everything_below_with_folders_first(site: Site) -> None:
    for name in ("w/B.json", "w/a.json", "w/sub/.c"):
        site.post(f"/userdata/{name.replace('/', '%2F')}", b"{}")
    entries = site.get("/v2/userdata?path=w").json
    assert [(entry["path"], entry["type"]) for entry in entries] == [
        ("w/sub", "directory"),
        ("w/sub/.c", "file"),
        ("w/a.json", "file"),
        ("w/B.json", "file"),
    ]
    assert list(entries[0]) == ["name", "path", "type"]
    assert list(entries[1]) == ["name", "path", "type", "size", "modified"]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("none", 404, "Requested path not found"),
        ("a.json", 400, "Requested path is not a directory"),
        ("../x", 403, "Invalid path requested"),
    ],
)
def test_v2_says_what_is_wrong_with_its_path(site: Site, path: str, status: int, text: str) -> None:
    site.post("/userdata/a.json", b"{}")
    answer = site.get(f"/v2/userdata?path={path}")
    assert (answer.status, answer.text) == (status, text)


def test_v2_of_a_user_without_files_is_empty(site: Site) -> None:
    assert site.get("/v2/userdata").json == []


def test_names_are_decoded_twice(site: Site, user_folder: Path) -> None:
    assert site.post("/userdata/w%252Fa%2520b.json", b"{}").json == "w/a b.json"
    assert (user_folder / "w" / "a b.json").is_file()


@pytest.mark.parametrize("name", ["..%2F..%2Fevil.json", "%252e%252e%252fevil.json", "%2Fetc%2Fevil.json"])
def test_names_that_lead_outside_are_refused(site: Site, name: str) -> None:
    answer = site.post(f"/userdata/{name}", b"{}")
    assert (answer.status, answer.is_bare) == (403, True)


def test_files_and_folders_are_not_taken_for_each_other(site: Site) -> None:
    site.post("/userdata/w%2Fa.json", b"{}")
    as_folder = site.post("/userdata/w%2Fa.json%2Fx", b"{}")
    assert (as_folder.status, as_folder.is_bare) == (400, True)
    assert as_folder.reason.startswith("Invalid filename.")
    assert site.get("/userdata/w").status == 403
    assert site.ask("DELETE", "/userdata/w").status == 500
    assert site.post("/userdata/w/move/v").json == "v"
    assert site.post("/userdata/v/move/..%2F..%2Fx").status == 500


def test_a_name_that_is_none_is_a_500_as_in_the_real_server(site: Site) -> None:
    assert site.post("/userdata/a%00b", b"{}").status == 500
    assert site.get("/userdata/a%00b").status == 404


def test_each_user_has_files_of_their_own(serve: Callable[..., Site]) -> None:
    site = serve(multi_user=True)
    first, second = (site.post("/users", {"username": name}).json for name in ("ann", "bob"))
    site.post("/userdata/a.json", b"1", comfy_user=first)
    assert site.get("/userdata/a.json", comfy_user=second).status == 404
    assert site.get("/userdata/a.json", comfy_user=first).body == b"1"
    assert site.get("/userdata?dir=x").status == 500
    refused = site.get("/v2/userdata")
    assert (refused.status, refused.text) == (403, "Invalid user specified in request")
