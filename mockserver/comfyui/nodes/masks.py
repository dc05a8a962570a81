"""Nodes that make and change masks, and what lies between masks and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image as Pillow
from PIL import ImageChops, ImageFilter

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Result, acts
from mockserver.comfyui.values import Image, Mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver.comfyui.pictures import Picture


def _each(mask: Any, change: Callable[[Picture], Picture]) -> Mask:
    if not isinstance(mask, Mask):
        _ = mask.reshape
    return Mask([change(picture) for picture in mask])


@acts("SolidMask")
def _solid(call: Call) -> Result:
    return Result([Mask([pictures.solid_mask(call["width"], call["height"], call["value"])])])


@acts("InvertMask")
def _invert(call: Call) -> Result:
    return Result([1.0 - call["mask"]])


@acts("MaskToImage")
def _to_image(call: Call) -> Result:
    return Result([Image([picture.convert("RGB") for picture in _each(call["mask"], lambda picture: picture)])])


@acts("ImageToMask")
def _to_mask(call: Call) -> Result:
    image = call["image"]
    channel = ["red", "green", "blue", "alpha"].index(call["channel"])
    if not isinstance(image, Image):
        image[:, :, :, channel]
    if channel >= image.shape[3]:
        raise IndexError(f"index {channel} is out of bounds for dimension 3 with size {image.shape[3]}")
    return Result([Mask([picture.getchannel(channel) for picture in image])])


@acts("ImageColorToMask")
def _color_to_mask(call: Call) -> Result:
    image, color = call["image"], call["color"]
    _ = image.shape
    wanted = ((color >> 16) & 255, (color >> 8) & 255, color & 255)

    def matching(picture: Picture) -> Picture:
        bands = [
            band.point([255 if value == part else 0 for value in range(256)])
            for band, part in zip(pictures.rgb(picture).split(), wanted, strict=True)
        ]
        return ImageChops.darker(ImageChops.darker(bands[0], bands[1]), bands[2])

    return Result([Mask([matching(picture) for picture in image])])


@acts("CropMask")
def _crop(call: Call) -> Result:
    box = (call["x"], call["y"], call["x"] + call["width"], call["y"] + call["height"])
    return Result([_each(call["mask"], lambda picture: picture.crop(box))])


@acts("ThresholdMask")
def _threshold(call: Call) -> Result:
    limit = call["value"] * 255
    return Result([_each(call["mask"], lambda picture: picture.point(lambda value: 255 if value > limit else 0))])


@acts("GrowMask")
def _grow(call: Call) -> Result:
    expand = call["expand"]
    grow = ImageFilter.MaxFilter(3) if expand > 0 else ImageFilter.MinFilter(3)

    def grown(picture: Picture) -> Picture:
        for _ in range(min(abs(expand), max(picture.size))):
            picture = picture.filter(grow)
        return picture

    return Result([_each(call["mask"], grown)])


@acts("FeatherMask")
def _feather(call: Call) -> Result:
    sides = [call[side] for side in ("left", "top", "right", "bottom")]

    def feather(picture: Picture) -> Picture:
        width, height = picture.size
        left, top, right, bottom = sides
        rows = bytes(_ramp(y, height, top, bottom) for y in range(height))
        columns = bytes(_ramp(x, width, left, right) for x in range(width))
        down = Pillow.frombytes("L", (1, height), rows).resize((width, height))
        across = Pillow.frombytes("L", (width, 1), columns).resize((width, height))
        return ImageChops.multiply(picture, ImageChops.multiply(down, across))

    return Result([_each(call["mask"], feather)])


def _ramp(position: int, length: int, before: int, after: int) -> int:
    factor = 1.0
    if position < min(before, length):
        factor *= (position + 1) / min(before, length)
    if length - position <= min(after, length):
        factor *= (length - position) / min(after, length)
    return int(factor * 255)


_OPERATIONS: dict[str, Callable[[Picture, Picture], Picture]] = {
    "multiply": ImageChops.multiply,
    "add": ImageChops.add,
    "subtract": ImageChops.subtract,
    "and": ImageChops.darker,
    "or": ImageChops.lighter,
    "xor": ImageChops.difference,
}


@acts("MaskComposite")
def _composite(call: Call) -> Result:
    source, operation = call["source"], _OPERATIONS[call["operation"]]
    _ = source.reshape
    x, y = call["x"], call["y"]

    def composite(picture: Picture) -> Picture:
        above = source.pictures[0]
        box = (x, y, min(picture.width, x + above.width), min(picture.height, y + above.height))
        if box[0] >= box[2] or box[1] >= box[3]:
            return picture
        part = above.crop((0, 0, box[2] - x, box[3] - y))
        result = picture.copy()
        result.paste(operation(picture.crop(box), part), box)
        return result

    return Result([_each(call["destination"], composite)])


@acts("JoinImageWithAlpha")
def _join(call: Call) -> Result:
    image, alpha = call["image"], call["alpha"]
    _ = image.shape, alpha.shape
    opaque = [pictures.inverted_mask(mask) for mask in alpha]
    joined = [pictures.joined(picture, opaque[min(at, len(opaque) - 1)]) for at, picture in enumerate(image)]
    return Result([Image(joined)])


@acts("SplitImageWithAlpha")
def _split(call: Call) -> Result:
    image = call["image"]
    _ = image.shape
    masks = [pictures.inverted_mask(picture.convert("RGBA").getchannel("A")) for picture in image]
    return Result([Image([pictures.rgb(picture) for picture in image]), Mask(masks)])
