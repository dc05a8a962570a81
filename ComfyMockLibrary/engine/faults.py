"""The faults of one mock server over all its lives.

A fault of the server's inside ends with the life in which it was set. One of the network outlives it: the next life
begins with it, before any client can connect.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.control import Control, ControlFailure, NotKnown
from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.fault_records import FaultInLife, FaultRecords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ComfyMockLibrary.engine.servers import Life, MockServer

Json = dict[str, Any]
FaultState = Literal["waiting", "active", "ended"]
Held = Literal["execution", "network"]

OUTLIVING = frozenset(
    {
        "slow_start",
        "refuse_connections",
        "ignore_connections",
        "slow_accept",
        "flap",
        "latency",
        "bandwidth",
        "slice",
        "stall",
        "hold_network",
        "silence",
        "cut",
        "stop_reading",
        "slow_close",
        "refuse_upgrade",
        "hang_upgrade",
    }
)
"""Kinds of faults that outlive a restart."""

HOLDING: dict[Held, str] = {"execution": "hold_execution", "network": "hold_network"}
"""Kinds of faults that hold something, by what they hold."""

_ENDS = ("cleared", "done", "times", "seconds")
"""Reasons for which a fault has ended for all lives."""

_SHORTEST = 0.001
_LOOK_INTERVAL = 0.01


class Keeper(Protocol):
    """Where a fault was set, and what is known there of it."""

    is_closed: bool

    @property
    def alias(self) -> str:
        """Alias of the server."""

    def in_lives(self, fault: Fault) -> list[FaultInLife]:
        """How a fault has fared in each life that it has been in, oldest first."""

    def is_in_force(self, fault: Fault) -> bool:
        """Whether the life that runs now has been given a fault."""


class Fault:
    """A fault that was set: a handle whose attributes are always up to date, over all lives of its server."""

    def __init__(self, faults: Keeper, fault_id: str, description: Mapping[str, Any]) -> None:
        self.id = fault_id
        self.description = dict(description)
        """As the control API takes it."""
        self.set_at = now()
        self.is_cleared = False
        self.warning: str | None = None
        """Why it may never begin or strike, as the life says that it was set in."""
        self._faults = faults

    @property
    def name(self) -> str:
        """Its kind, for example ``drop_message``."""
        return str(self.description["fault"])

    @property
    def server(self) -> str:
        """Alias of its server."""
        return self._faults.alias

    @property
    def outlives_restart(self) -> bool:
        """Whether the next life of its server begins with it, if it has not ended by then."""
        return self.name in OUTLIVING

    @property
    def strikes(self) -> int:
        """How often it has struck, in all lives."""
        return sum(each.strikes for each in self._faults.in_lives(self))

    @property
    def state(self) -> FaultState:
        """``waiting`` for its event or for the next life, ``active``, or ``ended``."""
        lives = self._faults.in_lives(self)
        if self._is_over(lives):
            return "ended"
        if not self._faults.is_in_force(self):
            return "waiting"
        return "active" if lives[-1].begun_at is not None else "waiting"

    @property
    def has_ended(self) -> bool:
        """Whether it strikes no more."""
        return self._is_over(self._faults.in_lives(self))

    def for_next_life(self) -> Json | None:
        """Its description for a life that begins now; None if it is over."""
        lives = self._faults.in_lives(self)
        if not self.outlives_restart or self._is_over(lives):
            return None
        description: Json = {**self.description, "id": self.id}
        begun_at = _begun_at(lives)
        if begun_at is not None:
            description.pop("when", None)
            description.pop("after", None)
            if "seconds" in description:
                description["seconds"] = max(begun_at + description["seconds"] - now(), _SHORTEST)
        elif "after" in description and "when" not in description:
            description["after"] = max(self.set_at + description["after"] - now(), 0.0)
        strikes, limit = sum(each.strikes for each in lives), self._limit()
        if strikes and limit is not None:
            description.pop("nth", None)
            description["times"] = limit - strikes
        return description

    def _is_over(self, lives: Sequence[FaultInLife]) -> bool:
        if self.is_cleared or self._faults.is_closed:
            return True
        if not self.outlives_restart:
            return not self._faults.is_in_force(self) or lives[-1].ended is not None
        ends = ("cleared",) if self.name == "slow_start" else _ENDS  # which is done with each life that it has slowed
        if any(each.ended in ends for each in lives):
            return True
        if self._faults.is_in_force(self) and self.name != "slow_start":
            return False  # also when it has struck for the last time: it may hold what it has struck
        return self._is_used_up(lives)

    def _is_used_up(self, lives: Sequence[FaultInLife]) -> bool:
        """Whether strikes or time leave nothing of it for another life."""
        limit, begun_at = self._limit(), _begun_at(lives)
        if limit is not None and sum(each.strikes for each in lives) >= limit:
            return True
        return begun_at is not None and now() >= begun_at + float(self.description.get("seconds", "inf"))

    def _limit(self) -> int | None:
        """How often it strikes in all lives; None for any number of times."""
        if self.name == "slow_start" or "nth" in self.description:
            return int(self.description.get("times", 1))
        times = self.description.get("times")
        return None if times is None else int(times)

    def __str__(self) -> str:
        return f"{self.name} {_words(self.description)}".rstrip()

    def __repr__(self) -> str:
        return f"<Fault {self.id!r} of {self.server!r}: {self.state}, strikes: {self.strikes}>"


def _words(fields: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}=({_words(value)})" if isinstance(value, dict) else f"{name}={value}"
        for name, value in fields.items()
        if name not in ("fault", "id")
    )


def _begun_at(lives: Sequence[FaultInLife]) -> float | None:
    """When a fault was in force for the first time."""
    return min((each.begun_at for each in lives if each.begun_at is not None), default=None)


class ServerFaults:
    """Sets and clears the faults of one server, and knows all that were set here."""

    def __init__(self, server: MockServer) -> None:
        self.is_closed = False
        self._server = server
        self._faults: dict[str, Fault] = {}
        self._records: dict[str, FaultRecords] = {}
        self._cleared_while_frozen: list[str] = []

    @property
    def alias(self) -> str:
        """Alias of the server."""
        return self._server.alias

    def all(self) -> list[Fault]:
        """All faults that were set here, oldest first, also those that have ended."""
        return list(self._faults.values())

    def get(self, fault_id: str) -> Fault:
        """A fault by its id. Raises ValueError."""
        if fault_id not in self._faults:
            known = ", ".join(self._faults) or "none"
            raise ValueError(f"The mock server {self.alias!r} has no fault {fault_id!r}. Known: {known}.")
        return self._faults[fault_id]

    def set(self, description: Mapping[str, Any]) -> Fault:
        """Sets a fault; ``description`` is what the control API takes.

        While the server is down a fault that outlives restarts waits for the next life. Raises ValueError for a
        description that is wrong, ControlFailure when the server cannot take it.
        """
        fault = Fault(self, self._id(description), description)
        if self._server.is_running or not fault.outlives_restart:
            self._set_in_life(fault)
        self._faults[fault.id] = fault
        return fault

    def clear(self, *faults: Fault) -> None:
        """Ends faults, the latest first; those that have ended stay as they are.

        A server that stands still by one of them goes on. One that was frozen by others does not, and the faults end
        when it is thawed.
        """
        freezing = [each for each in faults if each.name == "freeze" and not each.has_ended]
        for fault in reversed(faults):
            if not fault.has_ended:
                if self.is_in_force(fault):
                    self._clear_in_life(fault.id)
                fault.is_cleared = True
        if any(each.strikes for each in freezing) and self._server.is_frozen:
            with suppress(ProcessLookupError):  # it has ended, and they with it
                platform.thaw(self._server.pid)
            self.clear_what_waits_for_a_thaw()

    def clear_all(self) -> None:
        """Ends all faults, those included that others have set in the life that runs."""
        self.clear(*self.all())
        if self._server.is_running and not self._server.is_frozen:
            self._control.clear_all_faults()

    def release(self, what: Held) -> list[str]:
        """Ends the faults that hold something: what they held goes on. Returns their ids.

        Those that others have set in the life that runs are ended too.
        """
        held = [each for each in self.all() if each.name == HOLDING[what] and not each.has_ended]
        self.clear(*held)
        more = self._control.release(what) if self._server.is_running and not self._server.is_frozen else []
        return [*(each.id for each in held), *(each["id"] for each in more)]

    def wait_for_strikes(self, fault: Fault, strikes: int, timeout: float) -> bool:
        """Waits until a fault has struck so often in all lives. Whether it has; False at once if it cannot any more."""

        def look() -> bool | None:
            has_ended = fault.has_ended  # before the strikes are counted, or the last ones could be missed
            return True if fault.strikes >= strikes else (False if has_ended else None)

        has_struck = bool(wait_until(look, Deadline(timeout), interval=_LOOK_INTERVAL))
        if has_struck and fault.name == "freeze":
            self.let_freeze()
        return has_struck

    def let_freeze(self) -> None:
        """Waits until a life stands still that has recorded that it will: thawed before, it would freeze for good.

        One that answers has been thawed by somebody else since.
        """
        if any(each.name == "freeze" and each.strikes and not each.has_ended for each in self.all()):
            with suppress(ControlFailure):
                self._control.faults()

    def for_next_life(self) -> list[Json]:
        """What a life that begins now is given."""
        descriptions = [each.for_next_life() for each in self.all()]
        return [each for each in descriptions if each is not None]

    def clear_what_waits_for_a_thaw(self) -> None:
        """Ends the faults that were cleared while the server was frozen."""
        waiting, self._cleared_while_frozen = self._cleared_while_frozen, []
        for fault_id in waiting:
            self._clear_in_life(fault_id)

    def close(self) -> None:
        """Ends with the server. What the journals say until now can still be asked for."""
        for life in self._server.lives:
            self._records_of(life).read()
        self.is_closed = True

    # What journals say

    def in_lives(self, fault: Fault) -> list[FaultInLife]:
        """How a fault has fared in each life that it has been in, oldest first."""
        found = [self._records_of(life).get(fault.id) for life in self._server.lives]
        return [each for each in found if each is not None]

    def is_in_force(self, fault: Fault) -> bool:
        """Whether the life that runs now has been given a fault."""
        return self._server.is_running and fault.id in self._records_of(self._server.life)

    def _records_of(self, life: Life) -> FaultRecords:
        records = self._records.setdefault(life.life_id, FaultRecords(life.journal_file))
        if not self.is_closed:
            records.read()
        return records

    # Orders to the life that runs

    @property
    def _control(self) -> Control:
        return Control(self.alias, self._server.life)

    def _set_in_life(self, fault: Fault) -> None:
        life = self._server.life
        try:
            fault.warning = Control(self.alias, life).set_fault({**fault.description, "id": fault.id}).get("warning")
        except ControlFailure:
            if fault.id not in self._records_of(life):  # it has been set, but ends or freezes the process at once
                raise

    def _clear_in_life(self, fault_id: str) -> None:
        life = self._server.life
        if life.is_frozen:
            self._cleared_while_frozen.append(fault_id)
            return
        try:
            self._control.clear_fault(fault_id)
        except NotKnown:
            return
        except ControlFailure:
            if life.is_frozen:  # since a moment ago
                self._cleared_while_frozen.append(fault_id)
            elif life.is_running:
                raise

    def _id(self, description: Mapping[str, Any]) -> str:
        given = description.get("id")
        if given is not None:
            if given in self._faults and not self._faults[given].has_ended:
                raise ValueError(f"The mock server {self.alias!r} has a fault {given!r} already. Clear it first.")
            return str(given)
        name, number = description["fault"], 1
        while any(f"{name}-{number}" in known for known in self._known_ids()):
            number += 1
        return f"{name}-{number}"

    def _known_ids(self) -> Sequence[Any]:
        return [self._faults, *(self._records_of(life) for life in self._server.lives)]
