"""The programs in tests/soak work, and see what they are there to see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from robot_run import PROJECT, eventually

if TYPE_CHECKING:
    from pathlib import Path

SOAK = PROJECT / "tests" / "soak"
LONG = 240.0
"""Seconds that nothing takes."""

SUITE = """\
*** Test Cases ***
Good
    No Operation

Bad Every Other Time
    File Should Not Be There

*** Keywords ***
File Should Not Be There
    ${{file}} =    Evaluate    pathlib.Path(r"{file}")
    ${{existed}} =    Evaluate    $file.exists()
    IF    $existed    Call Method    ${{file}}    unlink
    IF    not $existed    Call Method    ${{file}}    touch
    Should Not Be True    $existed    it was there
"""

TESTS = """\
import pytest

def test_good():
    pass

class TestOf:
    def test_bad(self, tmp_path):
        (tmp_path / "left").touch()
        raise ValueError("as ever")

@pytest.mark.skip
def test_skipped():
    pass
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the programs, to its end."""
    command = [sys.executable, "-W", "error", str(SOAK / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)


def test_nothing_grows_in_fifty_restarts_with_three_clients() -> None:
    cycles = run("cycles.py", "--cycles", "50", "--clients", "3")

    assert cycles.returncode == 0, cycles.stdout + cycles.stderr
    assert cycles.stdout.startswith("3 clients were connected again after each of 50 restarts, each once.")
    assert "\ndescriptors " in cycles.stdout


def test_what_fails_once_is_counted_and_its_log_kept(tmp_path: Path) -> None:
    suite, tests, output = tmp_path / "flaky.robot", tmp_path / "test_flaky.py", tmp_path / "soak"
    suite.write_text(SUITE.format(file=tmp_path / "file"), encoding="utf-8")
    tests.write_text(TESTS, encoding="utf-8")
    paths = ["--suites", str(suite), "--tests", str(tests), "--output", str(output)]

    soak = run("run.py", "--rounds", "3", "--load", "0", "--processes", "1", *paths)

    assert soak.returncode == 1, soak.stderr
    report = json.loads((output / "soak.json").read_text(encoding="utf-8"))
    counts = {  # where pytest takes its root to be decides whether a file's name stands before
        each["test"].removeprefix("test_flaky."): (each["runs"], each["failures"], each["first_log"])
        for each in report["results"]
    }
    assert counts == {
        "Good": (3, 0, ""),
        "Bad Every Other Time": (3, 1, "round-002/suites/printed.txt"),
        "test_good": (3, 0, ""),
        "TestOf.test_bad": (3, 3, "round-001/tests/printed.txt"),
    }
    assert "it was there" in soak.stdout
    assert "round 3 of 3, suites: 2 passed, 0 failed" in soak.stderr
    assert {path.name for path in (output / "round-002").iterdir()} == {"suites", "tests"}
    assert {path.name for path in (output / "round-003").iterdir()} == {"tests"}
    assert list((output / "round-001" / "tests" / "tmp").rglob("left"))


def test_an_exception_in_a_thread_fails_no_test_but_the_run(tmp_path: Path) -> None:
    suite, output = tmp_path / "threads.robot", tmp_path / "soak"
    # Not before Robot has: what is printed while it lets go of a keyword's output may be lost.
    suite.write_text(
        "*** Test Cases ***\nThread Ends\n"
        "    Evaluate    threading.Thread(target=lambda end=threading.main_thread().join: end() or 1 / 0).start()\n"
    )

    soak = run("run.py", "--rounds", "1", "--load", "0", "--suites", str(suite), "--output", str(output))

    assert soak.returncode == 1, soak.stderr
    assert "An exception has ended a thread, see robot_stderr.out." in soak.stdout
    assert list(output.glob("round-001/suites/pabot_results/*/robot_stderr.out"))


def test_an_interruption_ends_all_that_it_has_started(tmp_path: Path) -> None:
    suite, started = tmp_path / "endless.robot", tmp_path / "started"
    suite.write_text(
        f"*** Test Cases ***\nEndless\n    Evaluate    pathlib.Path(r'{started}').touch()\n    Sleep    1 h\n"
    )
    paths = ["--suites", str(suite), "--output", str(tmp_path / "soak")]
    soak = subprocess.Popen(
        [sys.executable, str(SOAK / "run.py"), "--load", "2", *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert eventually(lambda: started.exists() or None, LONG)
        family = psutil.Process(soak.pid).children(recursive=True)
        assert len(family) >= 4  # two loops, pabot, robot
        soak.send_signal(signal.SIGINT)
        printed, _ = soak.communicate(timeout=LONG)
    finally:
        soak.kill()
        soak.wait()
    assert soak.returncode == 1, printed
    assert eventually(lambda: not any(each.is_running() for each in family) or None, LONG)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may let a thread be quick again")
def test_threads_are_quick_and_slow_by_turns_and_in_the_end_as_they_were() -> None:
    waiting = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(0, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        command = [sys.executable, str(SOAK / "jitter.py"), str(parent.pid)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as jitter:
            for policy in (os.SCHED_IDLE, os.SCHED_OTHER, os.SCHED_IDLE):
                assert eventually(lambda policy=policy: os.sched_getscheduler(child.pid) == policy or None, LONG)
            jitter.communicate()
        assert jitter.returncode == 0
        # Not at once, as a soak may have jitter of its own around this test.
        assert eventually(lambda: os.sched_getscheduler(child.pid) == os.SCHED_OTHER or None, LONG)
        parent.communicate(b"\n")
