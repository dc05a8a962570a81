"""Output nodes: they write files into the life's directories and report them."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from PIL import PngImagePlugin

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Preview, Result, Update, acts
from mockserver.comfyui.nodes import files
from mockserver.comfyui.values import Audio, Image, Mask, Video

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from mockserver.comfyui.behaviour import Report
    from mockserver.comfyui.folders import FolderName

Json = dict[str, Any]


class Series:
    """Files of one prefix in one directory, numbered on from the highest number that is there."""

    def __init__(self, call: Call, prefix: str, kind: FolderName = "output", size: tuple[int, int] = (0, 0)) -> None:
        root = call.stage.folders[kind]
        path = os.path.normpath(_filled_in(prefix, size))
        subfolder, self._name = os.path.split(path)
        folder = call.stage.folders.inside(kind, subfolder)
        if folder is None:
            wanted = os.path.abspath(root / subfolder)  # noqa: PTH100 - without the dots, and links as they are
            raise Exception(
                "**** ERROR: Saving image outside the output folder is not allowed."
                f"\n full_output_folder: {wanted}\n         output_dir: {root}"
                f"\n         commonpath: {os.path.commonpath((root, wanted))}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._kind = kind
        self._folder = folder
        self._subfolder = subfolder
        self._counter = self._highest_number() + 1

    def write(self, extension: str, content: bytes, batch_number: int | None = None) -> Json:
        """Writes the next file and returns its entry."""
        path = self.next_path(extension, batch_number)
        path.write_bytes(content)
        return self.entry(path)

    def next_path(self, extension: str, batch_number: int | None = None) -> Path:
        """Where the next file goes."""
        name = self._name if batch_number is None else self._name.replace("%batch_num%", str(batch_number))
        path = self._folder / f"{name}_{self._counter:05}_.{extension}"
        self._counter += 1
        if path.is_symlink():  # it could lead anywhere
            path.unlink()
        return path

    def entry(self, path: Path) -> Json:
        """A file as ``executed`` and the history name it."""
        return {"filename": path.name, "subfolder": self._subfolder, "type": self._kind}

    def _highest_number(self) -> int:
        numbered = re.compile(rf"{re.escape(os.path.normcase(self._name))}_(\d+)(?:_|$)", re.ASCII)
        found = (numbered.match(os.path.normcase(entry.name)) for entry in os.scandir(self._folder))
        return max((int(match[1]) for match in found if match is not None), default=0)


def _filled_in(prefix: str, size: tuple[int, int]) -> str:
    """The prefix with its tokens replaced."""
    if "%" not in prefix:
        return prefix
    now = datetime.now().astimezone()
    tokens = {
        "width": str(size[0]),
        "height": str(size[1]),
        "year": str(now.year),
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
    }
    for token, text in tokens.items():
        prefix = prefix.replace(f"%{token}%", text)
    return prefix


def _metadata(call: Call) -> Json:
    """What image files carry: the prompt, and whatever else the request gave for it."""
    if not call.stage.write_metadata:
        return {}
    found: Json = {}
    if call.inputs.get("prompt") is not None:
        found["prompt"] = json.dumps(call.inputs["prompt"])
    extra = call.inputs.get("extra_pnginfo")
    if extra is not None:
        for key in extra:
            found[key] = json.dumps(extra[key])
    return found


def _png_info(metadata: Json) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in metadata.items():
        info.add_text(key, text)
    return info


def save_pictures(call: Call, images: Any, prefix: str, kind: FolderName, compress_level: int = 4) -> list[Json]:
    """Writes each picture of an image as a PNG and returns the entries."""
    height, width = images[0].shape[:2]
    series = Series(call, prefix, kind, (width, height))
    info = _png_info(_metadata(call))
    entries = []
    for number, picture in enumerate(images):
        path = series.next_path("png", number)
        picture.save(path, pnginfo=info if call.stage.write_metadata else None, compress_level=compress_level)
        entries.append(series.entry(path))
    return entries


@acts("SaveImage")
def _save_image(call: Call) -> Result:
    return Result(ui={"images": save_pictures(call, call["images"], call["filename_prefix"], "output")})


def _temporary(call: Call, prefix: str = "ComfyUI") -> str:
    return f"{prefix}_temp_{call.stage.letters_of(call.node, call.node_class.name)}"


@acts("PreviewImage")
def _preview_image(call: Call) -> Result:
    return Result(ui={"images": save_pictures(call, call["images"], _temporary(call), "temp", 1)})


@acts("MaskPreview")
def _preview_mask(call: Call) -> Result:
    mask = call["mask"]
    _ = mask.reshape
    shown = Image([picture.convert("RGB") for picture in mask]) if isinstance(mask, Mask) else mask
    return Result(ui={"images": save_pictures(call, shown, _temporary(call), "temp", 4)})


@acts("SaveImageWebsocket", steps=lambda call: call["images"].shape[0])
def _save_image_websocket(call: Call) -> Generator[Report, None, Result]:
    images = call["images"]
    for number, picture in enumerate(images):
        yield Update(number, len(images), Preview("png", pictures.encoded(pictures.rgb(picture), "png")))
    return Result()


@acts("SaveAnimatedWEBP", "SaveAnimatedPNG")
def _save_animated(call: Call) -> Result:
    images = call["images"]
    height, width = images[0].shape[:2]
    series = Series(call, call["filename_prefix"], "output", (width, height))
    first, *others = images.pictures
    duration = int(1000 / call["fps"])
    metadata = _metadata(call)
    if call.node_class.name == "SaveAnimatedPNG":
        path = series.next_path("png")
        options: Json = {"pnginfo": _png_info(metadata), "compress_level": call["compress_level"]}
        animated = True
    else:
        path = series.next_path("webp")
        exif = first.getexif()
        for tag, (key, text) in zip(range(0x010F, 0x0100, -1), metadata.items(), strict=False):
            exif[0x0110 if key == "prompt" else tag] = f"{key}:{text}"
        options = {"lossless": call["lossless"], "quality": call["quality"], "method": 0, "exif": exif}
        animated = len(images) != 1
    first.save(path, save_all=True, append_images=others, duration=duration, **options)
    return Result(ui={"images": [series.entry(path)], "animated": [animated]})


def _one_file(call: Call, key: str, extension: str, content: bytes, *, animated: bool = False) -> Result:
    ui: Json = {key: [Series(call, call["filename_prefix"]).write(extension, content)]}
    if animated:
        ui["animated"] = [True]
    return Result(ui=ui)


@acts("SaveWEBM")
def _save_webm(call: Call) -> Result:
    images = call["images"]
    _ = images[0].shape
    return _one_file(call, "images", "webm", files.webm(images.pictures, call["fps"]), animated=True)


@acts("SaveVideo")
def _save_video(call: Call) -> Result:
    video = call["video"]
    _ = video.get_dimensions
    return _one_file(call, "images", "mp4", files.mp4(video.image.pictures, video.fps), animated=True)


@acts("CreateVideo")
def _create_video(call: Call) -> Result:
    images = call["images"]
    _ = images.shape
    return Result([Video(images, float(call["fps"]))])


@acts("GetVideoComponents")
def _get_video_components(call: Call) -> Result:
    video = call["video"]
    _ = video.get_dimensions
    return Result([video.image, Audio(seconds=len(video.image) / video.fps), video.fps])


@acts("SaveSVGNode")
def _save_svg(call: Call) -> Result:
    _ = call["svg"].data
    return _one_file(call, "images", "svg", files.SVG)


@acts("SaveLatent")
def _save_latent(call: Call) -> Result:
    shape = call["samples"]["samples"].shape
    content = files.safetensors({"latent_tensor": shape, "latent_format_version_0": (0,)}, _metadata(call))
    return _one_file(call, "latents", "latent", content)


@acts("SaveGLB")
def _save_glb(call: Call) -> Result:
    _ = call["mesh"].vertices
    return _one_file(call, "3d", "glb", files.glb())


_AUDIO: dict[str, tuple[str, Callable[[], bytes]]] = {
    "SaveAudio": ("flac", files.flac),
    "SaveAudioMP3": ("mp3", files.mp3),
    "SaveAudioOpus": ("opus", files.opus),
    "PreviewAudio": ("flac", files.flac),
}


@acts(*_AUDIO)
def _save_audio(call: Call) -> Result:
    extension, make = _AUDIO[call.node_class.name]
    waveforms = call["audio"]["waveform"]
    if call.node_class.name == "PreviewAudio":
        series = Series(call, _temporary(call), "temp")
    else:
        series = Series(call, call["filename_prefix"])
    return Result(ui={"audio": [series.write(extension, make(), number) for number in range(len(waveforms))]})


@acts("CheckpointSave", "ImageOnlyCheckpointSave", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLoRANode")
def _save_model(call: Call) -> Result:
    prefix = call["prefix"] if call.node_class.name == "SaveLoRANode" else call["filename_prefix"]
    Series(call, prefix).write("safetensors", files.safetensors({"mock": (1,)}, _metadata(call)))
    return Result()


@acts("Preview3D", "Preview3DAnimation")
def _preview_3d(call: Call) -> Result:
    return Result(ui={"result": [call["model_file"], call.inputs.get("camera_info")]})


@acts("LossGraphNode")
def _loss_graph(call: Call) -> Result:
    now = datetime.now().astimezone()
    name = f"{call['filename_prefix']}_{now:%Y%m%d_%H%M%S}.png"
    path = call.stage.folders.inside("temp", name)
    if path is None or path.parent != call.stage.folders["temp"]:
        raise FileNotFoundError(2, "No such file or directory", name)
    pictures.plausible(640, 480, 0).save(path)
    return Result(ui={"images": [{"filename": name, "subfolder": "", "type": "temp"}]})
