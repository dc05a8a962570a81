"""Where names lead: never outside of a folder, whatever they are made of and whatever links lie on the way."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mockserver.comfyui.paths import below, stays_inside, without_annotation

PARTS = (
    "",
    ".",
    "..",
    "...",
    "/",
    "//",
    "\\",
    "~",
    "a",
    "inside",
    "outside",
    "loop",
    "dangling",
    "file",
    "\0",
    "%2e%2e",
    "x" * 300,
    " ",
    "\n",
    "ä",
    "\udc80",
    "CON",
    "[output]",
)

names = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("/".join),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, a folder, and links to these, to its outside, to nothing and to themselves."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "file").write_text("mine")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "file").write_text("secret")
    (root / "inside").symlink_to("a")
    (root / "outside").symlink_to(tmp_path / "outer")
    (root / "dangling").symlink_to(tmp_path / "outer" / "new")
    (root / "loop").symlink_to("loop")
    return root.resolve()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=1, max_size=3))
def test_no_name_reads_or_writes_anything_outside(folder: Path, parts: list[str]) -> None:
    outer = folder.parent / "outer"
    before = contents(outer)
    path = below(folder, *parts)
    if path is not None:
        with suppress(OSError, ValueError):
            assert b"secret" not in path.read_bytes()
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError, ValueError):
            if path.name != "file":
                path.write_text("new")
    assert contents(outer) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["outer", "root"]


@pytest.mark.parametrize(
    "parts",
    [("..",), ("../x",), ("/etc",), ("a", "../../x"), ("outside",), ("outside/file",), ("dangling",), ("a/../../y",)],
)
def test_what_leads_outside_is_none(folder: Path, parts: tuple[str, ...]) -> None:
    assert below(folder, *parts) is None


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("",), ""),
        (("a", "..", "b"), "b"),
        (("new/deep",), "new/deep"),
        (("inside/x",), "inside/x"),
        (("a\0",), "a\0"),
        (("loop/x",), "loop/x"),
    ],
)
def test_what_stays_inside_is_a_path_as_it_was_asked_for(folder: Path, parts: tuple[str, ...], path: str) -> None:
    assert below(folder, *parts) == Path(f"{folder}/{path}")


def test_a_name_that_is_none_does_not_hide_the_way_to_it(folder: Path) -> None:
    assert below(folder, "outside", "new", "\0") is None
    assert not stays_inside(folder, folder / "outside" / "new" / "\0")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ("a.png", None)),
        ("a.png [input]", ("a.png", "input")),
        ("a.png[temp]", ("a.pn", "temp")),
        ("[output]", ("", "output")),
        ("a.png [user]", ("a.png [user]", None)),
    ],
)
def test_names_can_end_in_their_folder(name: str, expected: tuple[str, str | None]) -> None:
    assert without_annotation(name) == expected
