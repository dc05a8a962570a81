"""``/upload/image`` and ``/upload/mask``, by the answers of ComfyUI 0.3.64 (scenario 10)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Site


def png(colour: tuple[int, ...], **texts: str) -> bytes:
    """A small image."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), colour).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "base" / "input"


def test_a_name_that_is_taken_gets_a_number_unless_the_content_is_the_same(site: Site, folder: Path) -> None:
    assert site.upload(data=b"1").json == {"name": "a.png", "subfolder": "", "type": "input"}
    assert site.upload(data=b"1").json["name"] == "a.png"
    assert site.upload(data=b"2").json["name"] == "a (1).png"
    assert site.upload(data=b"3", overwrite="false").json["name"] == "a (2).png"
    assert site.upload(data=b"2").json["name"] == "a (1).png"
    assert sorted(path.name for path in folder.iterdir()) == ["a (1).png", "a (2).png", "a.png"]


@pytest.mark.parametrize("overwrite", ["true", "1"])
def test_overwriting_replaces(site: Site, folder: Path, overwrite: str) -> None:
    site.upload(data=b"1")
    assert site.upload(data=b"2", overwrite=overwrite).json["name"] == "a.png"
    assert (folder / "a.png").read_bytes() == b"2"


def test_uploads_go_where_they_say(site: Site, tmp_path: Path) -> None:
    for type_ in ("input", "temp", "output"):
        answer = site.upload(type=type_, subfolder="sub/dir")
        assert answer.json == {"name": "a.png", "subfolder": "sub/dir", "type": type_}
        assert (tmp_path / "base" / type_ / "sub" / "dir" / "a.png").read_bytes() == b"x"


def test_an_empty_file_is_taken(site: Site, folder: Path) -> None:
    assert site.upload(data=b"").status == 200
    assert (folder / "a.png").read_bytes() == b""


@pytest.mark.parametrize("fields", [{"subfolder": "../../up"}, {"subfolder": "/etc"}, {"name": "../../evil.png"}])
def test_what_leads_outside_is_refused(site: Site, fields: dict[str, str]) -> None:
    answer = site.upload(**fields)  # type: ignore[arg-type]
    assert (answer.status, answer.is_bare) == (400, True)


@pytest.mark.parametrize("fields", [{"type": "bogus"}, {"name": "none/a.png"}, {"name": ""}])
def test_what_the_real_server_falls_over_is_a_500(site: Site, fields: dict[str, str]) -> None:
    answer = site.upload(**fields)  # type: ignore[arg-type]
    assert answer.status == 500
    assert answer.text == "500 Internal Server Error\n\nServer got itself in trouble"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", "text/plain"), (b'{"image": "x"}', "application/json"), (b"a=b", "application/x-www-form-urlencoded")],
)
def test_a_form_without_an_image_is_refused(site: Site, body: bytes, content_type: str) -> None:
    answer = site.post("/upload/image", body, Content_Type=content_type)
    assert (answer.status, answer.is_bare) == (400, True)


def test_a_mask_gives_its_alpha_to_the_original_and_keeps_its_texts(site: Site, folder: Path) -> None:
    site.upload(data=png((255, 0, 0, 255), prompt="{}"))
    reference = json.dumps({"filename": "a.png", "type": "input", "subfolder": ""})
    answer = site.upload("/upload/mask", name="m.png", data=png((0, 0, 0, 7)), original_ref=reference)
    assert answer.json == {"name": "m.png", "subfolder": "", "type": "input"}
    with Image.open(folder / "m.png") as written:
        assert written.getpixel((0, 0)) == (255, 0, 0, 7)
        assert written.info["prompt"] == "{}"


@pytest.mark.parametrize(
    "reference",
    [{"filename": "none.png"}, {"filename": "../x.png"}, {"filename": ""}, {"filename": "a.png", "type": {}}],
)
def test_a_mask_of_an_unknown_original_is_answered_but_not_written(
    site: Site, folder: Path, reference: dict[str, object]
) -> None:
    answer = site.upload("/upload/mask", name="m.png", data=png((0, 0, 0, 0)), original_ref=json.dumps(reference))
    assert answer.json == {"name": "m.png", "subfolder": "", "type": "input"}
    assert not (folder / "m.png").exists()


@pytest.mark.parametrize("fields", [{}, {"original_ref": "not json"}, {"original_ref": "{}"}])
def test_a_mask_needs_its_original(site: Site, fields: dict[str, str]) -> None:
    answer = site.upload("/upload/mask", data=png((0, 0, 0, 0)), **fields)  # type: ignore[arg-type]
    assert answer.status == 500


def test_an_upload_can_be_too_long(serve: object) -> None:
    site: Site = serve(max_upload_size=0.001)  # type: ignore[operator]
    answer = site.upload(data=bytes(5000))
    assert (answer.status, answer.text) == (413, "Maximum request body size 1049 exceeded.")
