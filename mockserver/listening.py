"""The listening sockets, and the protocol of each connection that they accept.

They are owned here, not by aiohttp's ``run_app`` or ``TCPSite``, because faults of the listener and of the bytes on a
connection attach to them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import TYPE_CHECKING

from mockserver.port_owner import owner_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from aiohttp import web

    from mockserver.comfyui.ports import Ports

BACKLOG = 128


class PortTaken(Exception):
    """Somebody else has the port."""


class Listener:
    """Accepts connections on one port of one or several addresses."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []

    @classmethod
    def bind(cls, addresses: Sequence[str], port: int) -> Listener:
        """Binds the port on each address; port 0 takes any one that is free. Raises PortTaken."""
        bound: list[socket.socket] = []
        try:
            for address in addresses:
                bound.append(_bind(address, bound[0].getsockname()[1] if bound else port))
        except BaseException:
            for each in bound:
                each.close()
            raise
        return cls(bound)

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        number: int = self._sockets[0].getsockname()[1]
        return number

    async def serve(self, runner: web.AppRunner, ports: Ports, tls: ssl.SSLContext | None = None) -> None:
        """Starts to listen and to accept. ``runner`` must be set up."""
        make_protocol = runner.server
        assert make_protocol is not None

        def protocol_of_connection() -> asyncio.Protocol:
            protocol: asyncio.Protocol = make_protocol()
            return protocol if ports.transport is None else ports.transport(protocol)

        loop = asyncio.get_running_loop()
        for each in self._sockets:
            server = await loop.create_server(protocol_of_connection, sock=each, backlog=BACKLOG, ssl=tls)
            self._servers.append(server)

    def close(self) -> None:
        """Stops listening; connections that are open stay open."""
        for server in self._servers:
            server.close()
        for each in self._sockets:
            each.close()


def _bind(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let others take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(where)
        # Here and not later: on Linux only listen() meets another listener on a wildcard address.
        bound.listen(BACKLOG)
    except OSError as failure:
        bound.close()
        if failure.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} on {address} is taken by {owner_of(port)}.") from None
        raise
    return bound
