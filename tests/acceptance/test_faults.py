"""How long faults last in a run, and what is left of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from robot_run import BEFORE_IT_STARTS_A_PROGRAM, eventually, run_robot, servers_held_at, started_robot

if TYPE_CHECKING:
    from pathlib import Path

STEPS = """\
*** Keywords ***
Have A Server With A Client
    Start Mock Server    --status-interval    0    node_duration=0 s    alias=main
    Connect Client    alias=one    base_delay=20 ms    max_delay=100 ms    max_attempts=None

Faults Should Be
    [Arguments]    @{expected}
    @{faults} =    Get Faults
    ${names} =    Evaluate    [fault.name for fault in $faults]
    Should Be Equal    ${names}    ${expected}
"""


def head(setup: str = "") -> str:
    """Beginning of a suite, up to its tests."""
    lines = ["*** Settings ***", "Library    ComfyMockLibrary    timeout=20 s", f"Suite Setup    {setup}", STEPS]
    return "\n".join(lines)


SHARED_SERVER = head("Have A Server With A Client") + "\n*** Test Cases ***\n"


def test_a_fault_ends_with_its_test_on_a_server_that_lives_on(tmp_path: Path) -> None:
    run_robot(
        tmp_path,
        SHARED_SERVER
        + """\
First
    Fail Request    GET    /queue
    Refuse Upgrade
    Connection Should Not Be Valid
    Faults Should Be    fail_request    refuse_upgrade

Second
    Faults Should Be
    Connection Should Be Valid
    Reconnect Client
    Wait For Connection
""",
    ).should_have_passed()


def test_a_name_with_a_slip_is_warned_of(tmp_path: Path) -> None:
    run = run_robot(tmp_path, SHARED_SERVER + "First\n    Drop Message    exectued\n")
    run.should_have_passed()
    assert (
        "[ WARN ] main: fault drop_message-1 may never begin or strike. "
        "ComfyUI has no message of the type 'exectued'. Did you mean 'executed'?"
    ) in run.printed


def test_a_fault_lasts_as_long_as_it_is_told(tmp_path: Path) -> None:
    run_robot(
        tmp_path,
        {
            "__init__.robot": head("Have A Server With A Client"),
            "1_first.robot": head("Lose Output Files")
            + """
*** Test Cases ***
One
    Suppress Pong
    Lose Queue    when=terminal    until=suite
    Skip History    until=cleared
    Faults Should Be    lose_output_files    pong    lose_queue    skip_history

Two
    Faults Should Be    lose_output_files    lose_queue    skip_history
""",
            "2_second.robot": head()
            + """
*** Test Cases ***
Three
    Faults Should Be    skip_history
    Clear All Faults

Four
    Faults Should Be
""",
        },
    ).should_have_passed()


def test_faults_of_a_test_end_also_when_its_server_is_frozen_or_gone(tmp_path: Path) -> None:
    run = run_robot(
        tmp_path,
        SHARED_SERVER
        + """\
Frozen By A Keyword
    Fail Request    GET    /queue
    Freeze Mock Server

Thawed
    Thaw Mock Server
    Faults Should Be
    Connection Should Be Valid

Frozen By A Fault
    Fail Request    GET    /queue
    ${freeze} =    Freeze Mock Server When    executing
    Queue Prompt
    Wait For Fault    ${freeze}

Goes On
    Faults Should Be
    Wait For Event    executing    node=None
    Connection Should Be Valid

Crashes
    Fail Request    GET    /queue
    Refuse Upgrade
    Crash Mock Server When    executing
    Queue Prompt
    Wait For Mock Server To Stop
    Faults Should Be    refuse_upgrade

Comes Back
    Restart Mock Server
    Wait For Connection
    Faults Should Be
    Connection Should Be Valid
""",
    )
    run.should_have_passed()
    assert run.errors == ()


@pytest.mark.parametrize(
    "wait",
    ["Wait For Fault", "Wait Until Keyword Succeeds    60 s    10 ms    Fault Should Have Struck"],
    ids=["waited for", "looked at"],
)
def test_a_server_is_not_thawed_before_a_fault_that_has_struck_has_frozen_it(tmp_path: Path, wait: str) -> None:
    suite = f"""\
*** Settings ***
Library    ComfyMockLibrary    timeout=60 s

*** Test Cases ***
Thawed As Soon As It Is Frozen
    Start Mock Server    node_duration=0 s
    Connect Client
    ${{freeze}} =    Freeze Mock Server When    executing    thaw_after=1 hour
    Queue Prompt
    {wait}    ${{freeze}}
    Thaw Mock Server
    Evaluate    open("is thawed", "w").close()
    Connection Should Be Valid
"""
    held = servers_held_at(tmp_path, BEFORE_IT_STARTS_A_PROGRAM)  # which is to thaw it: its strike is recorded by then
    with started_robot(tmp_path, suite, environment=held) as run:
        run.wait_for((tmp_path / "holds").exists, "The strike")
        assert not eventually(lambda: (tmp_path / "is thawed").exists() or None, 1.0)
        with (tmp_path / "gate").open("w"):
            run.wait()
        run.should_leave_no_process()
        run.result().should_have_passed()


def test_what_is_held_frozen_or_silent_at_the_end_of_a_run_leaves_no_process(tmp_path: Path) -> None:
    run_robot(
        tmp_path,
        """\
*** Settings ***
Library    ComfyMockLibrary    shutdown_timeout=10 s

*** Test Cases ***
Execution Is Held
    Start Mock Server    node_duration=0 s
    Connect Client
    ${hold} =    Hold Execution At    node=2    until=cleared
    Queue Prompt
    Wait For Fault    ${hold}

Network Is Held
    Start Mock Server
    Connect Client
    Hold Network    direction=both    until=cleared

Network Is Silent
    Start Mock Server
    Connect Client
    Silence Network    direction=both    until=cleared
    Stop Reading    until=cleared

Server Is Frozen
    Start Mock Server    node_duration=0 s
    Connect Client
    ${freeze} =    Freeze Mock Server When    executing    until=cleared
    Queue Prompt
    Wait For Fault    ${freeze}
""",
    ).should_have_passed()


def test_the_log_tells_of_seeds_and_faults(tmp_path: Path) -> None:
    run = run_robot(
        tmp_path,
        SHARED_SERVER
        + """\
Draws
    Start Mock Server    seed=41    alias=seeded
    Add Latency    10 ms    jitter=5 ms    direction=both    server=main
    Restart Mock Server
""",
    )
    run.should_have_passed()
    log = run.tests["Draws"].log
    assert "main: fault latency-1: latency delay=0.01 direction=both jitter=0.005 distribution=uniform" in log
    assert re.findall(r"seeded: life (\d) .* seed (\d+)\.", log) == [("1", "41"), ("2", "42")]


def test_the_same_seed_gives_the_same_faults(tmp_path: Path) -> None:
    draws = """\
    Start Mock Server    seed=7    node_duration=0 s
    Connect Client    client_id=always the same
    Drop Message    executing    probability=50%
    FOR    ${_}    IN RANGE    5
        ${prompt} =    Queue Prompt
        Wait For Event    execution_success    prompt_id=${prompt.prompt_id}
        Wait For Event    status    status.exec_info.queue_remaining=0
    END
    Send Message    behind the last of them
    Wait For Event    behind the last of them
    ${events} =    Get Events    executing
    ${nodes} =    Evaluate    [event.data.node for event in $events]
    Log    seen: ${nodes}
"""
    run = run_robot(
        tmp_path,
        f"*** Settings ***\nLibrary    ComfyMockLibrary\n*** Test Cases ***\nOne\n{draws}Two\n{draws}",
    )
    run.should_have_passed()
    seen = [re.findall(r"^seen: (.*)$", run.tests[name].log, re.MULTILINE) for name in ("One", "Two")]
    assert seen[0] == seen[1]
    assert 0 < seen[0][0].count(",") + 1 < 20
