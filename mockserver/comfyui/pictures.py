"""Pictures with Pillow. Imported when the first prompt runs: a life that runs none starts without it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from PIL import Image as Pillow
from PIL import ImageChops, ImageOps

if TYPE_CHECKING:
    from mockserver.comfyui.messages import ImageFormat

Picture = Pillow.Image
Crop = Literal["disabled", "center"]

FILTERS = {
    "nearest-exact": Pillow.Resampling.NEAREST,
    "bilinear": Pillow.Resampling.BILINEAR,
    "area": Pillow.Resampling.BOX,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
"""Resampling by the names that nodes have for it."""


_MOST_PIXELS = 1_000_000_000
_MOST_PICTURES = 65_536


def guard(width: int, height: int, count: int = 1) -> None:
    """Refuses what would not fit into memory, as PyTorch does."""
    if width * height * count > _MOST_PIXELS or count > _MOST_PICTURES:
        size = width * height * count * 12
        raise RuntimeError(f"DefaultCPUAllocator: not enough memory: you tried to allocate {size} bytes.")


def solid(width: int, height: int, color: int) -> Picture:
    """One colour, given as 0xRRGGBB."""
    guard(width, height)
    return Pillow.new("RGB", (width, height), ((color >> 16) & 255, (color >> 8) & 255, color & 255))


def solid_mask(width: int, height: int, value: float) -> Picture:
    """One value from 0 to 1."""
    guard(width, height)
    return Pillow.new("L", (width, height), int(value * 255))


def plausible(width: int, height: int, seed: int) -> Picture:
    """A picture that stands for what a model would have made of this seed: the same for the same seed."""
    guard(width, height)
    shift = seed % 256
    across = Pillow.linear_gradient("L").rotate(90).point(lambda value: (value + shift) % 256)
    down = Pillow.linear_gradient("L").point(lambda value: (value + shift // 2) % 256)
    around = ImageChops.offset(Pillow.radial_gradient("L"), seed % 97 - 48, seed % 89 - 44)
    bands = [across, down, around]
    turn = seed % 3
    return Pillow.merge("RGB", bands[turn:] + bands[:turn]).resize((width, height), Pillow.Resampling.BILINEAR)


def scaled(picture: Picture, width: int, height: int, method: str, crop: str = "disabled") -> Picture:
    """The picture in another size; ``crop="center"`` keeps its proportions and cuts what is too much."""
    guard(width, height)
    box = None
    if crop == "center":
        wide, high = picture.width, picture.height
        x = round((wide - wide * (width / height) / (wide / high)) / 2) if wide / high > width / height else 0
        y = round((high - high * (wide / high) / (width / height)) / 2) if wide / high < width / height else 0
        box = (x, y, wide - x, high - y)
    return picture.resize((width, height), FILTERS[method], box)


def rgb(picture: Picture) -> Picture:
    """The picture without alpha."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def joined(picture: Picture, alpha: Picture) -> Picture:
    """The picture with this alpha channel."""
    result = rgb(picture).copy()
    result.putalpha(alpha.resize(picture.size))
    return result


def inverted_mask(mask: Picture) -> Picture:
    """The mask with 0 and 1 exchanged."""
    return ImageChops.invert(mask)


def preview(picture: Picture, longest: int) -> Picture:
    """As samplers send it: fitted into a square, larger or smaller (recorded)."""
    return ImageOps.contain(picture, (longest, longest), Pillow.Resampling.BILINEAR)


def encoded(picture: Picture, image_format: ImageFormat) -> bytes:
    """Bytes of a preview: JPEG of quality 95, or PNG with little compression."""
    buffer = io.BytesIO()
    if image_format == "jpeg":
        rgb(picture).save(buffer, "JPEG", quality=95)
    else:
        picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
