"""Keywords that connect clients and look at their connections."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.client.custom_client import ClientUnderTest, load_client
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.matching import EventPattern
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.secret import Secret
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState

GAVE_UP = EventPattern("reconnection_failed")


class ClientKeywords(Component):
    """Clients and their connections."""

    @keyword(tags=["Client"])
    def connect_client(
        self,
        server: MockServer | None = None,
        *,
        url: str | None = None,
        client: ClientUnderTest | None = None,
        alias: str | None = None,
        client_id: str | None = None,
        wait: bool = True,
        timeout: timedelta | None = None,
        auto_reconnect: bool = True,
        max_attempts: int | None = 10,
        base_delay: timedelta = timedelta(milliseconds=100),
        max_delay: timedelta = timedelta(seconds=2),
        strategy: BackoffStrategy = BackoffStrategy.exponential,
        jitter: float = 0.0,
        seed: int | None = None,
        connect_timeout: timedelta = timedelta(seconds=5),
        ping_interval: timedelta | None = timedelta(seconds=5),
        pong_timeout: timedelta = timedelta(seconds=10),
        polling_interval: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        token: Secret | str | None = None,
        feature_flags: Mapping[str, Any] | None = None,
        on_failure: str | None = None,
    ) -> Client:
        """Connects a client to a mock server, or to any ComfyUI server, and returns when it is connected.

        The client becomes the current one, which the other keywords mean when no ``client`` is given.

        *Args:*
          - ``server``: Mock server by alias, port or handle. The current server if left out.
          - ``url``: Any other server instead, for example ``http://127.0.0.1:8188`` or ``wss://host/path``.
          - ``client``: A Python client of your own in place of the library's, ``my_package.MyClient`` or an object. Of
            the arguments from ``client_id`` on, only ``wait``, ``timeout`` and ``on_failure`` apply to it.
          - ``alias``: Name for the other keywords. ``client-1`` and so on if left out.
          - ``client_id``: The clientId, kept over all connections. Drawn at random if left out.
          - ``wait``: ``no`` returns at once, for a server that is not up yet.
          - ``timeout``: Longest time until it is connected. Library default if left out.
          - ``auto_reconnect``: Whether it reconnects by itself when the connection is lost or cannot be had.
          - ``max_attempts``: Attempts before it gives up; ``None`` for no limit.
          - ``base_delay``: Delay before the first attempt to reconnect.
          - ``max_delay``: No delay is longer, jitter included.
          - ``strategy``: How the delay grows from attempt to attempt.
          - ``jitter``: Share of the delay, 0 to 1, by which it varies at random in either direction.
          - ``seed``: Makes the jitter repeatable.
          - ``connect_timeout``: Longest time of one attempt; an upgrade that nobody answers ends then. How
            long the name of a host is looked up is up to the system.
          - ``ping_interval``: Time between pings; ``None`` for none, and a frozen server is never noticed.
          - ``pong_timeout``: Longest silence after a ping until the connection counts as lost.
          - ``polling_interval``: Time between ``GET /prompt`` while there is no websocket, each change a ``status``
            event with ``transport=http``. Not polled if left out.
          - ``headers``: Sent with the upgrade and with every request.
          - ``token``: Sent as ``Authorization: Bearer`` with the upgrade and with every request.
          - ``feature_flags``: Sent after each open, for example ``{"supports_preview_metadata": True}``.
          - ``on_failure``: Keyword to run when the client has given up. It runs at the end of the library's keyword
            that sees the event ``reconnection_failed``, at the latest the next one.

        *Returns:* The client, with the attributes ``alias``, ``client_id``, ``state``, ``is_connected`` and
          ``life_id``, always up to date.

        *Raises:*
          - AssertionError: If it is not connected in time; it is closed then.
          - ValueError: If there is a client with this alias already.

        Examples:
        | `Connect Client`
        | `Connect Client`    backup    alias=second    auto_reconnect=no
        | `Connect Client`    url=http://127.0.0.1:8188    timeout=10 s
        | `Connect Client`    base_delay=50 ms    max_attempts=3    on_failure=Note The Failure
        | `Connect Client`    client=my_package.MyClient
        """
        options = ClientOptions(
            auto_reconnect=auto_reconnect,
            max_attempts=max_attempts,
            backoff=Backoff(strategy, base_delay.total_seconds(), max_delay.total_seconds(), jitter),
            seed=seed,
            connect_timeout=connect_timeout.total_seconds(),
            ping_interval=None if ping_interval is None else ping_interval.total_seconds(),
            pong_timeout=pong_timeout.total_seconds(),
            polling_interval=None if polling_interval is None else polling_interval.total_seconds(),
            headers=_with_token(headers or {}, token),
            feature_flags=feature_flags,
        )
        if url is not None and server is not None:
            raise ValueError("Give either a mock server or a url, not both.")
        target = self.session.servers.get(server) if url is None else None
        connected = self.session.clients.new(
            Endpoint.of_url(url) if target is None else target.endpoint,  # type: ignore[arg-type]
            options,
            server=target,
            alias=alias,
            client_id=client_id,
            directory=self.session.directory,
            own=None if client is None else load_client(client),
        )
        try:
            connected.connect()
            if wait:
                self.session.waits(connected).for_connection(self.session.timeout_or(timeout))
        except BaseException:
            self.session.clients.close_client(connected)
            raise
        self.session.opened(connected)
        if on_failure is not None:
            self.session.notes(connected).on_failure = on_failure
        logger.info(f"{connected.alias}: {connected.endpoint.url}, client id {connected.client_id or 'not known'}")
        return connected

    @keyword(tags=["Client"])
    def switch_client(self, client: ComfyClient) -> Client:
        """Makes a client the current one, and returns the one that was current before.

        *Args:*
          - ``client``: Alias or handle.

        Example:
        | ${previous} =    `Switch Client`    second
        | `Reconnect Client`
        | `Switch Client`    ${previous}
        """
        return self.session.clients.switch(client)

    @keyword(tags=["Client"])
    def reconnect_client(self, client: ComfyClient | None = None) -> None:
        """Lets the client drop its connection, if it has one, and reconnect at once; returns at once.

        Attempts follow each other with the client's delays until one succeeds or ``max_attempts`` have failed, also for
        a client without ``auto_reconnect``. `Wait For Connection` waits for success, `Abort Reconnect` gives up.

        *Args:*
          - ``client``: Alias or handle. The current client if left out.

        Example:
        | `Restart Mock Server`
        | `Reconnect Client`
        | `Wait For Connection`    timeout=5 s
        """
        target = self.session.clients.get(client)
        target.journal.set_cursor()
        target.reconnect()

    @keyword(tags=["Client"])
    def abort_reconnect(self, client: ComfyClient | None = None) -> None:
        """Ends all attempts of the client to connect: its state is ``disconnected`` then.

        For a client that makes no attempts it does nothing.

        *Args:*
          - ``client``: Alias or handle. The current client if left out.
        """
        target = self.session.clients.get(client)
        if not target.abort_reconnect():
            logger.info(f"Nothing to abort: {target.alias} is {target.state.value}.")

    @keyword(tags=["Client"])
    def close_client(self, client: ComfyClient | None = None) -> None:
        """Closes the client for good, whatever it is doing: no thread, socket or timer of it is left.

        *Args:*
          - ``client``: Alias or handle. The current client if left out.
        """
        self._close(self.session.clients.get(client))

    @keyword(tags=["Client"])
    def close_all_clients(self) -> None:
        """Closes all clients for good.

        Without clients it does nothing.
        """
        with ExitStack() as stack:
            for client in self.session.clients.clients:
                stack.callback(self._close, client)

    @keyword(tags=["Client", "Getter"])
    def get_connection_state(self, client: ComfyClient | None = None) -> str:
        """Returns the state of the client's connection: connecting, connected, disconnected, reconnecting or failed.

        *Args:*
          - ``client``: Alias or handle. The current client if left out.
        """
        return self.session.clients.get(client).state.value

    @keyword(tags=["Client", "Assertion"])
    def connection_state_should_be(self, state: ConnectionState, *, client: ComfyClient | None = None) -> None:
        """Fails unless the client's connection is in this state now.

        *Args:*
          - ``state``: The state expected.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it is in another one; says what the client saw last.
        """
        self.session.waits(self.session.clients.get(client)).should_be_in_state(state)

    @keyword(tags=["Client", "Assertion"])
    def connection_states_should_be(self, *states: ConnectionState, client: ComfyClient | None = None) -> None:
        """Fails unless the client's connection has been in exactly these states, in this order, since it was made.

        States that last only a moment count too.

        *Args:*
          - ``states``: The whole path, oldest first.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If the path is another one; shows both.

        Example:
        | `Connection States Should Be`    connecting    connected    disconnected    reconnecting    connected
        """
        self.session.waits(self.session.clients.get(client)).should_have_taken_path(list(states))

    @keyword(tags=["Client", "Getter"])
    def is_connected(self, client: ComfyClient | None = None) -> bool:
        """Returns whether the client's websocket is open, as far as the client knows.

        *Args:*
          - ``client``: Alias or handle. The current client if left out.
        """
        return self.session.clients.get(client).is_connected

    @keyword(tags=["Client", "Getter"])
    def validate_connection(self, timeout: timedelta | None = None, *, client: ComfyClient | None = None) -> bool:
        """Returns whether the connection works: the websocket is open, and ``GET /queue`` is answered properly.

        *Args:*
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.
        """
        target = self.session.clients.get(client)
        fault = target.validate(self.session.timeout_or(timeout))
        if fault is not None:
            logger.info(f"Not valid: {fault}")
        return fault is None

    @keyword(tags=["Client", "Assertion"])
    def connection_should_be_valid(
        self, timeout: timedelta | None = None, *, client: ComfyClient | None = None
    ) -> None:
        """Fails unless the connection works: the websocket is open, and ``GET /queue`` is answered properly.

        *Args:*
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it does not; says what is wrong.
        """
        target = self.session.clients.get(client)
        self.session.waits(target).should_be_valid(self.session.timeout_or(timeout))

    @keyword(tags=["Client", "Assertion"])
    def connection_should_not_be_valid(
        self, timeout: timedelta | None = None, *, client: ComfyClient | None = None
    ) -> None:
        """Fails if the connection works.

        See `Connection Should Be Valid`.

        *Args:*
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - AssertionError: If it works.
        """
        target = self.session.clients.get(client)
        self.session.waits(target).should_not_be_valid(self.session.timeout_or(timeout))

    def _close(self, client: Client) -> None:
        try:
            client.close()
            self.session.log.write_news()  # while the client is known
        finally:
            self.session.clients.close_client(client)

    def run_failure_keywords(self) -> None:
        """Runs the ``on_failure`` keyword of each client that has given up since the last look, in the main thread."""
        for client in self.session.clients.clients:
            notes = self.session.notes(client)
            if notes.on_failure is None:
                continue
            failures = sum(GAVE_UP.matches(event) for event in client.journal.since(0))
            while notes.failures_handled < failures:
                notes.failures_handled += 1  # before it runs: it may use keywords of this library itself
                BuiltIn().run_keyword(notes.on_failure)


def _with_token(headers: Mapping[str, str], token: Secret | str | None) -> dict[str, str]:
    if token is None:
        return dict(headers)
    return {**headers, "Authorization": f"Bearer {token.value if isinstance(token, Secret) else token}"}
