"""However a run ends, and whatever its mock server is doing then, no process is left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from robot_run import (
    BEFORE_IT_ASKS_TO_DIE_WITH_ITS_PARENT,
    BEFORE_IT_LISTENS,
    eventually,
    servers_held_at,
    started_robot,
)

from ComfyMockLibrary.engine import launchers

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from robot_run import RobotProcess

SUITE = """\
*** Settings ***
Library         ComfyMockLibrary    startup_timeout=1 hour    timeout=1 hour
Library         OperatingSystem
Suite Setup     {suite_setup}

*** Test Cases ***
Outage
    [Timeout]    {test_timeout}
    {last_step}
    [Teardown]    {teardown}

*** Keywords ***
Have A Running Server
    Start Mock Server
    Connect Client

Have A Frozen Server
    Have A Running Server
    Freeze Mock Server

Wait For What Never Comes
    Create File    ready
    Wait For Event    never

Linger
    Create File    lingers
    Wait Until Created    never    timeout=1 hour
"""

SUITE_SETUPS = {"starting": "No Operation", "running": "Have A Running Server", "frozen": "Have A Frozen Server"}


@pytest.mark.parametrize("launcher", sorted(launchers._LAUNCHERS))
@pytest.mark.parametrize("state", SUITE_SETUPS)
class TestNoProcessIsLeft:
    """One cell of the matrix each."""

    def test_by_a_test_timeout(self, tmp_path: Path, state: str, launcher: str) -> None:
        # A server that starts may take its time until it is held: its test has a timeout that is not meant to come.
        test_timeout = "1 hour" if state == "starting" else "100 ms"
        with started_outage(tmp_path, state, launcher, test_timeout=test_timeout) as robot:
            if state == "starting":
                wait_until_ready(robot, state)
                robot.send_signal(signal.SIGALRM)  # what Robot's own timer sends when the time is over
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message.startswith("Test timeout ")

    def test_by_ctrl_c(self, tmp_path: Path, state: str, launcher: str) -> None:
        with started_outage(tmp_path, state, launcher) as robot:
            wait_until_ready(robot, state)
            robot.press_ctrl_c()
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message == "Execution terminated by signal"
            assert robot.result().errors == ()

    def test_by_ctrl_c_twice(self, tmp_path: Path, state: str, launcher: str) -> None:
        with started_outage(tmp_path, state, launcher, teardown="Linger") as robot:
            wait_until_ready(robot, state)
            robot.press_ctrl_c()
            robot.wait_for((tmp_path / "lingers").exists, "The teardown")
            robot.press_ctrl_c()
            robot.wait()
            robot.should_leave_no_process()
            assert "Execution forcefully stopped." in robot.printed

    def test_by_sigterm(self, tmp_path: Path, state: str, launcher: str) -> None:
        with started_outage(tmp_path, state, launcher) as robot:
            wait_until_ready(robot, state)
            robot.send_signal(signal.SIGTERM)
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message == "Execution terminated by signal"

    def test_by_sigkill(self, tmp_path: Path, state: str, launcher: str) -> None:
        with started_outage(tmp_path, state, launcher) as robot:
            wait_until_ready(robot, state)
            robot.send_signal(signal.SIGKILL)
            assert robot.wait() == -signal.SIGKILL
            robot.should_leave_no_process()


@pytest.mark.parametrize("launcher", sorted(launchers._LAUNCHERS))
def test_a_server_whose_parent_is_killed_before_it_can_know_ends_all_the_same(tmp_path: Path, launcher: str) -> None:
    hold_at = BEFORE_IT_ASKS_TO_DIE_WITH_ITS_PARENT
    with started_outage(tmp_path, "starting", launcher, hold_at=hold_at) as robot:
        wait_until_ready(robot, "starting")
        robot.send_signal(signal.SIGKILL)
        robot.wait()
        assert robot.started_processes()

        with (tmp_path / "gate").open("w"):
            robot.should_leave_no_process()


def started_outage(
    directory: Path,
    state: str,
    launcher: str,
    *,
    teardown: str = "NONE",
    test_timeout: str = "NONE",
    hold_at: str = BEFORE_IT_LISTENS,
) -> AbstractContextManager[RobotProcess]:
    """Starts a run in which a server will be in a state, and the run wait for ever."""
    hold = servers_held_at(directory, hold_at) if state == "starting" else {}
    suite = SUITE.format(
        suite_setup=SUITE_SETUPS[state],
        test_timeout=test_timeout,
        last_step="Start Mock Server" if state == "starting" else "Wait For What Never Comes",
        teardown=teardown,
    )
    return started_robot(directory, suite, environment={launchers.SWITCH: launcher, **hold})


def wait_until_ready(robot: RobotProcess, state: str) -> None:
    """Waits until the server is in its state, and makes sure that there is something to be left."""
    sign = robot.directory / ("holds" if state == "starting" else "ready")
    robot.wait_for(sign.exists, f"The file {sign.name}")
    assert robot.started_processes()
    if state == "frozen":
        assert eventually(lambda: robot.has_a_frozen_one() or None, 30.0)
