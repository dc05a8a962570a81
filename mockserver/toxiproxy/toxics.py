"""Toxics: the JSON of the API, and the stages that they are.

Where Toxiproxy itself does not do what a name promises, the promise is kept here: ``reset_peer`` resets an idle
connection too, and one that was open before the toxic. Forks of it have a ``packet_loss`` that tears holes into the
stream, which TCP never does; here ``stall`` is what an application sees of lost packets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.network.draws import Direction
from mockserver.network.flows import Item, Mark, SilenceFlow
from mockserver.network.stages import (
    Bandwidth,
    Cut,
    Hold,
    Latency,
    Silence,
    Slicer,
    SlowClose,
    Stage,
    Stall,
    StopReading,
)
from mockserver.toxiproxy import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver.network.flows import Flow, Start

Json = dict[str, Any]

_MILLISECOND = 1e-3
_MICROSECOND = 1e-6

DIRECTIONS = {"upstream": Direction.to_server, "downstream": Direction.to_client}


@dataclass(frozen=True)
class EndAfter(Stage):
    """Lets nothing through and ends the connection: after a time (None: never), and when it is taken away."""

    seconds: float | None
    mark: Mark
    mark_at_removal: Mark | None = None

    def flow(self, start: Start) -> Flow:
        """Ends."""
        return _EndAfterFlow(self, start)


class _EndAfterFlow(SilenceFlow):
    def __init__(self, stage: EndAfter, start: Start) -> None:
        super().__init__(start)
        self._end_at = None if stage.seconds is None else start.now + stage.seconds
        self._mark = stage.mark
        self._mark_at_removal = stage.mark_at_removal

    def due(self) -> float | None:
        """At the end."""
        return self._end_at

    def give(self, now: float) -> Item | None:
        """The end."""
        if self._end_at is None or self._end_at > now:
            return None
        self._end_at = None
        return self._mark

    def release(self) -> list[Item]:
        """The marks that were kept, or the end."""
        return super().release() or ([self._mark_at_removal] if self._mark_at_removal else [])


def _latency(given: Json) -> Stage:
    return Latency(given["latency"] * _MILLISECOND, given["jitter"] * _MILLISECOND)


def _bandwidth(given: Json) -> Stage:
    # Kilobytes are 1,000 bytes there; 0 is no limit.
    return Bandwidth(given["rate"] * 1000.0) if given["rate"] > 0 else Latency(0.0)


def _slicer(given: Json) -> Stage:
    return Slicer(given["average_size"], given["size_variation"], given["delay"] * _MICROSECOND)


def _timeout(given: Json) -> Stage:
    after = given["timeout"] * _MILLISECOND or None
    return EndAfter(after, Mark.CLOSE, mark_at_removal=Mark.CLOSE)


@dataclass(frozen=True)
class _Kind:
    attributes: Json
    """Their names, with what they are when they are left out; a value has the type of that."""

    stage: Callable[[Json], Stage]


KINDS = {
    "latency": _Kind({"latency": 0, "jitter": 0}, _latency),
    "bandwidth": _Kind({"rate": 0}, _bandwidth),
    "slow_close": _Kind({"delay": 0}, lambda given: SlowClose(given["delay"] * _MILLISECOND)),
    "timeout": _Kind({"timeout": 0}, _timeout),
    "reset_peer": _Kind({"timeout": 0}, lambda given: EndAfter(given["timeout"] * _MILLISECOND, Mark.RESET)),
    "slicer": _Kind({"average_size": 0, "size_variation": 0, "delay": 0}, _slicer),
    "limit_data": _Kind({"bytes": 0}, lambda given: Cut(given["bytes"], "fin")),
    # not of Toxiproxy
    "stall": _Kind({"loss": 0.0}, lambda given: Stall(given["loss"])),
    "hold": _Kind({}, lambda _: Hold()),
    "silence": _Kind({}, lambda _: Silence()),
    "stop_reading": _Kind({}, lambda _: StopReading()),
}


@dataclass(frozen=True)
class Toxic:
    """A toxic of a proxy. On a connection, one that is changed begins anew."""

    name: str
    kind: str
    stream: str
    toxicity: float
    attributes: Json = field(hash=False)
    stage: Stage

    @classmethod
    def of(cls, given: Any) -> Toxic:
        """A toxic from what was posted. Raises ApiError."""
        given = _object(given)
        kind = _text(given, "type")
        stream = _text(given, "stream", "downstream")
        if stream.lower() not in DIRECTIONS:
            raise errors.invalid_stream()
        if kind not in KINDS:
            raise errors.invalid_toxic_type()
        attributes = _attributes(kind, given.get("attributes"), KINDS[kind].attributes)
        name = _text(given, "name") or f"{kind}_{stream}"
        return cls(name, kind, stream, _toxicity(given, 1.0), attributes, _stage(kind, attributes))

    def updated(self, given: Any) -> Toxic:
        """The same toxic with other attributes or toxicity; nothing else can be changed. Raises ApiError."""
        given = _object(given)
        attributes = _attributes(self.kind, given.get("attributes"), self.attributes)
        toxicity = _toxicity(given, self.toxicity)
        return Toxic(self.name, self.kind, self.stream, toxicity, attributes, _stage(self.kind, attributes))

    @property
    def direction(self) -> Direction:
        """Which bytes it acts on."""
        return DIRECTIONS[self.stream.lower()]

    def as_json(self) -> Json:
        """What the API shows."""
        return {
            "attributes": self.attributes,
            "name": self.name,
            "type": self.kind,
            "stream": self.stream,
            "toxicity": self.toxicity,
        }


def _object(given: Any) -> Json:
    if not isinstance(given, dict):
        raise errors.bad_request("an object is needed")
    return given


def _text(given: Json, name: str, otherwise: str = "") -> str:
    text = given.get(name)
    if text is None:
        return otherwise
    if not isinstance(text, str):
        raise errors.bad_request(f"{name} is no string")
    return text


def _toxicity(given: Json, otherwise: float) -> float:
    toxicity = given.get("toxicity")
    if toxicity is None:
        return otherwise
    if isinstance(toxicity, bool) or not isinstance(toxicity, (int, float)):
        raise errors.bad_request("toxicity is no number")
    return toxicity


def _attributes(kind: str, given: Any, otherwise: Json) -> Json:
    """All attributes of a kind; what it does not have is ignored, as there."""
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise errors.bad_request("attributes are no object")
    attributes = {}
    for name, default in KINDS[kind].attributes.items():
        value = given.get(name)
        types = (int,) if isinstance(default, int) else (int, float)
        if value is None:
            value = otherwise[name]
        elif isinstance(value, bool) or not isinstance(value, types):
            raise errors.bad_request(f"{name} is no {'whole ' if types == (int,) else ''}number")
        attributes[name] = value
    return attributes


def _stage(kind: str, attributes: Json) -> Stage:
    try:
        return KINDS[kind].stage(attributes)
    except ValueError as refusal:
        raise errors.bad_request(refusal) from None
