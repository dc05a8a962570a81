"""Progress, previews and texts of nodes that run."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from acting import Theatre, empty_image, node, sample
from PIL import Image

from mockserver.comfyui.execution import Send, To
from mockserver.comfyui.messages import BinaryMessage
from mockserver.comfyui.profile import LATEST, RECORDED

if TYPE_CHECKING:
    from pathlib import Path

    from mockserver.comfyui.profile import Profile


def bars(theatre: Theatre) -> list[tuple[Any, Any]]:
    return [(data["value"], data["max"]) for name, data in theatre.messages if name == "progress"]


def previews(theatre: Theatre, event: int) -> list[bytes]:
    sends = [step.message for step in theatre.steps if isinstance(step, Send)]
    return [each.content for each in sends if isinstance(each, BinaryMessage) and each.event == event]


def test_sampler_updates_once_a_step_and_sends_no_preview_by_default(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path)
    theatre.run(sample(), "5")
    assert bars(theatre) == [(1, 3), (2, 3), (3, 3)]
    assert "binary 1" not in theatre.names


@pytest.mark.parametrize(("denoise", "updates"), [(0.5, 3), (0.0, 0)])
def test_denoise_keeps_the_number_of_steps_unless_there_is_none(tmp_path: Path, denoise: float, updates: int) -> None:
    theatre = Theatre(tmp_path)
    theatre.run(sample(denoise=denoise), "5")
    assert len(bars(theatre)) == updates


def test_preview_follows_progress_for_clients_without_the_flag(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, preview_method="latent2rgb")
    theatre.run(sample(steps=1), "5")
    at = theatre.names.index("progress")
    assert theatre.names[at - 1 : at + 2] == ["progress_state", "progress", "binary 1"]


def test_preview_comes_before_progress_for_clients_with_the_flag(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, preview_method="auto")
    theatre.flag = True
    theatre.run(sample(steps=1), "5")
    at = theatre.names.index("progress")
    assert theatre.names[at - 2 : at + 1] == ["progress_state", "binary 4", "progress"]
    (content,) = previews(theatre, 4)
    length = int.from_bytes(content[:4], "big")
    assert json.loads(content[4 : 4 + length]) == {
        "node_id": "4",
        "prompt_id": "id",
        "display_node_id": "4",
        "parent_node_id": None,
        "real_node_id": "4",
        "image_type": "image/jpeg",
    }


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, (512, 512)), (1024, 512, (512, 256))])
def test_preview_is_fitted_into_512_pixels(tmp_path: Path, width: int, height: int, size: tuple[int, int]) -> None:
    theatre = Theatre(tmp_path, preview_method="latent2rgb")
    theatre.run(sample(1, width, height), "5")
    (content,) = previews(theatre, 1)
    assert content[:4] == b"\0\0\0\1"
    with Image.open(io.BytesIO(content[4:])) as image:
        assert (image.format, image.size) == ("JPEG", size)


def test_flags_that_are_no_object_fail_the_node_that_previews(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, preview_method="latent2rgb")
    theatre.flag = []
    error = theatre.run(sample(), "5").outcome.messages[-1][1]
    assert error["node_id"] == "4"
    assert error["exception_message"] == "'list' object has no attribute 'get'\n"


def test_newer_servers_tell_progress_now_and_then(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path)
    theatre.profile = LATEST
    ticks = itertools.count(step=30)
    theatre.now_ms = lambda: next(ticks)
    theatre.run(sample(steps=10), "5")
    assert bars(theatre) == [(1, 10), (5, 10), (9, 10), (10, 10)]


def test_newer_servers_tell_no_tiny_progress(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path)
    theatre.profile = LATEST
    ticks = itertools.count(step=1000)
    theatre.now_ms = lambda: next(ticks)
    theatre.run(sample(steps=1024), "5")
    assert bars(theatre)[:3] == [(1, 1024), (7, 1024), (13, 1024)]
    assert bars(theatre)[-1] == (1024, 1024)


@pytest.mark.parametrize(("profile", "sent"), [(RECORDED, 0), (LATEST, 1)])
def test_newer_servers_take_the_preview_method_of_the_prompt(tmp_path: Path, profile: Profile, sent: int) -> None:
    theatre = Theatre(tmp_path)
    theatre.profile = profile
    theatre.run(sample(steps=1), "5", preview_method="auto")
    assert theatre.names.count("binary 1") == sent


def test_images_over_the_websocket_count_from_zero_and_are_never_cached(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path)
    prompt = {"1": empty_image(12, 6, batch_size=2), "2": node("SaveImageWebsocket", images=["1", 0])}
    for cached in ([], ["1"]):
        run = theatre.run(prompt, "2")
        assert run.outcome.messages[1][1]["nodes"] == cached
        assert bars(theatre) == [(0, 2), (1, 2)]
        assert (run.outcome.outputs, "executed" in theatre.names) == ({}, False)
        for content in previews(theatre, 1):
            with Image.open(io.BytesIO(content[4:])) as image:
                assert (image.format, image.mode, image.size) == ("PNG", "RGB", (12, 6))


def test_image_size_is_told_to_everybody(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path)
    prompt = {
        "1": empty_image(12, 6, batch_size=2),
        "2": node("GetImageSize", image=["1", 0]),
        "3": node("PreviewAny", source=["2", 1]),
    }
    run = theatre.run(prompt, "3")
    assert run.outcome.outputs["3"] == {"text": ["6"]}
    (text,) = [step for step in theatre.steps if isinstance(step, Send) and isinstance(step.message, BinaryMessage)]
    assert text.to is To.ALL
    assert text.message.content == b"\0\0\0\x012width: 12, height: 6\n batch size: 2"
