"""What any process of ours needs that another program starts: ready line, signals, orders on stdin, death with it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def ask_for_death_with_parent() -> None:
    """Lets the kernel kill this process when the thread that started it ends; nothing else ends a frozen process."""
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_ready(ready: dict[str, Any]) -> None:
    """Prints the one line that a supervising program reads. Whatever is printed later belongs to the log."""
    say(json.dumps(ready))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def stop_on_signals(stop: Callable[[str], None], *signals: signal.Signals) -> None:
    """Calls ``stop`` in the running loop at the first signal; a second one, of either kind, ends the process."""
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":  # where asyncio does it by itself
        _wake_at_signals(loop)

    is_stopping = False

    def handle(number: int, _frame: object) -> None:
        nonlocal is_stopping
        if is_stopping:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        is_stopping = True
        if not loop.is_closed():  # else it ends already, and without a signal
            loop.call_soon_threadsafe(stop, signal.Signals(number).name)

    for each in signals:
        signal.signal(each, handle)


def _wake_at_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Ends the sleep of the loop at a signal that comes just before it, after Python's last look at them."""
    receiver, sender = os.pipe()
    for each in (receiver, sender):
        os.set_blocking(each, False)
    loop.add_reader(receiver, os.read, receiver, 4096)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)


def end() -> NoReturn:
    """Ends this process where it stands: to take an interpreter apart takes longer than a restart may."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


def hold_lifeline(stop: Callable[[str], None], at_end: Callable[[], None]) -> None:
    """Reads orders from stdin, in a thread; its end is the end of whoever started this process, and so of it.

    ``at_end`` is called in that thread, and nothing else happens after it.
    """
    loop = asyncio.get_running_loop()

    def read() -> None:
        unread = b""
        try:
            while data := _read(sys.stdin.fileno()):
                *orders, unread = (unread + data).split(b"\n")
                if b"stop" in (order.strip() for order in orders):
                    loop.call_soon_threadsafe(stop, "stop on stdin")
            at_end()
        finally:  # without this thread nobody would see the end
            os._exit(0)

    threading.Thread(target=read, name="lifeline", daemon=True).start()


def _read(descriptor: int) -> bytes:
    """Waits for what comes next, also where whoever opened it does not want to wait."""
    while True:
        try:
            return os.read(descriptor, 4096)
        except BlockingIOError:
            select.select([descriptor], [], [])
