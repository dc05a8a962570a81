"""What a test waits for, and what it is told when that does not happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.journal import Event
from ComfyMockLibrary.engine.records import shown
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.client.client import Client
    from ComfyMockLibrary.engine.faults import Fault
    from ComfyMockLibrary.engine.matching import EventPattern
    from ComfyMockLibrary.engine.servers import MockServer

Since = Event | Literal["start"] | None

_NEVER = -1

_LAST_EVENTS = 5
_MOST_FAULTS = 5
"""How many a failure names."""


class ClientWaits:
    """Waits on one client's journal. Each looks from the client's cursor unless ``since`` says otherwise."""

    def __init__(self, client: Client, server: MockServer | None = None) -> None:
        """``server`` is the mock server that the client belongs to, if any."""
        self._client = client
        self._server = server
        self._journal = client.journal

    def for_event(self, pattern: EventPattern, timeout: float, since: Since = None) -> Event:
        """Waits for an event and moves the cursor behind it. Raises ExpectationFailed."""
        start = self._start(since)
        event = self._first(pattern, start, timeout)
        if event is None:
            raise self.failure(
                f"{_sentence(pattern)} did not come within {timeout:g} s.", start, self._hint(pattern, start)
            )
        self._journal.move_cursor(event.index + 1)
        return event

    def for_no_event(self, pattern: EventPattern, timeout: float, since: Since = None) -> None:
        """Makes sure, over the whole time, that no such event comes. Raises ExpectationFailed as soon as one does."""
        start = self._start(since)
        began = now()
        event = self._first(pattern, start, timeout)
        if event is None or event.at > began + timeout:  # seen by a look that was late
            return
        if event.at >= began:
            raise self.failure(
                f"{_sentence(pattern)} should not have come within {timeout:g} s but did after "
                f"{event.at - began:.3f} s: {event}.",
                start,
            )
        raise self.failure(
            f"{_sentence(pattern)} should not have come but had, {began - event.at:.3f} s before this wait: {event}.",
            start,
            "Give since=${event} to look only at what comes after a later event.",
        )

    def for_connection(self, timeout: float, since: Since = None) -> None:
        """Waits for a connection to the life that runs now; against other servers, for any.

        ``since`` asks for a handshake after that event. Moves the cursor to the beginning of the connection, so that
        what earlier connections brought is out of sight. Fails at once for a client that does not try to connect.
        """
        earliest = self._start(since) if since is not None else 0

        def connected_at() -> int | None:
            if self._client.is_idle:
                return _NEVER
            positions = self._client.positions_of_state(ConnectionState.connected)
            if not self._client.is_connected or positions[-1] < earliest:
                return None
            if self._server is not None and self._client.life_id != self._server.life_id:
                return None
            return positions[-1]

        position = wait_until(connected_at, Deadline(timeout), self._journal.condition)
        if position is None or position == _NEVER:
            raise self.failure(
                f"Connection to {self._destination()} "
                + (
                    f"did not happen within {timeout:g} s."
                    if position is None
                    else "did not happen, and is not tried any more."
                ),
                earliest,
                self._connection_hint() or self._age_hint(earliest),
            )
        self._journal.move_cursor(position)

    def for_state(self, state: ConnectionState, timeout: float) -> None:
        """Waits until the connection is in a state, or has been in it since the cursor, however shortly."""
        if state is ConnectionState.connected:
            self.for_connection(timeout)
            return
        start = self._start(None)

        def entered_at() -> int | None:
            position = max(self._client.positions_of_state(state), default=-1)
            return position if position >= start or self._client.state is state else None

        position = wait_until(entered_at, Deadline(timeout), self._journal.condition)
        if position is None:
            raise self.failure(
                f"Connection state '{state.value}' was not reached within {timeout:g} s.",
                start,
                self._connection_hint(),
            )
        self._journal.move_cursor(position)

    def should_be_in_state(self, state: ConnectionState) -> None:
        """Looks once. Raises ExpectationFailed."""
        seen = self._client.state
        if seen is not state:
            raise self.failure(
                f"Connection state should be '{state.value}' but is '{seen.value}'.",
                self._journal.cursor,
                "This looks only once; `Wait For Connection State` waits.",
            )

    def should_have_taken_path(self, expected: list[ConnectionState]) -> None:
        """Compares all states that the connection has been in. Raises ExpectationFailed."""
        seen = self._client.path
        if seen != expected:
            raise self.failure(
                f"Connection states should be {_path(expected)} but are {_path(seen)}.", self._journal.cursor
            )

    def should_be_valid(self, timeout: float) -> None:
        """Checks the connection, see ``Client.validate``. Raises ExpectationFailed."""
        fault = self._client.validate(timeout)
        if fault is not None:
            raise self.failure(
                f"Connection should be valid but is not: {fault}.", self._journal.cursor, self._connection_hint()
            )

    def should_not_be_valid(self, timeout: float) -> None:
        """The opposite. Raises ExpectationFailed."""
        if self._client.validate(timeout) is None:
            raise self.failure("Connection should not be valid but is.", self._journal.cursor)

    def failure(self, what: str, start: int, hint: str = "") -> ExpectationFailed:
        """A failed expectation in words: what, what was seen instead since ``start``, how the server is, what to do."""
        events = self._journal.since(0)
        moment = now()
        recent = "; ".join(f"{event} ({moment - event.at:.3f} s ago)" for event in events[-_LAST_EVENTS:])
        last = f"last events: {recent}" if events else "no event"
        count = len(events) - start
        parts = [
            what,
            f"Seen: client '{self._client.alias}' is {self._client.state.value}; {last}.",
            f"{count} event{'' if count == 1 else 's'} since {'the start' if start == 0 else f'position {start}'}.",
            *describe_server(self._server),
            hint,
        ]
        return ExpectationFailed(" ".join(part for part in parts if part))

    def _first(self, pattern: EventPattern, start: int, timeout: float) -> Event | None:
        looked = start

        def look() -> Event | None:
            nonlocal looked
            unseen = self._journal.since(looked)
            looked += len(unseen)
            return next((event for event in unseen if pattern.matches(event)), None)

        return wait_until(look, Deadline(timeout), self._journal.condition)

    def _start(self, since: Since) -> int:
        if since is None:
            return self._journal.cursor
        if since == "start":
            return 0
        if isinstance(since, Event):
            return since.index + 1
        raise ValueError(f"since={since!r} is neither an event nor the word 'start'.")

    def _destination(self) -> str:
        if self._server is None:
            return self._client.endpoint.url
        return f"life {len(self._server.lives)} ({self._server.life_id})"

    def _hint(self, pattern: EventPattern, start: int) -> str:
        events = self._journal.since(0)
        earlier = next((event for event in reversed(events[:start]) if pattern.matches(event)), None)
        if earlier is not None:
            return f"One came earlier, at position {earlier.index}; give since=start to look at all events."
        nearest = next((event for event in reversed(events[start:]) if pattern.matches_name(event)), None)
        if nearest is not None:
            return f"The nearest was: {nearest}."
        other = next((event for event in reversed(events[start:]) if event.name == pattern.name), None)
        if other is not None:
            return f"One came from the {other.source}; give source={other.source} to take it."
        return self._connection_hint()

    def _connection_hint(self) -> str:
        server_hint = next_step(self._server)
        if server_hint:
            return server_hint
        if self._server is None and not self._client.positions_of_state(ConnectionState.connected):
            return f"Make sure that a server runs at {self._client.endpoint.url}."
        if self._client.is_idle:
            return "The client does not try to connect: use `Reconnect Client`."
        if self._server is not None and self._client.is_connected and self._client.life_id != self._server.life_id:
            return f"The client is connected to life {self._client.life_id}, which is not the one that runs now."
        return ""

    def _age_hint(self, earliest: int) -> str:
        """For a client that is connected, only not since then."""
        with self._journal:
            is_old = self._client.is_connected and (
                self._client.positions_of_state(ConnectionState.connected)[-1] < earliest
            )
        return "The connection that is open is older than the event given as since." if is_old else ""


def describe_server(server: MockServer | None, *, but: Fault | None = None) -> list[str]:
    """State, faults and log of a server, as sentences of a failure, ``but`` for a fault that it is about itself."""
    if server is None:
        return []
    faults = [each for each in server.faults.all() if each is not but and not each.has_ended]
    more = f" and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    named = ", ".join(map(_described, faults[:_MOST_FAULTS]))
    faulty = [f"Faults: {named}{more}."] if faults else []
    return [f"Server: {server.life.describe()}.", *faulty, f"Log: {shown(server.log_file)}."]


def _described(fault: Fault) -> str:
    strikes = fault.strikes
    struck = "" if strikes == 0 else ", struck once" if strikes == 1 else f", struck {strikes} times"
    return f"{fault.id} ({fault.state}{struck})"


def next_step(server: MockServer | None) -> str:
    """What to do about a server that is down or frozen; empty for one that runs."""
    if server is not None and not server.is_running:
        return "The server is down: start its next life with `Restart Mock Server`."
    if server is not None and server.is_frozen:
        return "The server is frozen: let it go on with `Thaw Mock Server`."
    return ""


def _sentence(pattern: EventPattern) -> str:
    text = str(pattern)
    return text[0].upper() + text[1:]


def _path(states: list[ConnectionState]) -> str:
    return " > ".join(state.value for state in states) or "(none)"
