"""The clients of one library instance: by alias, with the mock server that each belongs to."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.client.custom_client import CustomClient
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.records import file_name
from ComfyMockLibrary.engine.refusals import clear_refusals

if TYPE_CHECKING:
    from pathlib import Path

    from ComfyMockLibrary.engine.client.custom_client import ClientUnderTest
    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.servers import MockServer

_client_numbers = itertools.count(1)


class ClientManager:
    """Makes, finds and closes clients."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._servers: dict[str, MockServer] = {}
        self._current: Client | None = None
        self._files: dict[Path, float] = {}

    @property
    def clients(self) -> list[Client]:
        """All clients, oldest first."""
        return list(self._clients.values())

    def new(
        self,
        endpoint: Endpoint,
        options: ClientOptions | None = None,
        *,
        server: MockServer | None = None,
        alias: str | None = None,
        client_id: str | None = None,
        directory: Path | None = None,
        own: ClientUnderTest | None = None,
    ) -> Client:
        """Makes a client, not connected yet, and makes it the current one. Raises ValueError for a known alias.

        ``server`` is the mock server at the endpoint, if it is one of ours; ``directory`` takes the client's journal;
        ``own`` is a client of the user's own, which has its options and its id itself.
        """
        alias = alias or next(name for name in map("client-{}".format, _client_numbers) if name not in self._clients)
        if alias in self._clients:
            raise ValueError(f"There is a client {alias!r} already. Close it, or choose another alias.")
        file = None if directory is None else directory / f"{file_name(alias)}.journal.jsonl"
        client: Client
        with clear_refusals(f"The client {alias!r} cannot be made"):
            if own is None:
                client = ComfyClient(
                    endpoint, options, server=server, alias=alias, client_id=client_id, journal_file=file
                )
            else:
                client = CustomClient(own, endpoint, server=server, alias=alias, journal_file=file)
        self._clients[alias] = client
        if file is not None:
            self._files[file] = float("inf")
        if server is not None:
            self._servers[alias] = server
        self._current = client
        return client

    def get(self, client: str | Client | None = None) -> Client:
        """A client by alias or handle; the current one if left out. Raises ValueError."""
        if client is None:
            if self._current is None:
                raise ValueError("There is no client. Connect one with `Connect Client`.")
            return self._current
        if isinstance(client, Client):
            if client not in self._clients.values():
                raise ValueError(f"The client {client.alias!r} is closed. Connect a new one with `Connect Client`.")
            return client
        if client not in self._clients:
            raise ValueError(f"There is no client {client!r}. Known: {', '.join(self._clients) or 'none'}.")
        return self._clients[client]

    def server_of(self, client: Client) -> MockServer | None:
        """The mock server that a client belongs to; None if it was given a URL of some other server."""
        return self._servers.get(client.alias)

    def of_server(self, server: MockServer) -> list[Client]:
        """The clients that belong to a mock server."""
        return [client for client in self.clients if self.server_of(client) is server]

    def journal_files(self, since: float) -> list[Path]:
        """Journals of all clients but for those that were closed before a moment."""
        return [file for file, closed_at in self._files.items() if closed_at >= since]

    def switch(self, client: str | Client) -> Client:
        """Makes a client the current one. Returns the one that was current before."""
        previous = self.get()
        self._current = self.get(client)
        return previous

    def close_client(self, client: Client) -> None:
        """Closes a client and forgets it, also one of the user's own that fails to close."""
        try:
            client.close()
        finally:
            self._forget(client)

    def close(self) -> None:
        """Closes all clients, the latest first, whatever becomes of the others."""
        with ExitStack() as stack:
            for client in self.clients:
                stack.callback(self.close_client, client)

    def _forget(self, client: Client) -> None:
        if client.journal.file in self._files:
            self._files[client.journal.file] = now()
        self._clients.pop(client.alias, None)
        self._servers.pop(client.alias, None)
        if self._current is client:
            self._current = next(reversed(self._clients.values()), None)
