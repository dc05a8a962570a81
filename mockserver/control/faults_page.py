"""Writes the page that lists all faults: ``python -m mockserver.control.faults_page > docs/faults.md``."""

from __future__ import annotations

import inspect
import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mockserver.control.examples import EXAMPLES
from mockserver.control.openapi import schemas
from mockserver.faults import kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mockserver.faults.kinds import Fault

Json = dict[str, Any]

_INTRODUCTION = """\
# Faults

<!-- Made by: python -m mockserver.control.faults_page > docs/faults.md -->

A fault is something that goes wrong on purpose in a life of the mock server. It is a JSON object that names its kind
under `fault`. Faults are set and cleared through the control API, a second listener on loopback that no fault touches
but a freeze; the ready line of a supervised life tells its address as `control_url`. It describes itself at
`/openapi.json`. A life can also begin with faults: `--faults FILE` takes a JSON list of them.

With `CONTROL` for the control API and `SERVER` for the server itself:

```sh
curl -sS "$CONTROL/faults" -d '{"fault": "fail_request", "path": "/queue", "status": 503, "times": 2, "id": "outage"}'
curl -sS -o /dev/null -w '%{http_code}\\n' "$SERVER/queue"    # 503
curl -sS -o /dev/null -w '%{http_code}\\n' "$SERVER/queue"    # 503
curl -sS -o /dev/null -w '%{http_code}\\n' "$SERVER/queue"    # 200
curl -sS "$CONTROL/faults/outage"                            # "state": "ended", "strikes": 2
curl -sS "$CONTROL/journal?kind=fault_struck"                # what it has struck
curl -sS -X DELETE "$CONTROL/faults"                         # clears all faults
```

A list of faults is set wholly, or not at all where one of them is wrong. What ends or freezes the life at once does so
after the answer.

## When a fault begins

At once; or at an event, given as `when`; and `after` so many seconds. An event is a message that is sent, a websocket
that opens or closes, or a request:

```json
{"fault": "crash", "when": {"event": "executing", "node": "3", "nth": 2, "moment": "after"}}
```

It begins exactly there. After the event's message (or before it, with `"moment": "before"`) nothing is sent any more
that the fault forbids. A crash waits until the systems of all clients that read have what was sent before it; a client
that is itself sending at that moment may see a reset instead of FIN afterwards, as with any process that dies.

{event}

## What it strikes, and when it ends

There are three families:

- **happens**: once, or with `when` at each of `times` events (one if left out). Then it has ended.
- **lasts**: until it is cleared, or for so many `seconds`.
- **strikes**: lasts too, and meanwhile strikes what matches it: from the `nth` match on, at most `times` times, each
  with a `probability`. With `nth` alone just that match. After its last strike it ends. Where matches are counted for
  each client on its own (messages, pongs), it ends by itself only if `who` names a client. A fault that holds something
  ends when it is cleared.

Each **strike** is counted and is a record `fault_struck`: each time that a fault happens, also where it met nobody
since no such client was there; each match that one strikes; of one that lasts, what its kind has to tell. Those that
only change how the server listens (`refuse_connections`, `ignore_connections`, `slow_accept`) tell nothing: nobody sees
whom they met.

Where several faults match, the one that was set first strikes. Clearing a fault lets go on what it holds back or
delays; so does the end of its `seconds`, and that of the life. `POST /release` clears those that hold executions or the
network.

{common}

## Whom it concerns

Everybody, or with `who` one client. `client_id` is what it gives as `clientId`. Where a fault is about connections,
`connection` picks the n-th one of that client in this life, or without `client_id` the n-th one of all; only websockets
are counted where it is about websockets. Requests are those of a client if they carry `clientId` in their query, and
else those of their address; prompts are those of the `client_id` that they were queued with.

Faults of bytes always say their `direction`: `to_client`, `to_server` or `both`.

## Draws and seeds

What is left to chance is drawn from one stream for each seed, client, n-th connection of the client, direction and id
of the fault. The same seed strikes each client's messages alike in every run, whatever other clients do and whatever
other faults there are. The seed is that of the fault, or of the life (`--seed N`; `GET /life` tells the one that was
drawn where none was given). For that to hold, give clients a `clientId` and faults an `id`.

## What outlives a restart

Faults of the network (marked ↻) concern what is between client and server, which is still disturbed when the server
comes back; whoever restarts a life hands them over to the next one. All others end with their life. In each case the
journal tells when a fault was set, began, struck and ended.
"""

_LEVELS = {
    "process": "The process",
    "listener": "The listener",
    "bytes": "Bytes on the way",
    "closing": "Ends of connections",
    "websocket": "Websockets",
    "messages": "Messages",
    "http": "HTTP",
    "application": "The application",
}


def page() -> str:
    """The page as Markdown."""
    described = schemas()
    event = described["Event"]
    parts = [
        _INTRODUCTION.replace("{event}", "\n".join(_fields_table(event, event["properties"])))
        .replace("{common}", "\n".join(_common(described)))
        .rstrip()
    ]
    for level, several in groupby(kinds.KINDS, key=lambda kind: kind.level):
        parts += [f"## {_LEVELS[level]}", *_level(list(several), described)]
    parts += ["## Examples", "```json\n" + "\n".join(map(json.dumps, EXAMPLES)) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _level(several: list[type[Fault]], described: Json) -> Iterator[str]:
    for base, relatives in groupby(several, key=_base):
        if base is not None:
            first, *others = relatives
            names = ", ".join(f"`{kinds.name_of(kind)}`" for kind in (first, *others))
            shared = [name for name in base.__annotations__ if name in _own(first)]
            fields = "\n".join(f"- {_field(name, described[first.__name__])}" for name in shared)
            yield f"{names}: {_plain(_text_of(base))} They have in common:\n\n{fields}"
    rows = "\n".join(_row(kind, described[kind.__name__]) for kind in several)
    yield f"| fault | what happens | its fields | family | who |\n|---|---|---|---|---|\n{rows}"


def _row(kind: type[Fault], schema: Json) -> str:
    base = _base(kind)
    shared = () if base is None else [name for name in base.__annotations__ if name in _own(kind)]
    mark = " ↻" if kind.outlives_restart else ""
    fields = [_field(name, schema) for name in _own(kind) if name not in shared]
    cells = [
        f"`{kinds.name_of(kind)}`{mark}",
        _text_of(kind),
        "<br>".join([*([", ".join(f"`{name}`" for name in shared)] if shared else []), *fields]),
        _family(kind),
        _who(kind),
    ]
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _text_of(kind: type[Fault]) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _base(kind: type[Fault]) -> type[Fault] | None:
    """What several kinds have in common beside what all of their family have."""
    base = kind.__mro__[1]
    return None if base in (kinds.Fault, kinds.Action, kinds.State, kinds.Matching) else base


def _own(kind: type[Fault]) -> list[str]:
    """The fields that not all of the family have."""
    return [name for name in kind.__struct_fields__ if name not in {*_inherited(kind), "who"}]


def _inherited(kind: type[Fault]) -> set[str]:
    family = next(each for each in (kinds.Matching, kinds.State, kinds.Action, kinds.Fault) if issubclass(kind, each))
    return {name for name in family.__struct_fields__ if name not in kind.__annotations__}


def _family(kind: type[Fault]) -> str:
    if issubclass(kind, kinds.Matching):
        return "strikes, and holds" if kind.holds else "strikes"
    return "lasts" if issubclass(kind, kinds.State) else "happens"


def _who(kind: type[Fault]) -> str:
    if "who" not in kind.__struct_fields__:
        return "everybody"
    is_connection = isinstance(kind.__struct_defaults__[_position_of_who(kind)], kinds.Who)
    return "client, connection" if is_connection else "client"


def _position_of_who(kind: type[Fault]) -> int:
    """Where the default of ``who`` stands: those without a default come first, and have none."""
    fields = kind.__struct_fields__
    return fields.index("who") - len(fields)


def _field(name: str, schema: Json) -> str:
    description = _described(schema["properties"][name])
    text = f"`{name}`{_default(name, schema)}"
    return f"{text}: {description}" if description else text


def _default(name: str, schema: Json) -> str:
    field = schema["properties"][name]
    choice = _choice(field)
    if name in schema.get("required", ()):
        return f" ({choice}required)"
    default = field.get("default")
    return f" ({choice}default {json.dumps(default)})" if default is not None else f" ({choice}optional)"


def _choice(field: Json) -> str:
    values = field.get("enum") or next((each["enum"] for each in field.get("anyOf", ()) if "enum" in each), ())
    return "".join(f"`{value}`, " for value in values)


def _described(field: Json) -> str:
    texts = [field.get("description", ""), *(each.get("description", "") for each in field.get("anyOf", ()))]
    return " ".join(next((text for text in texts if text), "").replace("``", "`").split())


def _common(described: Json) -> Iterator[str]:
    several: Json = described["DropMessage"]["properties"] | {"times": described["DropMessage"]["properties"]["times"]}
    names = [name for name in kinds.Matching.__struct_fields__ if name != "who"]
    yield from _fields_table(described["DropMessage"], names, several)


def _fields_table(schema: Json, names: Iterable[str], fields: Json | None = None) -> Iterator[str]:
    fields = fields or schema["properties"]
    yield "| field | default | meaning |"
    yield "|---|---|---|"
    for name in names:
        default = "required" if name in schema.get("required", ()) else json.dumps(fields[name].get("default"))
        yield f"| `{name}` | {'' if default == 'null' else default} | {_plain(_described(fields[name]))} |"


def _plain(cell: str) -> str:
    return cell.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
