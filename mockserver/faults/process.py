"""Ends and freezes this process, at exactly the point where it is told to."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

DELIVERY_TIMEOUT = 0.05
"""Longest time in seconds that a crash waits until clients' systems have what was sent."""


def crash(transports: Iterable[asyncio.Transport]) -> None:
    """Kills this process once everything sent has arrived at the systems of the clients that read.

    Does not give way to anything else meanwhile, so that nothing can be sent afterwards. Without the wait a client
    that is itself sending would lose what it has not received yet, since the kernel then resets the connection.
    """
    wait_for_delivery(transports, DELIVERY_TIMEOUT)
    os.kill(os.getpid(), signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)


def wait_for_delivery(transports: Iterable[asyncio.Transport], timeout: float) -> None:
    """Blocks until the clients' systems have acknowledged what was written, except those that are stalled."""
    deadline = time.monotonic() + timeout
    waiting = [each for each in transports if not each.is_closing() and each.get_write_buffer_size() == 0]
    while waiting and time.monotonic() < deadline:
        waiting = [each for each in waiting if _unacknowledged(each) > 0]


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the client's system has not acknowledged; 0 where the system cannot tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return 0
    count: int = struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    return count


def freeze(thaw_after: float | None) -> None:
    """Stops this process. A frozen process cannot thaw itself, so another one does it where a time is given."""
    if sys.platform == "win32":
        raise RuntimeError("Windows has no signal that freezes a process.")
    if thaw_after is not None:
        _send_later(os.getpid(), signal.SIGCONT, thaw_after)
    os.kill(os.getpid(), signal.SIGSTOP)


def _send_later(pid: int, number: signal.Signals, delay: float) -> None:
    """Starts a process that waits and sends a signal. It asks whether the process is still the one it was."""
    program = (
        "import os, psutil, sys, time\n"
        "pid, number, delay, born = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])\n"
        "time.sleep(delay)\n"
        "if psutil.pid_exists(pid) and psutil.Process(pid).create_time() == born: os.kill(pid, number)\n"
    )
    import psutil

    born = psutil.Process(pid).create_time()
    arguments = [str(pid), str(int(number)), str(delay), repr(born)]
    subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
    )
