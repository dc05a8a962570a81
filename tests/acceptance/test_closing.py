"""What a test, a suite or a run opened is closed when it ends, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from robot_run import run_robot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robot_run import FinishedRun

LOOKING = """
*** Keywords ***
Remember The Server
    ${server} =    Get Mock Server
    Set Global Variable    ${REMEMBERED}    ${server}
    Set Global Variable    ${PID}    ${server.pid}

Remembered Server Should Run
    ${server} =    Get Mock Server    ${REMEMBERED}
    Should Be Equal    ${server.pid}    ${PID}
    Should Be True    ${{ psutil.pid_exists($PID) }}
    Should Be True    ${{ $server.port in held_ports.held_ports() }}

Remembered Server Should Be Gone
    Should Not Be True    ${{ psutil.pid_exists($PID) }}
    Run Keyword And Expect Error    ValueError: The mock server * is closed.*    Get Mock Server    ${REMEMBERED}
    Should Not Be True    ${{ $REMEMBERED.port in held_ports.held_ports() }}

No Client Should Be Left
    Run Keyword And Expect Error    ValueError: There is no client.*    Get Connection State
    Should Be Empty    ${{ [thread.name for thread in threading.enumerate() if 'ComfyClient' in thread.name] }}
"""


def run_suites(directory: Path, suites: str | Mapping[str, str], *options: str) -> FinishedRun:
    """Runs suites that can look at the ports that their process holds."""
    return run_robot(directory, suites, "--pythonpath", str(Path(__file__).parent), *options)


def test_what_a_test_opened_is_closed_when_it_ends(tmp_path: Path) -> None:
    run_suites(
        tmp_path,
        suite(
            """
First
    Start Mock Server
    Connect Client
    Remember The Server
    Remembered Server Should Run

Second
    Remembered Server Should Be Gone
    No Client Should Be Left
    Run Keyword And Expect Error    ValueError: There is no mock server.*    Get Mock Server
"""
        ),
    ).should_have_passed()


def test_what_a_suite_setup_opened_lives_for_the_suite(tmp_path: Path) -> None:
    run_suites(
        tmp_path,
        {
            "a.robot": suite(
                """
First
    Remember The Server
    Connect Client    alias=of the test
    Wait For Event    status
    ${state} =    Get Connection State    of the suite
    Should Be Equal    ${state}    connected

Second
    Remembered Server Should Run
    Wait For Connection    client=of the suite
    Run Keyword And Expect Error    ValueError: There is no client 'of the test'*    Is Connected    of the test
""",
                setup="Open Both",
                keywords="""
Open Both
    Start Mock Server
    Connect Client    alias=of the suite
""",
            ),
            "b.robot": suite(
                """
After It
    Remembered Server Should Be Gone
    No Client Should Be Left
"""
            ),
        },
    ).should_have_passed()


def test_a_suites_server_that_a_test_starts_again_is_still_the_suites(tmp_path: Path) -> None:
    run_suites(
        tmp_path,
        suite(
            """
First
    Kill Mock Server
    Start Mock Server    alias=main
    Remember The Server

Second
    Remembered Server Should Run
    Restart Mock Server
    Remember The Server

Third
    Remembered Server Should Run
""",
            setup="Start Mock Server    alias=main",
        ),
    ).should_have_passed()


def test_a_server_of_a_suite_of_suites_lives_for_all_of_them(tmp_path: Path) -> None:
    inner = suite(
        """
Inner
    Remembered Server Should Run
    ${own} =    Get Mock Server    own
    Mock Server Should Be Running    ${own}
""",
        setup="Start Mock Server    alias=own",
    )
    run_suites(
        tmp_path,
        {
            "outer/__init__.robot": suite("", setup="Start And Remember", keywords=STARTING_AND_REMEMBERING),
            "outer/a.robot": inner,
            "outer/b.robot": inner,
            "z.robot": suite(
                """
After It
    Remembered Server Should Be Gone
    Run Keyword And Expect Error    ValueError: There is no mock server 'own'*    Get Mock Server    own
"""
            ),
        },
    ).should_have_passed()


@pytest.mark.parametrize(
    ("mode", "in_the_next_test", "in_the_next_suite"),
    [
        ("TEST", "Remembered Server Should Be Gone", "Remembered Server Should Be Gone"),
        ("SUITE", "Remembered Server Should Run", "Remembered Server Should Be Gone"),
        ("MANUAL", "Remembered Server Should Run", "Remembered Server Should Run"),
    ],
)
def test_when_to_close_can_be_chosen(tmp_path: Path, mode: str, in_the_next_test: str, in_the_next_suite: str) -> None:
    arguments = f"auto_close={mode}"
    first = "\nFirst\n    Start And Remember\n"
    run_suites(
        tmp_path,
        {
            "a.robot": suite(
                f"{first}\nSecond\n    {in_the_next_test}\n", arguments=arguments, keywords=STARTING_AND_REMEMBERING
            ),
            "b.robot": suite(f"\nThird\n    {in_the_next_suite}\n", arguments=arguments),
        },
    ).should_have_passed()


def test_libraries_of_two_names_close_only_their_own(tmp_path: Path) -> None:
    run_suites(
        tmp_path,
        """\
*** Settings ***
Library    ComfyMockLibrary    AS    Testwise
Library    ComfyMockLibrary    auto_close=SUITE    AS    Suitewise

*** Test Cases ***
First
    ${short} =    Testwise.Start Mock Server    alias=main
    ${long} =    Suitewise.Start Mock Server    alias=main
    Testwise.Connect Client    alias=one
    Suitewise.Connect Client    alias=one
    Should Not Be Equal    ${short.port}    ${long.port}
    Set Suite Variable    ${short}
    Set Suite Variable    ${long}

Second
    Should Not Be True    ${short.is_running}
    Run Keyword And Expect Error    ValueError: There is no client.*    Testwise.Get Connection State
    Should Be True    ${long.is_running}
    Suitewise.Connection Should Be Valid
""",
    ).should_have_passed()


def test_a_test_timeout_within_a_wait_leaves_nothing_and_the_next_test_works(tmp_path: Path) -> None:
    run = run_suites(
        tmp_path,
        suite(
            """
It Takes Too Long
    [Timeout]    3 s
    Start Mock Server
    Connect Client
    Remember The Server
    Log    Waiting now.
    Wait For Event    never    timeout=1 hour

The Next One Works
    Remembered Server Should Be Gone
    No Client Should Be Left
    Start Mock Server
    Connect Client
    Queue Prompt
    Wait For Event    executing    node=None
"""
        ),
    )

    too_long, next_one = run.tests.values()
    assert too_long.message == "Test timeout 3 seconds exceeded."
    assert "Waiting now." in too_long.log
    assert (next_one.status, next_one.message) == ("PASS", "")


@pytest.mark.parametrize(
    "failing",
    [
        "Wait For Event    never    timeout=10 ms",
        "Start Mock Server    --no-such-option",
        "Reconnect Client    nobody",
    ],
)
def test_a_keyword_for_failures_runs_once_for_a_failure(tmp_path: Path, failing: str) -> None:
    run = run_suites(
        tmp_path,
        suite(
            f"""
It Fails
    Start Mock Server
    Connect Client
    Mock Server Should Be Running
    {failing}

It Passes
    Start Mock Server
""",
            arguments="run_on_failure=Note The Failure",
            keywords="""
Note The Failure
    Log    A failure was noted.
    Connection State Should Be    failed
""",
        ),
    )

    fails, passes = run.tests.values()
    assert fails.status == "FAIL"
    assert not fails.message.startswith("Connection state should be 'failed'")
    assert fails.log.count("A failure was noted.") == 1
    assert passes.log.count("A failure was noted.") == 0


def test_a_clients_keyword_for_giving_up_runs_once_each_time_before_the_next_keyword(tmp_path: Path) -> None:
    run_suites(
        tmp_path,
        suite(
            """
It Gives Up Twice
    Start Mock Server
    Connect Client    max_attempts=1    base_delay=10 ms    on_failure=Note That It Gave Up
    Kill Mock Server
    Wait For Event    reconnection_failed
    Should Be Equal    ${NOTES}    ${1}
    Connection State Should Be    failed
    Is Connected
    Should Be Equal    ${NOTES}    ${1}
    Reconnect Client
    Wait For Event    reconnection_failed
    Should Be Equal    ${NOTES}    ${2}
    Restart Mock Server
    Reconnect Client
    Wait For Connection
    Should Be Equal    ${NOTES}    ${2}
""",
            keywords="""
Note That It Gave Up
    Connection State Should Be    failed
    Set Test Variable    ${NOTES}    ${NOTES + 1}

*** Variables ***
${NOTES}    ${0}
""",
        ),
    ).should_have_passed()


STARTING_AND_REMEMBERING = """
Start And Remember
    Start Mock Server
    Remember The Server
"""


def suite(tests: str, *, arguments: str = "", setup: str = "No Operation", keywords: str = "") -> str:
    """A suite's text."""
    section = "*** Test Cases ***" if tests else ""
    return f"""\
*** Settings ***
Library        ComfyMockLibrary    {arguments}
Suite Setup    {setup}

{section}{tests}{LOOKING}{keywords}"""


def test_a_client_of_the_users_own_that_fails_to_close_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Own:\n"
        "    def connect(self, url, on_event):\n"
        "        on_event('connected')\n\n"
        "    def close(self):\n"
        "        raise OSError('is closed already')\n",
        encoding="utf-8",
    )
    run = run_suites(
        tmp_path,
        suite(
            """
First
    Start Mock Server    alias=a
    Start Network Proxy
    Connect Client    client=own.Own    alias=mine
    Connect Client    a    alias=ours
    Remember The Server

Second
    Remembered Server Should Be Gone
    No Client Should Be Left
    Start Mock Server    alias=a
    Connect Client    client=own.Own    alias=mine
    Run Keyword And Expect Error    OSError: is closed already    Close Client
    Connect Client    a    alias=mine
"""
        ),
        "--pythonpath",
        str(tmp_path),
    )

    run.should_have_passed()
    assert [error for error in run.errors if "is closed already" in error]
