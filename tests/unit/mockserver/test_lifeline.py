"""Signals and stdin of a process that another program starts, at their worst moments."""

from __future__ import annotations

import subprocess
import sys

DEADLINE = 60.0

SLEEPS_AS_A_SIGNAL_COMES = """\
import asyncio, signal, sys, threading
from mockserver import lifeline

sleeps = threading.Event()

def take():  # as what comes just before the sleep, it does not end it
    sleeps.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

async def main():
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(order):
        print(order)
        stopped.set()

    lifeline.stop_on_signals(stop, signal.SIGTERM)
    loop.call_soon(sleeps.set)
    await stopped.wait()

threading.Thread(target=take, daemon=True).start()
sys.setswitchinterval(3600)  # from here on no other thread runs before the loop sleeps
asyncio.run(main())
"""


def test_a_signal_ends_the_sleep_of_a_loop_that_it_does_not_interrupt() -> None:
    assert outcome(SLEEPS_AS_A_SIGNAL_COMES) == (0, "SIGTERM\n", "")


def outcome(script: str) -> tuple[int, str, str]:
    """Exit status of a script and what it has printed to stdout and stderr."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stdout, done.stderr
