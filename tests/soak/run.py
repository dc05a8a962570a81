"""Runs suites and tests over and over, side by side and in random order, and says what has failed how often.

    python tests/soak/run.py                       all suites and all tests, 100 rounds, each core kept busy
    python tests/soak/run.py --rounds 20 --suites robot/faults.robot
    python tests/soak/run.py --minutes 30 --tests tests/acceptance/test_orphans.py "tests/unit/engine -k journal"

A round is one run of the suites by pabot and one of the tests by pytest, in an order that its number decides. Nothing
is tried again. What a run with failures has left stays in the output directory, with the command that repeats it. The
exit status is 0 only if nothing has failed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import psutil

from ComfyMockLibrary.engine.deadline import Deadline, now

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

BUSY_LOOP = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
while True:
    pass
"""
"""Ends when its stdin does, however its parent has ended."""

JITTER = Path(__file__).with_name("jitter.py")
THE_RUN_ITSELF = "(the run itself)"
TRACEBACK = "Traceback (most recent call last)"
PR_SET_PDEATHSIG = 1
LONGEST_MESSAGE = 300
TIME_TO_END = 30.0
"""Seconds that a run has for its teardowns when it is interrupted."""

Key = tuple[str, str]
"""A file or suite, and a test in it."""


@dataclass(frozen=True)
class Job:
    """One program of a round, and where its results are."""

    name: str
    command: list[str]
    directory: Path
    report: Path

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.directory / "printed.txt"


@dataclass
class Tally:
    """What became of one test over all rounds."""

    runs: int = 0
    failures: int = 0
    first_log: str = ""
    """Where the first failing run's log is, from the output directory on."""
    messages: list[str] = field(default_factory=list)
    """The first line of each failure's message, without repetitions."""

    def add(self, failure: str, log: str) -> None:
        """Counts one run, with the message of its failure if it has failed."""
        self.runs += 1
        if failure:
            self.failures += 1
            self.first_log = self.first_log or log
            line = failure.strip().partition("\n")[0][:LONGEST_MESSAGE]
            if line not in self.messages:
                self.messages.append(line)


class Soak:
    """All rounds and what came of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._output: Path = arguments.output
        self._tallies: dict[Key, Tally] = {}
        self._runs: list[dict[str, Any]] = []

    @property
    def is_well(self) -> bool:
        """Whether something has run, and nothing has failed."""
        return bool(self._tallies) and not self._failures

    def run(self) -> None:
        """Runs rounds until there were enough or the time is over."""
        deadline = Deadline(self._arguments.minutes * 60)
        for number in range(1, self._arguments.rounds + 1):
            for job in self._jobs(number):
                if deadline.expired:
                    return
                self._take_turn(number, job)

    def print_table(self) -> None:
        """A row for each file, and below it one for each of its tests that has failed."""
        print(f"{'test':<100} {'runs':>7} {'failures':>8}  first failing run's log")
        files: dict[str, dict[str, Tally]] = {}
        for (file, test), tally in sorted(self._tallies.items()):
            files.setdefault(file, {})[test] = tally
        for file, tests in files.items():
            print(_row(f"{file}, {len(tests)} tests", *tests.values()))
            for test, tally in tests.items():
                if tally.failures:
                    print(_row(f"    {test}", tally), *tally.messages, sep="\n        ")
        print(_row(f"all {len(self._tallies)} tests", *self._tallies.values()))

    @property
    def _failures(self) -> int:
        return sum(tally.failures for tally in self._tallies.values())

    def _jobs(self, number: int) -> Iterator[Job]:
        arguments, directory = self._arguments, self._output / f"round-{number:03}"
        order, processes = str(arguments.seed + number), str(arguments.processes)
        if arguments.suites:
            folder = directory / "suites"
            options = (
                f"--processes {processes} --no-pabotlib --randomize all:{order} --loglevel DEBUG --xunit xunit.xml"
            )
            command = ["pabot.pabot", *options.split(), "--outputdir", str(folder), *arguments.suites]
            yield Job("suites", command, folder, folder / "xunit.xml")
        if arguments.tests:
            folder = directory / "tests"
            options = (
                f"-q -n {processes} --dist worksteal --randomly-seed={order} -p no:cacheprovider "
                "-o tmp_path_retention_policy=failed"
            )
            command = ["pytest", *options.split(), f"--junitxml={folder / 'junit.xml'}", *arguments.tests]
            yield Job("tests", command, folder, folder / "junit.xml")

    def _take_turn(self, number: int, job: Job) -> None:
        began = now()
        results = list(run(job, self._arguments.limit * 60))
        seconds = now() - began
        for key, failure in results:
            self._tallies.setdefault(key, Tally()).add(failure, str(job.log.relative_to(self._output)))
        failed = [key for key, failure in results if failure]
        if not failed:
            shutil.rmtree(job.directory)
            with suppress(OSError):
                job.directory.parent.rmdir()
        counts = {"passed": len(results) - len(failed), "failed": len(failed)}
        self._runs.append({"round": number, "job": job.name, **counts, "seconds": round(seconds, 1), "load": _load()})
        self._write()
        say(
            f"round {number} of {self._arguments.rounds}, {job.name}: {counts['passed']} passed, {len(failed)} failed "
            f"in {seconds:.0f} s, load {_load()}. {self._failures} failures so far",
            *(f"    {file}: {test}" for file, test in failed),
        )

    def _write(self) -> None:
        tests = [{"file": file, "test": test, **vars(tally)} for (file, test), tally in sorted(self._tallies.items())]
        asked = ("suites", "tests", "load", "jitter", "processes", "seed")
        settings = {name: getattr(self._arguments, name) for name in asked}
        report = {**settings, "failures": self._failures, "runs": self._runs, "results": tests}
        (self._output / "soak.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def run(job: Job, limit: float) -> Iterator[tuple[Key, str]]:
    """Runs a program. Each test that was not skipped, with the message of its failure or nothing."""
    job.directory.mkdir(parents=True)
    command = [sys.executable, "-m", *job.command]
    (job.directory / "command.txt").write_text(shlex.join(command) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:  # not in the project, as with any other run
        status = _exit_status(job, command, limit, Path(temporary))
    failures = 0
    for key, failure in _cases(job.report):
        failures += bool(failure)
        yield key, failure
    if status is None:
        yield (job.name, THE_RUN_ITSELF), f"It has not ended within {limit / 60:g} minutes."
    elif not job.report.exists() or (status != 0 and not failures):
        yield (job.name, THE_RUN_ITSELF), f"It has ended with exit status {status}, and names no test that failed."
    for log in (job.log, *sorted(job.directory.glob("pabot_results/*/robot_stderr.out"))):
        if not failures and TRACEBACK in log.read_text(encoding="utf-8", errors="replace"):
            yield (job.name, THE_RUN_ITSELF), f"An exception has ended a thread, see {log.name}."


def _exit_status(job: Job, command: list[str], limit: float, temporary: Path) -> int | None:
    """Waits for the end, and leaves nothing of the program, also when it is interrupted. None if the time is over."""
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])  # pabot looks there for robot
    with job.log.open("wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PATH": scripts, "PYTEST_DEBUG_TEMPROOT": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_interrupted_with_parent,  # noqa: PLW1509 - this process has no other threads
        )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
        _keep(temporary, job.directory / "tmp")


def _interrupted_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(TIME_TO_END)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    process.wait()


def _keep(source: Path, target: Path) -> None:
    """Copies what failed tests have left behind; pytest has removed what others had."""
    for folder in source.glob("pytest-of-*/pytest-*"):
        shutil.copytree(folder, target / folder.name, symlinks=True, ignore=_not_a_file)


def _not_a_file(folder: str, names: list[str]) -> set[str]:
    places = {name: Path(folder, name) for name in names}
    return {name for name, place in places.items() if not (place.is_file() or place.is_dir()) or place.is_symlink()}


def _cases(report: Path) -> Iterator[tuple[Key, str]]:
    """The tests of a JUnit file that were not skipped."""
    if not report.exists():
        return
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        failure = next((found for found in map(case.find, ("failure", "error")) if found is not None), None)
        message = "" if failure is None else failure.get("message") or failure.text or "failed"
        yield _key(case.get("classname", ""), case.get("name", "")), message


def _key(place: str, name: str) -> Key:
    """Classes of pytest belong to the test's name, suites of Robot to the place."""
    in_class = re.fullmatch(r"(.*\btest_\w+)\.(.+)", place)
    return (in_class[1], f"{in_class[2]}.{name}") if in_class else (place, name)


def _row(what: str, *tallies: Tally) -> str:
    runs, failures = sum(tally.runs for tally in tallies), sum(tally.failures for tally in tallies)
    log = tallies[0].first_log if len(tallies) == 1 else ""
    return f"{what:<100} {runs:>7} {failures:>8}  {log}".rstrip()


@contextmanager
def helpers(arguments: argparse.Namespace) -> Iterator[None]:
    """What makes it hard for the runs: busy loops, and threads that are quick and slow by turns."""
    commands = [["-c", BUSY_LOOP]] * arguments.load
    if arguments.jitter:
        commands.append([str(JITTER), str(os.getpid())])
    processes = [subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=TIME_TO_END)
            process.kill()
            process.wait()


def say(*lines: str) -> None:
    """Progress, beside the table on stdout."""
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def _load() -> float | None:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="how often everything runs (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="nothing begins after so many (default: no end)"
    )
    parser.add_argument("--suites", nargs="+", metavar="PATH", help="suites; alone, no tests run (default: robot)")
    parser.add_argument(
        "--tests",
        nargs="+",
        metavar="PATTERN",
        help="what pytest takes: files, node ids, '-k EXPRESSION'; alone, no suites run (default: tests)",
    )
    parser.add_argument("--load", type=int, default=os.cpu_count(), help="busy loops (default: one a core)")
    parser.add_argument(
        "--jitter", action="store_true", help="let all threads be quick and slow by turns: shows races (Linux, root)"
    )
    parser.add_argument("--processes", type=int, default=4, help="of pabot and of pytest (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=60, help="minutes after which a run hangs (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the order of round N is that of SEED + N (default: 0)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "soak", help="directory for what is kept")
    arguments = parser.parse_args()
    if arguments.jitter and not (sys.platform == "linux" and os.geteuid() == 0):
        parser.error("--jitter needs Linux and root: it changes how threads are scheduled. Leave it out, or use --load")
    if not arguments.suites and not arguments.tests:
        arguments.suites, arguments.tests = [str(ROOT / "robot")], ["tests"]
    arguments.suites = [str(Path(path).resolve()) for path in arguments.suites or ()]
    arguments.tests = [word for pattern in arguments.tests or () for word in shlex.split(pattern)]
    arguments.output = arguments.output.resolve()
    return arguments


def main() -> int:
    """Soaks, prints the table, and says with its exit status whether all is well."""
    arguments = _arguments()
    with suppress(FileNotFoundError):
        for old in arguments.output.glob("round-*"):
            shutil.rmtree(old)
    arguments.output.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of thousands of processes compiles what it imports
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it starts in the background ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    soak = Soak(arguments)
    with helpers(arguments):
        try:
            soak.run()
        except KeyboardInterrupt:
            say("interrupted")
    soak.print_table()
    return 0 if soak.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
