"""Watches the port of a server that is down: resets every attempt to connect, and remembers when it came."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import now

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 128
_LINGER_NOT = struct.pack("hh" if platform.IS_WINDOWS else "ii", 1, 0)


class PortWatch:
    """Listens on a port until it is closed. A client's system connects, and is reset at once: it sees no refusal."""

    def __init__(self, port: int, notice: Callable[[float], object] | None = None) -> None:
        """Calls ``notice`` with the time of each attempt. Raises OSError if the port cannot be listened on."""
        self.attempts: list[float] = []
        """When each attempt came, in monotonic seconds."""
        self._notice = notice
        self._listening = [_listen(socket.AF_INET, "127.0.0.1", port)]
        with suppress(OSError):  # no IPv6 here
            self._listening.append(_listen(socket.AF_INET6, "::1", port))
        self._threads = [
            threading.Thread(target=self._watch, args=(each,), name="mockserver-port-watch", daemon=True)
            for each in self._listening
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops listening: the server can have the port again."""
        for each in self._listening:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            each.close()
        for thread in self._threads:
            thread.join()

    def _watch(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            moment = now()
            self.attempts.append(moment)
            if self._notice is not None:
                self._notice(moment)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            connection.close()


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not platform.IS_WINDOWS:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
