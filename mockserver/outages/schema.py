"""The JSON schema of outage files: ``python -m mockserver.outages.schema`` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from mockserver.control.openapi import field_texts
from mockserver.faults import kinds
from mockserver.outages import outage
from mockserver.outages.field_types import quantity_of
from mockserver.outages.quantities import DURATION_PATTERN, SHARE_PATTERN

Json = dict[str, Any]

_PATTERNS = {"duration": DURATION_PATTERN, "share": SHARE_PATTERN}
_SECONDS = {"type": "number", "minimum": 0, "maximum": 86400}
_DURATION = {
    "description": "A time: 200 ms, 2 s, 1 min 30 s, or plain seconds.",
    "anyOf": [_SECONDS, {"type": "string", "pattern": DURATION_PATTERN}],
}


def schema() -> Json:
    """The schema, with what each field means."""
    _, components = msgspec.json.schema_components([outage.Outage], ref_template="#/$defs/{name}")
    texts = {**field_texts(kinds), **field_texts(outage)}
    definitions = {name: _widened(definition) for name, definition in components.items()}
    for name, definition in definitions.items():
        for field, described in definition.get("properties", {}).items():
            text = texts.get((name, field))
            if text is not None:
                described["description"] = " ".join(text.split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outage",
        "$ref": "#/$defs/Outage",
        "$defs": {**dict(sorted(definitions.items())), "duration": _DURATION},
    }


def text() -> str:
    """The schema as it stands in its file: a line for each field."""
    whole = schema()
    definitions = ",\n".join(f"  {json.dumps(name)}: {_lines(each)}" for name, each in whole.pop("$defs").items())
    head = json.dumps(whole, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "$defs": {{\n{definitions}\n }}\n}}\n'


def _lines(definition: Json) -> str:
    fields = {name: json.dumps(each, ensure_ascii=False) for name, each in definition.items() if name != "properties"}
    if "properties" not in definition:
        return json.dumps(definition, ensure_ascii=False)
    properties = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}"
        for name, each in definition.get("properties", {}).items()
    )
    fields["properties"] = f"{{\n{properties}\n   }}" if properties else "{}"
    return "{\n" + ",\n".join(f"   {json.dumps(name)}: {each}" for name, each in fields.items()) + "\n  }"


def _widened(part: Any) -> Any:
    """The same, with texts such as ``200 ms`` and ``5%`` where a number has a unit.

    Null is left out where it means the same as nothing: nobody has to be offered it.
    """
    if isinstance(part, list):
        return [_widened(each) for each in part]
    if not isinstance(part, dict):
        return part
    if "default" in part and part["default"] is None:
        (kept, *more) = [each for each in part.get("anyOf", []) if each != {"type": "null"}] or [{}]
        rest = {name: value for name, value in part.items() if name not in ("anyOf", "default")}
        return _widened({**rest, "anyOf": [kept, *more]} if more else {**rest, **kept})
    quantity = quantity_of(str(part.get("description", ""))) if part.get("type") == "number" else None
    if quantity is None:
        return {name: _widened(each) for name, each in part.items()}
    of_field = {name: part[name] for name in ("description", "default") if name in part}
    number = {name: value for name, value in part.items() if name not in of_field}
    if number == _SECONDS:
        return {**of_field, "$ref": "#/$defs/duration"}
    return {**of_field, "anyOf": [number, {"type": "string", "pattern": _PATTERNS[quantity]}]}


if __name__ == "__main__":
    sys.stdout.write(text())
