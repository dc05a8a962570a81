"""What all keywords that set a fault have in common: arguments that they share, and how a fault is set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from robot.api import logger

from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.prompts import QueuedPrompt
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.quantities import Percent
from ComfyMockLibrary.triggers import EventTrigger
from ComfyMockLibrary.types import FaultEnd, HttpMethod, Moment

if TYPE_CHECKING:
    from collections.abc import Mapping

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Argument:
    """An argument that several keywords have. ``default`` stands for an argument that was left out."""

    name: str
    type: Any
    default: Any
    text: str

    @property
    def parameter(self) -> inspect.Parameter:
        """As it stands in a signature."""
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=self.type)


_AFTER = Argument("after", timedelta, timedelta(), "How long it waits then, or from now on.")
_UNTIL = Argument("until", FaultEnd, FaultEnd.test, "How long it lasts at most: ``test``, ``suite`` or ``cleared``.")
_SERVER = Argument(
    "server", MockServer, None, "Alias, port or handle, for the network of a proxy too. The current server if left out."
)

WHEN = (
    Argument(
        "when", EventTrigger, None, "Event at which it begins, for example ``executing node=3``. At once if left out."
    ),
    _AFTER,
)
LASTING = (*WHEN, Argument("lasting", timedelta, None, "How long it lasts. Until it is cleared if left out."))
REPEATED = (*WHEN, Argument("times", int, 1, "How often in a row it happens; each time needs an event of ``when``."))
CLIENT = (
    Argument(
        "client", ComfyClient, None, "Alias or handle of a client, or the clientId of any. Everybody if left out."
    ),
)
CONNECTION = (
    *CLIENT,
    Argument("connection", int, None, "Only the n-th connection of that client in a life; without ``client``, of all."),
)
MATCHES = (
    Argument("nth", int, None, "The n-th match is the first that it strikes, and the only one without ``times``."),
    Argument("times", int, None, "How often it strikes before it ends. Always if left out."),
    Argument("probability", Percent, None, "Share of the matches that it strikes, drawn with the server's seed."),
)
TRIGGER = (
    Argument("node", str, None, "Id of the node that the message is about; ``None`` is null. Any if left out."),
    Argument("prompt", QueuedPrompt | str, None, "Prompt that the message is about. Any if left out."),
    Argument("value", float, None, "Value of a ``progress`` message. Any if left out."),
    Argument("client", ComfyClient, None, "Who owns the prompt, connects or asks. Everybody if left out."),
    Argument("method", HttpMethod, None, "Method of a ``request``. Any if left out."),
    Argument("path", str, None, "Path of a ``request``; ``*`` stands for anything. Any if left out."),
    Argument("nth", int, None, "The n-th such event from now on. The first if left out."),
    Argument("moment", Moment, None, "Whether ``before`` or ``after`` the message goes out. After it if left out."),
    _AFTER,
)

NULL = object()
"""Stands for null in a field of a fault, where None means that it is left out."""

_RAISES = """\
*Raises:*
  - ValueError: If the server does not accept it.
  - RuntimeError: If the server is frozen, or does not run."""

ENDS_WITH_ITS_LIFE = "It ends with the life of the server: a restart heals it."
OUTLIVES_A_RESTART = "It outlives a restart of the server: the next life begins with it."


def fault_keyword(*arguments: Argument, tag: str, outlives_restart: bool = False) -> Callable[[Method], Method]:
    """Makes a keyword of a method, with further arguments that come to it as ``**common``.

    They are added to what Robot sees of the method, its signature, types and documentation; the method itself stays
    what it is.
    """
    arguments = (*arguments, _UNTIL, _SERVER)
    life = OUTLIVES_A_RESTART if outlives_restart else ENDS_WITH_ITS_LIFE

    def make(method: Method) -> Method:
        signature = inspect.signature(method)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *(each.parameter for each in arguments)]
        )
        hints = {name: _without_none(hint) for name, hint in get_type_hints(method).items() if name != "common"}
        method.__annotations__ = {**hints, **{each.name: each.type for each in arguments}}
        method.__doc__ = _documentation(inspect.getdoc(method) or "", arguments, life)
        made: Method = keyword(tags=["Fault", tag])(method)
        return made

    return make


def _without_none(hint: Any) -> Any:
    """The type alone of one that may be None: Robot explains what is wrong with a value only for single types."""
    types = [each for each in get_args(hint) if each is not type(None)]
    return types[0] if len(types) == 1 and type(None) in get_args(hint) else hint


def _documentation(text: str, arguments: tuple[Argument, ...], life: str) -> str:
    head, _, example = text.partition("\nExample")
    head, _, own = head.rstrip().partition("\n*Args:*")
    lines = [*own.strip("\n").splitlines(), *(f"  - ``{each.name}``: {each.text}" for each in arguments)]
    parts = [
        f"{head.rstrip()}\n\n{life}",
        "\n".join(["*Args:*", *filter(None, lines)]),
        "*Returns:* The fault, for `Wait For Fault`, `Clear Fault` and so on.",
        _RAISES,
        f"Example{example}" if example else "",
    ]
    return "\n\n".join(filter(None, parts))


class FaultComponent(Component):
    """Keywords that set faults. Times are given to the server in seconds, shares as numbers."""

    def set_fault(self, name: str, common: Mapping[str, Any], **fields: Any) -> Fault:
        """Sets a fault of the current server or of ``server``; fields that are None are left out."""
        server = self.session.fault_target(common.get("server"))
        fault = server.faults.set({"fault": name, **_json(fields), **self._json_of(common)})
        self.session.ends_with(fault, common.get("until", FaultEnd.test))
        logger.info(f"{server.alias}: fault {fault.id}: {fault}")
        if fault.warning is not None:
            logger.warn(f"{server.alias}: fault {fault.id} may never begin or strike. {fault.warning}")
        return fault

    def disturb(self, name: str, common: Mapping[str, Any], **fields: Any) -> Fault:
        """Sets a fault that connections feel which are open: waits look at what it causes, if it begins at once."""
        server = self.session.fault_target(common.get("server"))
        if server.is_running and common.get("when") is None and not common.get("after"):
            self.session.set_cursors(server)
        return self.set_fault(name, common, **fields)

    def set_fault_at(self, name: str, event: EventTrigger, common: Mapping[str, Any], **fields: Any) -> Fault:
        """Sets a fault that begins at an event, whose fields are in ``common``."""
        names = {each.name for each in TRIGGER} - {_AFTER.name}
        given = {key: value for key, value in common.items() if key in names}
        given["prompt"] = prompt_id(given.get("prompt"))
        given["client"] = self.client_id(given.get("client"))
        when = event.with_fields(given)
        rest = {key: value for key, value in common.items() if key not in names}
        return self.set_fault(name, {**rest, "when": when}, **fields)

    def client_id(self, client: Client | str | None) -> str | None:
        """The clientId of a client of ours; what names none of them is one itself."""
        if isinstance(client, Client):
            return client.client_id
        known = {each.alias: each.client_id for each in self.session.clients.clients}
        return None if client is None else known.get(client, client)

    def _json_of(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """The shared arguments as the server takes them."""
        when: EventTrigger | None = common.get("when")
        who = {"client_id": self.client_id(common.get("client")), "connection": common.get("connection")}
        times = common.get("times")
        return _json(
            {
                "who": {name: value for name, value in who.items() if value is not None} or None,
                "when": None if when is None else when.as_json(self.client_id(when.client)),
                "after": common.get("after") or None,
                "seconds": common.get("lasting"),
                "nth": common.get("nth"),
                "times": times,
                "probability": common.get("probability"),
            }
        )


def prompt_id(prompt: QueuedPrompt | str | None) -> str | None:
    """The id of a prompt."""
    return prompt.prompt_id if isinstance(prompt, QueuedPrompt) else prompt


def _json(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in fields.items() if value is not None}


def _value(value: Any) -> Any:
    if value is NULL:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else value
