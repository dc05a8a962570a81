"""The event in the server at which a fault begins, as suites write it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.types import HttpMethod, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST = "request"

_OF_REQUESTS = ("method", "path")
_OF_MESSAGES = ("node", "prompt", "value", "moment")


@dataclass(frozen=True)
class EventTrigger:
    """A message that the server sends, a websocket that opens or closes, or a request that comes."""

    event: str
    node: str | None = None
    """Id of the node that the message is about; the text None is null."""

    prompt: str | None = None
    value: float | None = None
    client: str | None = None
    """Alias of a client, or the clientId of any."""

    method: HttpMethod | None = None
    path: str | None = None
    nth: int | None = None
    moment: Moment | None = None

    def with_fields(self, fields: Mapping[str, Any]) -> EventTrigger:
        """The same with further fields; None leaves one as it is. Raises ValueError for fields that do not fit."""
        trigger = replace(self, **{name: value for name, value in fields.items() if value is not None})
        wrong = _OF_MESSAGES if self.event == REQUEST else _OF_REQUESTS
        for name in wrong:
            if getattr(trigger, name) is not None:
                about = "messages" if self.event == REQUEST else f"the event '{REQUEST}'"
                raise ValueError(f"{name} is about {about}, not about '{self.event}'.")
        if trigger.nth is not None and trigger.nth < 1:
            raise ValueError(f"nth={trigger.nth} is none of them; the first is nth=1.")
        return trigger

    def as_json(self, client_id: str | None) -> dict[str, Any]:
        """As the control API takes it. ``client_id`` is that of ``client``."""
        event: dict[str, Any] = {
            "event": self.event,
            "prompt_id": self.prompt,
            "value": self.value,
            "client_id": client_id,
            "method": None if self.method in (None, HttpMethod.ANY) else self.method.value,
            "path": self.path,
            "nth": self.nth,
            "moment": None if self.moment is None else self.moment.value,
        }
        event = {name: value for name, value in event.items() if value is not None}
        return event if self.node is None else {**event, "node": node_of(self.node)}


def node_of(text: str) -> str | None:
    """The id of a node as it is on the wire, where ``None`` and ``null`` stand for null."""
    return None if text.lower() in ("none", "null") else text


def event_trigger(value: EventTrigger | str) -> EventTrigger:
    """An event in the server, with the fields that it must have: ``executing node=3``.

    Events are messages by their type (``executing``, ``progress``, ``executed`` …), ``terminal`` for any message that
    ends a prompt, ``connected`` and ``disconnected`` for websockets, and ``request``. Fields are words behind it:

    | =Field= | =Meaning= |
    | ``node=3`` | Id of the node that the message is about; ``node=None`` for the null that ends a prompt. |
    | ``prompt=ID`` | Id of the prompt that it is about. |
    | ``value=2`` | Value of a ``progress`` message. |
    | ``client=NAME`` | Alias of a client, or the clientId of any: who owns the prompt, connects or asks. |
    | ``method=POST`` | Method of a ``request``. |
    | ``path=/prompt`` | Path of a ``request``, the same with and without ``/api``; ``*`` stands for anything. |
    | ``nth=2`` | The second such event from now on. |
    | ``moment=before`` | Before the message goes out instead of after it. |

    In the keywords that end with *When*, the fields are arguments of their own.
    """
    if isinstance(value, EventTrigger):
        return value
    event, *words = value.split() or [""]
    if not event:
        raise ValueError("Give an event, for example executing node=3.")
    if "=" in event:
        raise ValueError(f"It begins with the field '{event}'; give an event first, for example executing {event}.")
    return EventTrigger(event).with_fields(dict(map(_field, words)))


def _field(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or name not in _READERS:
        raise ValueError(f"'{word}' is no field of an event; fields are {', '.join(f'{each}=' for each in _READERS)}.")
    try:
        return name, _READERS[name](text)
    except (ValueError, KeyError):
        raise ValueError(f"{name}= cannot be '{text}'.") from None


_READERS: dict[str, Any] = {
    "node": str,
    "prompt": str,
    "value": float,
    "client": str,
    "method": lambda text: HttpMethod[text.upper()],
    "path": str,
    "nth": int,
    "moment": Moment,
}

CONVERTERS: dict[type, Any] = {EventTrigger: event_trigger}
