"""Keywords that wait for connections and events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from robot.utils import DotDict

from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.journal import Event
from ComfyMockLibrary.engine.matching import EventPattern
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.types import ConnectionState, EventSource


class WaitingKeywords(Component):
    """Waits, all of them driven by events."""

    @keyword(tags=["Client", "Wait"])
    def wait_for_connection(
        self,
        timeout: timedelta | None = None,
        *,
        since: Event | Literal["start"] | None = None,
        client: ComfyClient | None = None,
    ) -> None:
        """Waits until the client is connected to the life of the mock server that runs now.

        A connection to an earlier life does not count, so this is safe right after a restart. For a client of another
        server any open connection counts.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``since``: Only a connection that was opened after this event counts.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it is not connected in time; says what it saw last and how the server is.

        Example:
        | `Restart Mock Server`
        | `Wait For Connection`    timeout=5 s
        """
        target = self.session.clients.get(client)
        self.session.waits(target).for_connection(self.session.timeout_or(timeout), since)

    @keyword(tags=["Client", "Wait"])
    def wait_for_disconnection(
        self,
        timeout: timedelta | None = None,
        *,
        since: Event | Literal["start"] | None = None,
        client: ComfyClient | None = None,
    ) -> Event:
        """Waits until the client has lost its connection, even if it has got a new one since.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``since``: Look from this event on, or from the ``start``, instead of the client's cursor.
          - ``client``: Alias or handle. The current client if left out.

        *Returns:* The event ``disconnected``; its data has ``code``, ``reason`` and ``cause``.

        *Raises:*
          - AssertionError: If it has not lost it in time.

        Example:
        | `Kill Mock Server`
        | ${event} =    `Wait For Disconnection`
        | Should Be Equal As Integers    ${event.data.code}    1001
        """
        return self.wait_for_event("disconnected", timeout, since=since, client=client)

    @keyword(tags=["Client", "Wait"])
    def wait_for_connection_state(
        self, state: ConnectionState, timeout: timedelta | None = None, *, client: ComfyClient | None = None
    ) -> None:
        """Waits until the client's connection is in this state, or has been in it since the client's cursor.

        ``connected`` means connected to the life that runs now, as with `Wait For Connection`.

        *Args:*
          - ``state``: The state to wait for.
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it has not come in time.
        """
        target = self.session.clients.get(client)
        self.session.waits(target).for_state(state, self.session.timeout_or(timeout))

    @keyword(tags=["Client", "Wait"])
    def wait_for_event(
        self,
        event: str,
        timeout: timedelta | None = None,
        *,
        since: Event | Literal["start"] | None = None,
        source: EventSource | None = None,
        client: ComfyClient | None = None,
        fields: Mapping[str, Any] | None = None,
        **field: Any,
    ) -> Event:
        """Waits until the client has received the event, and returns it.

        It looks from the client's cursor on, so that an event that has come before the keyword began is not missed, and
        then moves the cursor behind the event. See `Events and the cursor`.

        *Args:*
          - ``event``: Event name: ``executing``, ``executed``, ``status``, ``reconnected`` and so on.
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``since``: Look from this event on, or from the ``start``, instead of the client's cursor.
          - ``source``: ``server`` for a message that is named like one of the client's own events.
          - ``client``: Alias or handle. The current client if left out.
          - ``fields``: Fields that the event's data must have, for names that are arguments here.
          - ``field``: Fields by name or dotted path, compared in the type that was seen; ``None`` is null.

        *Returns:* The event, with the attributes ``name``, ``data``, ``source``, ``index``, ``at`` and ``life_id``.
          ``data`` has attribute access too.

        *Raises:*
          - AssertionError: If it has not come in time; says what came instead.

        The end of a prompt, whatever its outcome, is ``executing`` with node null:
        | `Wait For Event`    executing    node=None    prompt_id=${prompt.prompt_id}
        Other examples:
        | ${event} =    `Wait For Event`    executed    node=3    timeout=5 s
        | Log    ${event.data.output}
        | `Wait For Event`    status    status.exec_info.queue_remaining=0
        | `Wait For Event`    progress    fields={"value": 20}    since=start
        """
        target = self.session.clients.get(client)
        pattern = EventPattern(event, {**(fields or {}), **field}, source)
        return _for_robot(self.session.waits(target).for_event(pattern, self.session.timeout_or(timeout), since))

    @keyword(tags=["Client", "Wait", "Assertion"])
    def event_should_not_fire(
        self,
        event: str,
        timeout: timedelta | None = None,
        *,
        since: Event | Literal["start"] | None = None,
        source: EventSource | None = None,
        client: ComfyClient | None = None,
        fields: Mapping[str, Any] | None = None,
        **field: Any,
    ) -> None:
        """Waits the whole time and fails as soon as the event comes.

        *Args:*
          - ``event``: Event name.
          - ``timeout``: How long to wait, for example ``1 s``. Library default if left out.
          - ``since``: Look from this event on, or from the ``start``, instead of the client's cursor.
          - ``source``: ``server`` for a message that is named like one of the client's own events.
          - ``client``: Alias or handle. The current client if left out.
          - ``fields``: Fields that the event's data must have, for names that are arguments here.
          - ``field``: Fields as with `Wait For Event`.

        *Raises:*
          - AssertionError: If it has come since the cursor, or comes.

        Example:
        | `Event Should Not Fire`    reconnection_failed    timeout=1 s
        """
        target = self.session.clients.get(client)
        pattern = EventPattern(event, {**(fields or {}), **field}, source)
        self.session.waits(target).for_no_event(pattern, self.session.timeout_or(timeout), since)

    @keyword(tags=["Client"])
    def track_event(self, event: str, *, source: EventSource | None = None, client: ComfyClient | None = None) -> None:
        """Begins to count an event from now on, for `Event Should Have Fired` and `Event Should Not Have Fired`.

        The count does not depend on the client's cursor: other waits do not change it.

        *Args:*
          - ``event``: Event name.
          - ``source``: ``server`` for a message that is named like one of the client's own events.
          - ``client``: Alias or handle. The current client if left out.

        Example:
        | `Track Event`    reconnected
        | `Restart Mock Server`
        | `Wait For Connection`
        | `Event Should Have Fired`    reconnected    times=1
        """
        target = self.session.clients.get(client)
        self.session.notes(target).tracked[event] = (EventPattern(event, source=source), len(target.journal))

    @keyword(tags=["Client", "Assertion"])
    def event_should_have_fired(
        self, event: str, *, times: int | None = None, client: ComfyClient | None = None
    ) -> None:
        """Fails unless a tracked event has come since `Track Event`.

        *Args:*
          - ``event``: Event name.
          - ``times``: Exactly how often. At least once if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it has not; says how often it has.
          - ValueError: If the event is not tracked.
        """
        target = self.session.clients.get(client)
        seen = self._tracked(event, target)
        if len(seen) != times if times is not None else not seen:
            expected = "at least once" if times is None else _times(times)
            is_missing = len(seen) < (times or 1)
            raise self._failure(
                f"Event '{event}' should have fired {expected} since it was tracked but did {_times(len(seen))}.",
                event,
                target,
                "This looks only once; wait for the event with `Wait For Event` before." if is_missing else "",
            )

    @keyword(tags=["Client", "Assertion"])
    def event_should_not_have_fired(self, event: str, *, client: ComfyClient | None = None) -> None:
        """Fails if a tracked event has come since `Track Event`.

        *Args:*
          - ``event``: Event name.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it has; says how often.
          - ValueError: If the event is not tracked.
        """
        target = self.session.clients.get(client)
        seen = self._tracked(event, target)
        if seen:
            raise self._failure(
                f"Event '{event}' should not have fired since it was tracked but did {_times(len(seen))}: {seen[0]}.",
                event,
                target,
            )

    @keyword(tags=["Client", "Getter"])
    def get_events(
        self,
        event: str | None = None,
        *,
        since: Event | Literal["start"] = "start",
        source: EventSource | None = None,
        client: ComfyClient | None = None,
        fields: Mapping[str, Any] | None = None,
        **field: Any,
    ) -> list[Event]:
        """Returns all events that the client has seen, oldest first.

        Moves no cursor.

        *Args:*
          - ``event``: Only events of this name.
          - ``since``: Only events after this one.
          - ``source``: Only events about the ``client`` itself, or only messages of the ``server``.
          - ``client``: Alias or handle. The current client if left out.
          - ``fields``: Fields that the event's data must have, for names that are arguments here.
          - ``field``: Fields as with `Wait For Event`.

        Example:
        | @{attempts} =    `Get Events`    reconnecting
        | Length Should Be    ${attempts}    3
        | Should Be Equal As Numbers    ${attempts[0].data.delay}    0.1
        """
        target = self.session.clients.get(client)
        events = target.journal.since(0 if since == "start" else since.index + 1)
        if event is not None:
            pattern = EventPattern(event, {**(fields or {}), **field}, source)
            events = [each for each in events if pattern.matches(each)]
        return [_for_robot(each) for each in events if source in (None, each.source)]

    def _tracked(self, event: str, client: Client) -> list[Event]:
        try:
            pattern, start = self.session.notes(client).tracked[event]
        except KeyError:
            raise ValueError(
                f"Event '{event}' of client '{client.alias}' is not tracked. Use `Track Event` before it can come."
            ) from None
        return [each for each in client.journal.since(start) if pattern.matches(each)]

    def _failure(self, what: str, event: str, client: Client, hint: str = "") -> ExpectationFailed:
        _, start = self.session.notes(client).tracked[event]
        return self.session.waits(client).failure(what, start, hint)


def _times(count: int) -> str:
    return {0: "not", 1: "once"}.get(count, f"{count} times")


def _for_robot(event: Event) -> Event:
    """The event with attribute access to its data, as suites expect it."""
    return dataclasses.replace(event, data=DotDict(event.data))
