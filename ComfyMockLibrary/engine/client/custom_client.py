"""A Python client of the user's own behind the library's waits: what it has to offer, and how it is listened to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.state import CONNECTION_EVENTS
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.journal import EventJournal
from ComfyMockLibrary.engine.journal_files import JournalFile
from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from pathlib import Path

    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.servers import Life, MockServer

OnEvent = Callable[..., None]
"""``on_event(name)`` or ``on_event(name, data)``, from any thread."""


@runtime_checkable
class ClientUnderTest(Protocol):
    """A Python client of your own: ``client=my_package.MyClient`` of `Connect Client`, or an object.

    It has two methods. ``connect(url, on_event)`` begins to connect to the server at a URL such as
    ``http://127.0.0.1:8188``, and returns. From then on the client calls ``on_event(name, data)``, from any thread, for
    what happens to its connection, by the library's names: ``connected``, ``disconnected``, ``reconnecting``,
    ``reconnected``, ``reconnection_failed``, ``reconnection_aborted``, ``connection_failed``; and for each message of
    the server, by its type, with its data. ``data`` is a dictionary, and may be left out. ``close()`` ends everything.

    What else it may have: ``client_id``, its clientId, which `Queue Prompt` needs; ``reconnect()`` for
    `Reconnect Client`; ``abort_reconnect()`` for `Abort Reconnect`.
    """

    def connect(self, url: str, on_event: OnEvent) -> None:
        """Begins to connect to a server, and returns without waiting for it."""

    def close(self) -> None:
        """Closes the connection, if there is one, and ends all attempts and threads."""


_STATES = {
    "connected": ConnectionState.connected,
    "reconnected": ConnectionState.connected,
    "disconnected": ConnectionState.disconnected,
    "reconnection_aborted": ConnectionState.disconnected,
    "reconnecting": ConnectionState.reconnecting,
    "reconnection_failed": ConnectionState.failed,
    "connection_failed": ConnectionState.failed,
}
"""The state that each event about the connection leads to."""


def load_client(client: Any) -> ClientUnderTest:
    """An object as it is; of a dotted name the class, made without arguments. Raises ValueError."""
    made = _made_of(client) if isinstance(client, str) else client() if isinstance(client, type) else client
    missing = [name for name in ("connect", "close") if not callable(getattr(made, name, None))]
    if missing:
        raise ValueError(
            f"{type(made).__name__} is no client: it has no method {' and no method '.join(missing)}. "
            "`Connect Client` says what a client of your own has."
        )
    client_under_test: ClientUnderTest = made
    return client_under_test


def _made_of(name: str) -> Any:
    module_name, dot, class_name = name.rpartition(".")
    if not dot:
        raise ValueError(f"client={name} names no class in a module; give it as my_package.MyClient.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as failure:
        raise ValueError(
            f"The client {name} cannot be imported: {failure}. Is its folder on the path? robot --pythonpath FOLDER"
        ) from failure
    if not hasattr(module, class_name):
        raise ValueError(f"The module {module_name} has no {class_name}.")
    return getattr(module, class_name)()


class CustomClient(Client):
    """Listens to a client of the user's own, so that waits find in its journal what they find in any."""

    def __init__(
        self,
        own: ClientUnderTest,
        endpoint: Endpoint,
        *,
        server: MockServer | None = None,
        alias: str = "client",
        journal_file: Path | None = None,
    ) -> None:
        """``server`` is the mock server at the endpoint, if it is one of ours."""
        self.own = own
        """The client itself."""
        self.endpoint = endpoint
        self.alias = alias
        self.client_id = str(getattr(own, "client_id", ""))
        self.journal = EventJournal(alias, self.client_id, journal_file)
        self._server = server
        self._states: list[tuple[ConnectionState, int, float]] = []
        """States, each with its position in the journal, and when it came."""
        self._began: dict[str, float] = {}
        self._is_closed = False

    @property
    def state(self) -> ConnectionState:
        """State of the connection, as the client has told it."""
        with self.journal:
            return self._states[-1][0] if self._states else ConnectionState.disconnected

    @property
    def path(self) -> list[ConnectionState]:
        """All states that the connection has been in since the first attempt, oldest first."""
        with self.journal:
            return [state for state, _, _ in self._states]

    @property
    def life_id(self) -> str | None:
        """The life that runs now, if the client has connected since it began: it cannot have reached an earlier one."""
        with self.journal:
            if not self.is_connected or self._server is None or not self._server.lives:
                return None
            life = self._server.life
            return life.life_id if self._states[-1][2] >= self._beginning_of(life) else None

    @property
    def is_idle(self) -> bool:
        """Whether it has said that it gives up: one that is only disconnected may try again without a word."""
        with self.journal:
            return self._is_closed or self.state is ConnectionState.failed

    def positions_of_state(self, state: ConnectionState) -> list[int]:
        """Journal positions at which the connection came into a state."""
        with self.journal:
            return [position for known, position, _ in self._states if known is state]

    def connect(self) -> None:
        """Lets the client begin to connect."""
        with self.journal:
            self._enter(ConnectionState.connecting, len(self.journal))
        self.own.connect(self.endpoint.url, self._take)

    def reconnect(self) -> None:
        """Lets the client reconnect. Raises ValueError if it has no such method."""
        self._optional("reconnect")()

    def abort_reconnect(self) -> bool:
        """Lets the client give up. Raises ValueError if it has no such method."""
        abort = self._optional("abort_reconnect")
        was_trying = self.state in (ConnectionState.connecting, ConnectionState.reconnecting)
        abort()
        return was_trying

    def close(self) -> None:
        """Closes the client; what it says later is not heard."""
        if self._is_closed:
            return
        try:
            self.own.close()
        finally:
            with self.journal:
                if self.state is ConnectionState.connected:
                    self._take("disconnected", {"code": None, "reason": "", "cause": "closed by the client"})
                self._is_closed = True
            self.journal.close()

    def _take(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Records what the client tells: about its connection, or a message of the server."""
        content = data if isinstance(data, Mapping) else {} if data is None else {"value": data}
        with self.journal:
            if self._is_closed:
                return
            state = _STATES.get(name)
            position = len(self.journal)
            if state is not None and (state is not self.state or name == "connected"):
                self._enter(state, position)
            source = "client" if name in CONNECTION_EVENTS else "server"
            self.journal.append(name, source, content, self.life_id)  # type: ignore[arg-type]

    def _enter(self, state: ConnectionState, position: int) -> None:
        self._states.append((state, position, now()))
        self.journal.condition.notify_all()

    def _optional(self, method: str) -> Callable[[], object]:
        found = getattr(self.own, method, None)
        if not callable(found):
            raise ValueError(f"The client '{self.alias}' ({type(self.own).__name__}) has no method {method}().")
        return found  # type: ignore[no-any-return]

    def _beginning_of(self, life: Life) -> float:
        """When a life began: a moment after the one before it had ended, before it could be reached."""
        if life.life_id not in self._began:
            records = JournalFile(life.journal_file).news()
            self._began[life.life_id] = float(records[0]["at"]) if records else 0.0
        return self._began[life.life_id]
