"""Starts lives by forking a process that has everything imported: ready in a few milliseconds, on POSIX.

The process is ``python -m mockserver.forkserver``. It is the parent of the lives and so knows their exit status; it
ends when this process does, and kills them, frozen or not.
"""

from __future__ import annotations

import atexit
import itertools
import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import Deadline, Guard, wait_until
from ComfyMockLibrary.engine.launcher import LaunchedLife, LifeSettings, NotReady, discard, ended_early

if TYPE_CHECKING:
    from ComfyMockLibrary.types import StopSignal

_EXIT_TIMEOUT = 5.0
_KILLED = -9
_NEVER_BEGUN = 1


class ForkLauncher:
    """Launches lives from one fork server, which starts with the first of them, or before."""

    def __init__(self) -> None:
        self._server: _ForkServer | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Starts the fork server, which imports everything meanwhile."""
        with self._lock:
            self._running_server()

    def launch(self, settings: LifeSettings) -> LaunchedLife:
        """Starts a life and returns at once."""
        with self._lock:
            server = self._running_server()
        return server.start(settings)

    def _running_server(self) -> _ForkServer:
        if self._server is not None and not self._server.is_running:
            self._server.close()
            self._server = None
        if self._server is None:
            self._server = _ForkServer()
            atexit.register(self._server.close)
        return self._server


class _ForkServer:
    """The process, and the thread that reads its reports."""

    def __init__(self) -> None:
        self.condition = Guard()
        self.is_running = True
        self._lives: dict[int, _ForkedLife] = {}
        self._ids = itertools.count(1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mockserver.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **platform.own_group(),
        )
        self._reader = threading.Thread(target=self._read_reports, name="mockserver-forkserver", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, settings: LifeSettings) -> _ForkedLife:
        life = _ForkedLife(self, next(self._ids))
        with self.condition:
            if not self.is_running:
                life.be_lost()
                return life
            self._lives[life.id] = life
        order = _order("start", life, arguments=settings.command_line(), log=str(settings.log_file.absolute()))
        try:
            self.send(order)
        except BaseException:  # interrupted when the order may be out: nobody would own the life
            discard(life)
            raise
        return life

    def send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with self.condition:
                self._process.stdin.write(line)
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has ended, and its lives with it: the reader says so

    def close(self) -> None:
        """Ends the process, and the lives that are left with it."""
        assert self._process.stdin is not None
        with self.condition, suppress(BrokenPipeError):
            self._process.stdin.close()
        self._reader.join(_EXIT_TIMEOUT)
        try:
            self._process.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read_reports(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as reports:
                for line in reports:
                    with suppress(ValueError):  # something that is imported at every start of Python prints
                        report = json.loads(line)
                        with self.condition:
                            self._take(report)
                            self.condition.notify_all()
        finally:
            with self.condition:
                self.is_running = False
                for life in self._lives.values():
                    life.be_lost()
                self._lives = {}
                self.condition.notify_all()

    def _take(self, report: Any) -> None:
        life_id = report.get("id") if isinstance(report, dict) else None
        life = self._lives.get(life_id) if isinstance(life_id, int) else None
        if life is None:
            return
        if report["report"] == "started":
            life.process_id = report["pid"]
        elif report["report"] == "ready":
            life.ready = report["ready"]
        elif report["report"] == "failed":
            life.failure, life.status = report["error"], _NEVER_BEGUN
            del self._lives[life.id]
        else:
            life.status = report["status"]
            del self._lives[life.id]


def _order(order: str, life: _ForkedLife, **details: Any) -> bytes:
    return json.dumps({"order": order, "id": life.id, **details}).encode() + b"\n"


class _ForkedLife:
    def __init__(self, server: _ForkServer, life_id: int) -> None:
        self.id = life_id
        self.process_id = 0
        self.ready: dict[str, Any] | None = None
        self.status: int | None = None
        self.failure: str | None = None
        """Why it will never be ready, where that is not its own doing."""
        self._server = server

    def be_lost(self) -> None:
        """It has ended with the fork server."""
        self.status = _KILLED
        self.failure = (
            f"was lost with the process that starts servers (pid {self._server.pid}), which has ended: the next start "
            "begins a new one"
        )

    @property
    def pid(self) -> int:
        return self.process_id

    def wait_until_ready(self, deadline: Deadline) -> dict[str, Any]:
        def is_decided() -> bool | None:
            return any(each is not None for each in (self.ready, self.status, self.failure)) or None

        wait_until(is_decided, deadline, self._server.condition)
        if self.ready is not None:
            return self.ready
        if self.failure is not None:
            raise NotReady(self.failure)
        if self.status is not None:
            raise NotReady(ended_early(self.status))
        raise NotReady(f"was not ready within {deadline.timeout:g} s")

    def exit_status(self) -> int | None:
        return self.status

    def wait(self, deadline: Deadline) -> int | None:
        return wait_until(self.exit_status, deadline, self._server.condition)

    def stop(self, how: StopSignal) -> None:
        self._server.send(_order("signal", self, signal=how.value))

    def release(self) -> None:
        """Nothing is held open here: the fork server holds the lifeline until the life has ended."""
