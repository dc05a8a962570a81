"""Servers and clients tell their story in Robot's log: in order, nothing lost, and no flood."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from robot_run import run_robot

if TYPE_CHECKING:
    from pathlib import Path

    from robot_run import Outcome

HEAD = """\
*** Settings ***
Library    ComfyMockLibrary    timeout=60 s    shutdown_timeout=60 s
Library    OperatingSystem

*** Test Cases ***
Story
"""

LINE = re.compile(r"\[(Server \d+|Client [\w-]+)\] (\d\d:\d\d:\d\d\.\d{3}) (.*)")


def test_servers_and_clients_tell_one_story_in_order_of_time(tmp_path: Path) -> None:
    story = logged(
        tmp_path,
        """
    ${server} =    Start Mock Server
    Connect Client    alias=one    base_delay=10 ms    max_delay=10 ms    max_attempts=None
    Evaluate    os.kill(${server.pid}, signal.SIGTERM)    # no keyword of the library: what comes of it is logged later
    Wait For Disconnection    # the server has said before that it stops
    Wait For Mock Server To Stop
    Restart Mock Server
    Wait For Connection
    Wait For Event    reconnected
    Kill Mock Server    signal=SIGKILL
    Wait For Disconnection
    Log    PORT ${server.port}
""",
    )

    (port,) = re.findall(r"PORT (\d+)", story.log)
    assert {line.party for line in lines(story)} == {f"Server {port}", "Client one"}
    assert [line.event for line in lines(story) if line.party == "Client one" and line.event != "reconnecting"] == [
        "connected",
        "disconnected",
        "connected",
        "reconnected",
        "disconnected",
    ]
    assert [line.event for line in lines(story) if line.party == f"Server {port}"] == [
        "life",
        "stopping:",
        "stopped",
        "life",
    ]
    for message in story.messages:
        stamps = [stamp for _, stamp, _ in LINE.findall(message.text)]
        assert stamps == sorted(stamps), message.text
    assert any(
        {"Server", "Client"} <= {party.split()[0] for party, _, _ in LINE.findall(m.text)} for m in story.messages
    )


def test_the_story_of_several_servers_names_each_by_its_port(tmp_path: Path) -> None:
    story = logged(
        tmp_path,
        """
    ${a} =    Start Mock Server    alias=a
    ${b} =    Start Mock Server    alias=b
    Kill All Mock Servers
    Log    PORTS ${a.port} ${b.port}
""",
    )

    ((a, b),) = re.findall(r"PORTS (\d+) (\d+)", story.log)
    assert [line.party for line in lines(story) if line.event == "stopped"] == [f"Server {b}", f"Server {a}"]


def test_a_line_that_is_not_complete_yet_is_logged_when_it_is_and_only_once(tmp_path: Path) -> None:
    story = logged(
        tmp_path,
        """
    ${server} =    Start Mock Server
    Connect Client    # then it has said that it listens
    Append To File    ${server.log_file}    The first half
    Is Mock Server Running
    Append To File    ${server.log_file}    ${SPACE}and thé second.\\nThe next
    Get Mock Server
    Is Mock Server Running
    Append To File    ${server.log_file}    ${SPACE}one.\\n\\nLast words without an end
    Kill Mock Server    signal=SIGKILL
    Is Mock Server Running
""",
    )

    logged_by = {
        text: message.keyword
        for message in story.messages
        for text in re.findall(r"\[Server \d+\] +([TL].*)", message.text)
    }
    assert logged_by == {
        "The first half and thé second.": "Get Mock Server",
        "The next one.": "Kill Mock Server",
        "Last words without an end": "Kill Mock Server",
    }
    for text in logged_by:
        assert story.log.count(text) == 1


def test_messages_of_the_server_are_details(tmp_path: Path) -> None:
    steps = """
    Start Mock Server
    Connect Client
    Queue Prompt
    Wait For Event    executing    node=None
"""
    (tmp_path / "info").mkdir()
    (tmp_path / "debug").mkdir()
    brief = logged(tmp_path / "info", steps)
    detailed = logged(tmp_path / "debug", steps, "--loglevel", "DEBUG")

    assert "connected" in {line.event for line in lines(brief)}
    assert not {"status", "execution_start", "executing"} & {line.event for line in lines(brief)}
    assert {"connected", "status", "execution_start", "executing"} <= {line.event for line in lines(detailed)}
    assert not [m for m in detailed.messages if m.level == "INFO" and "execution_start" in m.text]


def test_a_wait_with_many_events_is_no_flood(tmp_path: Path) -> None:
    story = logged(
        tmp_path,
        """
    Start Mock Server    status_interval=5 ms
    ${client} =    Connect Client
    Wait Until Keyword Succeeds    60 s    50 ms    Should Be True    len($client.journal) > 30
    Event Should Not Fire    never    timeout=0 s
""",
        "--loglevel",
        "TRACE",
    )

    wait = [message for message in story.messages if message.keyword == "Event Should Not Fire"]
    assert sum(message.text.count("] ") for message in wait) > 20  # the events are there
    assert len(wait) <= 4  # arguments and return value are two


def test_a_failure_is_said_once_and_in_one_line(tmp_path: Path) -> None:
    run = run_robot(
        tmp_path,
        HEAD
        + """
    Start Mock Server
    Connect Client
    Wait For Event    never    timeout=10 ms
""",
    )

    failure = run.tests["Story"].message
    assert failure.startswith("Event 'never' did not come within 0.01 s.")
    assert "\n" not in failure
    assert [message.level for message in run.tests["Story"].messages if failure in message.text] == ["FAIL"]
    assert run.printed.count(failure) == 1


def test_the_whole_output_can_be_logged_once_more(tmp_path: Path) -> None:
    story = logged(
        tmp_path,
        """
    Start Mock Server
    Restart Mock Server
    Log Mock Server Output
""",
    )

    (whole,) = [
        message.text.splitlines()
        for message in story.messages
        if message.keyword == "Log Mock Server Output" and message.text.startswith("Life 1 ")
    ]
    assert [re.sub(r"\(\w{12}\)", "(LIFE)", text) for text in whole if not text.startswith("[")] == [
        "Life 1 (LIFE) ended with exit status 0:"
    ]
    assert [LINE_OF_OUTPUT.sub("", text) for text in whole if text.startswith("[")][-2:] == [
        "stopping: SIGTERM",
        "stopped",
    ]


class Line:
    """A line of the story."""

    def __init__(self, party: str, text: str) -> None:
        self.party = party
        self.event = text.split(maxsplit=1)[0]


LINE_OF_OUTPUT = re.compile(r"\[Server \d+\] \S+ \S+ ")


def lines(story: Outcome) -> list[Line]:
    return [Line(party, text) for message in story.messages for party, _, text in LINE.findall(message.text)]


def logged(directory: Path, steps: str, *options: str) -> Outcome:
    """Runs a test that must pass, and without warnings."""
    run = run_robot(directory, HEAD + steps.lstrip("\n"), *options)
    run.should_have_passed()
    assert run.errors == ()
    return run.tests["Story"]
