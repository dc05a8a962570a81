"""The faults that are set in a life: when each begins, how often it strikes, when it ends. All of it is journalled.

What a kind of fault does stands elsewhere; the registry only calls it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mockserver.faults.events import Occurrence, is_expected
from mockserver.faults.kinds import (
    Action,
    Crash,
    Exit,
    Fault,
    FaultError,
    Freeze,
    Matching,
    SlowStart,
    State,
    as_json,
    name_of,
)
from mockserver.network.draws import Direction, Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockserver.faults.kinds import Moment
    from mockserver.journal import Journal

Json = dict[str, Any]
Reason = Literal["cleared", "done", "times", "seconds", "life"]

SomeFault = TypeVar("SomeFault", bound=Fault)

KEPT_ENDED = 1000
"""How many faults are still listed after their end."""


@dataclass(eq=False)
class Standing:
    """A fault and how it stands."""

    fault: Fault
    id: str
    seed: int
    order: int = 0
    """Place among the faults that were set in this life."""
    state: Literal["waiting", "active", "ended"] = "waiting"
    seen: int = 0
    """Events of the kind it waits for."""
    strikes: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _matches: Counter[str] = field(default_factory=Counter)
    _struck: Counter[str] = field(default_factory=Counter)
    _drawn: Counter[tuple[str, int]] = field(default_factory=Counter)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def is_struck(self, direction: Direction, client: str, connection: int = 1, count_by: str = "") -> bool:
        """Whether this match of a matching fault is one that it strikes. ``count_by`` names what nth and times count.

        Each match draws once from the stream of its client and connection, so that nobody else shifts its draws.
        """
        fault = self.fault
        assert isinstance(fault, Matching)
        self._matches[count_by] += 1
        position = self._drawn[client, connection]
        self._drawn[client, connection] += 1
        limit = 1 if fault.times is None and fault.nth is not None else fault.times
        if self._matches[count_by] < (fault.nth or 1) or (limit is not None and self._struck[count_by] >= limit):
            return False
        if fault.probability < 1:
            draw = Draws(self.seed, client, connection, direction, self.id).at(position)
            if draw >= fault.probability:
                return False
        self._struck[count_by] += 1
        return True

    def is_used_up(self, count_by: str = "") -> bool:
        """Whether it has struck as often as it may."""
        fault = self.fault
        if not isinstance(fault, Matching):
            return False
        limit = 1 if fault.times is None and fault.nth is not None else fault.times
        return limit is not None and self._struck[count_by] >= limit

    def as_json(self) -> Json:
        """How it stands, for the control API."""
        return {"id": self.id, "state": self.state, "strikes": self.strikes, "seed": self.seed, **as_json(self.fault)}


class Registry:
    """Sets, begins, strikes, ends and clears faults."""

    def __init__(
        self,
        journal: Journal,
        seed: int,
        carry_out: Callable[[Standing, Occurrence | None], Json],
        settle: Callable[[], None],
    ) -> None:
        """``carry_out`` does what an action does; ``settle`` adapts the ports to the faults that are active now."""
        self.seed = seed
        self._journal = journal
        self._carry_out = carry_out
        self._settle = settle
        self._standing: dict[str, Standing] = {}
        self._numbers: Counter[str] = Counter()
        self._active: tuple[Standing, ...] = ()
        self._waiting: tuple[Standing, ...] = ()
        self._orders = itertools.count()

    # Setting and clearing

    def set(self, fault: Fault) -> Standing:
        """Sets a fault. Raises FaultError if its id is taken by one that has not ended."""
        self.check_ids([fault])
        seed = self.seed if fault.seed is None else fault.seed
        standing = Standing(fault, self._id(fault), seed, next(self._orders))
        self._standing.pop(standing.id, None)
        self._standing[standing.id] = standing
        self._journal.record("fault_set", fault=standing.id, seed=standing.seed, description=as_json(fault))
        if fault.when is None:
            self._begin_after(standing, None)
        self._changed()
        self._forget_old()
        return standing

    def clear(self, fault_id: str) -> Standing:
        """Ends a fault, if it has not ended by itself. Raises KeyError."""
        standing = self._standing[fault_id]
        self._end(standing, "cleared")
        return standing

    def clear_all(self, reason: Reason = "cleared") -> None:
        """Ends all faults, the latest first."""
        for standing in reversed(list(self._standing.values())):
            self._end(standing, reason)

    def get(self, fault_id: str) -> Standing:
        """One fault. Raises KeyError."""
        return self._standing[fault_id]

    def all(self) -> list[Standing]:
        """All faults in the order in which they were set; those that ended long ago are forgotten."""
        return list(self._standing.values())

    # For those who ask at the ports

    def active(self, kind: type[SomeFault]) -> list[tuple[Standing, SomeFault]]:
        """The active faults of a kind, or of a family of kinds, in the order in which they were set."""
        return [(each, each.fault) for each in self._active if isinstance(each.fault, kind)]

    @property
    def is_quiet(self) -> bool:
        """Whether no fault is active or waits."""
        return not self._active and not self._waiting

    @property
    def waiting(self) -> tuple[Standing, ...]:
        """Those that wait for an event."""
        return self._waiting

    def strike(self, standing: Standing, count_by: str = "", **details: Any) -> None:
        """Notes that a fault has struck; it ends if that was the last time."""
        standing.strikes += 1
        self._journal.record("fault_struck", fault=standing.id, strike=standing.strikes, **details)
        if not count_by and standing.is_used_up():
            self._end(standing, "times")

    def notice(self, occurrence: Occurrence, moment: Moment) -> None:
        """Begins the faults that wait for this event. Where one ends the process this does not return."""
        for standing in self._waiting:
            event = standing.fault.when
            if event is None or event.moment != moment or not is_expected(event, occurrence):
                continue
            standing.seen += 1
            if standing.seen < event.nth:
                continue
            self._begin_after(standing, occurrence)

    def _begin_after(self, standing: Standing, occurrence: Occurrence | None) -> None:
        if standing.fault.after > 0:
            loop = asyncio.get_running_loop()
            standing.timers.append(loop.call_later(standing.fault.after, self._begin, standing, occurrence))
        else:
            self._begin(standing, occurrence)

    def _begin(self, standing: Standing, occurrence: Occurrence | None) -> None:
        fault = standing.fault
        if standing.state == "ended":
            return
        if isinstance(fault, Action):
            standing.strikes += 1
            cause = _cause(occurrence)
            if isinstance(fault, Crash | Exit | Freeze):  # afterwards nobody is there to note it
                self._journal.record("fault_struck", fault=standing.id, strike=standing.strikes, **cause)
                self._carry_out(standing, occurrence)
            else:
                done = self._carry_out(standing, occurrence)
                self._journal.record("fault_struck", fault=standing.id, strike=standing.strikes, **cause, **done)
            if standing.strikes >= fault.times:
                self._end(standing, "done")
            return
        if standing.state == "active" or isinstance(fault, SlowStart):
            return
        standing.state = "active"
        self._journal.record("fault_begun", fault=standing.id, **_cause(occurrence))
        if isinstance(fault, State) and fault.seconds is not None:
            loop = asyncio.get_running_loop()
            standing.timers.append(loop.call_later(fault.seconds, self._end, standing, "seconds"))
        self._changed()

    def end_done(self, standing: Standing) -> None:
        """Ends a fault that has done what it is for."""
        self._end(standing, "done")

    def _end(self, standing: Standing, reason: Reason) -> None:
        if standing.state == "ended":
            return
        standing.state = "ended"
        for timer in standing.timers:
            timer.cancel()
        self._changed()
        self._journal.record("fault_ended", fault=standing.id, reason=reason, strikes=standing.strikes)
        standing.ended.set()

    def _changed(self) -> None:
        """Swaps one immutable set of faults for another: there is no moment without rules."""
        self._active = tuple(each for each in self._standing.values() if each.state == "active")
        self._waiting = tuple(
            each for each in self._standing.values() if each.state != "ended" and each.fault.when is not None
        )
        self._settle()

    def check_ids(self, faults: Sequence[Fault]) -> None:
        """Makes sure that the ids of these faults are free, and not given twice. Raises FaultError."""
        given = [fault.id for fault in faults if fault.id is not None]
        for fault_id in given:
            known = self._standing.get(fault_id)
            if given.count(fault_id) > 1 or (known is not None and known.state != "ended"):
                raise FaultError(f"The fault {fault_id!r} is set already. Clear it first, or give another id.")

    def _id(self, fault: Fault) -> str:
        if fault.id is not None:
            return fault.id
        name = name_of(type(fault))
        while True:
            self._numbers[name] += 1
            made = f"{name}-{self._numbers[name]}"
            if made not in self._standing:
                return made

    def _forget_old(self) -> None:
        ended = [each.id for each in self._standing.values() if each.state == "ended"]
        for fault_id in ended[:-KEPT_ENDED]:
            del self._standing[fault_id]


def _cause(occurrence: Occurrence | None) -> Json:
    """What a fault began at, for the journal."""
    if occurrence is None:
        return {}
    return {"event": occurrence.event, "client_id": occurrence.client_id}
