"""What output nodes write, and how they name it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from acting import Theatre, empty_image, node
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path)


def save(prefix: str = "x", **image: int) -> dict[str, Any]:
    return {"1": empty_image(**image), "2": node("SaveImage", images=["1", 0], filename_prefix=prefix)}


def test_saved_image_has_size_mode_and_metadata(theatre: Theatre) -> None:
    prompt = save(width=12, height=5, color=0x102030)
    run = theatre.run(prompt, "2", extra_pnginfo={"workflow": {"id": "w"}})
    (path,) = theatre.files(run, "2")
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (12, 5))
        assert image.getpixel((0, 0)) == (0x10, 0x20, 0x30)
        assert {key: json.loads(text) for key, text in image.info.items()} == {
            "prompt": prompt,
            "workflow": {"id": "w"},
        }


def test_metadata_can_be_switched_off(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, write_metadata=False)
    (path,) = theatre.files(theatre.run(save(), "2"), "2")
    with Image.open(path) as image:
        assert image.info == {}


def test_names_count_on_from_the_highest_number_of_the_prefix(theatre: Theatre) -> None:
    for name in ("x_00007_.png", "xy_00009_.png", "x_new.png", "x-00012_.png"):
        (theatre.folders["output"] / name).write_bytes(b"")
    run = theatre.run(save(batch_size=2), "2")
    assert [path.name for path in theatre.files(run, "2")] == ["x_00008_.png", "x_00009_.png"]


def test_folders_of_the_prefix_are_the_subfolder(theatre: Theatre) -> None:
    run = theatre.run(save("a/b/x", width=3, height=4), "2")
    assert run.outcome.outputs["2"] == {"images": [{"filename": "x_00001_.png", "subfolder": "a/b", "type": "output"}]}
    assert theatre.files(run, "2")[0].is_file()


def test_size_and_number_replace_their_tokens(theatre: Theatre) -> None:
    run = theatre.run(save("%width%x%height%_%batch_num%", width=3, height=4, batch_size=2), "2")
    assert [path.name for path in theatre.files(run, "2")] == ["3x4_0_00001_.png", "3x4_1_00002_.png"]


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/tmp/x", "../output_of_others/x"])
def test_nothing_is_written_outside(theatre: Theatre, tmp_path: Path, prefix: str) -> None:
    run = theatre.run(save(prefix), "2")
    error = run.outcome.messages[-1][1]
    assert error["exception_type"] == "Exception"
    assert error["exception_message"].startswith("**** ERROR: Saving image outside the output folder is not allowed.")
    assert not list(tmp_path.rglob("*.png"))


def test_a_link_out_of_the_output_directory_is_not_followed(theatre: Theatre, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (theatre.folders["output"] / "way").symlink_to(tmp_path / "elsewhere")
    run = theatre.run(save("way/x"), "2")
    assert not run.outcome.completed
    assert not list((tmp_path / "elsewhere").iterdir())


def test_preview_keeps_its_letters_as_long_as_its_node_lives(theatre: Theatre) -> None:
    def preview(color: int) -> str:
        prompt = {"1": empty_image(color=color), "2": node("PreviewImage", images=["1", 0])}
        (path,) = theatre.files(theatre.run(prompt, "2"), "2")
        assert path.parent == theatre.folders["temp"]
        return path.name

    first, second = preview(1), preview(2)
    assert first.startswith("ComfyUI_temp_")
    assert first.endswith("_00001_.png")
    assert second == first.replace("00001", "00002")
    theatre.run(save(), "2")
    assert preview(3)[:18] != first[:18]


def test_uploaded_image_comes_back_with_its_alpha_as_mask(theatre: Theatre) -> None:
    uploaded = Image.new("RGBA", (6, 4), (200, 100, 50, 255))
    uploaded.putpixel((0, 0), (200, 100, 50, 0))
    uploaded.save(theatre.folders["input"] / "in.png")
    prompt = {
        "1": node("LoadImage", image="in.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        "3": node("MaskToImage", mask=["1", 1]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="mask"),
    }
    run = theatre.run(prompt, "2", "4")
    with Image.open(theatre.files(run, "2")[0]) as image, Image.open(theatre.files(run, "4")[0]) as mask:
        assert (image.mode, image.size, image.getpixel((1, 1))) == ("RGB", (6, 4), (200, 100, 50))
        assert (mask.getpixel((0, 0)), mask.getpixel((1, 1))) == ((255, 255, 255), (0, 0, 0))


def test_another_content_under_the_same_name_is_run_again(theatre: Theatre) -> None:
    prompt = {"1": node("LoadImage", image="in.png"), "2": node("PreviewImage", images=["1", 0])}
    for color, cached in (("red", []), ("red", ["1", "2"]), ("blue", [])):
        Image.new("RGB", (2, 2), color).save(theatre.folders["input"] / "in.png")
        run = theatre.run(prompt, "2")
        assert run.outcome.messages[1][1]["nodes"] == cached


def test_input_files_elsewhere_are_not_read(theatre: Theatre, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    prompt = {"1": node("LoadImage", image="../secret.png"), "2": node("PreviewImage", images=["1", 0])}
    assert theatre.run(prompt, "2").outcome.messages[-1][1]["exception_type"] == "FileNotFoundError"


HEADS = {
    "SaveAnimatedPNG": b"\x89PNG",
    "SaveAnimatedWEBP": b"RIFF",
    "SaveWEBM": b"\x1aE\xdf\xa3",
}


@pytest.mark.parametrize("class_type", HEADS)
def test_moving_pictures_are_reported_as_animated(theatre: Theatre, class_type: str) -> None:
    values = {"images": ["1", 0], "filename_prefix": "x", "fps": 6.0, "lossless": True, "quality": 80}
    values |= {"method": "default", "codec": "vp9", "crf": 32.0, "compress_level": 4}
    inputs = {name: values[name] for name in theatre.catalog[class_type].required_inputs}
    prompt = {"1": empty_image(batch_size=3), "2": node(class_type, **inputs)}
    run = theatre.run(prompt, "2")
    assert run.outcome.outputs["2"]["animated"] == [True]
    assert theatre.files(run, "2")[0].read_bytes().startswith(HEADS[class_type])


def test_video_is_made_of_its_frames(theatre: Theatre) -> None:
    prompt = {
        "1": empty_image(16, 16, batch_size=3),
        "2": node("CreateVideo", images=["1", 0], fps=10.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="video/x", format="auto", codec="auto"),
    }
    run = theatre.run(prompt, "3")
    entry = {"filename": "x_00001_.mp4", "subfolder": "video", "type": "output"}
    assert run.outcome.outputs["3"] == {"images": [entry], "animated": [True]}
    content = theatre.files(run, "3")[0].read_bytes()
    assert (content[4:8], content.count(b"\xff\xd8\xff")) == (b"ftyp", 3)


@pytest.mark.parametrize(
    ("class_type", "name", "head"),
    [
        ("SaveAudio", "x_00001_.flac", b"fLaC"),
        ("SaveAudioMP3", "x_00001_.mp3", b"\xff\xfb"),
        ("SaveAudioOpus", "x_00001_.opus", b"OggS"),
    ],
)
def test_sound_is_silence_of_its_kind(theatre: Theatre, class_type: str, name: str, head: bytes) -> None:
    more = {} if class_type == "SaveAudio" else {"quality": "128k"}
    sound = node("LoadAudio", audio="a")
    run = theatre.run({"1": sound, "2": node(class_type, audio=["1", 0], filename_prefix="x", **more)}, "2")
    (path,) = theatre.files(run, "2", "audio")
    assert (path.name, path.read_bytes()[: len(head)]) == (name, head)


def test_saved_latent_can_be_loaded(theatre: Theatre) -> None:
    latent = node("EmptyLatentImage", width=64, height=32, batch_size=1)
    run = theatre.run({"1": latent, "2": node("SaveLatent", samples=["1", 0], filename_prefix="l")}, "2")
    (path,) = theatre.files(run, "2", "latents")
    path.rename(theatre.folders["input"] / "l.latent")
    prompt = {
        "1": node("LoadLatent", latent="l.latent"),
        "2": node("VAELoader", vae_name="v"),
        "3": node("VAEDecode", samples=["1", 0], vae=["2", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    run = theatre.run(prompt, "4")
    with Image.open(theatre.files(run, "4")[0]) as image:
        assert image.size == (64, 32)


def test_plain_value_in_place_of_a_link_fails_in_the_words_of_python(theatre: Theatre) -> None:
    run = theatre.run({"1": node("SaveImage", images="x", filename_prefix="y")}, "1")
    error = run.outcome.messages[-1][1]
    assert (error["exception_type"], error["exception_message"]) == (
        "AttributeError",
        "'str' object has no attribute 'shape'\n",
    )
    assert error["current_inputs"]["images"] == ["x"]
    assert error["current_inputs"]["extra_pnginfo"] == [None]


def test_file_that_is_no_image_fails_as_pillow_says(theatre: Theatre) -> None:
    (theatre.folders["input"] / "broken.png").write_bytes(b"no image")
    run = theatre.run({"1": node("LoadImage", image="broken.png"), "2": node("PreviewImage", images=["1", 0])}, "2")
    error = run.outcome.messages[-1][1]
    assert error["exception_type"] == "PIL.UnidentifiedImageError"
    assert error["current_outputs"] == ["1", "2"]


def test_unknown_input_with_a_link_is_a_type_error(theatre: Theatre) -> None:
    prompt = save()
    prompt["2"]["inputs"]["bogus"] = ["1", 0]
    error = theatre.run(prompt, "2").outcome.messages[-1][1]
    assert error["exception_message"] == "SaveImage.save_images() got an unexpected keyword argument 'bogus'\n"


def test_missing_input_of_a_node_that_nobody_validated_is_a_type_error(theatre: Theatre) -> None:
    prompt = {"1": node("ImageScale", image=5, width=1), "2": node("PreviewAny", source=1, bogus=["1", 0])}
    error = theatre.run(prompt, "2").outcome.messages[-1][1]
    assert error["exception_message"] == (
        "ImageScale.upscale() missing 3 required positional arguments: 'upscale_method', 'height', and 'crop'\n"
    )


def test_metadata_that_is_no_object_fails_as_python_does(theatre: Theatre) -> None:
    error = theatre.run(save(), "2", extra_pnginfo=[1]).outcome.messages[-1][1]
    assert (error["node_id"], error["exception_type"]) == ("2", "IndexError")


def test_picture_that_would_not_fit_into_memory_is_refused(theatre: Theatre) -> None:
    run = theatre.run(save(width=16384, height=16384, batch_size=4096), "2")
    assert "not enough memory" in run.outcome.messages[-1][1]["exception_message"]
