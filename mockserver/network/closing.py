"""Ends of connections, as they look on the wire."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_LINGER_NOT_AT_ALL = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """RST at once, also on an idle connection. What is not delivered yet is lost."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    transport.abort()


def finish(transport: asyncio.Transport) -> None:
    """FIN, behind what was written before."""
    transport.close()


def half_close(transport: asyncio.Transport) -> None:
    """FIN of our side only: the other one can still send."""
    if transport.can_write_eof():
        transport.write_eof()
