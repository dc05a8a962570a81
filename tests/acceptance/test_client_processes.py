"""Any program as a client of a suite: owned completely, heard in the log, and missed when it ends."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from robot_run import run_robot, started_robot

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from robot_run import RobotProcess

CLIENT = """\
import os, subprocess, sys, urllib.request

PARENT, CHILD = "the client itself", "what it has started"
if sys.argv[1:2] != ["child"]:
    urllib.request.urlopen(sys.argv[1] + "/queue").close()
    subprocess.Popen([sys.executable, __file__, "child"])
    print(PARENT, flush=True)
    open(f"started-{os.getpid()}", "w").close()
else:
    os.setsid()
    print(CHILD, flush=True)
    open(f"started-{os.getpid()}", "w").close()
sys.stdin.read() if sys.argv[1:2] != ["child"] else __import__("signal").pause()
"""

HEAD = """\
*** Settings ***
Library         ComfyMockLibrary    startup_timeout=1 hour    timeout=1 hour
Library         OperatingSystem
Library         Process
"""

OUTAGE = (
    HEAD
    + """\
Suite Setup     Have A Client    {state}

*** Test Cases ***
Outage
    [Timeout]    {test_timeout}
    Create File    ready
    Wait Until Created    never    timeout=1 hour
    [Teardown]    {teardown}

*** Keywords ***
Have A Client
    [Arguments]    ${{state}}
    Start Mock Server
    ${{client}} =    Start Client Process    python3    client.py    {{url}}    alias=mine
    Wait Until Created    started-${{client.pid}}    timeout=1 hour
    IF    '${{state}}' == 'frozen'    Run Process    kill    -STOP    ${{client.pid}}

Linger
    Create File    lingers
    Wait Until Created    never    timeout=1 hour
"""
)


@pytest.mark.parametrize("state", ["running", "frozen"])
class TestNoProcessIsLeft:
    """Neither the client nor what it has started, whatever session that is in."""

    def test_by_a_test_timeout(self, tmp_path: Path, state: str) -> None:
        with started_outage(tmp_path, state, test_timeout="100 ms") as robot:
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message.startswith("Test timeout ")

    def test_by_ctrl_c(self, tmp_path: Path, state: str) -> None:
        with started_outage(tmp_path, state) as robot:
            wait_until_ready(robot, state)
            robot.press_ctrl_c()
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message == "Execution terminated by signal"

    def test_by_ctrl_c_twice(self, tmp_path: Path, state: str) -> None:
        with started_outage(tmp_path, state, teardown="Linger") as robot:
            wait_until_ready(robot, state)
            robot.press_ctrl_c()
            robot.wait_for((tmp_path / "lingers").exists, "The teardown")
            robot.press_ctrl_c()
            robot.wait()
            robot.should_leave_no_process()
            assert "Execution forcefully stopped." in robot.printed

    def test_by_sigterm(self, tmp_path: Path, state: str) -> None:
        with started_outage(tmp_path, state) as robot:
            wait_until_ready(robot, state)
            robot.send_signal(signal.SIGTERM)
            robot.wait()
            robot.should_leave_no_process()
            assert robot.result().tests["Outage"].message == "Execution terminated by signal"

    def test_by_sigkill(self, tmp_path: Path, state: str) -> None:
        with started_outage(tmp_path, state) as robot:
            wait_until_ready(robot, state)
            robot.send_signal(signal.SIGKILL)
            assert robot.wait() == -signal.SIGKILL
            robot.should_leave_no_process()


def started_outage(
    directory: Path, state: str, *, teardown: str = "NONE", test_timeout: str = "NONE"
) -> AbstractContextManager[RobotProcess]:
    """Starts a run in which a client will be in a state, and the run wait for ever."""
    (directory / "client.py").write_text(CLIENT, encoding="utf-8")
    return started_robot(directory, OUTAGE.format(state=state, test_timeout=test_timeout, teardown=teardown))


def wait_until_ready(robot: RobotProcess, state: str) -> None:
    """Waits until the client and its child run, and the client is in its state."""
    robot.wait_for((robot.directory / "ready").exists, "The file ready")
    robot.wait_for(lambda: len(list(robot.directory.glob("started-*"))) == 2, "The start of the child")
    if state == "frozen":
        robot.wait_for(robot.has_a_frozen_one, "The standstill")


CASES = (
    HEAD
    + """\
Test Setup      Start Mock Server

*** Test Cases ***
Story
    ${client} =    Start Client Process    python3    client.py    {url}    alias=mine
    Wait Until Created    started-${client.pid}    timeout=1 hour
    Client Process Should Be Running
    Restart Mock Server
    ${status} =    Stop Client Process
    Should Be Equal    ${status}    ${-15}
    Log Client Process Output

One Job
    Start Client Process    python3    -c
    ...    import os, urllib.request as u; u.urlopen(os.environ["COMFYUI_URL"] + "/queue")
    ${status} =    Wait For Client Process To End
    Should Be Equal    ${status}    ${0}

Server Down
    Kill Mock Server
    ${client} =    Start Client Process    python3    -c    print("no server needed")
    Wait For Client Process To End

Closed With The Test
    Start Client Process    python3    client.py    {url}    alias=mine

Is Closed
    Run Keyword And Expect Error    *There is no client process 'mine'. Known: none.
    ...    Stop Client Process    mine

Another Server
    ${server} =    Get Mock Server
    ${client} =    Start Client Process    python3    client.py    {url}    url=${server.url}
    Should Be Equal    ${client.command}[2]    ${server.url}

Ends At Once
    [Documentation]    Client process 'mine' ended with exit status 3 before it had sent a request to URL.
    ...    Log: results/comfymock/mine.log. End of its output: bye
    Start Client Process    python3    -c    print("bye"); raise SystemExit(3)    alias=mine

Never Asks
    [Documentation]    Client process 'mine' did not send a request to URL within 0.2 s. Server: running, pid PID.
    ...    Log: LOG. Does it take the address from its arguments or its environment? wait=no goes on.
    ...    It has written nothing.
    Start Client Process    sleep    3600    alias=mine    timeout=200 ms

Missing
    [Documentation]    Client process 'mine' cannot be started: No such file or directory: no-such-program.
    Start Client Process    no-such-program    {url}    alias=mine

Has Ended
    [Documentation]    Client process 'mine' should be running but ended with SIGKILL. It has written nothing.
    Start Client Process    sleep    3600    alias=mine    wait=no
    Stop Client Process    signal=SIGKILL
    Client Process Should Be Running

Does Not End
    [Documentation]    Client process 'mine' did not end within 0.2 s: it is running, pid PID.
    ...    End it with `Stop Client Process`. It has written nothing.
    Start Client Process    sleep    3600    alias=mine    wait=no
    Wait For Client Process To End    200 ms

None
    [Documentation]    ValueError: There is no client process. Start one with `Start Client Process`.
    Client Process Should Be Running

No Command
    [Documentation]    ValueError: Give the program that is the client, and its arguments:
    ...    node my_client.js {url}.
    Start Client Process
"""
)


def test_client_processes_in_suites(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT, encoding="utf-8")

    run = run_robot(tmp_path, CASES)

    messages = {name: test for name, test in run.tests.items() if test.documentation}
    passed = {name: test.message for name, test in run.tests.items() if not test.documentation}
    assert set(passed.values()) == {""}, passed
    for name, test in messages.items():
        assert unified(test.message) == test.documentation.replace("\n", " "), name
    story = run.tests["Story"]
    assert "[Client mine] the client itself" in story.log
    assert any(message.text.startswith("mine ended with SIGTERM:\n[Client mine] ") for message in story.messages)
    assert all("the client itself" not in message.text for message in story.messages[:1])
    assert "[Client process-" in run.tests["Server Down"].log


def unified(message: str) -> str:
    """A message on one line, without what differs from run to run."""
    message = " ".join(message.split())
    message = re.sub(r"http://127\.0\.0\.1:\d+", "URL", message)
    message = re.sub(r"pid \d+", "pid PID", message)
    return re.sub(r"Log: results/comfymock/server-\d+-life-1\.log", "Log: LOG", message)
