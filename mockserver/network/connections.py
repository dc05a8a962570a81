"""The open connections of the public listener, who they belong to, and the faults of bytes that act on them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from mockserver.network import closing
from mockserver.network.draws import Direction, Draws
from mockserver.network.flows import Start
from mockserver.network.splice import Splice
from mockserver.ordinals import Ordinals

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from aiohttp.web_protocol import RequestHandler

    from mockserver.network.flows import Flow
    from mockserver.network.stages import Stage

WEBSOCKET_PATHS = ("/ws", "/api/ws")


@dataclass(frozen=True)
class Who:
    """Which connections are meant: ``connection`` is the n-th one of the client, or without a client the n-th one
    accepted. None means any."""

    client_id: str | None = None
    connection: int | None = None


ANYBODY = Who()


@dataclass(frozen=True)
class ByteRule:
    """A fault that acts on the bytes of one direction."""

    fault: str
    stage: Stage
    direction: Direction
    who: Who
    seed: int


class Connection:
    """An open connection. There may be thousands: it keeps no more than it needs."""

    __slots__ = (
        "_connections",
        "_flows",
        "_is_anonymous",
        "_is_undecided",
        "_protocol",
        "_splice",
        "_strikes",
        "_websocket",
        "address",
        "client",
        "is_new",
        "is_websocket",
        "number",
        "ordinal",
        "transport",
    )

    def __init__(
        self, connections: Connections, transport: asyncio.Transport, protocol: RequestHandler, number: int
    ) -> None:
        self.number = number
        """Place in the order in which connections were accepted, from 1."""
        self.transport = transport
        """The transport that has the socket."""
        self.address = _address(transport)
        """Host that it comes from."""
        self.client = self.address
        """Its client's id, or the address as long as that is unknown."""
        self.ordinal = connections.next_ordinal(self.address)
        """It is the n-th connection of the client, or of the address."""
        self.is_websocket = False
        self._connections = connections
        self._protocol = protocol
        self._websocket: web.WebSocketResponse | None = None
        self.is_new = True
        """Whether it is being accepted just now."""
        self._is_anonymous = True
        self._is_undecided = False
        self._splice: Splice | None = None
        self._flows: dict[ByteRule, Flow] = {}
        self._strikes: list[tuple[ByteRule, dict[str, Any]]] = []

    def __repr__(self) -> str:
        """For logs."""
        return f"<connection {self.number}: {self.ordinal}. of {self.client}>"

    @property
    def is_open(self) -> bool:
        """Whether it is neither closed nor closing."""
        return not self.transport.is_closing()

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._splice is None and self.transport.is_closing()

    @property
    def has_splice(self) -> bool:
        """Whether something stands between its transport and its protocol."""
        return self._splice is not None

    def matches(self, who: Who) -> bool:
        """Whether it is meant."""
        if who.client_id is None:
            return who.connection in {None, self.number}
        return who.client_id == self.client and who.connection in {None, self.ordinal}

    def identify(self, client_id: str, websocket: web.WebSocketResponse | None = None) -> None:
        """Binds it to a client, once."""
        if websocket is not None:
            self.is_websocket = True
            self._websocket = websocket
        if self._is_anonymous:
            self._is_anonymous = False
            self.client = client_id
            self.ordinal = self._connections.next_ordinal(client_id)

    def greet(self, rules: tuple[ByteRule, ...]) -> None:
        """Puts a new connection under rules. What draws, or is meant for a client, waits for the first request line."""
        if rules:
            self._is_undecided = True
            self._insert_splice(self._decide)
            self.update(rules)

    def update(self, rules: tuple[ByteRule, ...]) -> None:
        """Puts it under these rules. One that it is under already goes on as it is."""
        meant = [rule for rule in rules if self.matches(rule.who) and not (self._is_undecided and rule.stage.draws)]
        if self._splice is None:
            if not meant or not self.is_open:
                return
            self._insert_splice()
        if not rules:
            self._is_undecided = False
        self._flows = {rule: self._flows.get(rule) or self._flow(rule) for rule in meant}
        self._set_flows()

    def reset(self) -> None:
        """Resets it (RST) at once, whatever holds its bytes."""
        self._give_up()
        closing.reset(self.transport)

    def finish(self) -> None:
        """Sends FIN at once and closes."""
        self._give_up()
        closing.finish(self.transport)

    def half_close(self) -> None:
        """Sends FIN at once; the client may go on sending, and is still read. What the server writes vanishes."""
        if self._splice is None and self.is_open:
            self._insert_splice()
        if self._splice is not None:
            self._splice.seal()
            closing.half_close(self.transport)

    def _give_up(self) -> None:
        if self._splice is not None:
            self._splice.give_up()

    def _set_flows(self) -> None:
        if self._splice is None:
            return
        self._splice.set_flows(
            {
                direction: [flow for rule, flow in self._flows.items() if rule.direction is direction]
                for direction in Direction
            },
            is_final=not self._is_undecided,
        )

    def _insert_splice(self, decide: Callable[[bytes, bool], bool] | None = None) -> None:
        self._splice = Splice(
            self.transport,
            self._protocol,
            websocket=lambda: self._websocket,
            after_change=self._report_strikes,
            on_removal=self._forget_splice,
        )
        self._splice.insert(decide)

    def _forget_splice(self) -> None:
        self._splice = None
        self._flows = {}

    def _decide(self, greeting: bytes, is_all: bool) -> bool:
        """Finds out from a connection's first bytes who it is, so that the answer's first bytes are drawn for it."""
        if self._is_undecided:
            if b"\n" not in greeting and not is_all:
                return False
            self._is_undecided = False
            client_id = client_of(greeting)
            if client_id:
                self.identify(client_id)
            self.update(self._connections.rules)
        return True

    def _flow(self, rule: ByteRule) -> Flow:
        return rule.stage.flow(
            Start(
                draws=Draws(rule.seed, self.client, self.ordinal, rule.direction, rule.fault),
                now=asyncio.get_running_loop().time(),
                strike=lambda details: self._strikes.append((rule, details)),
                is_new=self.is_new,
                whole_writes=rule.direction is Direction.to_client,
            )
        )

    def _report_strikes(self) -> None:
        """Reports only when no byte is moving any more: who is told may change the rules."""
        strikes, self._strikes = self._strikes, []
        for rule, details in strikes:
            self._connections.on_strike(rule, self, details)


class Connections:
    """Registry of the open connections, and the rules that they are under.

    A connection under no rule has nothing attached to it: it costs an entry here, and nothing for its bytes.
    """

    def __init__(self) -> None:
        self.on_strike: Callable[[ByteRule, Connection, dict[str, Any]], None] = lambda *_: None
        """Called when a rule acts on a connection for the first time, and each time that a stall or cut acts. The
        details are JSON values. It may change the rules."""
        self._rules: tuple[ByteRule, ...] = ()
        self._connections: dict[RequestHandler, Connection] = {}
        self._accepted = 0
        self._ordinals = Ordinals(lambda: (each.client for each in self._connections.values()))
        self._look_for_gone_at = 16

    @property
    def rules(self) -> tuple[ByteRule, ...]:
        """What all connections are under at present."""
        return self._rules

    def protocols(self, make_protocol: Callable[[], RequestHandler]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory whose connections are registered when they are made."""
        return lambda: _Entrance(self, make_protocol())

    def accept(self, transport: asyncio.Transport, protocol: RequestHandler) -> None:
        """Registers a connection that has been made."""
        self._forget_gone()
        self._accepted += 1
        connection = Connection(self, transport, protocol, self._accepted)
        self._connections[protocol] = connection
        connection.greet(self._rules)
        connection.is_new = False

    def bind(self, request: web.Request, client_id: str, websocket: web.WebSocketResponse | None = None) -> None:
        """Tells that a request's connection becomes a client's websocket."""
        connection = self._connections.get(request.protocol)
        if connection is not None:
            connection.identify(client_id, websocket)
            connection.update(self._rules)

    def apply(self, rules: tuple[ByteRule, ...]) -> None:
        """Swaps the rules for others, for open connections and for those to come; there is no moment without rules.

        A rule that is among the new ones too goes on as it is. An error in one connection is raised when all the others
        are under the new rules.
        """
        self._rules = rules
        with contextlib.ExitStack() as updates:
            for connection in reversed(self._connections.values()):  # the last one in is the first to be called
                updates.callback(self._update, connection)

    def _update(self, connection: Connection) -> None:
        connection.update(self._rules)  # as they are then: a strike may change them

    def matching(self, who: Who) -> list[Connection]:
        """The open connections that are meant, in the order in which they were accepted."""
        return [each for each in self._connections.values() if each.is_open and each.matches(who)]

    def clear(self) -> None:
        """Ends all faults of bytes; what they hold goes on its way. Without it no FIN would pass when a life stops."""
        self.apply(())

    def next_ordinal(self, client: str) -> int:
        """Counts a connection of a client."""
        return self._ordinals.next(client)

    def _forget_gone(self) -> None:
        """Now and then, so that neither a wrapper nor a callback is needed for each connection."""
        if len(self._connections) >= self._look_for_gone_at:
            self._connections = {
                protocol: connection for protocol, connection in self._connections.items() if not connection.is_gone
            }
            self._look_for_gone_at = 2 * len(self._connections) + 16


class _Entrance(asyncio.Protocol):
    """Stands in for a connection's protocol until the connection is made, and is gone then."""

    def __init__(self, connections: Connections, protocol: RequestHandler) -> None:
        self._connections = connections
        self._protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        self._connections.accept(transport, self._protocol)


def client_of(greeting: bytes) -> str | None:
    """The client id in the request line of a websocket's upgrade, if a connection begins with one."""
    method, _, rest = greeting.partition(b"\n")[0].strip().partition(b" ")
    target, _, _ = rest.partition(b" ")
    if method != b"GET":
        return None
    try:
        url = urlsplit(target.decode("ascii"))
    except ValueError:
        return None
    if url.path not in WEBSOCKET_PATHS:
        return None
    return next(iter(parse_qs(url.query).get("clientId", ())), None)


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
