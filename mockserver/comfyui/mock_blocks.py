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

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def read_mock_block(block: object, inputs: Sequence[str], output_count: int) -> MockBlock:
    """Reads the ``mock`` block of a class that has these inputs and so many outputs.

    Raises ValueError with a text that names what is wrong.
    """
    if not isinstance(block, dict):
        raise ValueError("its mock block is no JSON object")
    for key in block:
        if key not in _KEYS:
            raise ValueError(f"its mock block has an unknown key {key!r}; there are {', '.join(_KEYS)}")
    return MockBlock(
        duration=_duration(block.get("duration")),
        steps=_steps(block.get("steps", 0), inputs),
        previews=_typed(block, "previews", bool, False),
        texts=[_text(text) for text in _typed(block, "texts", list, [])],
        outputs=_outputs(_typed(block, "outputs", list, None), inputs, output_count),
        images=_count(block.get("images", 0), "images of its mock block is no number from 0 up"),
        ui=_typed(block, "ui", dict, None),
        fails=_typed(block, "fails", str, None),
    )


_NAMES = {bool: "true or false", list: "list", dict: "JSON object", str: "text"}


def _typed(block: Json, key: str, kind: type, default: Any) -> Any:
    value = block.get(key, default)
    if value is not default and not isinstance(value, kind):
        raise ValueError(f"{key} of its mock block is no {_NAMES[kind]}: {value!r}")
    return value


def _count(value: object, wrong: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{wrong}: {value!r}")


def _duration(value: object) -> float | None:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf):
        return value
    raise ValueError(f"duration of its mock block is no number of seconds: {value!r}")


def _steps(value: object, inputs: Sequence[str]) -> int | str:
    if not isinstance(value, str):
        return _count(value, "steps of its mock block is neither a number nor the name of an input")
    return _name_of_input(value, "steps", inputs)


def _outputs(outputs: list[Any] | None, inputs: Sequence[str], output_count: int) -> list[Any] | None:
    if outputs is None:
        return None
    if len(outputs) != output_count:
        raise ValueError(f"outputs of its mock block are {len(outputs)}, and the class has {output_count}")
    for output in outputs:
        if isinstance(output, dict) and set(output) == {"input"}:
            _name_of_input(output["input"], "outputs", inputs)
    return outputs


def _name_of_input(name: object, key: str, inputs: Sequence[str]) -> str:
    if isinstance(name, str) and name in inputs:
        return name
    there_are = f"there are {', '.join(inputs)}" if inputs else "there are none"
    raise ValueError(f"{key} of its mock block names an input {name!r}; {there_are}")


def _text(value: object) -> MockText:
    if isinstance(value, dict) and isinstance(value.get("text"), str) and value.get("to", "owner") in ("owner", "all"):
        return MockText(value["text"], cast("Receiver", value.get("to", "owner")))
    raise ValueError(f'a text of its mock block is no {{"text": ..., "to": "owner" or "all"}}: {value!r}')
