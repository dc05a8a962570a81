"""Ends and freezes this process, at exactly the point where it is told to."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

STALLED_AFTER = 0.25
"""Time in seconds after which a client whose system has taken nothing counts as one that does not read."""

LONGEST_DELIVERY = 2.0
"""Longest time in seconds that a crash waits until clients' systems have what was sent."""


def crash(transports: Iterable[asyncio.Transport]) -> None:
    """Kills this process once everything sent has arrived at the systems of the clients that read.

    Does not give way to anything else meanwhile, so that nothing can be sent afterwards. Without the wait a client
    that is itself sending would lose what it has not received yet, since the kernel then resets the connection.
    """
    wait_for_delivery(transports)
    os.kill(os.getpid(), signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)


def end(status: int) -> NoReturn:
    """Ends this process at once with an exit status, without a word to anybody."""
    os._exit(status)


def wait_for_delivery(transports: Iterable[asyncio.Transport]) -> None:
    """Blocks until the clients' systems have acknowledged what was written, except those that are stalled."""
    now = time.monotonic()
    end = now + LONGEST_DELIVERY
    waiting = {
        each: (_unacknowledged(each), now + STALLED_AFTER)
        for each in transports
        if not each.is_closing() and each.get_write_buffer_size() == 0
    }
    while waiting and (now := time.monotonic()) < end:
        for transport, (before, stalled_at) in list(waiting.items()):
            left = _unacknowledged(transport)
            if left == 0 or (left == before and now >= stalled_at):
                del waiting[transport]
            elif left != before:
                waiting[transport] = (left, now + STALLED_AFTER)
        os.sched_yield()


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
    alarm = None if thaw_after is None else set_alarm(os.getpid(), thaw_after)
    os.kill(os.getpid(), signal.SIGSTOP)
    # Here it has been thawed, by the alarm or by somebody else.
    if alarm is not None:
        alarm.communicate()


_ALARM = """
import os, select, signal, sys
pause = float(sys.argv[2])
while not select.select([0], [], [], pause)[0]:
    os.kill(int(sys.argv[1]), signal.SIGCONT)
    pause = 0.05
"""
"""Wakes a process until it closes the pipe. The pipe's end is also that of the process, whose id is nobody's then."""


def set_alarm(pid: int, delay: float) -> subprocess.Popen[bytes]:
    """Starts what thaws a process after some time, and again and again until its own stdin is closed.

    Again, as the process may not have been frozen yet the first time.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _ALARM, str(pid), str(delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
