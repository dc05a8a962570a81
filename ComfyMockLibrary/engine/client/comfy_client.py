"""The reference client: one thread, one state machine, one journal."""

from __future__ import annotations

import json
import selectors
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.client import messages
from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.connection import ABNORMAL_CLOSURE, Connection, Lost, OpenFailed
from ComfyMockLibrary.engine.client.heartbeat import Heartbeat
from ComfyMockLibrary.engine.client.polling import Polling
from ComfyMockLibrary.engine.client.state import Action, ConnectionMachine, Drop, Emit, Open, Stop
from ComfyMockLibrary.engine.client.wire import LONGEST_WAIT, Abandoned, Patience, Selector, Wakeup
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.http import HttpError, ask_json
from ComfyMockLibrary.engine.journal import Event, EventJournal
from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.servers import MockServer

NORMAL_CLOSURE = 1000
CLOSE_TIMEOUT = 0.5
"""Seconds that a client waits for the server's close frame after it has sent its own."""


@dataclass(frozen=True)
class ClientOptions:
    """How a client behaves. Times are in seconds."""

    auto_reconnect: bool = True
    max_attempts: int | None = 10
    """Attempts in one phase of reconnecting; None never gives up."""

    backoff: Backoff = field(default_factory=Backoff)
    seed: int | None = None
    """Seed of the jitter; None draws one from the system."""

    connect_timeout: float = 5.0
    """Longest time of one attempt, from the first packet to the answered upgrade."""

    ping_interval: float | None = 5.0
    """Time between pings; None sends none, and a frozen server is never noticed."""

    pong_timeout: float = 10.0
    """Longest silence after a ping before the connection counts as lost."""

    polling_interval: float | None = None
    """Time between ``GET /prompt`` while there is no websocket; None does not poll."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with the upgrade and with every request."""

    feature_flags: Mapping[str, Any] | None = None
    """Sent after each open; None sends none."""

    on_failure: Callable[[Event], None] | None = None
    """Called in the client's thread once the last attempt has failed."""

    def __post_init__(self) -> None:
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(
                f"max_attempts={self.max_attempts} allows no attempt; give 1 or more, or None for no limit."
            )
        if self.ping_interval is not None and self.ping_interval <= 0:
            raise ValueError("ping_interval must be longer than 0 s; give None to send no pings.")
        if self.polling_interval is not None and self.polling_interval <= 0:
            raise ValueError("polling_interval must be longer than 0 s; give None not to poll.")


class ComfyClient(Client):
    """The library's own client of one server.

    Everything that it sees goes into ``journal``. All methods may be called from any thread; state and ``is_connected``
    always agree, as both are read from the same state machine.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: ClientOptions | None = None,
        *,
        server: MockServer | None = None,
        alias: str = "client",
        client_id: str | None = None,
        journal_file: Path | None = None,
    ) -> None:
        """Makes a client, not connected yet. ``client_id`` is kept over all connections; left out, it is drawn.

        ``server`` is the mock server at the endpoint, if it is one of ours.
        """
        self.endpoint = endpoint
        self._server = server
        self.options = options or ClientOptions()
        self.alias = alias
        self.client_id = client_id or uuid.uuid4().hex
        self.journal = EventJournal(alias, self.client_id, journal_file)
        self._machine = ConnectionMachine(
            self.options.backoff,
            auto_reconnect=self.options.auto_reconnect,
            max_attempts=self.options.max_attempts,
            seed=self.options.seed,
        )
        self._state_positions = [0]
        self._connection: Connection | None = None
        self._heartbeat = Heartbeat(None, 0.0, now())
        self._polling = Polling(self.options.polling_interval)
        self._work: deque[Open | Drop | Stop | _Notify] = deque()
        self._wakeup = Wakeup()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> ConnectionState:
        """State of the connection."""
        with self.journal:
            return self._machine.state

    @property
    def path(self) -> list[ConnectionState]:
        """All states that the connection has been in since the first attempt, oldest first."""
        with self.journal:
            return self._machine.path[1:]

    @property
    def life_id(self) -> str | None:
        """Life of the mock server that the client is connected to; None without connection or life id."""
        with self.journal:
            return self._connection.life_id if self.is_connected and self._connection is not None else None

    def positions_of_state(self, state: ConnectionState) -> list[int]:
        """Journal positions at which the connection came into a state."""
        with self.journal:
            self._note_positions(len(self.journal))  # of a change whose call was interrupted
            return [at for known, at in zip(self._machine.path, self._state_positions, strict=True) if known is state]

    def _note_positions(self, position: int) -> None:
        """Notes at which position the latest states began."""
        self._state_positions += [position] * (len(self._machine.path) - len(self._state_positions))

    def connect(self) -> None:
        """Starts to connect and returns at once. Raises ValueError if the client is at it already or closed."""
        with self.journal:
            self._apply(self._machine.connect())
            if not self._has_thread:
                self._thread = threading.Thread(target=self._run, name=f"ComfyClient {self.alias}", daemon=True)
                self._thread.start()

    def reconnect(self) -> None:
        """Drops what connection there is, starts to reconnect at once, and returns. Raises ValueError if closed."""
        with self.journal:
            if self._thread is None:
                raise ValueError("The client has never been connected. Connect it first.")
            moment = now()
            self._apply(self._machine.reconnect(moment), moment)

    def abort_reconnect(self) -> bool:
        """Ends all attempts to connect. False if none were made."""
        with self.journal:
            actions = self._machine.abort()
            self._apply(actions)
            return bool(actions)

    def close(self) -> None:
        """Closes the connection and ends thread, timers and sockets, whatever the client is doing.

        Interrupted, it can be called again.
        """
        with self.journal:
            self._apply(self._machine.close())
            if not self._is_closing():  # interrupted before it was told
                self._work += [Drop(), Stop()]
        self._wakeup.set()
        if not self._has_thread:
            self._wakeup.close()
        elif self._thread is not threading.current_thread():
            assert self._thread is not None
            self._thread.join()
        self.journal.close()

    @property
    def _has_thread(self) -> bool:
        """Whether its thread has begun: there may be no room for one, or its start was interrupted."""
        return self._thread is not None and self._thread.ident is not None

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with the upgrade and with each request."""
        return self.options.headers

    def _apply(self, actions: list[Action], decided_at: float | None = None) -> None:
        """Carries out what the machine decided: events at once, the rest in the client's thread.

        Delays count from the time that the machine was given, so its events must have that time too.
        """
        position = len(self.journal)
        for action in actions:
            if isinstance(action, Emit):
                self._emit(action, decided_at)
            else:
                self._work.append(action)
        self._note_positions(position)
        self.journal.condition.notify_all()
        self._wakeup.set()

    def _emit(self, action: Emit, decided_at: float | None) -> None:
        event = self.journal.append(action.name, "client", action.data, self._life_of_connection(), decided_at)
        if action.name == "reconnection_failed":
            self._work.append(_Notify(event))

    def _life_of_connection(self) -> str | None:
        return None if self._connection is None else self._connection.life_id

    def _run(self) -> None:
        """The client's thread."""
        try:
            self._work_off()
        except BaseException as failure:
            with self.journal:
                self._apply(self._machine.close(f"the client has failed: {failure!r}"))
            raise
        finally:
            self._drop()
            self._wakeup.close()

    def _work_off(self) -> None:
        while True:
            work = self._work.popleft() if self._work else None
            if isinstance(work, Open):
                self._open(work.number)
            elif isinstance(work, Drop):
                self._drop()
            elif isinstance(work, _Notify):
                self._notify(work.event)
            elif isinstance(work, Stop):
                break
            else:
                self._wait_for_something()

    def _open(self, number: int) -> None:
        def is_wanted() -> bool:
            with self.journal:
                return self._machine.number == number

        if not is_wanted():
            return
        options = self.options
        try:
            patience = Patience(options.connect_timeout, self._wakeup, is_wanted)
            connection = Connection.open(self.endpoint, self.client_id, options.headers, patience)
        except Abandoned:
            return
        except OpenFailed as failure:
            with self.journal:
                moment = now()
                self._apply(self._machine.open_failed(moment, number, str(failure)), moment)
            return
        with self.journal:
            self._connection = connection
            self._heartbeat = Heartbeat(options.ping_interval, options.pong_timeout, now())
            facts = {"life_id": connection.life_id, "client_id": self.client_id}
            self._apply(self._machine.opened(number, facts))
        if not is_wanted():
            self._drop()
        elif options.feature_flags is not None:
            hello = json.dumps({"type": "feature_flags", "data": options.feature_flags})
            self._send(connection, lambda: connection.send(hello))

    def _drop(self) -> None:
        with self.journal:
            connection, self._connection = self._connection, None
        if connection is None:
            return
        is_last = self._is_closing()

        def is_wanted() -> bool:
            return is_last or not self._is_closing()  # a close need not wait for what a reconnection waits for

        timeout = 0.0 if is_last and self._stands_still() else CLOSE_TIMEOUT
        connection.close(NORMAL_CLOSURE, Patience(timeout, self._wakeup, is_wanted))

    def _stands_still(self) -> bool:
        """Whether it is known that the server answers nothing."""
        return self._server is not None and bool(self._server.lives) and self._server.is_frozen

    def _is_closing(self) -> bool:
        with self.journal:
            return any(isinstance(work, Stop) for work in self._work)

    def _notify(self, event: Event) -> None:
        if self.options.on_failure is None:
            return
        try:
            self.options.on_failure(event)
        except BaseException as failure:  # noqa: BLE001 - the user's code must not end the client's thread
            self.journal.append("callback_failed", "client", {"error": repr(failure)}, None)

    def _wait_for_something(self) -> None:
        connection = self._connection
        with Selector() as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection, selectors.EVENT_READ)
            due_in = max(0.0, self._next_due() - now())
            ready = {key.fileobj for key, _ in selector.select(min(due_in, LONGEST_WAIT))}
        if self._wakeup in ready:
            self._wakeup.clear()
        if connection is not None:
            looked_at = now()  # before it looks: what comes behind the look has not been seen, and is no silence
            self._receive(connection)
            self._watch(connection, looked_at)
        with self.journal:
            actions = self._machine.tick(now())
            if actions:
                self._apply(actions)
        self._poll()

    def _next_due(self) -> float:
        with self.journal:
            attempt_at = self._machine.next_attempt_at
            if self._machine.state is ConnectionState.reconnecting:
                self._polling.begin(now())
            else:
                self._polling.end()
        heartbeat_at = float("inf") if self._connection is None else self._heartbeat.due_at
        return min(float("inf") if attempt_at is None else attempt_at, heartbeat_at, self._polling.due_at)

    def _receive(self, connection: Connection) -> None:
        received_before = connection.bytes_received
        try:
            # Not wanted any more when there is work: a server that never falls silent must not hold that up.
            for message in connection.receive(lambda: bool(self._work)):
                self._record(message)
                if self._work:
                    break
        except Lost as lost:
            self._lose(connection, lost)
            return
        if connection.bytes_received != received_before:
            self._heartbeat.received()

    def _record(self, message: str | bytes) -> None:
        name, data = messages.decode_text(message) if isinstance(message, str) else messages.decode_binary(message)
        with self.journal:
            if self._machine.state is ConnectionState.connected:
                self.journal.append(name, "server", data, self._life_of_connection())

    def _watch(self, connection: Connection, looked_at: float) -> None:
        if self._connection is not connection:
            return
        if self._heartbeat.is_dead(looked_at):
            silence = f"no pong within {self._heartbeat.timeout:g} s"
            self._lose(connection, Lost(ABNORMAL_CLOSURE, "", silence))
        elif self._heartbeat.needs_ping(now()):
            self._send(connection, connection.ping)
            self._heartbeat.pinged(now())

    def _send(self, connection: Connection, send: Callable[[], None]) -> None:
        try:
            send()
        except Lost as lost:
            self._receive(connection)  # what it has said before it went, and why, may have come just now
            if self._connection is connection:
                self._lose(connection, lost)

    def _lose(self, connection: Connection, lost: Lost) -> None:
        connection.drop()
        with self.journal:
            if self._machine.state is ConnectionState.connected:
                moment = now()
                self._apply(self._machine.lost(moment, self._machine.number, lost.facts()), moment)
            self._connection = None

    def _poll(self) -> None:
        with self.journal:
            number, attempt_at = self._machine.number, self._machine.next_attempt_at
        if attempt_at is None or not self._polling.takes_turn(now()):
            return

        def is_wanted() -> bool:
            with self.journal:
                return self._machine.number == number

        timeout = max(0.0, attempt_at - now())
        try:
            status = ask_json(
                self.endpoint,
                "GET",
                "/prompt",
                Patience(timeout, self._wakeup, is_wanted),
                headers=self.options.headers,
            )
        except (HttpError, Abandoned):
            return
        with self.journal:
            if is_wanted() and self._polling.is_news(status):
                self.journal.append("status", "server", {"status": status, "transport": "http"}, None)


@dataclass(frozen=True)
class _Notify:
    """Tell the user's callback."""

    event: Event
