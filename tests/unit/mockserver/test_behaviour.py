"""How nodes are acted out."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from mockserver.comfyui.behaviour import Act, Stage, act


@pytest.fixture
def stage() -> Stage:
    return Stage(random.Random(1))


def images(class_type: str, stage: Stage, **inputs: Any) -> list[dict[str, Any]]:
    """The files that one run reports."""
    output = act(class_type, inputs, stage).output
    assert output is not None
    files: list[dict[str, Any]] = output["images"]
    return files


def test_saved_files_are_counted_by_prefix(stage: Stage) -> None:
    names = [images("SaveImage", stage, filename_prefix=prefix)[0]["filename"] for prefix in ("a", "b", "a")]
    assert names == ["a_00001_.png", "b_00001_.png", "a_00002_.png"]


def test_the_folder_of_a_prefix_is_the_subfolder(stage: Stage) -> None:
    assert images("SaveImage", stage, filename_prefix="sub/dir/name") == [
        {"filename": "name_00001_.png", "subfolder": "sub/dir", "type": "output"}
    ]


def test_previews_are_temporary_files(stage: Stage) -> None:
    (file,) = images("PreviewImage", stage)
    assert re.fullmatch(r"ComfyUI_temp_[a-z]{5}_00001_\.png", file["filename"])
    assert (file["subfolder"], file["type"]) == ("", "temp")


def test_preview_any_shows_its_source_as_text(stage: Stage) -> None:
    assert act("PreviewAny", {"source": 7}, stage) == Act(output={"text": ["7"]})


@pytest.mark.parametrize(
    ("given", "shown"), [(3, 3), (0, 1), (-3, 1), (10**400, 10_000), (["1", 0], 20), (None, 20), (2.5, 20)]
)
def test_a_sampler_shows_its_steps_within_what_its_interface_allows(stage: Stage, given: Any, shown: int) -> None:
    assert act("KSampler", {"steps": given}, stage) == Act(steps=shown)


def test_any_other_node_just_takes_its_time(stage: Stage) -> None:
    assert act("ImageInvert", {}, stage) == Act()
