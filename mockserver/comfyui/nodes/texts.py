"""Primitive values and texts. Regular expressions are not among them: one from a request can run for ever."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.behaviour import Call, Result, acts

if TYPE_CHECKING:
    from collections.abc import Callable


_LONGEST = 10_000_000


@acts("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline")
def _primitive(call: Call) -> Result:
    return Result([call["value"]])


@acts("StringConcatenate")
def _concatenate(call: Call) -> Result:
    parts = (call["string_a"], call["string_b"])
    _guard(len(call["delimiter"]) + sum(len(part) for part in parts))
    return Result([call["delimiter"].join(parts)])


@acts("StringSubstring")
def _substring(call: Call) -> Result:
    return Result([call["string"][call["start"] : call["end"]]])


@acts("StringLength")
def _length(call: Call) -> Result:
    return Result([len(call["string"])])


_CASES: dict[str, Callable[[str], str]] = {
    "UPPERCASE": str.upper,
    "lowercase": str.lower,
    "Capitalize": str.capitalize,
    "Title Case": str.title,
}


@acts("CaseConverter")
def _convert_case(call: Call) -> Result:
    return Result([_CASES.get(call["mode"], str)(call["string"])])


_SIDES: dict[str, Callable[[str], str]] = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}


@acts("StringTrim")
def _trim(call: Call) -> Result:
    return Result([_SIDES.get(call["mode"], str)(call["string"])])


@acts("StringReplace")
def _replace(call: Call) -> Result:
    text, find, replacement = call["string"], call["find"], call["replace"]
    _guard(len(text) + text.count(find) * len(replacement))
    return Result([text.replace(find, replacement)])


def _guard(length: int) -> None:
    """Refuses texts that only serve to fill the memory."""
    if length > _LONGEST:
        raise MemoryError


@acts("StringContains")
def _contains(call: Call) -> Result:
    text, part = _compared(call, "string", "substring")
    return Result([part in text])


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "Equal": str.__eq__,
    "Starts With": str.startswith,
    "Ends With": str.endswith,
}


@acts("StringCompare")
def _compare(call: Call) -> Result:
    first, second = _compared(call, "string_a", "string_b")
    return Result([_COMPARISONS[call["mode"]](first, second)])


def _compared(call: Call, first: str, second: str) -> tuple[str, str]:
    if call["case_sensitive"]:
        return call[first], call[second]
    return call[first].lower(), call[second].lower()


@acts("PreviewAny")
def _preview_any(call: Call) -> Result:
    return Result(ui={"text": [_shown(call["source"])]})


def _shown(source: Any) -> str:
    if isinstance(source, str):
        return source
    if isinstance(source, int | float | bool):
        return str(source)
    if source is None:
        return "None"
    try:
        return json.dumps(source)
    except (TypeError, ValueError):
        return str(source)
