"""What starts lives of a server: a launcher takes settings and gives a process.

``fork_launcher`` is quick, ``popen_launcher`` works everywhere; a life behaves the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import Deadline
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from pathlib import Path

KILL_TIMEOUT = 30.0
"""Seconds until the end of a killed process is known: it takes milliseconds, unless the system is very busy."""


@dataclass(frozen=True)
class LifeSettings:
    """What a life is started with."""

    port: int
    life_id: str
    log_file: Path
    journal_file: Path
    options: tuple[str, ...] = ()
    """Further options of ``python -m mockserver``."""

    seed: int | None = None
    """Seed of the draws of its faults; None leaves it to chance."""

    faults_file: Path | None = None
    """Faults that it begins with."""

    def command_line(self) -> list[str]:
        """Arguments of ``python -m mockserver``."""
        return [
            *("--port", str(self.port)),
            *("--life-id", self.life_id),
            *("--journal", str(self.journal_file)),
            *(() if self.seed is None else ("--seed", str(self.seed))),
            *(() if self.faults_file is None else ("--faults", str(self.faults_file))),
            *self.options,
        ]


class NotReady(Exception):
    """A life has ended, or taken too long, before it was ready."""


def ended_early(status: int) -> str:
    """What NotReady says of a life that has ended."""
    return f"ended with {platform.describe_exit(status)} before it was ready"


class LaunchedLife(Protocol):
    """A life as a process. It ends with whoever launched it, in whatever state it is."""

    @property
    def pid(self) -> int:
        """Process id, known once it is ready."""

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

    def warm_up(self) -> None:
        """Prepares for the first life, and does not wait for it."""

    def launch(self, settings: LifeSettings) -> LaunchedLife:
        """Starts a life and returns at once. Nothing is left of one whose start was interrupted."""


def discard(life: LaunchedLife) -> None:
    """Ends a life that nobody wants."""
    life.stop(StopSignal.SIGKILL)
    life.wait(Deadline(KILL_TIMEOUT))
    life.release()
