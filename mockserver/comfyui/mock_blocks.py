"""``mock`` blocks: how a class of a user's ``--nodes`` file is acted out. Never shown to clients.

A block may have:

- ``duration``: seconds that a run takes.
- ``steps``: number of progress updates, or the name of the input that holds it.
- ``previews``: true for a preview image with each update.
- ``texts``: list of ``{"text": ..., "to": "owner" | "all"}``, sent while it runs; ``{name}`` stands for an input.
- ``outputs``: list of values, one per output; ``{"input": name}`` passes an input on. Without it each output is the
  first linked input of the same type, or a plausible value of its type.
- ``images``: number of images that an output node writes, reported as ``images``.
- ``ui``: result that is reported as it stands.
- ``fails``: text of the error that each run ends with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast

Json = dict[str, Any]
Receiver = Literal["owner", "all"]

_KEYS = ("duration", "steps", "previews", "texts", "outputs", "images", "ui", "fails")


@dataclass(frozen=True)
class MockText:
    """A text that a node shows while it runs."""

    text: str
    to: Receiver = "owner"


@dataclass(frozen=True)
class MockBlock:
    """How a class is acted out."""

    duration: float | None = None
    steps: int | str = 0
    previews: bool = False
    texts: list[MockText] = field(default_factory=list)
    outputs: list[Any] | None = None
    images: int = 0
    ui: Json | None = None
    fails: str | None = None


def read_mock_block(block: object) -> MockBlock:
    """Reads a ``mock`` block. Raises ValueError with a text that names what is wrong."""
    if not isinstance(block, dict):
        raise ValueError("its mock block is no JSON object")
    for key in block:
        if key not in _KEYS:
            raise ValueError(f"its mock block has an unknown key {key!r}; there are {', '.join(_KEYS)}")
    return MockBlock(
        duration=_number(block, "duration"),
        steps=_steps(block.get("steps", 0)),
        previews=_typed(block, "previews", bool, False),
        texts=[_text(text) for text in _typed(block, "texts", list, [])],
        outputs=_typed(block, "outputs", list, None),
        images=_typed(block, "images", int, 0),
        ui=_typed(block, "ui", dict, None),
        fails=_typed(block, "fails", str, None),
    )


def _typed(block: Json, key: str, kind: type, default: Any) -> Any:
    value = block.get(key, default)
    if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ValueError(f"{key} of its mock block is no {kind.__name__}: {value!r}")
    return value


def _number(block: Json, key: str) -> float | None:
    value = block.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
        raise ValueError(f"{key} of its mock block is no number of seconds: {value!r}")
    return value


def _steps(value: object) -> int | str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"steps of its mock block is neither a number nor the name of an input: {value!r}")


def _text(value: object) -> MockText:
    if isinstance(value, dict) and isinstance(value.get("text"), str) and value.get("to", "owner") in ("owner", "all"):
        return MockText(value["text"], cast("Receiver", value.get("to", "owner")))
    raise ValueError(f'a text of its mock block is no {{"text": ..., "to": "owner" or "all"}}: {value!r}')
