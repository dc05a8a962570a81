"""Nodes that make and change images. They really compute, in 8 bit."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any

from PIL import Image as Pillow
from PIL import ImageChops, ImageFilter, ImageOps

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Result, Text, Update, acts
from mockserver.comfyui.values import Image, Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockserver.comfyui.behaviour import Report
    from mockserver.comfyui.pictures import Picture


def each(image: Any, change: Callable[[Picture], Picture]) -> Image:
    """The image with each picture of the batch changed, equal ones once.

    What is no image fails as it does where a tensor is expected.
    """
    if not isinstance(image, Image):
        _ = image.shape
    different = {id(picture): picture for picture in image}
    changed = {key: change(picture) for key, picture in different.items()}
    return Image([changed[id(picture)] for picture in image])


@acts("EmptyImage")
def _empty_image(call: Call) -> Result:
    pictures.guard(call["width"], call["height"], call["batch_size"])
    picture = pictures.solid(call["width"], call["height"], call["color"])
    return Result([Image([picture] * call["batch_size"])])


@acts("ImageInvert")
def _invert(call: Call) -> Result:
    return Result([1.0 - call["image"]])


@acts("ImageScale")
def _scale(call: Call) -> Result:
    image, width, height = call["image"], call["width"], call["height"]
    if width == 0 and height == 0:
        return Result([image])
    _ = image.movedim
    if width == 0:
        width = max(1, round(image.width * height / image.height))
    elif height == 0:
        height = max(1, round(image.height * width / image.width))
    return Result([_scaled(image, width, height, call["upscale_method"], call["crop"])])


def _scaled(image: Image, width: int, height: int, method: str, crop: str = "disabled") -> Image:
    return each(image, lambda picture: pictures.scaled(picture, width, height, method, crop))


@acts("ImageScaleBy")
def _scale_by(call: Call) -> Result:
    image, factor = call["image"], call["scale_by"]
    _ = image.movedim
    width, height = round(image.width * factor), round(image.height * factor)
    return Result([_scaled(image, width, height, call["upscale_method"])])


@acts("ImageScaleToTotalPixels")
def _scale_to_total_pixels(call: Call) -> Result:
    image = call["image"]
    _ = image.movedim
    factor = math.sqrt(call["megapixels"] * 1024 * 1024 / (image.width * image.height))
    width, height = round(image.width * factor), round(image.height * factor)
    return Result([_scaled(image, width, height, call["upscale_method"])])


@acts("ImageScaleToMaxDimension")
def _scale_to_max_dimension(call: Call) -> Result:
    image, largest = call["image"], call["largest_size"]
    _ = image.shape
    if image.height >= image.width:
        height, width = largest, round(image.width / image.height * largest)
    else:
        width, height = largest, round(image.height / image.width * largest)
    return Result([_scaled(image, max(1, width), max(1, height), call["upscale_method"])])


@acts("ResizeAndPadImage")
def _resize_and_pad(call: Call) -> Result:
    size = (call["target_width"], call["target_height"])
    method = pictures.FILTERS[call["interpolation"]]

    def pad(picture: Picture) -> Picture:
        return ImageOps.pad(picture, size, method, color=call["padding_color"])

    return Result([each(call["image"], pad)])


@acts("ImageBatch")
def _batch(call: Call) -> Result:
    first, second = call["image1"], call["image2"]
    if first.shape[1:] != second.shape[1:]:
        second = _scaled(second, first.width, first.height, "bilinear", "center")
        if first.shape[3] != second.shape[3]:
            first, second = (each(image, lambda picture: picture.convert("RGBA")) for image in (first, second))
    pictures.guard(first.width, first.height, len(first) + len(second))
    return Result([Image([*first, *second])])


def _normal(below: Picture, above: Picture) -> Picture:
    return above


_BLENDS: dict[str, Callable[[Picture, Picture], Picture]] = {
    "normal": _normal,
    "multiply": ImageChops.multiply,
    "screen": ImageChops.screen,
    "overlay": ImageChops.overlay,
    "soft_light": ImageChops.soft_light,
    "difference": ImageChops.subtract,
}


@acts("ImageBlend")
def _blend(call: Call) -> Result:
    below, above, factor = call["image1"], call["image2"], call["blend_factor"]
    if below.shape[-1] != above.shape[-1]:
        below, above = (each(image, pictures.rgb) for image in (below, above))
    if below.shape != above.shape:
        above = _scaled(above, below.width, below.height, "bicubic", "center")
    mode = _BLENDS[call["blend_mode"]]
    count = min(len(below), len(above))
    pairs = zip(below.pictures[:count], above.pictures[:count], strict=True)
    return Result([Image([Pillow.blend(low, mode(low, high), factor) for low, high in pairs])])


@acts("ImageCrop")
def _crop(call: Call) -> Result:
    image = call["image"]
    x = min(call["x"], image.shape[2] - 1)
    y = min(call["y"], image.shape[1] - 1)
    right, bottom = min(image.width, x + call["width"]), min(image.height, y + call["height"])
    return Result([each(image, lambda picture: picture.crop((x, y, right, bottom)))])


@acts("ImagePadForOutpaint")
def _pad_for_outpaint(call: Call) -> Result:
    image = call["image"]
    _batch_size, height, width, _channels = image.size()
    left, top, right, bottom = (call[side] for side in ("left", "top", "right", "bottom"))
    size = (width + left + right, height + top + bottom)
    pictures.guard(*size, len(image))

    def pad(picture: Picture) -> Picture:
        canvas = Pillow.new("RGB", size, (127, 127, 127))
        canvas.paste(pictures.rgb(picture), (left, top))
        return canvas

    mask = Pillow.new("L", size, 255)
    mask.paste(0, (left, top, left + width, top + height))
    feathering = call["feathering"]
    if feathering > 0 and feathering * 2 < min(width, height):
        soft = mask.filter(ImageFilter.BoxBlur(feathering / 2))
        mask = ImageChops.lighter(mask, soft)
    return Result([each(image, pad), Mask([mask])])


@acts("ImageCompositeMasked")
def _composite(call: Call) -> Result:
    destination, source = call["destination"], call["source"]
    _ = destination.shape, source.shape
    mask = call.inputs.get("mask")
    if call["resize_source"]:
        source = _scaled(source, destination.width, destination.height, "bilinear")

    def paste(position: int, picture: Picture) -> Picture:
        above = pictures.rgb(source.pictures[position % len(source)])
        area = None if mask is None else mask.pictures[position % len(mask.pictures)].resize(above.size)
        result = pictures.rgb(picture).copy()
        result.paste(above, (call["x"], call["y"]), area)
        return result

    return Result([Image([paste(position, picture) for position, picture in enumerate(destination)])])


@acts("ImageFromBatch")
def _from_batch(call: Call) -> Result:
    image = call["image"]
    start = min(image.shape[0] - 1, call["batch_index"])
    return Result([Image(image.pictures[start : start + call["length"]])])


@acts("RepeatImageBatch")
def _repeat_batch(call: Call) -> Result:
    image = call["image"]
    _ = image.repeat
    pictures.guard(image.width, image.height, len(image) * call["amount"])
    return Result([Image(image.pictures * call["amount"])])


@acts("RebatchImages")
def _rebatch(call: Call) -> Result:
    every = [picture for image in call["images"] for picture in image]
    size = call["batch_size"][0]
    return Result([[Image(every[start : start + size]) for start in range(0, len(every), size)]])


@acts("ImageFlip")
def _flip(call: Call) -> Result:
    flip = ImageOps.flip if call["flip_method"].startswith("x") else ImageOps.mirror
    return Result([each(call["image"], flip)])


@acts("ImageRotate")
def _rotate(call: Call) -> Result:
    turn = {
        "90 degrees": Pillow.Transpose.ROTATE_270,
        "180 degrees": Pillow.Transpose.ROTATE_180,
        "270 degrees": Pillow.Transpose.ROTATE_90,
    }.get(call["rotation"])
    return Result([call["image"] if turn is None else each(call["image"], lambda picture: picture.transpose(turn))])


@acts("ImageBlur")
def _blur(call: Call) -> Result:
    blur = ImageFilter.GaussianBlur(min(call["sigma"], call["blur_radius"]))
    return Result([each(call["image"], lambda picture: picture.filter(blur))])


@acts("ImageSharpen")
def _sharpen(call: Call) -> Result:
    sharpen = ImageFilter.UnsharpMask(call["sharpen_radius"], round(call["alpha"] * 100), 0)
    return Result([each(call["image"], lambda picture: picture.filter(sharpen))])


@acts("ImageQuantize")
def _quantize(call: Call) -> Result:
    dither = Pillow.Dither.NONE if call["dither"] == "none" else Pillow.Dither.FLOYDSTEINBERG

    def quantize(picture: Picture) -> Picture:
        return pictures.rgb(pictures.rgb(picture).quantize(call["colors"], dither=dither))

    return Result([each(call["image"], quantize)])


@acts("ImageStitch")
def _stitch(call: Call) -> Result:
    first, second = call["image1"], call.inputs.get("image2")
    if second is None:
        return Result([first])
    _ = first.shape, second.shape
    across = call["direction"] in ("left", "right")
    if call["match_image_size"]:
        ratio = second.width / second.height
        width, height = (int(first.height * ratio), first.height) if across else (first.width, int(first.width / ratio))
        second = _scaled(second, max(1, width), max(1, height), "lanczos")
    if call["direction"] in ("left", "up"):
        first, second = second, first
    gap = call["spacing_width"]
    if across:
        size, place = (first.width + gap + second.width, max(first.height, second.height)), (first.width + gap, 0)
    else:
        size, place = (max(first.width, second.width), first.height + gap + second.height), (0, first.height + gap)

    pictures.guard(*size, max(len(first), len(second)))

    def stitch(position: int) -> Picture:
        canvas = Pillow.new("RGB", size, call["spacing_color"])
        canvas.paste(pictures.rgb(first.pictures[min(position, len(first) - 1)]), (0, 0))
        canvas.paste(pictures.rgb(second.pictures[min(position, len(second) - 1)]), place)
        return canvas

    return Result([Image([stitch(position) for position in range(max(len(first), len(second)))])])


@acts("ImageAddNoise")
def _add_noise(call: Call) -> Result:
    image = call["image"]
    _ = image.shape
    noise = Random(call["seed"]).randbytes(image.width * image.height)
    grain = Pillow.frombytes("L", (image.width, image.height), noise).convert("RGB")
    return Result([each(image, lambda picture: Pillow.blend(pictures.rgb(picture), grain, call["strength"] / 2))])


@acts("ImageUpscaleWithModel", steps=lambda call: call["image"].shape[0])
def _upscale_with_model(call: Call) -> Generator[Report, None, Result]:
    image = call["image"]
    for position in range(len(image)):
        yield Update(position + 1, len(image))
    return Result([_scaled(image, image.width * 4, image.height * 4, "lanczos")])


@acts("GetImageSize")
def _get_image_size(call: Call) -> Generator[Report, None, Result]:
    image = call["image"]
    height, width, batch = image.shape[1], image.shape[2], image.shape[0]
    yield Text(f"width: {width}, height: {height}\n batch size: {batch}", to="all")
    return Result([width, height, batch])
