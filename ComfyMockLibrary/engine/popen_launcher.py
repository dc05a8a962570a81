"""Starts each life as a new Python process: works everywhere."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import SLICE, Deadline
from ComfyMockLibrary.engine.launcher import LaunchedLife, LifeSettings, NotReady, discard, ended_early
from mockserver.ready_line import read_ready_line

if TYPE_CHECKING:
    from pathlib import Path

    from ComfyMockLibrary.types import StopSignal


class PopenLauncher:
    """Launches processes one by one, so that the kernel's parent-death signal ends a frozen life too."""

    def __init__(self) -> None:
        self._thread = platform.LastingThread("mockserver-launcher")

    def warm_up(self) -> None:
        """There is nothing to prepare."""

    def launch(self, settings: LifeSettings) -> LaunchedLife:
        """Starts a life and returns at once."""
        return self.launch_module("mockserver", settings.command_line(), settings.log_file)

    def launch_module(self, module: str, arguments: list[str], log_file: Path) -> LaunchedLife:
        """Starts any module that takes ``--supervised`` and ``--kill-with-parent`` as a life does."""
        return self._thread.call(lambda: _PopenLife(module, arguments, log_file), discard)


class _PopenLife:
    def __init__(self, module: str, arguments: list[str], log_file: Path) -> None:
        self._ready: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        command = [sys.executable, "-m", module, "--supervised"]
        if platform.dies_with_parent():
            command.append("--kill-with-parent")
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                **platform.own_group(),
            )
        threading.Thread(target=self._read_ready_line, name="mockserver-ready-line", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, deadline: Deadline) -> dict[str, Any]:
        while True:
            try:
                line = self._ready.get(timeout=min(SLICE, deadline.remaining))
            except queue.Empty:
                if deadline.expired:
                    raise NotReady(f"was not ready within {deadline.timeout:g} s") from None
            else:
                break
        ready = read_ready_line(line)
        if ready is not None:
            return ready
        status = self.wait(Deadline(deadline.timeout))
        if line and not status:
            raise NotReady(f"wrote {line!r} instead of its ready line")
        raise NotReady("closed its output before it was ready" if status is None else ended_early(status))

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
        """Blocks until the life is ready or has ended; ends with its last line either way."""
        assert self._process.stdout is not None
        line = b""
        with self._process.stdout as output:
            for line in output:
                if read_ready_line(line) is not None:
                    break
            self._ready.put(line)
