"""What kind of file a name stands for."""

from __future__ import annotations

import functools
import mimetypes


def media_type(name: str) -> str:
    """The media type by the name's extension, ``application/octet-stream`` if there is none."""
    return _known().guess_type(name)[0] or "application/octet-stream"


@functools.cache
def _known() -> mimetypes.MimeTypes:
    known = mimetypes.MimeTypes()
    known.add_type("image/webp", ".webp")  # not everywhere before Python 3.13
    return known
