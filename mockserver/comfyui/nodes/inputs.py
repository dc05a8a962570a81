"""Nodes that read files: only those of the life's own directories."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as Pillow
from PIL import ImageOps, ImageSequence

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Result, acts, fingerprints
from mockserver.comfyui.values import Image, Latent, Mask

if TYPE_CHECKING:
    from mockserver.comfyui.behaviour import Stage
    from mockserver.comfyui.folders import FolderName


def path_of(name: Any, stage: Stage, default: FolderName = "input") -> Path:
    """The file of an annotated name, as ``x.png`` or ``x.png [output]``. It need not exist, but is never elsewhere."""
    folders: dict[str, FolderName] = {" [output]": "output", " [input]": "input", " [temp]": "temp"}
    folder = default
    for annotation, annotated in folders.items():
        if name.endswith(annotation):
            name, folder = name[: -len(annotation)], annotated
    path = stage.folders.inside(folder, name)
    if path is None:
        raise FileNotFoundError(2, "No such file or directory", str(stage.folders[folder] / Path(name).name))
    return path


@acts("LoadImage", "LoadImageOutput")
def _load_image(call: Call) -> Result:
    images: list[pictures.Picture] = []
    masks: list[pictures.Picture] = []
    default: FolderName = "output" if call.node_class.name == "LoadImageOutput" else "input"
    with Pillow.open(str(path_of(call["image"], call.stage, default))) as file:
        pictures.guard(file.width, file.height)
        for frame in ImageSequence.Iterator(file):
            upright = ImageOps.exif_transpose(frame)
            if upright.mode == "I":
                upright = upright.point(lambda value: value * (1 / 255))
            picture = upright.convert("RGB")
            if images and picture.size != images[0].size:
                continue
            images.append(picture)
            masks.append(_mask_of(upright))
            if file.format == "MPO":
                break
    return Result([Image(images), Mask(masks)])


def _mask_of(picture: pictures.Picture) -> pictures.Picture:
    if "A" in picture.getbands() or "transparency" in picture.info:
        return pictures.inverted_mask(picture.convert("RGBA").getchannel("A"))
    return pictures.solid_mask(64, 64, 0.0)


@acts("LoadImageMask")
def _load_image_mask(call: Call) -> Result:
    band = {"alpha": "A", "red": "R", "green": "G", "blue": "B"}[call["channel"]]
    with Pillow.open(str(path_of(call["image"], call.stage))) as file:
        pictures.guard(file.width, file.height)
        picture = ImageOps.exif_transpose(file)
        has_alpha = "A" in picture.getbands()
        if band == "A" and not has_alpha:
            return Result([Mask([pictures.solid_mask(64, 64, 0.0)])])
        channel = picture.convert("RGBA").getchannel(band)
    return Result([Mask([pictures.inverted_mask(channel) if band == "A" else channel])])


@acts("LoadLatent")
def _load_latent(call: Call) -> Result:
    data = path_of(call["latent"], call.stage).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shape = header["latent_tensor"]["shape"]
    return Result([Latent(shape[-1], shape[-2], shape[0])])


@fingerprints("LoadImage", "LoadImageMask", "LoadLatent", "LoadAudio", "LoadVideo")
def _content(inputs: dict[str, Any], stage: Stage) -> str:
    """Digest of the file that the node reads: another content under the same name is another result."""
    name = next(inputs[key] for key in ("image", "latent", "audio", "file") if key in inputs)
    return hashlib.sha256(path_of(name, stage).read_bytes()).hexdigest()
