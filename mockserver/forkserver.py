"""Forks lives from a process that has everything imported, on POSIX: ``python -m mockserver.forkserver``, for programs.

A life that is started afresh spends its start with imports; a forked one is ready in a few milliseconds. It is a
process of its own all the same, with a session, a log and a lifeline of its own, and behaves like any
``python -m mockserver --supervised``.

One more process than there are lives is kept, the spare: a life that has been forked, and does not yet know which. Most
of what a forked process does at first is to take its own copies of the memory that it writes to; the spare has them
when its start is ordered.

Orders come as JSON objects, one a line, on stdin; reports go out the same way on stdout. ``id`` is whatever the program
that gives the orders chooses. Other lines on stdout are of what Python imports at its start, and mean nothing.

- ``{"order": "start", "id": …, "arguments": [...], "log": "…"}`` starts a life; its stderr is appended to the log.
  Reports: ``started`` with its ``pid``, ``ready`` with its ready line, ``ended`` with its exit ``status`` (the negative
  number of the signal that ended it); ``failed`` with an ``error`` instead of ``started`` where there is no room for
  it.
- ``{"order": "signal", "id": …, "signal": "SIGTERM"}`` sends it a signal, unless it has ended.

The end of stdin is the end of all lives, frozen or not.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import selectors
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

from mockserver import lifeline as own_lifeline
from mockserver.__main__ import main as run_life
from mockserver.__main__ import prepare_imports
from mockserver.ready_line import read_ready_line

_CLOSED_ABOVE = 1 << 16


@dataclass
class _Life:
    pid: int
    ready_pipe: int
    lifeline: int
    output: bytes = b""
    id: Any = None
    is_ordered: bool = False
    """Whether it has an id: until then it is the spare, and nothing is reported of it."""


class ForkServer:
    """Single-threaded: what it forks must not inherit a lock that a thread holds."""

    def __init__(self, reports: int) -> None:
        """``reports`` is the descriptor that reports go to."""
        self._reports = reports
        self._lives: dict[int, _Life] = {}
        self._spare: _Life | None = None
        self._selector = selectors.DefaultSelector()
        self._orders = b""
        self._wakeup, self._wakeup_sender = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._wakeup_sender, False)

    def run(self) -> None:
        """Serves until stdin ends; then kills what is left."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_sender, warn_on_full_buffer=False)
        stdin = sys.stdin.fileno()
        self._selector.register(stdin, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        try:
            while True:
                self._keep_spare()
                for key, _ in self._selector.select():
                    if key.fd == stdin:
                        if not self._read_orders(stdin):
                            return
                    elif key.fd == self._wakeup:
                        os.read(self._wakeup, 4096)
                    else:
                        self._read_ready_line(key.data)
                self._reap()
        finally:
            for pid in self._lives:
                os.kill(pid, signal.SIGKILL)

    def _read_orders(self, stdin: int) -> bool:
        data = os.read(stdin, 65536)
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            self._carry_out(json.loads(line))
        return bool(data)

    def _carry_out(self, order: dict[str, Any]) -> None:
        if order["order"] == "start":
            self._start(order["id"], order["arguments"], order["log"])
        elif order["order"] == "signal":
            for life in self._lives.values():
                if life.is_ordered and life.id == order["id"]:
                    # Not reaped yet, so the pid cannot belong to anybody else.
                    os.kill(life.pid, signal.Signals[order["signal"]])

    def _start(self, life_id: Any, arguments: list[str], log: str) -> None:
        orders = json.dumps({"arguments": arguments, "log": log}).encode() + b"\n"
        spare, self._spare = self._spare, None
        try:
            life = spare if spare is not None and _tell(spare, orders) else self._fork()
            if life is not spare:
                _tell(life, orders)
        except OSError as failure:  # no descriptors, or no room for a process: the other lives go on
            error = f"was not started: {failure.strerror} in the process that starts servers (pid {os.getpid()})"
            self._report("failed", life_id, error=error)
            return
        life.id, life.is_ordered = life_id, True
        self._report("started", life_id, pid=life.pid)

    def _keep_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):  # the next start tries again, and says why it cannot
                self._spare = self._fork()

    def _fork(self) -> _Life:
        """A process that becomes a life when it is told which. Raises OSError."""
        pipes: list[int] = []
        parent = os.getpid()
        try:
            ready_pipe, ready_sender = pipes[:2] = os.pipe()
            lifeline_receiver, lifeline = pipes[2:] = os.pipe()
            # What comes for the child waits until it does not ignore it any more.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            pid = os.fork()
            if pid == 0:
                self._become_life(parent, lifeline_receiver, ready_sender)
        except OSError:
            for each in pipes:
                os.close(each)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        os.close(ready_sender)
        os.close(lifeline_receiver)
        life = _Life(pid, ready_pipe, lifeline)
        self._lives[pid] = life
        self._selector.register(ready_pipe, selectors.EVENT_READ, life)
        return life

    @staticmethod
    def _become_life(parent: int, stdin: int, stdout: int) -> NoReturn:
        """In the child. Never returns into the loop, and runs nothing that is registered for the parent's exit."""
        from mockserver.rehearsal import rehearse_in_parts

        status = 1
        try:
            own_lifeline.ask_for_death_with_parent()
            os.setsid()  # before it takes interrupts: those of the terminal are not for it
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            os.closerange(3, _CLOSED_ABOVE)
            for _ in rehearse_in_parts():
                if select.select([0], [], [], 0)[0]:
                    break
            orders = _read_line(0)
            if orders and os.getppid() == parent:
                told = json.loads(orders)
                stderr = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                os.dup2(stderr, 2)
                os.close(stderr)
                sys.argv[1:] = told["arguments"]
                status = run_life([*told["arguments"], "--supervised"])
        except SystemExit as wanted:
            status = wanted.code if isinstance(wanted.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last chance to tell
            traceback.print_exc()
        finally:
            os._exit(status)

    def _read_ready_line(self, life: _Life) -> None:
        data = os.read(life.ready_pipe, 65536)
        life.output += data
        *lines, life.output = life.output.split(b"\n")
        ready = next(filter(None, map(read_ready_line, lines)), None)
        if ready is not None:
            self._report("ready", life.id, ready=ready)
        if ready is not None or not data:
            self._close_ready_pipe(life)

    def _close_ready_pipe(self, life: _Life) -> None:
        if life.ready_pipe >= 0:
            self._selector.unregister(life.ready_pipe)
            os.close(life.ready_pipe)
            life.ready_pipe = -1

    def _reap(self) -> None:
        """Collects all lives that have ended: signals that say so merge."""
        while self._lives:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            life = self._lives.pop(pid)
            self._close_ready_pipe(life)
            os.close(life.lifeline)
            if life.is_ordered:
                self._report("ended", life.id, status=os.waitstatus_to_exitcode(status))
            elif life is self._spare:
                self._spare = None

    def _report(self, report: str, life_id: Any, **facts: Any) -> None:
        line = json.dumps({"report": report, "id": life_id, **facts}).encode() + b"\n"
        os.write(self._reports, line)


def _tell(life: _Life, orders: bytes) -> bool:
    """Tells a process which life to become. Whether it is still there to hear it."""
    try:
        while orders:
            orders = orders[os.write(life.lifeline, orders) :]
    except BrokenPipeError:
        return False
    return True


def _read_line(descriptor: int) -> bytes:
    """A line and nothing after it; nothing if it ends before."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(descriptor, 65536)
        if not data:
            return b""
        line += data
    return line


def _keep_stdout_for_reports() -> int:
    """A descriptor for reports alone: what is printed at a fork, perhaps half a line, would make one unreadable."""
    reports = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return reports


def main() -> None:
    """Imports everything that a life needs, then serves."""
    prepare_imports()
    # A life of its own imports these late: to resolve an address, and with its first prompt.
    import encodings.idna  # noqa: F401

    import mockserver.comfyui.nodes  # noqa: F401
    from mockserver.rehearsal import rehearse

    rehearse()
    gc.collect()
    gc.freeze()  # what is here now is never collected, neither here nor in a life
    sys.stdout.flush()  # what was printed at the start of Python is not to be printed by every life
    ForkServer(_keep_stdout_for_reports()).run()


if __name__ == "__main__":
    main()
