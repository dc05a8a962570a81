"""Which events a wait looks for: by name, source and fields."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.client.state import CONNECTION_EVENTS

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.journal import Event
    from ComfyMockLibrary.types import EventSource

_MISSING = object()


@dataclass(frozen=True)
class EventPattern:
    """A name, and fields that the event's data must have.

    Names of connection events mean the client's own ones unless ``source`` says otherwise: a server message that is
    called ``disconnected`` does not end a connection.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: EventSource | None = None

    def matches(self, event: Event) -> bool:
        """Whether this is such an event."""
        return self.matches_name(event) and all(
            _is_equal(expected, _field(event.data, path)) for path, expected in self.fields.items()
        )

    def matches_name(self, event: Event) -> bool:
        """Whether name and source fit, whatever the fields."""
        source = self.source or ("client" if self.name in CONNECTION_EVENTS else event.source)
        return event.name == self.name and event.source == source

    def __str__(self) -> str:
        fields = ", ".join(f"{path}={expected}" for path, expected in self.fields.items())
        return f"event '{self.name}'" + (f" with {fields}" if fields else "")


def _field(data: Any, path: str) -> Any:
    """A field by its name or dotted path."""
    if isinstance(data, Mapping):
        if path in data:
            return data[path]
        head, dot, tail = path.partition(".")
        if dot and head in data:
            return _field(data[head], tail)
    return _MISSING


def _is_equal(expected: Any, seen: Any) -> bool:
    """Compares in the type that was seen: suites write every value as text."""
    if not isinstance(expected, str):
        return bool(expected == seen) or (isinstance(seen, str) and str(expected) == seen)
    if seen is None or isinstance(seen, bool):
        return expected.lower() in {None: ("none", "null"), True: ("true",), False: ("false",)}[seen]
    if isinstance(seen, (int, float)):
        return seen in _numbers(expected)
    if isinstance(seen, str):
        return expected == seen
    return any(value == seen for value in _literals(expected))


def _numbers(text: str) -> list[float]:
    """What a text means as a whole number, exact however long (seeds are), and as any number."""
    values: list[float] = []
    for read in (int, float):
        with suppress(ValueError):
            values.append(read(text))
    return values


def _literals(text: str) -> list[Any]:
    """What a text means as JSON and as Python."""
    values = []
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            values.append(read(text))
    return values
