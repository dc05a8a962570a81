"""``--models FILE``: what is wrong with it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mockserver.comfyui.models import Models, ModelsFileError
from mockserver.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"[]", 'give lists of names by folder, as {"checkpoints": ["a.safetensors"]}'),
        (b'{"loras": "a"}', "folder 'loras' is no list of names, as {"),
        (b'{"vae": ["a", 7]}', "folder 'vae': a name is text, not 7"),
        (b'{"vae": ["a"],\n}', "Expecting property name enclosed in double quotes: line 2 column 1"),
        (b'{"\xff": []}', "can't decode byte 0xff in position 2"),
        pytest.param(b"[" * 100_000, "recursion", id="deep"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, content: bytes, wrong: str) -> None:
    file = tmp_path / "models.json"
    file.write_bytes(content)
    with pytest.raises(ModelsFileError) as failure:
        Models.of(Settings(models=file))
    assert str(failure.value).startswith("models.json: ")
    assert wrong in str(failure.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text('\ufeff{"vae": ["b", "a"]}', encoding="utf-8")
    assert Models.of(Settings(models=file)).names("vae") == ["a", "b"]
