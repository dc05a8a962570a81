"""The faults that are set in a life: when each begins, how often it strikes, when it ends. All of it is journalled.

What a kind of fault does stands elsewhere; the registry only calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mockserver.faults.events import Occurrence, doubt_of, is_expected
from mockserver.faults.kinds import Action, EndsOrFreezes, Fault, FaultError, Matching, State, as_json, name_of
from mockserver.network.draws import Direction, Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set
    from types import UnionType

    from mockserver.faults.kinds import Moment
    from mockserver.journal import Journal

log = logging.getLogger(__name__)

Json = dict[str, Any]
Reason = Literal["cleared", "done", "failed", "times", "seconds", "life"]

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
    begun: int = 0
    """At how many of them it began, or will after its delay."""
    strikes: int = 0
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _matches: Counter[str] = field(default_factory=Counter)
    _struck: Counter[str] = field(default_factory=Counter)
    _drawn: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def has_ended(self) -> bool:
        """Whether it is over. Whoever has waited since it was due must not let it strike any more."""
        return self.state == "ended"

    @property
    def waits_for_events(self) -> bool:
        """Whether there is still an event at which it will begin."""
        if self.fault.when is None or self.has_ended:
            return False
        return self.begun < (self.fault.times if isinstance(self.fault, Action) else 1)

    def is_due(self, direction: Direction, client: str, connection: int = 1, count_by: str = "") -> bool:
        """Counts a match, and says whether the fault strikes there. ``count_by`` names what nth and times count.

        Whoever asks must ask all faults that match, also when one of them has answered yes: each match draws once from
        the stream of its client and connection, so that neither another client nor another fault shifts the draws.
        """
        fault = self.fault
        assert isinstance(fault, Matching)
        is_drawn = fault.probability == 1 or self._draw(direction, client, connection) < fault.probability
        if fault.nth is not None:
            self._matches[count_by] += 1
            if self._matches[count_by] < fault.nth:
                return False
        return is_drawn and not self.is_used_up(count_by)

    def _draw(self, direction: Direction, client: str, connection: int) -> float:
        position = self._drawn[client, connection]
        self._drawn[client, connection] += 1
        return Draws(self.seed, client, connection, direction, self.id).at(position)

    @property
    def _limit(self) -> int | None:
        """How often it may strike whatever it counts by; None is any number."""
        fault = self.fault
        if not isinstance(fault, Matching):
            return None
        return 1 if fault.times is None and fault.nth is not None else fault.times

    def is_used_up(self, count_by: str = "") -> bool:
        """Whether it has struck as often as it may."""
        return self._limit is not None and self._struck[count_by] >= self._limit

    def note_strike(self, count_by: str = "") -> None:
        """Counts a strike."""
        self.strikes += 1
        if self._limit is not None:
            self._struck[count_by] += 1

    def is_over(self, count_by: str = "") -> bool:
        """Whether the strike just noted was its last, so that it ends: not one that holds, nor one that counts for each
        client on its own, unless it is about one client only."""
        fault = self.fault
        if not isinstance(fault, Matching) or fault.holds or count_by not in ("", fault.who.client_id):
            return False
        return self.is_used_up(count_by)

    async def pause(self, seconds: float | None = None) -> None:
        """Holds whoever calls this for so long, and not longer than until the fault is cleared."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)

    def end(self) -> None:
        """Ends it. What it has counted of each client is forgotten, as ended faults are kept for long."""
        self.state = "ended"
        for timer in self.timers:
            timer.cancel()
        for counts in (self._matches, self._struck, self._drawn):
            counts.clear()

    def release(self) -> None:
        """Lets go on what it holds."""
        self._released.set()

    def as_json(self) -> Json:
        """How it stands, for the control API."""
        doubt = doubt_of(self.fault)
        warning = {} if doubt is None else {"warning": doubt}
        stands = {"id": self.id, "state": self.state, "strikes": self.strikes, "seed": self.seed, **warning}
        return {**stands, **as_json(self.fault)}


class Registry:
    """Sets, begins, strikes, ends and clears faults."""

    def __init__(
        self,
        journal: Journal,
        seed: int,
        carry_out: Callable[[Standing], Json],
        settle: Callable[[], None],
    ) -> None:
        """``carry_out`` does what an action does; ``settle`` adapts the ports to the faults that are active now."""
        self.seed = seed
        self._journal = journal
        self._carry_out = carry_out
        self._settle = settle
        self._live: dict[str, Standing] = {}
        self._ended: dict[str, Standing] = {}
        self._numbers: Counter[str] = Counter()
        self._active: tuple[Standing, ...] = ()
        self._waiting: tuple[Standing, ...] = ()
        self._orders = itertools.count()

    # Setting and clearing

    def set(self, fault: Fault) -> Standing:
        """Sets a fault. Raises FaultError if its id is taken by one that has not ended."""
        return self.set_all([fault])[0]

    def set_all(self, faults: Sequence[Fault], *, but: type[Fault] | UnionType | None = None) -> list[Standing]:
        """Sets faults, or none of them where it raises FaultError.

        One of the kinds ``but`` that would begin at once does not: it waits for ``begin``.
        """
        self._check_ids(faults)
        given = {fault.id for fault in faults}
        wanted = []
        for fault in faults:
            seed = self.seed if fault.seed is None else fault.seed
            standing = Standing(fault, fault.id or self._new_id(fault, given), seed, next(self._orders))
            self._ended.pop(standing.id, None)
            self._live[standing.id] = standing
            self._journal.record("fault_set", fault=standing.id, seed=standing.seed, description=as_json(fault))
            wanted.append(standing)
            doubt = doubt_of(fault)
            if doubt is not None:
                log.warning("fault %s may never begin or strike: %s", standing.id, doubt)
        self._changed()
        for standing in wanted:
            if standing.fault.when is None and (but is None or not isinstance(standing.fault, but)):
                self.begin(standing)
        return wanted

    def begin(self, standing: Standing) -> None:
        """Begins a fault that waits for no event, after the time that it says."""
        self._begin_after(standing, None)

    def clear(self, fault_id: str) -> Standing:
        """Ends a fault, if it has not ended by itself, and lets go on what it holds. Raises KeyError."""
        standing = self.get(fault_id)
        self._end(standing, "cleared")
        standing.release()
        return standing

    def clear_all(self, reason: Reason = "cleared") -> list[Standing]:
        """Ends all faults, the latest first. Returns those that had not ended, in the order in which they were set."""
        cleared = list(self._live.values())
        for standing in reversed(cleared):
            self._end(standing, reason)
        for standing in self._ended.values():
            standing.release()
        return cleared

    def get(self, fault_id: str) -> Standing:
        """One fault. Raises KeyError."""
        return self._live[fault_id] if fault_id in self._live else self._ended[fault_id]

    def all(self) -> list[Standing]:
        """All faults in the order in which they were set; those that ended long ago are forgotten."""
        return sorted((*self._live.values(), *self._ended.values()), key=lambda each: each.order)

    # For those who ask at the ports

    def active(self, kind: type[SomeFault]) -> list[tuple[Standing, SomeFault]]:
        """The active faults of a kind, or of a family of kinds, in the order in which they were set."""
        return [(each, each.fault) for each in self._active if isinstance(each.fault, kind)]

    @property
    def is_quiet(self) -> bool:
        """Whether no fault is active or waits."""
        return not self._active and not self._waiting

    def strike(self, standing: Standing, count_by: str = "", **details: Any) -> None:
        """Notes that a fault has struck; it ends if that was the last time."""
        standing.note_strike(count_by)
        self._journal.record("fault_struck", fault=standing.id, strike=standing.strikes, **details)
        if standing.is_over(count_by):
            self._end(standing, "times")

    def notice(self, occurrence: Occurrence, moment: Moment) -> None:
        """Begins the faults that wait for this event. Where one ends the process this does not return."""
        for standing in self._waiting:
            event = standing.fault.when
            if event is None or not standing.waits_for_events:
                continue
            if event.moment != moment or not is_expected(event, occurrence):
                continue
            standing.seen += 1
            if standing.seen >= event.nth:
                standing.begun += 1
                self._begin_after(standing, occurrence)

    def _begin_after(self, standing: Standing, occurrence: Occurrence | None) -> None:
        if standing.fault.after > 0:
            loop = asyncio.get_running_loop()
            standing.timers.append(loop.call_later(standing.fault.after, self._begin, standing, occurrence))
            self._changed()
        else:
            self._begin(standing, occurrence)

    def _begin(self, standing: Standing, occurrence: Occurrence | None) -> None:
        if standing.has_ended:
            return
        if isinstance(standing.fault, State):
            self._begin_state(standing, standing.fault, occurrence)
        else:
            self._act(standing, occurrence)

    def _begin_state(self, standing: Standing, fault: State, occurrence: Occurrence | None) -> None:
        standing.state = "active"
        self._journal.record("fault_begun", fault=standing.id, **_cause(occurrence))
        if fault.seconds is not None:
            loop = asyncio.get_running_loop()
            standing.timers.append(loop.call_later(fault.seconds, self._end, standing, "seconds"))
        self._changed()

    def _act(self, standing: Standing, occurrence: Occurrence | None) -> None:
        fault = standing.fault
        standing.note_strike()
        strike = {"fault": standing.id, "strike": standing.strikes, **_cause(occurrence)}
        is_last_word = isinstance(fault, EndsOrFreezes)  # afterwards nobody is there to note it
        if is_last_word:
            self._journal.record("fault_struck", **strike)
        done: Json = {}
        failed: OSError | None = None
        try:
            done = self._carry_out(standing)
        except OSError as failure:  # out of descriptors, most likely; what has met the event goes on without the fault
            failed = failure
            log.error("fault %s has failed, and has ended: %s", standing.id, failure)
        if not is_last_word:
            self._journal.record("fault_struck", **strike, **done)
        if failed is not None:
            self._end(standing, "failed", error=str(failed))
        elif not isinstance(fault, Action) or standing.strikes >= fault.times:
            self._end(standing, "done")

    def _end(self, standing: Standing, reason: Reason, **details: str) -> None:
        if standing.has_ended:
            return
        standing.end()
        del self._live[standing.id]
        self._ended[standing.id] = standing
        for forgotten in list(self._ended)[:-KEPT_ENDED]:
            del self._ended[forgotten]
        self._journal.record("fault_ended", fault=standing.id, reason=reason, strikes=standing.strikes, **details)
        self._changed()
        if reason != "times":  # what was struck the last time still takes as long as it was to take
            standing.release()

    def _changed(self) -> None:
        """Swaps one immutable set of faults for another: there is no moment without rules."""
        self._active = tuple(each for each in self._live.values() if each.state == "active")
        self._waiting = tuple(each for each in self._live.values() if each.waits_for_events)
        self._settle()

    def _check_ids(self, faults: Sequence[Fault]) -> None:
        given = [fault.id for fault in faults if fault.id is not None]
        for fault_id in given:
            if given.count(fault_id) > 1:
                raise FaultError(f"The id {fault_id!r} is given twice. Give another one, or none.")
            if fault_id in self._live:
                raise FaultError(f"The fault {fault_id!r} is set already. Clear it first, or give another id.")

    def _new_id(self, fault: Fault, given: Set[str | None]) -> str:
        name = name_of(type(fault))
        while True:
            self._numbers[name] += 1
            made = f"{name}-{self._numbers[name]}"
            if made not in self._live and made not in self._ended and made not in given:
                return made


def _cause(occurrence: Occurrence | None) -> Json:
    """What a fault began at, for the journal."""
    if occurrence is None:
        return {}
    return {"event": occurrence.event, "client_id": occurrence.client_id}
