"""Runs one program and sees to it that nothing of it is left: neither after its end nor after that of our parent.

Run by its path with ``python -I -S``: it needs the standard library only, and starts in some milliseconds. The rest of
the command line is the program. Orders come on stdin, a line each: the name of a signal for the program's process
group. The end of stdin is the end of our parent: everything is killed. Reports go to stdout as JSON lines: ``started``
with the pid or ``failed`` with the reason, then ``ended`` with the exit status. What the program prints goes to our
stderr.

The program's own stdin stays open and silent, since many programs end with their stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

IS_WINDOWS = sys.platform == "win32"
IS_LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Owns the program, its process group, and on Linux whatever has left that group."""

    def __init__(self, command: list[str]) -> None:
        """Starts the program. Raises OSError."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=sys.stderr.fileno(), stderr=sys.stderr.fileno(), **_own_session()
        )
        self._lock = threading.Lock()
        self._has_ended = False

    @property
    def pid(self) -> int:
        """Process id of the program, and on POSIX number of its group and session."""
        return self._process.pid

    def watch(self) -> None:
        """Waits for the end of the program, kills what it has left, and ends this process."""
        if IS_WINDOWS:
            self._process.wait()
        else:
            # Not reaped yet: as long as it is a zombie its number, which is that of the group too, is nobody else's.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self.kill()
            self._has_ended = True
            status = self._process.wait()
        if IS_LINUX:
            _kill_children()
        report(ended=status)
        os._exit(0)

    def send(self, name: str) -> None:
        """Sends a signal to the group. Windows knows Ctrl-Break instead."""
        if name == "SIGKILL":
            self.kill()
        elif IS_WINDOWS:
            self._process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined,unused-ignore]
        else:
            with self._lock:
                self._send(signal.Signals[name])

    def kill(self) -> None:
        """Kills the whole group, frozen or not. Takes no lock, as a signal handler calls it too."""
        if IS_WINDOWS:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self.pid)], capture_output=True, check=False)
        else:
            self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if not self._has_ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def _own_session() -> dict[str, Any]:
    if IS_WINDOWS:
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined,unused-ignore]
    # A second thread does not exist yet, so a function may run between fork and exec.
    return {"start_new_session": True, "preexec_fn": _dying_with_us() if IS_LINUX else None}


def _dying_with_us() -> Callable[[], None]:
    """For a child, that the kernel kills it when this process ends, even if that is before it could ask for it."""
    ask, parent = _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), os.getpid()

    def die_with_parent() -> None:
        ask()
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


def _prctl(*arguments: int) -> Any:
    import ctypes

    libc: Any = ctypes.CDLL(None)
    return lambda: libc.prctl(*arguments, *(0 for _ in range(5 - len(arguments))))


def _kill_children() -> None:
    """Kills what has left the group: as the subreaper we are the parent of whatever has lost its own."""
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _children() -> list[int]:
    found = []
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - pathlib would take as long to import as the rest
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
            found += [int(child) for child in file.read().split()]
    return found


def report(**facts: Any) -> None:
    """Writes a line for whoever started us, if that is still there."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Supervises until the program or our parent has ended."""
    supervisor: Supervisor | None = None

    def parent_has_ended(*_: object) -> None:
        if supervisor is None:
            os._exit(1)
        supervisor.kill()

    if IS_LINUX:
        # The end of stdin says the same, unless some other child of our parent holds the pipe too.
        signal.signal(signal.SIGTERM, parent_has_ended)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)()
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)()
    try:
        supervisor = Supervisor(sys.argv[1:])
    except OSError as failure:
        report(failed=failure.strerror, path=failure.filename)
        return
    report(started=supervisor.pid)
    watcher = threading.Thread(target=supervisor.watch)
    watcher.start()
    for line in sys.stdin:
        supervisor.send(line.strip())
    supervisor.kill()
    watcher.join()


if __name__ == "__main__":
    main()
