"""Keywords that tell from the server's side what a client did, whoever the client is."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from assertionengine import AssertionOperator, verify_assertion

from ComfyMockLibrary.engine.evidence import (
    ConnectionLoss,
    RecordedMessage,
    RecordedRequest,
    RecordedSocket,
    route_of,
)
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.engine.verdicts import Verdicts
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.quantities import Percent
from ComfyMockLibrary.types import BackoffStrategy

_TOLERANCE = Percent(0.2)
"""No default in a signature: Robot would take whatever else ``Percent`` refuses for a number of the same kind."""


class EvidenceKeywords(Component):
    """Looks at the journals of one server over all its lives, also of one that is frozen or gone."""

    @keyword(tags=["Evidence", "Wait"])
    def wait_for_client_on_server(
        self,
        timeout: timedelta | None = None,
        *,
        nth: int = 1,
        client_id: str | None = None,
        header: str | None = None,
        server: MockServer | None = None,
    ) -> RecordedSocket:
        """Waits until a client has a websocket to the life of the server that runs now.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``nth``: The n-th such websocket that this life has seen.
          - ``client_id``: Only one with this ``clientId`` counts.
          - ``header``: Only one whose handshake has this header, for example ``User-Agent: node*``.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The websocket as recorded.

        *Raises:*
          - AssertionError: If none has come in time; names those that have.

        Example:
        | `Start Client Process`    node    my_client.js    {url}
        | ${socket} =    `Wait For Client On Server`    timeout=10 s
        | Log    ${socket.client_id}
        """
        return self._verdicts(server).for_client(self.session.timeout_or(timeout), nth, client_id, _header(header))

    @keyword(tags=["Evidence", "Wait"])
    def client_should_have_reconnected(
        self,
        timeout: timedelta | None = None,
        *,
        max_attempts: int | None = None,
        nth: int | None = None,
        client_id: str | None = None,
        server: MockServer | None = None,
    ) -> ConnectionLoss:
        """Waits until the client that has lost its websocket has one again, to the life that runs now.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``max_attempts``: How many attempts it may need, the last one included. Attempts while the server is down
            are counted only where `Kill Mock Server` was told to watch them.
          - ``nth``: Which loss of a websocket is meant, ``1`` for the first since the server was first started. The
            latest if left out: give it where the loss may not be recorded yet, as after a fault of the network.
          - ``client_id``: The client with this ``clientId``; all clients count as one if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The loss, with ``lost_at``, ``back_at``, ``attempts`` and ``delays``.

        *Raises:*
          - AssertionError: If it has not come back in time, has needed more attempts, or has never lost a websocket.

        Example:
        | `Restart Mock Server`    signal=SIGKILL
        | `Client Should Have Reconnected`    timeout=5 s    max_attempts=3
        """
        return self._verdicts(server).should_have_reconnected(
            self.session.timeout_or(timeout), max_attempts, client_id, nth
        )

    @keyword(tags=["Evidence", "Getter"])
    def get_reconnect_attempts(
        self,
        assertion_operator: AssertionOperator | None = None,
        assertion_expected: Any = None,
        message: str | None = None,
        *,
        nth: int | None = None,
        client_id: str | None = None,
        server: MockServer | None = None,
    ) -> int:
        """Returns how many attempts to get a websocket the client has made since it lost one last.

        Attempts while the server is down are counted only where `Kill Mock Server` or `Restart Mock Server` was told
        to watch them.

        *Args:*
          - ``assertion_operator``: Compares the number with ``assertion_expected``, for example ``<=``.
          - ``assertion_expected``: What it is compared with.
          - ``message``: Text of the failure instead of the usual one.
          - ``nth``: Which loss of a websocket is meant, ``1`` for the first. The latest if left out.
          - ``client_id``: The client with this ``clientId``; all clients count as one if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If the comparison fails.

        Example:
        | `Kill Mock Server`    signal=SIGKILL    watch_attempts=yes
        | `Restart Mock Server`
        | `Client Should Have Reconnected`
        | `Get Reconnect Attempts`    <=    3
        """
        attempts = self._verdicts(server).reconnect_attempts(client_id, nth)
        return _compared(attempts, assertion_operator, assertion_expected, "Reconnect attempts", message)

    @keyword(tags=["Evidence", "Assertion"])
    def backoff_should_be(
        self,
        strategy: BackoffStrategy,
        *,
        base: timedelta,
        maximum: timedelta | None = None,
        tolerance: Percent | None = None,
        nth: int | None = None,
        client_id: str | None = None,
        server: MockServer | None = None,
    ) -> None:
        """Compares the delays between the client's attempts to get its websocket back with a backoff strategy.

        A first attempt that is made at once counts as no delay.

        *Args:*
          - ``strategy``: How the delays should grow.
          - ``base``: The first delay.
          - ``maximum``: The longest delay; there is none if left out.
          - ``tolerance``: How far each delay may be off; 20% if left out.
          - ``nth``: Which loss of a websocket is meant, ``1`` for the first. The latest if left out.
          - ``client_id``: The client with this ``clientId``; all clients count as one if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If they are others, says what they look like; or if there are fewer than two.

        Example:
        | `Kill Mock Server`    watch_attempts=yes
        | `Restart Mock Server`    downtime=10 s
        | `Backoff Should Be`    exponential    base=1 s    maximum=15 s    tolerance=20%
        """
        self._verdicts(server).backoff_should_be(
            strategy,
            base.total_seconds(),
            None if maximum is None else maximum.total_seconds(),
            _TOLERANCE if tolerance is None else tolerance,
            client_id,
            nth,
        )

    @keyword(tags=["Evidence", "Assertion"])
    def prompt_should_have_been_sent_once(
        self, prompt_id: str | None = None, *, server: MockServer | None = None
    ) -> None:
        """Fails if a workflow was queued twice, over all lives of the server; also if none was queued.

        Prompts that were refused do not count, since a client may send them again; those that were not answered do.

        *Args:*
          - ``prompt_id``: Looks only at the workflow that was queued under this id.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If one was queued more often, or not at all.

        Example:
        | `Restart Mock Server`    signal=SIGKILL
        | `Client Should Have Reconnected`
        | `Prompt Should Have Been Sent Once`
        """
        self._verdicts(server).prompts_should_have_been_sent_once(prompt_id)

    @keyword(tags=["Evidence", "Wait"])
    def mock_server_should_have_received(
        self,
        method: str,
        path: str,
        *,
        times: int | None = None,
        status: int | None = None,
        life: int | None = None,
        timeout: timedelta = timedelta(),
        server: MockServer | None = None,
    ) -> list[RecordedRequest]:
        """Fails unless the server has received such requests, over all its lives.

        *Args:*
          - ``method``: For example ``POST``; ``*`` for any.
          - ``path``: Without query, for example ``/prompt``. Routes are the same with ``/api``; ``*`` stands for
            anything.
          - ``times``: How many exactly; at least one if left out.
          - ``status``: Only those that were answered with this HTTP status count.
          - ``life``: Only those of this life count: ``1`` for the first, ``-1`` for the latest.
          - ``timeout``: Longest time to wait for them; looks once if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The requests as recorded.

        *Raises:*
          - AssertionError: If there are fewer or more; names those that come close.

        Example:
        | `Mock Server Should Have Received`    POST    /prompt    times=1
        | `Mock Server Should Have Received`    GET    /history/*    timeout=5 s
        """
        return self._verdicts(server).should_have_received(
            method, path, times, status, timeout.total_seconds(), self._life(life, server)
        )

    @keyword(tags=["Evidence", "Getter"])
    def get_recorded_requests(
        self,
        assertion_operator: AssertionOperator | None = None,
        assertion_expected: Any = None,
        message: str | None = None,
        *,
        method: str | None = None,
        path: str | None = None,
        client_id: str | None = None,
        life: int | None = None,
        server: MockServer | None = None,
    ) -> list[RecordedRequest]:
        """Returns the HTTP requests that the server has received, over all its lives, oldest first.

        *Args:*
          - ``assertion_operator``: Compares how many there are with ``assertion_expected``, for example ``>=``.
          - ``assertion_expected``: What it is compared with.
          - ``message``: Text of the failure instead of the usual one.
          - ``method``: Only those with this method.
          - ``path``: Only those with this path, without query and ``/api``; ``*`` stands for anything.
          - ``client_id``: Only those that name this client in ``clientId`` or ``client_id``.
          - ``life``: Only those of this life: ``1`` for the first, ``-1`` for the latest.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If the comparison fails.

        Example:
        | ${requests} =    `Get Recorded Requests`    method=POST    path=/prompt
        | ${before the crash} =    `Get Recorded Requests`    life=1
        | Log    ${requests[0].json}
        | `Get Recorded Requests`    <    10    path=/history*
        """
        number = self._life(life, server)
        found = [
            each
            for each in self._server(server).evidence.requests()
            if number in (None, each.life)
            and (method is None or method.upper() == each.method)
            and (path is None or fnmatchcase(each.route, route_of(path)))
            and client_id in (None, each.client_id)
        ]
        _compared(len(found), assertion_operator, assertion_expected, "Number of requests", message)
        return found

    @keyword(tags=["Evidence", "Getter"])
    def get_recorded_sockets(
        self,
        assertion_operator: AssertionOperator | None = None,
        assertion_expected: Any = None,
        message: str | None = None,
        *,
        client_id: str | None = None,
        life: int | None = None,
        server: MockServer | None = None,
    ) -> list[RecordedSocket]:
        """Returns the websockets that clients have had to the server, over all its lives, oldest first.

        *Args:*
          - ``assertion_operator``: Compares how many there are with ``assertion_expected``, for example ``==``.
          - ``assertion_expected``: What it is compared with.
          - ``message``: Text of the failure instead of the usual one.
          - ``client_id``: Only those of this client.
          - ``life``: Only those of this life: ``1`` for the first, ``-1`` for the latest.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If the comparison fails.

        Example:
        | `Restart Mock Server`    signal=SIGKILL
        | `Client Should Have Reconnected`
        | ${sockets} =    `Get Recorded Sockets`    ==    2
        | Should Be Equal    ${sockets[0].closed_by}    life
        """
        number = self._life(life, server)
        sockets = self._server(server).evidence.sockets(client_id)
        found = [each for each in sockets if number in (None, each.life)]
        _compared(len(found), assertion_operator, assertion_expected, "Number of websockets", message)
        return found

    @keyword(tags=["Evidence", "Getter"])
    def get_recorded_messages(
        self,
        assertion_operator: AssertionOperator | None = None,
        assertion_expected: Any = None,
        message: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - as messages have it
        client_id: str | None = None,
        life: int | None = None,
        server: MockServer | None = None,
    ) -> list[RecordedMessage]:
        """Returns the messages on websockets, either way, over all lives of the server, oldest first.

        A message to several clients is there once, with all of them in ``client_ids``; one that reached nobody too.

        *Args:*
          - ``assertion_operator``: Compares how many there are with ``assertion_expected``, for example ``==``.
          - ``assertion_expected``: What it is compared with.
          - ``message``: Text of the failure instead of the usual one.
          - ``type``: Only those of this type, for example ``executed``.
          - ``client_id``: Only those from or to this client.
          - ``life``: Only those of this life: ``1`` for the first, ``-1`` for the latest.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If the comparison fails.

        Example:
        | ${sent} =    `Get Recorded Messages`    type=execution_success
        | `Get Recorded Messages`    ==    0    type=execution_error
        """
        number = self._life(life, server)
        found = [
            each
            for each in self._server(server).evidence.messages()
            if number in (None, each.life)
            and type in (None, each.type)
            and (client_id is None or client_id in each.client_ids)
        ]
        _compared(len(found), assertion_operator, assertion_expected, "Number of messages", message)
        return found

    @keyword(tags=["Evidence", "Assertion"])
    def client_id_should_be_kept(self, *, server: MockServer | None = None) -> None:
        """Fails unless all websockets to the server gave one ``clientId``, over all its lives.

        A client that comes back under another id gets nothing of the prompts that it queued before.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If there were several; names them.

        Example:
        | `Restart Mock Server`
        | `Client Should Have Reconnected`
        | `Client Id Should Be Kept`
        """
        self._verdicts(server).client_id_should_be_kept()

    @keyword(tags=["Evidence", "Wait"])
    def client_should_have_fetched_result(
        self,
        prompt_id: str | None = None,
        *,
        timeout: timedelta = timedelta(),
        server: MockServer | None = None,
    ) -> RecordedRequest:
        """Fails unless the client has got the history of a prompt that has ended, or one of its files.

        *Args:*
          - ``prompt_id``: The prompt; any one if left out.
          - ``timeout``: Longest time to wait for it; looks once if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The request that got it.

        *Raises:*
          - AssertionError: If it has not; names the requests that come close.

        Example:
        | `Client Should Have Fetched Result`    timeout=10 s
        """
        return self._verdicts(server).should_have_fetched_result(timeout.total_seconds(), prompt_id)

    @keyword(tags=["Evidence", "Assertion"])
    def client_should_not_flood(
        self,
        *,
        max_rate: float,
        all_requests: bool = False,
        client_id: str | None = None,
        server: MockServer | None = None,
    ) -> None:
        """Fails if the client has made too many attempts to connect within any second.

        *Args:*
          - ``max_rate``: How many attempts in a second are still fine.
          - ``all_requests``: Count every HTTP request instead of attempts to get a websocket.
          - ``client_id``: The client with this ``clientId``; all clients count as one if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If there were more; says how many.

        Example:
        | `Kill Mock Server`    watch_attempts=yes
        | `Restart Mock Server`    downtime=5 s
        | `Client Should Not Flood`    max_rate=10
        """
        self._verdicts(server).should_not_flood(max_rate, client_id, all_requests=all_requests)

    def _server(self, server: MockServer | None) -> MockServer:
        return self.session.servers.get(server)

    def _life(self, life: int | None, server: MockServer | None) -> int | None:
        """Number of the life that is meant."""
        count = len(self._server(server).lives)
        if life is None or 1 <= life <= count:
            return life
        if -count <= life <= -1:
            return count + 1 + life
        raise ValueError(
            f"The mock server {self._server(server).alias!r} has no life {life}; give 1 for its first of {count}, or "
            "-1 for the latest."
        )

    def _verdicts(self, server: MockServer | None) -> Verdicts:
        target = self._server(server)
        return Verdicts(target, target.evidence)


def _header(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is no header; give for example User-Agent: node*.")
    return {name.strip(): value.strip()}


def _compared(value: int, operator: AssertionOperator | None, expected: Any, what: str, message: str | None) -> int:
    """The value, after it was held against what the suite expects."""
    if operator is not None and isinstance(expected, str):
        expected = _number(expected)
    compared: int = verify_assertion(value, operator, expected, what, message)
    return compared


def _number(text: str) -> float | str:
    try:
        return int(text)
    except ValueError:
        return text
