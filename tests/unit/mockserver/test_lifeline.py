"""Signals and stdin of a process that another program starts, at their worst moments."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


ENDS_BY_ITSELF = """\
import asyncio, signal
from mockserver import lifeline

async def main():
    lifeline.stop_on_signals(print, signal.SIGTERM)

asyncio.run(main())
signal.raise_signal(signal.SIGTERM)
print("ends")
"""


def test_a_signal_to_a_process_that_ends_already_does_not_make_it_fail() -> None:
    assert outcome(ENDS_BY_ITSELF) == (0, "ends\n", "")


SERVES = """\
import asyncio, functools
from mockserver import lifeline

say = functools.partial(print, flush=True)

def at_end():
    say("ends")
    raise RuntimeError

async def main():
    lifeline.hold_lifeline(say, at_end)
    say("serves")
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_the_end_of_stdin_ends_the_process_whatever_fails_at_it() -> None:
    with serving(subprocess.PIPE) as process:
        assert process.communicate(timeout=DEADLINE) == ("ends\n", None)
        assert process.returncode == 0


def test_stdin_may_be_a_pipe_that_does_not_wait() -> None:
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    with serving(receiver) as process:
        os.close(receiver)
        with os.fdopen(sender, "w") as stdin:
            stdin.write("stop\n")
            stdin.flush()
            assert read_line(process) == "stop on stdin\n"
        assert process.communicate(timeout=DEADLINE) == ("ends\n", None)


@contextlib.contextmanager
def serving(stdin: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is there for as long as stdin is."""
    with subprocess.Popen([sys.executable, "-c", SERVES], stdin=stdin, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert read_line(process) == "serves\n"
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of a process's output."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], DEADLINE)[0]
    return process.stdout.readline()


def outcome(script: str) -> tuple[int, str, str]:
    """Exit status of a script and what it has printed to stdout and stderr."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stdout, done.stderr
