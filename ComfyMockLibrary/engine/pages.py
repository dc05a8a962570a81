"""What all HTML pages are made with: templates that escape everything, and text that shows nothing it should not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot have, that no encoding has, or that turn the direction of what follows."""


def environment(templates: Path) -> Environment:
    """Templates of a folder. Loads jinja2, which takes its time."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shortened,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def harmless(text: str) -> str:
    """Text of clients and servers without what is not seen. Escaping comes after."""
    return _UNSEEN.sub("\ufffd", text)


def _shortened(value: Any) -> Any:
    """Text that is harmless, and not longer than anybody reads."""
    if type(value) is not str:
        return value
    return harmless(value if len(value) <= 2000 else f"{value[:1999]}…")
