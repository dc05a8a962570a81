"""The listening sockets, and the protocol of each connection that they accept.

They are owned here, not by aiohttp's ``run_app`` or ``TCPSite``, because faults of the listener and of the bytes on a
connection attach to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from mockserver.network.closing import LINGER_NOT
from mockserver.network.connections import ANYBODY
from mockserver.port_owner import owner_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from mockserver.network.connections import Connections

log = logging.getLogger(__name__)

BACKLOG = 128

FREE_PORTS_TRIED = 100
"""How many ports are looked at for one that is free on all addresses."""

LOOK_AGAIN = 0.01
"""Seconds between looks for connections that are to be accepted late."""

EXHAUSTED = 0.2
"""Seconds between looks for descriptors when there are none left to accept with."""

FILLING_TIMEOUT = 0.25
"""Seconds in which a connection to ourselves is made, unless the backlog is full."""

SERVING_TIMEOUT = 0.25
"""Seconds in which an accepted connection is served, unless its TLS handshake waits for the client."""


class PortTaken(Exception):
    """Somebody else has the port."""


class Listener:
    """Accepts connections on one port of one or several addresses."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._connections: Connections | None = None
        self._make_protocol: Callable[[], asyncio.Protocol] | None = None
        self._tls: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_refusing = False
        self._is_exhausted = False
        self._fillers: list[socket.socket] = []
        self._next_look: asyncio.TimerHandle | None = None
        self._serving_now: set[asyncio.Task[None]] = set()
        self._unserved: dict[socket.socket, asyncio.TimerHandle] = {}

    @classmethod
    def bind(cls, addresses: Sequence[str], port: int) -> Listener:
        """Binds the port on each address; port 0 takes any one that is free on all of them. Raises PortTaken."""
        for _ in range(FREE_PORTS_TRIED if port == 0 else 0):
            with contextlib.suppress(PortTaken):  # what is free on the first address may be taken on another
                return cls(_bind_all(addresses, port))
        return cls(_bind_all(addresses, port))

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        number: int = self._sockets[0].getsockname()[1]
        return number

    async def serve(
        self, runner: web.AppRunner, connections: Connections | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Starts to listen and to accept. ``runner`` must be set up; ``connections`` registers what is accepted."""
        make_protocol = runner.server
        assert make_protocol is not None
        self._connections = connections
        await self.accept(make_protocol if connections is None else connections.protocols(make_protocol), tls)

    async def accept(self, make_protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> None:
        """Starts to listen and to accept connections for any protocol."""
        self._make_protocol = make_protocol
        self._tls = tls
        if not self._is_refusing:
            await self._accept()

    def close(self) -> None:
        """Stops listening; connections that are open stay open. What it is told afterwards has no effect."""
        self._stop_accepting()
        for each in (*self._fillers, *self._unserved, *self._sockets):
            each.close()
        self._fillers.clear()
        self._unserved.clear()
        self._sockets.clear()

    # faults

    async def refuse(self, drop_established: bool) -> None:
        """Refuses connections (ECONNREFUSED), and stays bound to the port. The open ones are reset, or kept."""
        self._stop_accepting()
        self._empty_fillers()
        self.refuse_from_the_start()
        if drop_established:
            for each in self._unserved:
                _reset(each)
            self._forget_unserved()
            await self._finish_serving()
            for connection in () if self._connections is None else self._connections.matching(ANYBODY):
                connection.reset()

    def refuse_from_the_start(self) -> None:
        """Refuses connections before any is served, and after ``serve`` until ``resume``."""
        if not self._is_refusing:
            self._sockets = [_without_listening(each) for each in self._sockets]
            self._is_refusing = True

    async def ignore(self) -> None:
        """Lets connects time out: the backlog is full, with one connection of our own, and nothing is accepted.

        Clients that are already in the backlog stay connected to it, and are served after ``resume``.
        """
        self._stop_accepting()
        self._listen(0)
        for each in self._sockets:
            self._fillers.append(await _fill(each))

    async def slow_accept(self, delay: float) -> None:
        """Lets connections wait ``delay`` seconds for being accepted; as for the client, it is connected meanwhile."""
        self._stop_accepting()
        self._listen(BACKLOG)
        await self._serve_backlog()
        self._accept_late(delay)

    async def resume(self) -> None:
        """Listens and accepts as without faults."""
        self._stop_accepting()
        self._listen(BACKLOG)
        await self._serve_backlog()
        await self._accept()

    async def _accept(self) -> None:
        if sys.platform != "win32":
            self._look_at_sockets()
            return
        assert self._make_protocol is not None
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            # A duplicate, for the end of accepting is not to be the end of listening (not tested).
            server = await loop.create_server(self._make_protocol, sock=each.dup(), backlog=BACKLOG, ssl=self._tls)
            self._servers.append(server)

    def _look_at_sockets(self) -> None:
        # Not with asyncio's server: closed while it accepts a connection, it forgets that one and leaves it open.
        self._loop = asyncio.get_running_loop()
        for each in self._sockets:
            self._loop.add_reader(each, self._accept_from, each)

    def _accept_from(self, listening: socket.socket) -> None:
        assert self._loop is not None
        try:
            for _ in range(BACKLOG):
                accepted = _accept_now(listening)
                if accepted is None:
                    if self._is_exhausted:
                        log.info("connections are accepted again")
                    self._is_exhausted = False
                    return
                self._serve_soon(accepted[0])
        except OSError as failure:  # out of descriptors, most likely: to look on would only take time
            if not self._is_exhausted:
                log.error("no connection can be accepted: %s. Those that are open go on", failure)
            self._is_exhausted = True
            loop = self._loop
            self._stop_accepting()
            self._next_look = loop.call_later(EXHAUSTED, self._look_at_sockets)

    def _stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._loop is not None:
            for each in self._sockets:
                self._loop.remove_reader(each)
            self._loop = None
        if self._next_look is not None:
            self._next_look.cancel()

    def _listen(self, backlog: int) -> None:
        """Sets the backlog; it does not drop what is in it already. Raises PortTaken after a refusal."""
        for position, each in enumerate(self._sockets):
            try:
                each.listen(backlog)
            except OSError as failure:
                self._sockets[:position] = map(_without_listening, self._sockets[:position])
                raise PortTaken(f"Port {self.port} is taken by {owner_of(self.port)}: {failure}.") from None
        self._is_refusing = False

    async def _serve_backlog(self) -> None:
        """Accepts what had come while nothing was accepted, but for the connections of our own."""
        ours = {each.getsockname() for each in self._fillers}
        with contextlib.suppress(OSError):  # out of descriptors: those who wait are accepted when there are some
            for each in self._sockets:
                while (accepted := _accept_now(each)) is not None:
                    connection, peer = accepted
                    if peer in ours:
                        connection.close()
                    else:
                        self._serve_soon(connection)
        self._empty_fillers()
        for connection in list(self._unserved):
            self._serve_soon(connection)
        self._forget_unserved()

    def _accept_late(self, delay: float) -> None:
        """Looks for connections time and again: cancelling asyncio's ``sock_accept`` may lose what it has accepted."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # out of descriptors: the next look may find some
            for each in self._sockets:
                while (accepted := _accept_now(each)) is not None:
                    self._unserved[accepted[0]] = loop.call_later(delay, self._serve_late, accepted[0])
        self._next_look = loop.call_later(LOOK_AGAIN, self._accept_late, delay)

    def _serve_late(self, connection: socket.socket) -> None:
        del self._unserved[connection]
        self._serve_soon(connection)

    def _serve_soon(self, connection: socket.socket) -> None:
        task = asyncio.ensure_future(self._serve_accepted(connection))
        self._serving_now.add(task)
        task.add_done_callback(self._serving_now.discard)

    async def _finish_serving(self) -> None:
        """Waits until what was accepted just now is a connection like the others, or ends it."""
        if self._serving_now:
            _, pending = await asyncio.wait(self._serving_now, timeout=SERVING_TIMEOUT)
            for task in pending:
                task.cancel()

    async def _serve_accepted(self, connection: socket.socket) -> None:
        assert self._make_protocol is not None
        connection.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._tls)
        except OSError:  # it went away, or its TLS handshake failed
            connection.close()

    def _forget_unserved(self) -> None:
        for timer in self._unserved.values():
            timer.cancel()
        self._unserved.clear()

    def _empty_fillers(self) -> None:
        for each in self._fillers:
            each.close()
        self._fillers.clear()


def _without_listening(listening: socket.socket) -> socket.socket:
    """The socket bound but not listening: connects to it are refused, and nobody is given the port who asks for any.

    Who asks for this very port with SO_REUSEADDR gets it all the same, on Linux, and may listen on it.
    """
    if sys.platform == "linux":
        listening.shutdown(socket.SHUT_RD)  # there a listening socket goes back to being merely bound
        return listening
    # Elsewhere a new one takes its place (not tested).
    bound = socket.socket(listening.family, listening.type, listening.proto)
    where = listening.getsockname()
    listening.close()
    _set_options(bound)
    bound.bind(where)
    bound.setblocking(False)
    return bound


async def _fill(listening: socket.socket) -> socket.socket:
    """A connection of our own in the backlog, which is full with it."""
    host, *rest = listening.getsockname()
    filler = socket.socket(listening.family, listening.type)
    filler.setblocking(False)
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    with contextlib.suppress(asyncio.TimeoutError, OSError):  # full without it
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(filler, (local, *rest)), FILLING_TIMEOUT)
    return filler


def _accept_now(listening: socket.socket) -> tuple[socket.socket, Any] | None:
    try:
        return listening.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return None


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    connection.close()


def _bind_all(addresses: Sequence[str], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for address in addresses:
            bound.append(_bind(address, bound[0].getsockname()[1] if bound else port))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setblocking(False)
    try:
        _set_options(bound)
        bound.bind(where)
        if sys.platform == "linux" and port == 0:
            bound = _bound_by_number(bound)
        # Here and not later: on Linux only listen() meets another listener on a wildcard address.
        bound.listen(BACKLOG)
    except OSError as failure:
        bound.close()
        if failure.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} on {address} is taken by {owner_of(port)}.") from None
        raise
    return bound


def _bound_by_number(bound: socket.socket) -> socket.socket:
    """One that has asked for the port that this one was given: only such a socket keeps it when it stops listening."""
    with bound:
        again = socket.socket(bound.family, bound.type, bound.proto)
        again.setblocking(False)
        _set_options(again)
        again.bind(bound.getsockname())
        return again


def _set_options(unbound: socket.socket) -> None:
    if sys.platform != "win32":  # there it would let others take the port
        unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if unbound.family == socket.AF_INET6:
        unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
