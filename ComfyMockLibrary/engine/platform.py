"""The one seam for what differs between systems: signals, freezing, holding a port."""

from __future__ import annotations

import errno
import queue
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psutil

from ComfyMockLibrary.engine.deadline import Deadline, Guard, wait_until
from ComfyMockLibrary.types import StopSignal
from mockserver.port_owner import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

IS_WINDOWS = sys.platform == "win32"

_FREEZE_TIMEOUT = 5.0


def own_group() -> dict[str, Any]:
    """Arguments for ``Popen`` that keep Ctrl-C in the terminal away from a child: its parent decides."""
    if IS_WINDOWS:
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
    return {"start_new_session": True}


def dies_with_parent() -> bool:
    """Whether the kernel can be asked to kill a child, frozen or not, when the thread that started it ends."""
    return sys.platform == "linux"


class LastingThread:
    """A thread that lives as long as this process, for starting children from it.

    The kernel's parent-death signal is bound to the thread that started the child, not to the process.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[_Call[Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], Result], undo: Callable[[Result], object]) -> Result:
        """Calls a function in the thread, which is started at the first call, and returns what it returns.

        If this is interrupted, nobody gets what the function returns, now or later: ``undo`` does instead.
        """
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        call = _Call(function, undo)
        try:
            self._calls.put(call)
            return call.result()
        except BaseException:
            call.give_up()
            raise

    def _run(self) -> None:
        while True:
            self._calls.get().run()


class _Call(Generic[Result]):
    """A call in another thread."""

    def __init__(self, function: Callable[[], Result], undo: Callable[[Result], object]) -> None:
        self._function = function
        self._undo = undo
        self._condition = Guard()
        self._results: list[Result] = []
        self._failures: list[BaseException] = []
        self._is_given_up = False

    def run(self) -> None:
        """Makes the call, unless nobody wants it any more."""
        if self._is_given_up:
            return
        try:
            result = self._function()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that waits for it
            with self._condition:
                self._failures.append(failure)
                self._condition.notify_all()
            return
        with self._condition:
            if self._is_given_up:
                self._undo(result)
            else:
                self._results.append(result)
                self._condition.notify_all()

    def result(self) -> Result:
        """Waits for what it returns, or raises what it raises."""
        wait_until(lambda: bool(self._results or self._failures) or None, Deadline(float("inf")), self._condition)
        for failure in self._failures:
            raise failure
        return self._results[0]

    def give_up(self) -> None:
        """Undoes what it has returned, or will return."""
        with self._condition:
            self._is_given_up = True
            while self._results:
                self._undo(self._results.pop())


def send_stop(process: subprocess.Popen[bytes], stop: StopSignal) -> None:
    """Ends a process the given way. Windows has no signals: there a graceful stop is an order on its stdin."""
    if stop is StopSignal.SIGKILL:
        process.kill()
    elif IS_WINDOWS:
        assert process.stdin is not None
        process.stdin.write(b"stop\n")
        process.stdin.flush()
    else:
        process.send_signal(getattr(signal, stop.value))


def freeze(pid: int) -> None:
    """Stops a process where it is. Returns when it stands still: the signal alone takes its time.

    Raises OSError if it has ended, or does not stand still.
    """
    with _clear_ends(pid):
        process = psutil.Process(pid)
        process.suspend()
        if IS_WINDOWS:
            return
        still = wait_until(
            lambda: _status(process) == psutil.STATUS_STOPPED or None, Deadline(_FREEZE_TIMEOUT), interval=0.001
        )
    if still is None:
        raise TimeoutError(errno.ETIMEDOUT, f"process {pid} did not stand still within {_FREEZE_TIMEOUT:g} s")


def is_frozen(pid: int) -> bool:
    """Whether a process stands still."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except (psutil.Error, OSError):  # gone, or no descriptor left to look with: an end must not fail for that
        return False


def thaw(pid: int) -> None:
    """Lets a frozen process go on. Raises OSError if it has ended."""
    with _clear_ends(pid):
        process = psutil.Process(pid)
        process.resume()
        _status(process)


def _status(process: psutil.Process) -> str:
    """What a process is doing. Raises psutil.NoSuchProcess also for one that has ended and is noted by nobody yet."""
    status: str = process.status()
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        raise psutil.ZombieProcess(process.pid)
    return status


@contextmanager
def _clear_ends(pid: int) -> Iterator[None]:
    """Lets what psutil raises become an OSError."""
    try:
        yield
    except psutil.NoSuchProcess:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended") from None
    except psutil.AccessDenied as failure:
        raise PermissionError(errno.EPERM, str(failure)) from None


def describe_exit(status: int) -> str:
    """An exit status in words, for example ``exit status 1`` or ``SIGKILL``."""
    if status < 0:
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"


class PortHolder:
    """Holds a port on 127.0.0.1 and, where there is IPv6, on ::1, from before a server's first start to its end.

    The sockets are bound and never listen. With SO_REUSEADDR on both sides the server can listen on the port all the
    same, and while it is down clients are refused and nobody gets the port by chance. On Windows nothing can be held
    that way: the number is only remembered.
    """

    def __init__(self, port: int) -> None:
        """``port`` 0 takes any free one. Raises RuntimeError when somebody has the port."""
        self._sockets: list[socket.socket] = []
        try:
            self.port = self._hold(socket.AF_INET, "127.0.0.1", port)
        except OSError as failure:
            if failure.errno != errno.EADDRINUSE:
                raise
            raise RuntimeError(
                f"Port {port} is taken by {owner_of(port)}. End it, or choose another port, or leave the port out to "
                "get any free one."
            ) from None
        with suppress(OSError):  # no IPv6 here, or the number is taken there: then it is not ours to hold
            self._hold(socket.AF_INET6, "::1", self.port)
        if IS_WINDOWS:
            self.release()

    def release(self) -> None:
        """Gives the port back."""
        for each in self._sockets:
            each.close()
        self._sockets = []

    def _hold(self, family: socket.AddressFamily, address: str, port: int) -> int:
        holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            if not IS_WINDOWS:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            holder.bind((address, port))
        except BaseException:
            holder.close()
            raise
        self._sockets.append(holder)
        number: int = holder.getsockname()[1]
        return number
