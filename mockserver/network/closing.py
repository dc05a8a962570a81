"""Ways to end a connection at once, past everything that holds its bytes.

FIN always goes by itself before the end: closing alone resets a connection with input that nobody has read.

A transport on which faults act is a facade; ``wire`` finds the one below it, which has the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time

if sys.platform != "win32":
    import fcntl
    import termios

WIRE = "mockserver.wire"
"""Name under which a facade's ``get_extra_info`` has the transport below it."""

# struct linger is two ints, on Windows two unsigned shorts (not tested there).
LINGER_NOT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

LONGEST_DELIVERY = 0.25
"""Seconds that a reset waits for bytes sent before it; a peer that does not read would hold it for ever."""

_LOOK_AGAIN = 0.001


def wire(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """The transport that has the socket."""
    found = transport.get_extra_info(WIRE, transport)
    assert isinstance(found, asyncio.Transport)
    return found


def reset(transport: asyncio.BaseTransport) -> None:
    """Resets the connection (RST) at once, idle or not. Bytes that the peer's system does not have yet are lost.

    Without ``SO_LINGER`` even ``abort()`` ends with FIN; with it, but with ``close()``, buffered bytes go first.
    """
    below = wire(transport)
    if (end := _socket_of(below)) is not None:
        with contextlib.suppress(OSError):  # the peer was faster
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    below.abort()


def finish(transport: asyncio.BaseTransport) -> None:
    """Sends FIN at once, and closes. Bytes that the kernel does not have yet are lost."""
    _shut_down(transport)
    wire(transport).abort()


def close(transport: asyncio.BaseTransport) -> None:
    """Sends FIN behind everything that was written, and closes."""
    below = wire(transport)
    if below.can_write_eof() and not below.is_closing():
        with contextlib.suppress(OSError):  # the peer was faster
            below.write_eof()
    below.close()


def half_close(transport: asyncio.BaseTransport) -> None:
    """Sends FIN at once and goes on reading. Nothing may be written to the wire afterwards.

    ``Connection.half_close`` sees to that for a connection of the server's.
    """
    _shut_down(transport)


def reset_when_delivered(transport: asyncio.BaseTransport, deadline: float | None = None) -> None:
    """Resets as soon as the peer's system has every byte that was written, or after 0.25 s.

    A reset takes bytes back that have not arrived: an exact cut has to wait for them.
    """
    below = wire(transport)
    now = time.monotonic()
    deadline = now + LONGEST_DELIVERY if deadline is None else deadline
    if now >= deadline or below.is_closing() or not _bytes_under_way(below):
        reset(below)
    else:
        asyncio.get_running_loop().call_later(_LOOK_AGAIN, reset_when_delivered, below, deadline)


def _bytes_under_way(transport: asyncio.Transport) -> int:
    buffered = transport.get_write_buffer_size()
    end = _socket_of(transport)
    if buffered or end is None or sys.platform == "win32":
        return buffered
    if sys.platform == "darwin":  # not tested
        so_nwrite = 0x1024
        return end.getsockopt(socket.SOL_SOCKET, so_nwrite)
    unacknowledged: int = struct.unpack("i", fcntl.ioctl(end.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    return unacknowledged


def _shut_down(transport: asyncio.BaseTransport) -> None:
    if (end := _socket_of(wire(transport))) is not None:
        with contextlib.suppress(OSError):  # the peer was faster
            end.shutdown(socket.SHUT_WR)


def _socket_of(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The socket, None after its end."""
    found: socket.socket | None = transport.get_extra_info("socket")
    return None if found is None or found.fileno() < 0 else found
