"""Image files as ``/view`` shows them and ``/upload/mask`` writes them. Pillow is imported when first used."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def recoded(path: Path, format_: str, quality: int, *, opaque: bool) -> bytes:
    """The image in another format; JPEG is always opaque."""
    from PIL import Image

    with Image.open(path) as image:
        shown = image.convert("RGB") if opaque or format_ == "jpeg" else image
        return _encoded(shown, format_, quality=quality)


def colours(path: Path) -> bytes:
    """The image without alpha and without its texts, as PNG."""
    from PIL import Image

    with Image.open(path) as image:
        shown = Image.merge("RGB", image.split()[:3]) if image.mode == "RGBA" else image.convert("RGB")
        return _encoded(shown, "png")


def alpha(path: Path) -> bytes:
    """The image's alpha on black, as PNG; all opaque if it has none."""
    from PIL import Image

    with Image.open(path) as image:
        channel = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, 255)
    shown = Image.new("RGBA", channel.size)
    shown.putalpha(channel)
    return _encoded(shown, "png")


def write_with_alpha_of(original: Path, mask: IO[bytes], path: Path) -> None:
    """Writes the original with the mask's alpha as PNG, with the texts that the original carries."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    with Image.open(original) as image:
        for key, text in getattr(image, "text", {}).items():
            texts.add_text(key, text)
        written = image.convert("RGBA")
    with Image.open(mask) as image:
        written.putalpha(image.convert("RGBA").getchannel("A"))
    written.save(path, compress_level=4, pnginfo=texts)


def _encoded(image: Image, format_: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()
