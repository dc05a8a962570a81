"""Whether a line of a journal is a record of the format that is written down, so that readers need not doubt it.

The format is ``mockserver/journal.schema.json``. What it says is what is asked for here; a field or a kind of record
that it does not know is let through, since a later version may have it.
"""

from __future__ import annotations

import functools
import json
import math
import re
from datetime import datetime
from importlib.resources import files
from typing import Any

Json = dict[str, Any]

_MOST = 1 << 63
"""Numbers beyond it are no moments, no counts and no sizes."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def record_of(line: bytes) -> Json | None:
    """The record that a line holds; None if it holds none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_record(record) else None


def _is_record(record: Json) -> bool:
    if not isinstance(record.get("kind"), str) or not _fits(record.get("at"), _seconds()):
        return False
    forms = _forms().get(record["kind"])
    return forms is None or any(_fits(record, form) for form in forms)


@functools.cache
def _definitions() -> Json:
    file = files("mockserver") / "journal.schema.json"
    definitions: Json = json.loads(file.read_text(encoding="utf-8"))["$defs"]
    return definitions


def _seconds() -> Json:
    seconds: Json = _definitions()["seconds"]
    return seconds


@functools.cache
def _forms() -> dict[str, list[Json]]:
    """The forms that records may have, by kind."""
    forms: dict[str, list[Json]] = {}
    for definition in _definitions().values():
        kind = definition.get("properties", {}).get("kind", {}).get("const")
        if kind is not None:
            forms.setdefault(kind, []).append(definition)
    return forms


def _fits(value: Any, form: Json) -> bool:
    if "$ref" in form and not _fits(value, _definitions()[form["$ref"].rpartition("/")[2]]):
        return False
    types = _types(form)
    is_other = value != form.get("const", value) or value not in form.get("enum", [value])
    if is_other or (types and (isinstance(value, bool) or not isinstance(value, types))):
        return False
    if isinstance(value, str):
        return _fits_text(value, form)
    if isinstance(value, int | float):
        return not types or _fits_number(value, form)
    if isinstance(value, list):
        return all(_fits(each, form.get("items", {})) for each in value)
    return not isinstance(value, dict) or _fits_object(value, form)


def _types(form: Json) -> tuple[type, ...]:
    wanted = form.get("type", ())
    return tuple(each for name in ([wanted] if isinstance(wanted, str) else wanted) for each in _TYPES[name])


def _fits_text(text: str, form: Json) -> bool:
    if form.get("format") == "date-time":
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return False
        return moment.tzinfo is not None and 1970 <= moment.year < 9000  # seconds can be added to it
    return re.search(form.get("pattern", ""), text) is not None


def _fits_number(number: float, form: Json) -> bool:
    return form.get("minimum", -_MOST) <= number <= form.get("maximum", _MOST) and math.isfinite(number)


def _fits_object(value: Json, form: Json) -> bool:
    properties, others = form.get("properties", {}), form.get("additionalProperties")
    return all(name in value for name in form.get("required", ())) and all(
        _fits(each, properties.get(name, others if isinstance(others, dict) else {})) for name, each in value.items()
    )
