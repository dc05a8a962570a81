"""TCP connections (TLS on top for ``https`` and ``wss``) on which no call can block past its deadline.

Sockets are non-blocking. Connecting, receiving and sending wait here for them, until a deadline, and give up at once
when the work that they are for is abandoned.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class HasFileno(Protocol):
        """What can be waited for."""

        def fileno(self) -> int: ...


SEND_TIMEOUT = 5.0
"""Seconds that a send may wait for a peer that does not read. A frame may be half written then: give it up."""


LONGEST_WAIT = 3600.0
"""Seconds of one wait of many: the system counts them in milliseconds, in 32 bits."""

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""One that needs no descriptor of its own: without any left, a client still waits, and notices what it loses."""


class Abandoned(Exception):
    """The work was given up by another thread."""


class Wakeup:
    """Wakes the thread that waits for a socket."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """What to wait for beside the socket."""
        return self._receiver.fileno()

    def set(self) -> None:
        """Wakes the thread; many calls count as one, and one after ``close`` as none."""
        with suppress(OSError):
            self._sender.send(b"\0")

    def clear(self) -> None:
        """Takes all wake-ups back."""
        with suppress(BlockingIOError):
            while self._receiver.recv(4096):
                continue

    def close(self) -> None:
        """Frees its sockets."""
        self._receiver.close()
        self._sender.close()


class Patience:
    """How long the calls on a connection may wait, and whether anybody still wants them."""

    def __init__(
        self, timeout: float, wakeup: Wakeup | None = None, is_wanted: Callable[[], bool] | None = None
    ) -> None:
        self.deadline = Deadline(timeout)
        self._wakeup = wakeup
        self._is_wanted = is_wanted

    def check(self) -> None:
        """Raises TimeoutError after the deadline, Abandoned when nobody wants it any more."""
        if self._is_wanted is not None and not self._is_wanted():
            raise Abandoned
        if self.deadline.expired:
            raise TimeoutError(errno.ETIMEDOUT, "timed out")

    def wait(self, sock: HasFileno, event: int) -> None:
        """Waits for a socket. Raises TimeoutError at the deadline, Abandoned when nobody wants it any more."""
        with Selector() as selector:
            selector.register(sock, event)
            if self._wakeup is not None:
                selector.register(self._wakeup, selectors.EVENT_READ)
            while True:
                remaining = self.deadline.remaining
                ready = {key.fileobj for key, _ in selector.select(min(remaining, LONGEST_WAIT))}
                if self._wakeup in ready and self._wakeup is not None:
                    self._wakeup.clear()
                    if self._is_wanted is not None and not self._is_wanted():
                        raise Abandoned
                if sock in ready:
                    return
                if remaining == 0.0:
                    raise TimeoutError(errno.ETIMEDOUT, "timed out")


class _PatientCalls:
    """Receiving and sending for sockets: mixed into ``socket.socket`` and ``ssl.SSLSocket``."""

    patience: Patience | None = None
    """How long a receive waits for data; None: not at all, it raises TimeoutError when there is none."""

    is_over: Callable[[], bool] | None = None
    """Whether a receive without patience is to find nothing more, although there may be data."""

    bytes_received = 0

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        data: bytes = self._patiently(super().recv, selectors.EVENT_READ, size, flags)  # type: ignore[misc]
        self.bytes_received += len(data)
        return data

    def recv_into(self, buffer: Any, size: int | None = None, flags: int = 0) -> int:
        count: int = self._patiently(super().recv_into, selectors.EVENT_READ, buffer, size or 0, flags)  # type: ignore[misc]
        self.bytes_received += count
        return count

    def send(self, data: bytes, flags: int = 0) -> int:
        count: int = self._patiently(super().send, selectors.EVENT_WRITE, data, flags)  # type: ignore[misc]
        return count

    def sendall(self, data: bytes, flags: int = 0) -> None:
        unsent = memoryview(data)
        while unsent:
            unsent = unsent[self.send(unsent, flags) :]  # type: ignore[arg-type]

    def _patiently(self, call: Callable[..., Any], event: int, *arguments: Any) -> Any:
        sending = Patience(SEND_TIMEOUT) if event == selectors.EVENT_WRITE else None
        while True:
            if sending is None:
                self._check()  # here too, as data that never ends never makes it wait
            try:
                return call(*arguments)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as missing:
                wanted = _wanted_event(missing, event)
                if self.patience is not None:
                    self.patience.check()  # not before a send: what need not wait is sent, as a last close frame is
                    self.patience.wait(self, wanted)  # type: ignore[arg-type]
                elif sending is not None:
                    self._wait_for_reader(wanted, sending)
                else:
                    raise _nothing() from None

    def _check(self) -> None:
        if self.patience is not None:
            self.patience.check()
        elif self.is_over is not None and self.is_over():
            raise _nothing()

    def _wait_for_reader(self, event: int, patience: Patience) -> None:
        try:
            patience.wait(self, event)  # type: ignore[arg-type]
        except TimeoutError:  # which websocket-client would take for a lack of data
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server does not read") from None


def _nothing() -> TimeoutError:
    return TimeoutError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _wanted_event(missing: OSError, event: int) -> int:
    if isinstance(missing, ssl.SSLWantReadError):
        return selectors.EVENT_READ
    if isinstance(missing, ssl.SSLWantWriteError):
        return selectors.EVENT_WRITE
    return event


class WireSocket(_PatientCalls, socket.socket):  # type: ignore[misc]  # narrower argument types
    """A TCP connection."""


class TlsWireSocket(_PatientCalls, ssl.SSLSocket):  # type: ignore[misc]  # narrower argument types
    """A TCP connection with TLS."""

    def handshake(self, patience: Patience) -> None:
        """Does the TLS handshake."""
        self.patience = patience
        self._patiently(super().do_handshake, selectors.EVENT_READ)


def open_connection(host: str, port: int, *, tls: bool, patience: Patience) -> WireSocket | TlsWireSocket:
    """Connects to the first address of a host that takes the connection.

    Raises OSError (ConnectionRefusedError, TimeoutError …) of the last address tried.
    """
    failure: OSError = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as wrong:
        raise OSError(errno.EINVAL, f"{host} is no name of a host") from wrong
    for family, _, _, _, address in addresses:
        sock = WireSocket(family, socket.SOCK_STREAM)
        try:
            _connect(sock, address, patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.patience = patience
            return _with_tls(sock, host, patience) if tls else sock
        except TimeoutError:
            sock.close()
            raise
        except OSError as refused:
            sock.close()
            failure = refused
        except BaseException:
            sock.close()
            raise
    raise failure


def _connect(sock: WireSocket, address: Any, patience: Patience) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        patience.wait(sock, selectors.EVENT_WRITE)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _with_tls(sock: WireSocket, host: str, patience: Patience) -> TlsWireSocket:
    context = ssl.create_default_context()
    context.sslsocket_class = TlsWireSocket
    secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    assert isinstance(secured, TlsWireSocket)
    try:
        secured.handshake(patience)
    except BaseException:
        secured.close()
        raise
    return secured
