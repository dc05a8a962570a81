"""The document that describes the control API, made from the kinds of faults themselves."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from mockserver.control.examples import EXAMPLES
from mockserver.faults import kinds
from mockserver.version import __version__

if TYPE_CHECKING:
    from types import ModuleType

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"


@cache
def document() -> Json:
    """The API as OpenAPI 3.1."""
    fault = {"oneOf": [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds.KINDS]}
    standing = {
        "type": "object",
        "description": "A fault with how it stands: id, state (waiting, active, ended), strikes, seed.",
        "properties": {
            "id": {"type": "string"},
            "state": {"enum": ["waiting", "active", "ended"]},
            "strikes": {"type": "integer", "minimum": 0},
            "warning": {"type": "string", "description": "Why it may never begin or strike."},
            "seed": {"type": "integer"},
        },
        "required": ["id", "state", "strikes", "seed", "fault"],
    }
    several = {"type": "object", "properties": {"faults": {"type": "array", "items": standing}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Control API of a mock ComfyUI",
            "version": __version__,
            "description": "Steers one life of a mock server and reads its journal. No fault touches it but a freeze. "
            "On loopback only, unless the server was given a token.",
        },
        "paths": {
            "/life": {"get": _operation("What runs here", {"type": "object"})},
            "/": {"get": _page("A page for people: sockets, queue, journal, and buttons for faults")},
            "/state": {"get": _operation("Open websockets, and the prompt that runs and those that wait", _STATE)},
            "/openapi.json": {"get": _operation("This document", {"type": "object"})},
            "/faults": {
                "get": _operation("All faults and how they stand", several),
                "post": {
                    **_operation("Sets a fault, or several of which either all are set or none", standing, "201"),
                    "requestBody": _body({"oneOf": [fault, {"type": "array", "items": fault}]}),
                },
                "delete": _operation("Clears all faults", several),
            },
            "/faults/{fault_id}": {
                "parameters": [
                    {"name": "fault_id", "in": "path", "required": True, "schema": {"type": "string"}},
                ],
                "get": _operation("One fault and how it stands", standing),
                "delete": _operation("Clears one fault; what it held back goes on", standing),
            },
            "/release": {
                "post": {
                    **_operation("Lets held executions, the held network, or both go on", several),
                    "requestBody": _body(
                        {"type": "object", "properties": {"what": {"enum": ["execution", "network"]}}}, required=False
                    ),
                }
            },
            "/journal": {
                "get": {
                    **_operation("Records of the life's journal", _RECORDS),
                    "parameters": [
                        _query("since", "Position of the first record wanted; use next of the answer before."),
                        _query("wait", "Longest time in seconds to wait for a record if there is none."),
                        {**_query("kind", "Only records of this kind."), "schema": {"type": "string"}},
                    ],
                }
            },
        },
        "components": {"schemas": schemas(_REF)},
    }


def schemas(ref_template: str = "#/$defs/{name}") -> Json:
    """JSON schemas of all kinds of faults, by the names of their classes, with what their fields mean."""
    _, components = msgspec.json.schema_components(kinds.KINDS, ref_template=ref_template)
    texts = field_texts(kinds)
    examples = {kinds.BY_NAME[example["fault"]].__name__: example for example in EXAMPLES}
    for name, schema in components.items():
        schema.update(_more(name))
        if name in examples:
            schema["examples"] = [examples[name]]
        for field, described in schema.get("properties", {}).items():
            text = texts.get((name, field))
            if text is not None:
                described["description"] = text
    return components


def _more(name: str) -> Json:
    """What the types do not say: ``kinds.read_fault`` says it in words."""
    kind, more = getattr(kinds, name), {}
    if issubclass(kind, kinds.Action):
        once = {"properties": {"times": {"maximum": 1}}}
        more["anyOf"] = [once, {"required": ["when"], "properties": {"when": {"type": "object"}}}]
    if kind is kinds.SendRawFrame:
        more["oneOf"] = [{"required": [each], "properties": {each: {"type": "string"}}} for each in ("frame", "hex")]
    return more


def field_texts(module: ModuleType) -> dict[tuple[str, str], str]:
    """What the text below each field of a module's classes says, by class and field, inherited ones included."""
    own: dict[str, dict[str, str]] = {}
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.ClassDef):
            own[statement.name] = dict(_texts_of(statement))
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    return {
        (each.__name__, field): text
        for each in classes
        for base in reversed(each.__mro__)
        for field, text in own.get(base.__name__, {}).items()
    }


def _texts_of(definition: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (field.target.id, inspect.cleandoc(text.value.value))
        for field, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]


_STATE = {
    "type": "object",
    "properties": {
        "sockets": {
            "type": "array",
            "description": "In the order in which they came.",
            "items": {
                "type": "object",
                "properties": {
                    "socket": {"type": "integer", "description": "Its number in this life."},
                    "client_id": {"type": "string", "description": "Its sid."},
                    "ordinal": {"type": "integer", "description": "Which socket of this client it is in this life."},
                    "is_mute": {"type": "boolean", "description": "Whether nothing more is sent on it."},
                },
            },
        },
        "prompts": {
            "type": "array",
            "description": "In the order in which they run.",
            "items": {
                "type": "object",
                "properties": {
                    "prompt_id": {"type": "string"},
                    "client_id": {"type": ["string", "null"], "description": "Its owner, if it has one."},
                    "is_running": {"type": "boolean"},
                },
            },
        },
    },
}

_RECORDS = {
    "type": "object",
    "properties": {
        "records": {"type": "array", "items": {"type": "object"}},
        "first": {
            "type": "integer",
            "description": "Position from which was looked; later than asked for if the "
            "older ones are in the journal's file only.",
        },
        "next": {"type": "integer", "description": "Position behind the last record."},
    },
}


def _page(summary: str) -> Json:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {"text/html": {}}}}}


def _operation(summary: str, schema: Json, status: str = "200") -> Json:
    error = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "summary": summary,
        "responses": {
            status: {"description": summary, "content": {"application/json": {"schema": schema}}},
            "4XX": {"description": 'What is wrong, as {"error": "…"}', **error},
        },
    }


def _body(schema: Json, *, required: bool = True) -> Json:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _query(name: str, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "number", "minimum": 0}}
