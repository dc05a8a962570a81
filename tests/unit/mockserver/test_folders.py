"""The directories of one life."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from mockserver.comfyui.folders import Folders, inside
from mockserver.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    folders = Folders(Settings())
    folders.clear_temp()
    assert not list((tmp_path / "tmp").iterdir())


def test_temporary_directory_goes_with_the_life(tmp_path: Path) -> None:
    folders = Folders(Settings())
    assert folders["output"].is_dir()
    folders.remove()
    assert not list((tmp_path / "tmp").iterdir())


def test_directory_of_a_life_that_was_killed_goes_with_the_next_one(tmp_path: Path) -> None:
    left_over = tmp_path / "tmp" / "mockserver-life-killed"
    left_over.mkdir()
    (left_over / "lock").touch()
    living = Folders(Settings())
    kept = living["output"]
    other = Folders(Settings())
    assert other["output"] != kept
    assert (left_over.exists(), kept.exists()) == (False, True)
    for folders in (living, other):
        folders.remove()


def test_base_directory_keeps_everything_but_temporary_files(tmp_path: Path) -> None:
    folders = Folders(Settings(base_directory=tmp_path / "base"))
    for name in ("output", "input", "temp", "user"):
        (folders[name] / "file").touch()
    folders.remove()
    kept = {path.parent.name for path in (tmp_path / "base").rglob("file")}
    assert kept == {"output", "input", "user"}


def test_each_directory_can_be_elsewhere(tmp_path: Path) -> None:
    settings = Settings(output_directory=tmp_path / "o", temp_directory=tmp_path / "t")
    folders = Folders(settings)
    assert (folders["output"], folders["temp"]) == (tmp_path / "o", tmp_path / "t" / "temp")


@pytest.mark.parametrize("parts", [("..",), ("a", "../.."), ("/etc/passwd",), ("a\0b",), ("way", "x")])
def test_nothing_outside_is_inside(tmp_path: Path, parts: tuple[str, ...]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "way").symlink_to(tmp_path)
    (folder / "round").symlink_to("round")
    assert inside(folder, *parts) is None


def test_what_is_inside_has_its_path(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b", "c") == tmp_path / "b" / "c"
    assert inside(tmp_path) == tmp_path
