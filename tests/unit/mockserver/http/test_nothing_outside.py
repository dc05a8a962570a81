"""Requests with odd names against a whole server: files beside its directories stay as they are, and unseen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Site

SECRET = b"nobody may read this"
PARTS = (
    "",
    ".",
    "..",
    "/",
    "a",
    "link",
    "link/secret",
    "file.png",
    "new.png",
    "%00",
    "%2e%2e",
    "\0",
    "x" * 300,
    "[input]",
    "ä",
    "\\",
    "~",
)

names = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join)).filter(
    lambda name: not any("\ud800" <= letter <= "\udfff" for letter in name)
)


@pytest.fixture
def outer(tmp_path: Path, site: Site) -> Path:
    """A folder outside, to which a link leads from each directory of the server."""
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "secret").write_bytes(SECRET)
    for folder in ("input", "output", "temp", "user/default"):
        place = tmp_path / "base" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "link").symlink_to(outer)
        (place / "file.png").symlink_to(outer / "secret")
        (place / "new.png").symlink_to(outer / "new")
    return outer


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names, other=names, type_=st.sampled_from(["input", "output", "temp"]))
def test_no_request_reaches_outside(site: Site, outer: Path, tmp_path: Path, name: str, other: str, type_: str) -> None:
    quoted, elsewhere = quote(name, safe=""), quote(other, safe="")
    form_name, form_other = (text.translate({0x22: "'", 0x0D: " ", 0x0A: " "}) for text in (name, other))
    reference = json.dumps({"filename": name, "subfolder": other, "type": type_})
    answers = [
        site.get(f"/userdata/{quoted}"),
        site.get(f"/userdata?dir={quoted}&recurse=true&full_info=true"),
        site.get(f"/v2/userdata?path={quoted}"),
        site.post(f"/userdata/{quoted}", b"new"),
        site.post(f"/userdata/{quoted}/move/{elsewhere}"),
        site.ask("DELETE", f"/userdata/{quoted}"),
        site.get(f"/view?filename={quoted}&subfolder={elsewhere}&type={type_}"),
        site.upload(name=form_name, subfolder=form_other, type=type_),
        site.upload("/upload/mask", name=form_name, subfolder=form_other, original_ref=reference),
        site.get(f"/view_metadata/{quoted}?filename={elsewhere}.safetensors"),
        site.get(f"/experiment/models/preview/{quoted}/0/{elsewhere}"),
        site.get(f"/{quote(name)}"),
        site.post("/prompt", {"prompt": {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}}),
    ]
    assert not [answer for answer in answers if SECRET in answer.body]
    assert state(outer) == {str(outer / "secret"): SECRET}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "outer"]
    assert {path.name for path in (tmp_path / "base").iterdir()} <= {"input", "output", "temp", "user"}


def test_links_to_files_outside_are_neither_read_nor_written(site: Site, outer: Path) -> None:
    assert site.get("/view?filename=file.png").status == 404
    assert site.get("/view?filename=secret&subfolder=link").status == 403
    assert site.upload(name="file.png", overwrite="true").status == 400
    assert site.upload(name="secret", subfolder="link").status == 400
    assert site.get("/userdata/file.png").status == 403
    assert site.get("/userdata?dir=link").status == 403
    assert site.get("/userdata?dir=.").json == []
    assert state(outer) == {str(outer / "secret"): SECRET}


def test_a_numbered_name_that_is_a_link_is_passed_over(site: Site, outer: Path, tmp_path: Path) -> None:
    (tmp_path / "base" / "input" / "a (1).png").symlink_to(outer / "secret")
    site.upload(name="a.png", data=b"1")
    assert site.upload(name="a.png", data=SECRET).json["name"] == "a (2).png"
