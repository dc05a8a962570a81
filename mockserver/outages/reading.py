"""Reads outages from files. Each error names the file, the line and the column."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from mockserver.faults.kinds import TEXTS, FaultError, as_json, read_fault, without_regexes
from mockserver.outages.field_types import alternatives, outage_type, plain, quantity
from mockserver.outages.outage import ALL, FAULT_EVENTS, LIFE_ENDED, Outage, OutageName, Step, WaitFor
from mockserver.outages.quantities import duration, share
from mockserver.outages.yaml_text import Document, Path, Place, YamlError, read_yaml

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

OWN_OPTIONS = (
    "--port",
    "--journal",
    "--life-id",
    "--supervised",
    "--kill-with-parent",
    "--scenario",
    "--control-listen",
    "--control-token",
)
"""Options of the server that belong to whoever starts it."""

_WHERE = re.compile(r"(.*) - at `(key in )?(\$[^`]*)`", re.DOTALL)
_STEP_OF_PATH = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


class OutageError(ValueError):
    """What is wrong with an outage, where, and what may stand there instead."""

    def __init__(self, message: str, source: str, place: Place) -> None:
        super().__init__(f"{source}:{place.line}:{place.column}: {message}")
        self.source = source
        self.place = place


class _Wrong(Exception):
    def __init__(self, message: str, path: Path, *, at_key: bool = False) -> None:
        self.message = message
        self.path = path
        self.at_key = at_key


def read_outage(file: pathlib.Path) -> Outage:
    """Reads an outage's file. Raises OutageError; OSError if the file cannot be read."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = failure.object[: failure.start].count(b"\n") + 1
        raise OutageError("This is no text in UTF-8.", file.name, Place(line, 1)) from None
    return parse_outage(text, file.name)


def parse_outage(text: str, source: str) -> Outage:
    """Reads an outage from the text of its file. ``source`` names it in errors. Raises OutageError."""
    try:
        document = read_yaml(text)
    except YamlError as failure:
        raise OutageError(failure.message, source, failure.place) from None
    try:
        return _outage_of(document)
    except _Wrong as wrong:
        places = document.key_places if wrong.at_key else document.places
        raise OutageError(wrong.message, source, places.get(wrong.path) or document.place_of(wrong.path)) from None


def _outage_of(document: Document) -> Outage:
    prepared = _prepared(document.value, [outage_type()], ())
    try:
        outage = msgspec.convert(prepared, Outage)
    except msgspec.ValidationError as failure:
        raise _of_msgspec(str(failure)) from None
    _Check(outage).all()
    return outage


# What msgspec does not say well: names of fields, kinds of faults, texts with units


def _prepared(value: Any, kinds: Sequence[Any], path: Path) -> Any:
    """The value with its units resolved. Raises _Wrong for names that are none."""
    options = [each for kind in kinds for each in alternatives(kind)]
    types = [plain(each) for each in options]
    if isinstance(value, str):
        words = [word for each in types if isinstance(each, inspect.LiteralType) for word in each.values]
        if words and value not in words:
            raise _Wrong(f"{value!r} is none of the words that may stand here.{_nearest(value, words)}", path)
        return _quantity(value, quantity(options), path)
    if isinstance(value, list):
        items = [each.item_type for each in types if isinstance(each, inspect.ListType)]
        return [_prepared(each, items, (*path, number)) for number, each in enumerate(value)] if items else value
    if isinstance(value, dict):
        structs = [each for each in types if isinstance(each, inspect.StructType)]
        if structs:
            return _prepared_struct(value, structs, path)
        values = [each.value_type for each in types if isinstance(each, inspect.DictType)]
        return {name: _prepared(each, values, (*path, name)) for name, each in value.items()} if values else value
    return value


def _quantity(text: str, kind: str | None, path: Path) -> str | float:
    try:
        return {"duration": duration, "share": share}[kind](text) if kind is not None else text
    except ValueError as failure:
        raise _Wrong(str(failure), path) from None


def _prepared_struct(value: dict[str, Any], structs: list[inspect.StructType], path: Path) -> dict[str, Any]:
    struct = structs[0] if len(structs) == 1 else _chosen(value, structs, path)
    fields = {field.encode_name: field for field in struct.fields}
    for name in value:
        if name not in fields and name != struct.tag_field:
            raise _Wrong(f"There is no field {name!r} here.{_nearest(name, fields)}", (*path, name), at_key=True)
    missing = [field.encode_name for field in struct.fields if field.required and field.encode_name not in value]
    if missing:
        raise _Wrong(f"{' and '.join(missing)} must be given{_here(struct, path)}.", path)
    return {
        name: each if name not in fields else _prepared(each, [fields[name].type], (*path, name))
        for name, each in value.items()
    }


def _chosen(value: dict[str, Any], structs: list[inspect.StructType], path: Path) -> inspect.StructType:
    """The kind that the tag of a value names."""
    tag = str(structs[0].tag_field)
    by_tag = {str(each.tag): each for each in structs}
    if tag not in value:
        raise _Wrong(f"{tag} must be given: the name of the kind, for example {tag}: {next(iter(by_tag))}.", path)
    name = value[tag]
    if name not in by_tag:
        raise _Wrong(f"There is no {tag} {name!r}.{_nearest(str(name), by_tag)}", (*path, tag))
    return by_tag[name]


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."


def _here(struct: inspect.StructType, path: Path) -> str:
    if not path:
        return ""
    name = struct.tag if struct.tag is not None else path[-1]
    return "" if isinstance(name, int) else f" for {name}"


def _of_msgspec(message: str) -> _Wrong:
    """msgspec's words in ours, and its path as keys and positions."""
    found = _WHERE.fullmatch(message)
    said, where = (found[1], found[3]) if found else (message, "$")
    path: list[str | int] = []
    for key, position in _STEP_OF_PATH.findall(where):
        if key or position:
            path.append(key or int(position))
    words = re.sub(r"`([^`]+)`", _in_words, without_regexes(said, (*TEXTS, OutageName)))
    advice = ""
    expected, _, got = said.partition(", got ")
    if got and "`str" in expected:
        advice = " Put it in quotes."
    elif got == "`str`" and expected == "Expected `bool`":
        advice = " Write true or false."
    return _Wrong(f"{words}.{advice}", tuple(path))


def _in_words(types: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(each, each) for each in types[1].split(" | "))


# What no schema says


@dataclass
class _Check:
    outage: Outage

    def all(self) -> None:
        for position, option in enumerate(self.outage.server.options):
            name = option.partition("=")[0]
            if name in OWN_OPTIONS:
                raise _Wrong(f"{name} belongs to whoever starts the server.", ("server", "options", position))
        known: set[str] = set()
        for path, step in _steps(self.outage.script, ("script",)):
            self._step(step, path)
            self._names(step, path, known)

    def _step(self, step: Step, path: Path) -> None:
        actions = step.actions
        if len(actions) > 1:
            raise _Wrong(f"A step does one thing; this one has {' and '.join(actions)}. Write two steps.", path)
        if not actions and step.at is None and step.after is None:
            raise _Wrong("A step says what happens, or how much time passes.", path)
        if step.at is not None and step.after is not None:
            raise _Wrong("Give either at, from the beginning of the script, or after, from the step before.", path)
        if step.at is not None and len(path) > 2:
            raise _Wrong("In a repetition a time is given with after.", (*path, "at"))
        if step.wait_for is not None:
            self._wait(step.wait_for, (*path, "wait_for"))
        if step.fault is not None:
            try:
                read_fault(as_json(step.fault))
            except FaultError as failure:
                raise _Wrong(f"{str(failure).removesuffix('.')}.", (*path, "fault")) from None

    def _wait(self, wait: WaitFor, path: Path) -> None:
        if (wait.event is None) == (wait.clients is None):
            raise _Wrong("Give either an event or a number of clients to wait for.", path)
        if wait.event not in FAULT_EVENTS and wait.fault is not None:
            raise _Wrong(f"fault belongs to the events {', '.join(FAULT_EVENTS)}.", (*path, "fault"))
        if wait.event == LIFE_ENDED and wait.nth > 1:
            raise _Wrong("A life ends once.", (*path, "nth"))

    def _names(self, step: Step, path: Path, known: set[str]) -> None:
        if step.fault is not None and step.fault.id is not None:
            if step.fault.id == ALL:
                raise _Wrong(f"The id {ALL!r} stands for all faults.", (*path, "fault", "id"))
            known.add(step.fault.id)
        for name in step.cleared:
            if name != ALL and name not in known:
                raise _Wrong(
                    f"No fault before this has the id {name!r}. Give that fault an id, or clear {ALL}.",
                    (*path, "clear"),
                )
        wait = step.wait_for
        if wait is not None and wait.fault is not None and wait.fault not in known:
            raise _Wrong(f"No fault before this has the id {wait.fault!r}.", (*path, "wait_for", "fault"))


def _steps(steps: list[Step], path: Path) -> Iterator[tuple[Path, Step]]:
    """All steps with where they stand; those of a repetition behind it."""
    for position, step in enumerate(steps):
        here = (*path, position)
        yield here, step
        if step.repeat is not None:
            yield from _steps(step.repeat.steps, (*here, "repeat", "steps"))
