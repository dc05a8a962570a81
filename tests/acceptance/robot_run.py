"""Runs suites in a child ``robot`` and reads what came of them.

Every run has a mark of its own in its environment, which all processes that it starts inherit. So what a run has left
is found without knowing its name, its parent or its session.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from robot.api import ExecutionResult, ResultVisitor

from ComfyMockLibrary.engine.deadline import Deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    Found = TypeVar("Found")

PROJECT = Path(__file__).parents[2]
MARK = "COMFY_TEST_RUN"
IMPOSSIBLE = re.compile(
    r"There is no (node|chromium) on this machine\.|Skipped in parent suite setup:\nNo client is given: .*"
)
"""Why a test of a suite may be skipped."""

TRACEBACK = "Traceback (most recent call last)"
"""What a thread or a server prints that an exception has surprised, which fails no test by itself."""

LOOK_INTERVAL = 0.02

HOLD = """\
import os, sys

def hold(event, arguments, held=[]):
    if event == os.environ["COMFY_TEST_HOLD_AT"] and not held and not os.path.exists("holds"):
        held.append(event)
        own = f"held-{os.getpid()}"
        with open(own, "w") as file:
            file.write(str(os.getpid()))
        try:
            os.link(own, "holds")
        except FileExistsError:
            return  # another one was quicker
        open("gate").close()  # a FIFO: returns when somebody opens it for writing

if sys.orig_argv[2:3] and sys.orig_argv[2].startswith("mockserver"):
    os.chdir(os.path.dirname(__file__))
    sys.addaudithook(hold)
"""
"""Python runs it at its start. Holds one mock server at the first event of a kind that the interpreter reports."""

BEFORE_IT_IMPORTS = "import"
BEFORE_IT_FORKS = "os.fork"
BEFORE_IT_ASKS_TO_DIE_WITH_ITS_PARENT = "ctypes.dlopen"
WHEN_IT_HAS_BEEN_FORKED = "ctypes.dlsym"
BEFORE_IT_LISTENS = "socket.bind"
BEFORE_IT_STARTS_A_PROGRAM = "subprocess.Popen"


@dataclass(frozen=True)
class Message:
    """A message in the log."""

    keyword: str
    level: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """How a test went."""

    status: str
    message: str
    documentation: str
    messages: tuple[Message, ...]
    """The log messages of its keywords, setup and teardown included."""

    @property
    def log(self) -> str:
        """What its keywords have logged, without failures."""
        return "\n".join(message.text for message in self.messages if message.level in ("INFO", "DEBUG"))


@dataclass(frozen=True)
class FinishedRun:
    """A run that has written its output.xml."""

    exit_status: int
    printed: str
    """What it has printed on the terminal."""

    directory: Path
    """The run's output directory."""

    tests: Mapping[str, Outcome]
    """By the test's name, with its suite's before it where there are several."""

    errors: tuple[str, ...]
    """Errors and warnings of the execution."""

    @property
    def impossible(self) -> set[str]:
        """The tests that were skipped since a program is missing, or a client to test."""
        return {
            name for name, test in self.tests.items() if test.status == "SKIP" and IMPOSSIBLE.fullmatch(test.message)
        }

    def should_have_passed(self) -> None:
        """All of its tests, of which there must be some; but for those that need what this machine does not have."""
        failures = {
            name: test.message
            for name, test in self.tests.items()
            if test.status != "PASS" and name not in self.impossible
        }
        assert not failures, failures
        assert self.tests, self.printed
        assert self.exit_status == 0, self.printed


class RobotProcess:
    """A child ``robot``, or another of Robot's programs, in a session of its own."""

    def __init__(
        self, directory: Path, command: list[str], environment: Mapping[str, str], working_directory: Path
    ) -> None:
        self.directory = directory
        self._mark = uuid.uuid4().hex
        self._printed = directory / "printed.txt"
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                command,
                cwd=working_directory,
                env={**os.environ, **environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self._printed.read_text(encoding="utf-8", errors="replace")

    def started_processes(self) -> list[psutil.Process]:
        """All processes of the run but the first, whoever their parent is now."""
        return [process for process in self._processes() if process.pid != self.pid]

    def has_a_frozen_one(self) -> bool:
        """Whether a process that the run has started stands still."""
        return any(_is_frozen(process) for process in self.started_processes())

    def wait_for(self, look: Callable[[], object], what: str, timeout: float = 30.0) -> None:
        """Waits until ``look`` finds something while the run goes on."""

        def seen() -> bool | None:
            has_ended = self._process.poll() is not None  # before the look, or its last moment could be missed
            return True if look() else False if has_ended else None

        assert eventually(seen, timeout), f"{what} did not happen.\n{self.printed}"

    def press_ctrl_c(self) -> None:
        """Sends what a terminal sends: SIGINT to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process alone."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 60.0) -> int:
        """Waits for its end. Its exit status."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"The run did not end within {timeout:g} s.\n{self.printed}") from None

    def should_leave_no_process(self, timeout: float = 10.0) -> None:
        """Waits until nothing is left that the run has started."""
        eventually(lambda: not self.started_processes() or None, timeout)
        assert [described(process) for process in self.started_processes()] == []

    def result(self) -> FinishedRun:
        """What came of it, when it has ended."""
        output = self.directory / "results" / "output.xml"
        assert output.exists(), self.printed
        for printed in (self.printed, *map(Path.read_text, _hidden_logs(output.parent))):
            assert TRACEBACK not in printed, printed
        result = ExecutionResult(output)
        collector = _Collector()
        result.visit(collector)
        return FinishedRun(
            self.wait(0),
            self.printed,
            output.parent,
            collector.tests,
            tuple(message.message for message in result.errors.messages),
        )

    def kill_all(self) -> None:
        """Leaves nothing of the run."""
        for process in self._processes():
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _mark_of(process) == self._mark]


@contextmanager
def started_robot(
    directory: Path,
    suites: str | Mapping[str, str] | Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    module: str = "robot",
    working_directory: Path | None = None,
) -> Iterator[RobotProcess]:
    """Starts a run of a suite's text, of texts by file name, or of what is there already. At the end nothing is left.

    Output goes to ``results`` below the directory. ``module`` is another program with Robot's command line.
    """
    target = suites if isinstance(suites, Path) else _written(directory, suites)
    outputs = ["--outputdir", str(directory / "results"), "--log", "NONE", "--report", "NONE"]
    command = [sys.executable, "-m", module, *options, *outputs, str(target)]
    process = RobotProcess(directory, command, environment or {}, working_directory or directory)
    try:
        yield process
    finally:
        process.kill_all()


def run_robot(
    directory: Path, suites: str | Mapping[str, str] | Path, *options: str, timeout: float = 60.0, **details: Any
) -> FinishedRun:
    """Runs suites, see ``started_robot``, and makes sure that they leave no process."""
    with started_robot(directory, suites, *options, **details) as process:
        process.wait(timeout)
        process.should_leave_no_process()
        return process.result()


def servers_held_at(directory: Path, event: str) -> dict[str, str]:
    """Environment of a run whose servers never get further than an event of their start.

    The file ``holds``, with its process id, says that one is there; whoever opens the FIFO ``gate`` for writing lets it
    go on.
    """
    (directory / "sitecustomize.py").write_text(HOLD, encoding="utf-8")
    os.mkfifo(directory / "gate")
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "COMFY_TEST_HOLD_AT": event}


def eventually(look: Callable[[], Found | None], timeout: float) -> Found | None:
    """Looks until something is found, at the latest once more at the timeout."""
    return wait_until(look, Deadline(timeout), interval=LOOK_INTERVAL)


def described(process: psutil.Process) -> str:
    """A process in words."""
    try:
        return f"{process.pid} {process.status()}: {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid} has just ended"


def _written(directory: Path, suites: str | Mapping[str, str]) -> Path:
    if isinstance(suites, str):
        file = directory / "suite.robot"
        file.write_text(suites, encoding="utf-8")
        return file
    folder = directory / "suites"
    folder.mkdir()
    for name, text in suites.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def _hidden_logs(results: Path) -> list[Path]:
    """What a run's processes have printed elsewhere: those of pabot, and its mock servers."""
    patterns = ("pabot_results/*/robot_stderr.out", "comfymock/**/*-life-*.log")
    return [file for pattern in patterns for file in results.glob(pattern)]


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _is_frozen(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has just ended
        return process.status() == psutil.STATUS_STOPPED
    return False


class _Collector(ResultVisitor):  # type: ignore[misc]  # has no types
    """Collects tests with their messages."""

    def __init__(self) -> None:
        self.tests: dict[str, Outcome] = {}
        self._messages: list[Message] = []
        self._keywords: list[str] = []
        self._has_several_suites = False

    def start_suite(self, suite: Any) -> None:
        self._has_several_suites = self._has_several_suites or bool(suite.suites)

    def start_test(self, test: Any) -> None:
        self._messages = []

    def end_test(self, test: Any) -> None:
        name = f"{test.parent.name}.{test.name}" if self._has_several_suites else test.name
        self.tests[name] = Outcome(test.status, test.message, test.doc, tuple(self._messages))

    def start_keyword(self, keyword: Any) -> None:
        self._keywords.append((keyword.name or "").rpartition(".")[2])

    def end_keyword(self, keyword: Any) -> None:
        self._keywords.pop()

    def start_message(self, message: Any) -> None:
        if self._keywords:
            self._messages.append(Message(self._keywords[-1], message.level, message.message))
