"""YAML as plain values that know at which line and column each stands.

PyYAML's parser does the reading; values are made here, by the core schema of YAML 1.2, so that a file means the same to
an editor that checks it against the JSON schema. Nothing but texts, numbers, truth values, null, lists and mappings can
come of it: no tags, no aliases, no second document.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]
"""The way from the top of a document to a value: keys and positions in lists."""

MAX_SIZE = 256 * 1024
"""Longest text in characters."""

MAX_DEPTH = 40
"""How deep lists and mappings may be nested."""

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Place:
    """A place in a text, counted from 1."""

    line: int
    column: int


class YamlError(ValueError):
    """What a text says that it must not say, and where."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


@dataclass
class Document:
    """A value with the places of all that is in it."""

    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    """Where each value begins."""
    key_places: dict[Path, Place] = field(default_factory=dict)
    """Where the key of each value in a mapping stands."""

    def place_of(self, path: Path) -> Place:
        """Where a value begins, or the nearest that it is part of."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_yaml(text: str) -> Document:
    """Reads a text that holds one value. Raises YamlError."""
    import yaml

    if len(text) > MAX_SIZE:
        raise YamlError(f"The text has {len(text)} characters; at most {MAX_SIZE} are read.", Place(1, 1))
    try:
        return _Composer(yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        place = Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
        said = " ".join(part for part in (failure.context, failure.problem) if part)
        raise YamlError(f"This is no YAML: {said}.", place) from None
    except yaml.reader.ReaderError as failure:
        before = text[: failure.position]
        place = Place(before.count("\n") + 1, failure.position - (before.rfind("\n") + 1) + 1)
        raise YamlError(f"The character U+{ord(text[failure.position]):04X} may not be in YAML.", place) from None


class _Composer:
    """Makes values of the parser's events."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._document = Document()

    def document(self) -> Document:
        import yaml

        next(self._events)  # the beginning of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise YamlError("The text is empty.", Place(1, 1))
        self._document.value = self._value(next(self._events), ())
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise YamlError("A second document begins here; a file holds one.", _place(event))
        return self._document

    def _value(self, event: Any, path: Path) -> Any:
        import yaml

        place = _place(event)
        self._document.places[path] = place
        if isinstance(event, yaml.AliasEvent):
            raise YamlError("An alias stands here; write out what it stands for.", place)
        if event.tag is not None:
            raise YamlError("A tag stands here; values have none.", place)
        if isinstance(event, yaml.ScalarEvent):
            return _plain(event.value) if event.style is None else event.value
        if len(path) >= MAX_DEPTH:
            raise YamlError(f"Lists and mappings are nested deeper than {MAX_DEPTH} levels.", place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._mapping(path)

    def _list(self, path: Path) -> list[Any]:
        import yaml

        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise YamlError("A key is a plain text.", place)
            key = event.value
            if key in values:
                first = self._document.key_places[(*path, key)]
                raise YamlError(f"The key {key!r} is given twice; the first is in line {first.line}.", place)
            self._document.key_places[(*path, key)] = place
            values[key] = self._value(next(self._events), (*path, key))
        return values


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _plain(text: str) -> Any:
    """What a scalar without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
