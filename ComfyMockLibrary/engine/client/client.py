"""What any client is to waits, prompts and keywords: the library's own, or one of the user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.http import HttpError, ask_json
from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.journal import EventJournal


class Client(ABC):
    """A client of one server. Everything that it sees goes into ``journal``."""

    alias: str
    client_id: str
    """The clientId that it gives; empty if nobody knows."""

    endpoint: Endpoint
    journal: EventJournal

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """State of the connection."""

    @property
    @abstractmethod
    def path(self) -> list[ConnectionState]:
        """All states that the connection has been in since the first attempt, oldest first."""

    @property
    @abstractmethod
    def life_id(self) -> str | None:
        """Life of the mock server that the client is connected to; None without connection or life id."""

    @abstractmethod
    def positions_of_state(self, state: ConnectionState) -> list[int]:
        """Journal positions at which the connection came into a state."""

    @abstractmethod
    def connect(self) -> None:
        """Starts to connect and returns at once."""

    @abstractmethod
    def reconnect(self) -> None:
        """Drops what connection there is, starts to reconnect at once, and returns."""

    @abstractmethod
    def abort_reconnect(self) -> bool:
        """Ends all attempts to connect. False if none were made."""

    @abstractmethod
    def close(self) -> None:
        """Closes the connection for good, whatever the client is doing."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with each request."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether the websocket is open, as far as the client knows."""
        return self.state is ConnectionState.connected

    @property
    def is_idle(self) -> bool:
        """Whether it does not try to connect."""
        return self.state in (ConnectionState.disconnected, ConnectionState.failed)

    def validate(self, timeout: float) -> str | None:
        """Checks the connection: websocket open, and ``GET /queue`` answered properly in time.

        Returns None if it is valid, else what is wrong with it.
        """
        if not self.is_connected:
            return f"the client is {self.state.value}"
        try:
            queue = self.ask("GET", "/queue", timeout)
        except HttpError as failure:
            return str(failure)
        if not isinstance(queue, dict) or not {"queue_running", "queue_pending"} <= queue.keys():
            return f"GET {self.endpoint.url}/queue: the answer is no queue: {str(queue)[:80]}"
        return None

    def ask(self, method: str, path: str, timeout: float, body: Any = None) -> Any:
        """Sends a request with the client's headers and reads the answer as JSON. Raises HttpError."""
        return ask_json(self.endpoint, method, path, Patience(timeout), body=body, headers=self.headers)
