"""The client's heart: which state its connection is in and what to do next.

Pure: inputs go in, actions come out, the clock is handed in. Every attempt to connect and every connection has a
number; what is reported about another number than the current one is stale and changes nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.client.backoff import Backoff

CONNECTION_EVENTS = (
    "connected",
    "disconnected",
    "reconnecting",
    "reconnected",
    "reconnection_failed",
    "reconnection_aborted",
    "connection_failed",
)
"""The client's own events. Each is about its connection and has the source ``client``."""


@dataclass(frozen=True)
class Open:
    """Try to open a connection, and report ``opened`` or ``open_failed`` with this number."""

    number: int


@dataclass(frozen=True)
class Drop:
    """Close the connection that is open, if any."""


@dataclass(frozen=True)
class Stop:
    """End everything: nothing comes after this."""


@dataclass(frozen=True)
class Emit:
    """Record an event."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)


Action = Open | Drop | Stop | Emit


class ConnectionMachine:
    """State machine of one client's connection.

    Whatever the inputs: each ``connected`` is followed by exactly one ``disconnected`` before the next; each phase of
    ``reconnecting`` ends with exactly one of ``reconnected``, ``reconnection_failed`` and ``reconnection_aborted``;
    after ``close`` nothing happens any more.
    """

    def __init__(
        self, backoff: Backoff, *, auto_reconnect: bool = True, max_attempts: int | None = 10, seed: int | None = None
    ) -> None:
        """``max_attempts`` is the number of attempts in one phase of reconnecting; None never gives up."""
        self.path = [ConnectionState.disconnected]
        self.number = 0
        self.closed = False
        self.next_attempt_at: float | None = None
        self._backoff = backoff
        self._auto_reconnect = auto_reconnect
        self._max_attempts = max_attempts
        self._randomness = random.Random(seed)
        self._attempt = 0

    @property
    def state(self) -> ConnectionState:
        """The state now."""
        return self.path[-1]

    def connect(self) -> list[Action]:
        """The user wants a first connection."""
        self._require_open()
        if self.state not in (ConnectionState.disconnected, ConnectionState.failed):
            raise ValueError(f"The client is {self.state.value} already.")
        self._attempt = 0
        self._enter(ConnectionState.connecting)
        return [self._open()]

    def reconnect(self, now: float) -> list[Action]:
        """The user wants a new connection, at once; what there is goes."""
        self._require_open()
        actions: list[Action] = []
        if self.state is ConnectionState.connected:
            actions += self._lose({"code": 1000, "reason": "", "cause": "reconnection asked for"})
        if self.state is not ConnectionState.reconnecting:
            self._enter(ConnectionState.reconnecting)
        self.number += 1
        return [*actions, *self._schedule(now, 1, 0.0, None)]

    def abort(self) -> list[Action]:
        """The user wants no further attempts."""
        if self.state not in (ConnectionState.connecting, ConnectionState.reconnecting):
            return []
        self.number += 1
        self.next_attempt_at = None
        self._enter(ConnectionState.disconnected)
        return [Emit("reconnection_aborted", {"attempts": self._attempt})]

    def close(self, cause: str = "closed by the client") -> list[Action]:
        """The user is done with the client, or it can't go on."""
        if self.closed:
            return []
        actions = self.abort()
        if self.state is ConnectionState.connected:
            actions = self._lose({"code": 1000, "reason": "", "cause": cause})
        if self.state is not ConnectionState.disconnected:
            self._enter(ConnectionState.disconnected)
        self.closed = True
        return [*actions, Drop(), Stop()]

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self.next_attempt_at is None or now < self.next_attempt_at:
            return []
        self.next_attempt_at = None
        return [self._open()]

    def opened(self, number: int, facts: dict[str, Any]) -> list[Action]:
        """An attempt has succeeded. ``facts`` about the connection go into the event."""
        if number != self.number:
            return []
        was_reconnecting = self.state is ConnectionState.reconnecting
        attempts = self._attempt
        self._attempt = 0
        self._enter(ConnectionState.connected)
        actions: list[Action] = [Emit("connected", facts)]
        if was_reconnecting:
            actions.append(Emit("reconnected", {"attempts": attempts, **facts}))
        return actions

    def open_failed(self, now: float, number: int, error: str) -> list[Action]:
        """An attempt has failed."""
        if number != self.number:
            return []
        if self.state is ConnectionState.connecting:
            if not self._auto_reconnect:
                self._enter(ConnectionState.failed)
                return [Emit("connection_failed", {"error": error})]
            self._enter(ConnectionState.reconnecting)
            return self._schedule_backoff(now, 1, error)
        if self._max_attempts is not None and self._attempt >= self._max_attempts:
            self._enter(ConnectionState.failed)
            return [Emit("reconnection_failed", {"attempts": self._attempt, "error": error})]
        return self._schedule_backoff(now, self._attempt + 1, error)

    def lost(self, now: float, number: int, facts: dict[str, Any]) -> list[Action]:
        """The connection is gone. ``facts``: close code, reason and cause."""
        if number != self.number:
            return []
        actions = self._lose(facts)
        if self._auto_reconnect:
            self._enter(ConnectionState.reconnecting)
            actions += self._schedule_backoff(now, 1, None)
        return actions

    def _lose(self, facts: dict[str, Any]) -> list[Action]:
        self.number += 1
        self._enter(ConnectionState.disconnected)
        return [Drop(), Emit("disconnected", facts)]

    def _schedule_backoff(self, now: float, attempt: int, error: str | None) -> list[Action]:
        return self._schedule(now, attempt, self._backoff.delay(attempt, self._randomness), error)

    def _schedule(self, now: float, attempt: int, delay: float, error: str | None) -> list[Action]:
        self._attempt = attempt
        self.next_attempt_at = now + delay
        facts: dict[str, Any] = {"attempt": attempt, "delay": delay}
        if error is not None:
            facts["error"] = error
        return [Emit("reconnecting", facts)]

    def _open(self) -> Open:
        self.number += 1
        return Open(self.number)

    def _enter(self, state: ConnectionState) -> None:
        self.path.append(state)

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("The client is closed. Connect a new one.")
