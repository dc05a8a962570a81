"""Watches the port of a server that is down: resets every attempt to connect, and tells when it came."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.client.wire import Selector
from ComfyMockLibrary.engine.deadline import SLICE, Deadline, Guard, now, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 128
_LINGER_NOT = struct.pack("hh" if platform.IS_WINDOWS else "ii", 1, 0)


class PortWatch:
    """Listens on a port until it is closed. A client's system connects, and is reset at once: it sees no refusal."""

    def __init__(self, port: int, notice: Callable[[float], object]) -> None:
        """Does not listen yet: see ``start``. Calls ``notice`` with the time of each attempt, in a thread."""
        self._port = port
        self._notice = notice
        self._come: list[float] = []
        """When attempts came."""
        self._told = 0
        """Of how many of them somebody was told."""
        self._listening: list[socket.socket] = []
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="mockserver-port-watch", daemon=True)
        self._teller = threading.Thread(target=self._tell, name="mockserver-port-watch-teller", daemon=True)
        self._condition = Guard()
        self._is_closing = False
        self._is_watching = False
        self._is_over = False
        """Nobody listens any more."""
        self._has_told = False
        """Nor is anybody told of any more."""

    def start(self) -> None:
        """Listens from now on. Raises OSError if the port cannot be had; then nothing is left."""
        try:
            self._listening.append(_listen(socket.AF_INET, "127.0.0.1", self._port))
            with suppress(OSError):  # no IPv6 here
                self._listening.append(_listen(socket.AF_INET6, "::1", self._port))
            self._teller.start()
            self._thread.start()
            wait_until(lambda: self._is_watching or None, Deadline(float("inf")), self._condition)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops listening: the server can have the port again. Whoever has come until now is told of."""
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
            if not self._is_watching:
                self._free()
                return
        self._wake.close()
        wait_until(lambda: (self._is_over and self._has_told) or None, Deadline(float("inf")), self._condition)
        self._thread.join()
        self._teller.join()

    def catch_up(self) -> None:
        """Returns when all are told of who have come until now."""
        come = len(self._come)
        wait_until(lambda: self._told >= come or self._has_told or None, Deadline(float("inf")), self._condition)

    def _free(self) -> None:
        for each in (*self._listening, self._wake, self._woken):
            each.close()

    def _run(self) -> None:
        with self._condition:
            if self._is_closing:  # its start was interrupted
                return
            self._is_watching = True
            self._condition.notify_all()
        try:
            with Selector() as selector:
                self._watch(selector)
        finally:
            self._free()
            with self._condition:
                self._is_over = True
                self._condition.notify_all()

    def _tell(self) -> None:
        """Runs in a thread of its own: a disk that is slow to take the record must not keep the client waiting."""
        try:
            while self._may_tell():
                self._notice(self._come[self._told])
                with self._condition:
                    self._told += 1
                    self._condition.notify_all()
        finally:
            with self._condition:
                self._has_told = True
                self._condition.notify_all()

    def _may_tell(self) -> bool:
        """Waits for somebody to tell of. False when nobody can come any more."""

        def look() -> bool | None:
            is_last = self._is_over or (self._is_closing and not self._is_watching)
            return True if len(self._come) > self._told else False if is_last else None

        return bool(wait_until(look, Deadline(float("inf")), self._condition))

    def _watch(self, selector: selectors.BaseSelector) -> None:
        for each in (*self._listening, self._woken):
            selector.register(each, selectors.EVENT_READ)
        is_closing = False
        while not is_closing:
            is_closing = self._woken in [key.fileobj for key, _ in selector.select()]
            try:
                for each in self._listening:
                    self._reset_all(each)
            except OSError as failure:
                if failure.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                # Without descriptors for now: who knocks waits meanwhile.
                is_closing = self._is_woken_within(SLICE) or is_closing

    def _is_woken_within(self, seconds: float) -> bool:
        with Selector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _reset_all(self, listening: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    connection, _ = listening.accept()
                except ConnectionError:  # it has gone
                    self._note(now())
                    continue
                self._note(now())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                connection.close()

    def _note(self, at: float) -> None:
        with self._condition:
            self._come.append(at)
            self._condition.notify_all()


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not platform.IS_WINDOWS:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
