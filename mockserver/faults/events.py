"""Events in the server at which faults begin, and what matches them. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mockserver.comfyui.messages import TYPES, AnyMessage, Message
from mockserver.faults.kinds import TERMINAL, MessageFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockserver.faults.kinds import Event, Fault, RequestFault

NO_MESSAGES = ("connected", "disconnected", "request")
"""Events that are no messages."""

_MUCH_ALIKE = 0.8
"""How much of two names must be the same for one to be taken for a slip of the other."""

_ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True)
class Occurrence:
    """Something that has just happened, or is about to."""

    event: str
    client_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_message(cls, message: AnyMessage, client_id: str | None) -> Occurrence:
        """A message that is sent, by the name that it has in journals."""
        if isinstance(message, Message):
            data = message.data if isinstance(message.data, dict) else {}
            return cls(message.type, client_id, data)
        return cls(f"binary_{message.event}", client_id)

    @property
    def node(self) -> Any:
        """The node that it is about; UNSET if it is about none."""
        return self.data.get("node", self.data.get("node_id", UNSET))

    @property
    def prompt_id(self) -> Any:
        """The prompt that it is about."""
        return self.data.get("prompt_id")


def doubt_of(fault: Fault) -> str | None:
    """Why a fault may never meet what it waits for: a name that is nearly one of ComfyUI's.

    Not an error, for clients and faults may send messages of types of their own.
    """
    names = [] if fault.when is None else [fault.when.event]
    if isinstance(fault, MessageFault):
        names.append(fault.message)
    known = (*TYPES, *NO_MESSAGES, TERMINAL, "*")
    for name in names:
        close = [] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=_MUCH_ALIKE)
        if close:
            return f"ComfyUI has no message of the type {name!r}. Did you mean {close[0]!r}?"
    return None


def is_expected(event: Event, occurrence: Occurrence) -> bool:
    """Whether this is the event that a fault waits for, its number aside."""
    if event.event == "request":
        if occurrence.event != "request" or not _is_request(event, occurrence):
            return False
    elif not is_message(event.event, event.node, event.prompt_id, event.value, occurrence):
        return False
    return event.client_id is None or event.client_id == occurrence.client_id


def is_struck(fault: MessageFault, occurrence: Occurrence) -> bool:
    """Whether a message is one that the fault is about."""
    return is_message(fault.message, fault.node, fault.prompt_id, fault.value, occurrence)


def is_message(name: str, node: Any, prompt_id: str | None, value: float | None, occurrence: Occurrence) -> bool:
    """Whether a message has this name and these data. None, and UNSET for the node, stand for any."""
    if name == TERMINAL:
        named = occurrence.event in _ENDS or (occurrence.event == "executing" and occurrence.node is None)
    else:
        named = name == occurrence.event or (name == "*" and occurrence.event not in NO_MESSAGES)
    return (
        named
        and (node is UNSET or node == occurrence.node)
        and (prompt_id is None or prompt_id == occurrence.prompt_id)
        and (value is None or value == occurrence.data.get("value"))
    )


def _is_request(pattern: Event | RequestFault, occurrence: Occurrence) -> bool:
    return is_request(pattern.method, pattern.path, occurrence.data["method"], occurrence.data["path"])


def is_request(method: str | None, path: str | None, requested_method: str, requested_path: str) -> bool:
    """Whether a request has this method and path. Routes are the same with ``/api`` before them."""
    if method is not None and method.upper() != requested_method:
        return False
    return path is None or fnmatchcase(without_api(requested_path), without_api(path))


def without_api(path: str) -> str:
    """The path of the same route without ``/api``."""
    return path.removeprefix("/api") if path.startswith("/api/") else path
