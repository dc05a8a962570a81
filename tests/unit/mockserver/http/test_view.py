"""``/view`` and ``/view_metadata``, by the answers of ComfyUI 0.3.64 (scenarios 2 and 3)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Answer, Site


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "base" / "output"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def picture(output: Path) -> Path:
    """An opaque image with a text, and a half transparent one beside it."""
    info = PngInfo()
    info.add_text("prompt", "{}")
    Image.new("RGB", (8, 4), (10, 20, 30)).save(output / "a.png", pnginfo=info)
    Image.new("RGBA", (8, 4), (10, 20, 30, 128)).save(output / "b.png")
    return output / "a.png"


def seen(answer: Answer) -> Image.Image:
    assert answer.status == 200
    image = Image.open(io.BytesIO(answer.body))
    image.load()
    return image


def test_a_file_is_sent_as_it_is(site: Site, picture: Path) -> None:
    answer = site.get("/view?filename=a.png")
    assert answer.body == picture.read_bytes()
    assert answer.headers["Content-Disposition"] == 'filename="a.png"'
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Accept-Ranges"] == "bytes"
    part = site.get("/view?filename=a.png", Range="bytes=0-7")
    assert (part.status, part.body) == (206, b"\x89PNG\r\n\x1a\n")
    assert site.get("/view?filename=a.png", If_None_Match=answer.headers["Etag"]).status == 304


def test_places_can_be_named_in_the_file_name(site: Site, picture: Path) -> None:
    assert site.get("/view?filename=a.png%20[output]&type=input").body == picture.read_bytes()
    assert site.get("/view?filename=a.png%20[input]").status == 404
    assert site.get("/view?filename=a.png&type=temp").status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("filename=", 400),
        ("filename=[output]", 400),
        ("filename=none.png", 404),
        ("filename=a.png&type=bogus", 400),
        ("filename=../a.png", 400),
        ("filename=/etc/passwd", 400),
        ("filename=a.png&subfolder=../..", 403),
        ("filename=a.png&subfolder=/etc", 403),
        ("filename=a%00.png", 404),
        ("filename=a.png&subfolder=%00", 404),
        (f"filename={'a' * 300}.png", 404),
        ("filename=.", 404),
    ],
)
def test_what_cannot_be_seen_is_a_bare_answer(site: Site, picture: Path, query: str, status: int) -> None:
    answer = site.get(f"/view?{query}")
    assert (answer.status, answer.is_bare) == (status, True)


@pytest.mark.parametrize(
    ("preview", "format_"),
    [("webp;90", "WEBP"), ("webp", "WEBP"), ("jpeg;70", "JPEG"), ("png", "WEBP"), ("jpeg&channel=a", "WEBP")],
)
def test_previews_are_webp_or_jpeg(site: Site, picture: Path, preview: str, format_: str) -> None:
    answer = site.get(f"/view?filename=a.png&preview={preview}")
    assert answer.headers["Content-Type"] == f"image/{format_.lower()}"
    assert "Etag" not in answer.headers
    image = seen(answer)
    assert (image.format, image.size) == (format_, (8, 4))


def test_the_colours_alone_have_neither_alpha_nor_texts(site: Site, picture: Path) -> None:
    for name in ("a", "b"):
        image = seen(site.get(f"/view?filename={name}.png&channel=rgb"))
        assert (image.mode, image.getpixel((0, 0)), image.info) == ("RGB", (10, 20, 30), {})


@pytest.mark.parametrize(("name", "alpha"), [("a", 255), ("b", 128)])
def test_the_alpha_alone_is_rgba_on_black(site: Site, picture: Path, name: str, alpha: int) -> None:
    image = seen(site.get(f"/view?filename={name}.png&channel=a"))
    assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (0, 0, 0, alpha))


def test_pages_and_scripts_are_sent_as_bytes(site: Site, output: Path) -> None:
    for name in ("a.html", "a.js", "a.css"):
        (output / name).write_text("x")
        assert site.get(f"/view?filename={name}").headers["Content-Type"] == "application/octet-stream"


def test_what_is_no_picture_cannot_be_previewed(site: Site, output: Path) -> None:
    (output / "a.png").write_text("no picture")
    assert site.get("/view?filename=a.png").status == 200
    assert site.get("/view?filename=a.png&preview=webp").status == 500


def test_metadata_of_a_model_file_is_shown(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "base" / "models" / "loras"
    folder.mkdir(parents=True)
    header = json.dumps({"__metadata__": {"author": "me"}}).encode()
    (folder / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "long.safetensors").write_bytes((1 << 40).to_bytes(8, "little"))
    assert site.get("/view_metadata/loras?filename=a.safetensors").json == {"author": "me"}
    for query in ("", "?filename=long.safetensors", "?filename=none.safetensors", "?filename=../../a.safetensors"):
        answer = site.get(f"/view_metadata/loras{query}")
        assert (answer.status, answer.is_bare) == (404, True)
