"""Starts lives of a server. A launcher takes settings and gives a process with pid, exit status, lifeline and log."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import SLICE, Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from ComfyMockLibrary.types import StopSignal


@dataclass(frozen=True)
class LifeSettings:
    """What a life is started with."""

    port: int
    life_id: str
    log_file: Path
    journal_file: Path
    options: tuple[str, ...] = ()
    """Further options of ``python -m mockserver``."""

    def command_line(self) -> list[str]:
        """Arguments of ``python -m mockserver``."""
        return [
            *("--port", str(self.port)),
            *("--life-id", self.life_id),
            *("--journal", str(self.journal_file)),
            *self.options,
        ]


class NotReady(Exception):
    """A life has ended, or taken too long, before it was ready."""


class LaunchedLife(Protocol):
    """A life as a process. It ends with whoever launched it, in whatever state it is."""

    pid: int

    def wait_until_ready(self, deadline: Deadline) -> dict[str, Any]:
        """The ready line: port, pid, life_id, control_url. Raises NotReady."""

    def exit_status(self) -> int | None:
        """None while it runs; the negative signal number if a signal ended it."""

    def wait(self, deadline: Deadline) -> int | None:
        """Waits for its end. The exit status, or None if it still runs at the deadline."""

    def stop(self, how: StopSignal) -> None:
        """Tells it to end, and does not wait."""

    def release(self) -> None:
        """Closes what is held open for it. Only after its end."""


class Launcher(Protocol):
    """A way to start lives."""

    def launch(self, settings: LifeSettings) -> LaunchedLife:
        """Starts a life and returns at once."""


class PopenLauncher:
    """Starts each life as a new Python process: works everywhere.

    All are started from one thread that lives as long as this process, since the kernel's parent-death signal, which
    also ends a frozen life, is bound to the thread that started it.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def launch(self, settings: LifeSettings) -> LaunchedLife:
        """Starts a life and returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "mockserver-launcher")
        return self._thread.submit(_PopenLife, settings).result()


class _PopenLife:
    def __init__(self, settings: LifeSettings) -> None:
        self._ready: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        command = [sys.executable, "-m", "mockserver", "--supervised"]
        if platform.dies_with_parent():
            command.append("--kill-with-parent")
        with settings.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *settings.command_line()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                **platform.own_group(),
            )
        self.pid = self._process.pid
        threading.Thread(target=self._read_ready_line, name=f"ready line of {self.pid}", daemon=True).start()

    def wait_until_ready(self, deadline: Deadline) -> dict[str, Any]:
        while True:
            try:
                line = self._ready.get(timeout=min(SLICE, deadline.remaining))
            except queue.Empty:
                if deadline.expired:
                    raise NotReady(f"was not ready within {deadline.timeout:g} s") from None
            else:
                break
        if not line:
            status = self.wait(Deadline(deadline.timeout))
            how = "closed its output" if status is None else f"ended with {platform.describe_exit(status)}"
            raise NotReady(f"{how} before it was ready")
        ready: dict[str, Any] = json.loads(line)
        return ready

    def exit_status(self) -> int | None:
        return self._process.poll()

    def wait(self, deadline: Deadline) -> int | None:
        while True:
            expired = deadline.expired
            try:
                return self._process.wait(min(SLICE, deadline.remaining))
            except subprocess.TimeoutExpired:
                if expired:
                    return None

    def stop(self, how: StopSignal) -> None:
        platform.send_stop(self._process, how)

    def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read_ready_line(self) -> None:
        """Blocks until the life is ready or has ended; ends with the line either way."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            self._ready.put(output.readline())
