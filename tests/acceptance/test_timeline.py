"""The timeline in Robot's log and from the command line, of real runs."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from robot_run import PROJECT, run_robot

if TYPE_CHECKING:
    from pathlib import Path

    from robot_run import FinishedRun, Message, Outcome

DRAWN = '<div class="comfy-timeline">'

SUITE = """\
*** Settings ***
Library    ComfyMockLibrary    {arguments}

*** Test Cases ***
Fails
    Start Mock Server    alias=main
    Connect Client    alias=editor
    ${{prompt}} =    Queue Prompt
    Wait For Prompt    ${{prompt}}
    Connect Client    alias=<b>gone</b>
    Close Client    <b>gone</b>
    Restart Mock Server    signal=SIGKILL
    Wait For Connection    client=editor
    Fail    as it should

Passes
    Start Mock Server    alias=other

Fails Without A Server
    Fail    as it should
"""


def run(directory: Path, arguments: str = "", suite: str = SUITE) -> FinishedRun:
    return run_robot(directory, suite.format(arguments=arguments))


def pictures(test: Outcome) -> list[Message]:
    return [message for message in test.messages if DRAWN in message.text]


def lanes(picture: str) -> list[str]:
    return re.findall(r'<div class="tl-name" title="[^"]*"><span>(.*?)</span>', picture)


class TestByItself:
    """Without a keyword."""

    def test_a_test_that_fails_has_it_at_its_end_and_others_have_not(self, tmp_path: Path) -> None:
        tests = run(tmp_path).tests
        (picture,) = pictures(tests["Fails"])
        assert tests["Fails"].messages[-1] is picture
        assert picture.keyword == "Log Timeline"
        assert lanes(picture.text) == ["main", "prompts", "requests", "editor", "&lt;b&gt;gone&lt;/b&gt;"]
        assert "ended with SIGKILL" in picture.text
        assert tests["Fails"].message == "as it should"
        assert pictures(tests["Passes"]) == []
        assert tests["Fails Without A Server"].messages[-1].keyword == "Fail"

    @pytest.mark.parametrize(
        ("argument", "expected"),
        [("on failure", [1, 0, 0]), ("ON_FAILURE", [1, 0, 0]), ("always", [1, 1, 0]), ("never", [0, 0, 0])],
    )
    def test_an_import_argument_says_when(self, tmp_path: Path, argument: str, expected: list[int]) -> None:
        tests = run(tmp_path, f"timeline={argument}").tests
        assert [len(pictures(test)) for test in tests.values()] == expected

    def test_the_library_may_have_another_name(self, tmp_path: Path) -> None:
        assert len(pictures(run(tmp_path, "AS    Mock").tests["Fails"])) == 1

    def test_under_two_names_it_has_one_all_the_same(self, tmp_path: Path) -> None:
        again = "Library    ComfyMockLibrary    AS    Mock\nSuite Setup    Set Library Search Order    Mock"
        suite = SUITE.replace("*** Settings ***", f"*** Settings ***\n{again}", 1)
        assert len(pictures(run(tmp_path, suite=suite).tests["Fails"])) == 1

    def test_a_test_that_has_run_out_of_time_has_it_too(self, tmp_path: Path) -> None:
        # The server is there before the time begins to run: on a busy machine its start may take any time.
        head = SUITE.partition("*** Test Cases")[0].rstrip() + "\nSuite Setup    Start Mock Server\n\n"
        late = "    [Timeout]    1 s\n    Event Should Not Fire    never    timeout=1 hour    client=one\n"
        setup = "    [Setup]    Connect Client    alias=one\n"
        tests = run(tmp_path, suite=f"{head}*** Test Cases ***\nLate\n{setup}{late}").tests
        assert "timeout" in tests["Late"].message
        assert len(pictures(tests["Late"])) == 1

    def test_journals_that_are_gone_do_not_keep_servers_from_being_closed(self, tmp_path: Path) -> None:
        steps = (
            "    ${{server}} =    Start Mock Server\n    Remove File    ${{server.journal_file}}\n    Fail    first\n"
        )
        head = (
            SUITE.partition("***")[0] + "*** Settings ***\nLibrary    OperatingSystem\n" + SUITE.partition("Fails")[0]
        )
        outcome = run(tmp_path, suite=f"{head}Gone\n{steps}")  # and no process is left
        assert outcome.tests["Gone"].message == "first"
        assert "cannot be read" in outcome.tests["Gone"].messages[-1].text


class TestTheKeyword:
    """`Log Timeline`."""

    SUITE = """\
*** Settings ***
Library    ComfyMockLibrary    {arguments}
Suite Setup    Start Mock Server    alias=main

*** Test Cases ***
First
    Connect Client    alias=early
    Close Client
    Log Timeline

Second
    Connect Client    alias=late
    Log Timeline
    Log Timeline    since=start

Nothing To Draw
    [Setup]    Close All Clients
    No Operation
"""

    def test_it_draws_this_test_or_everything(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, suite=self.SUITE)
        outcome.should_have_passed()
        assert [lanes(each.text) for each in pictures(outcome.tests["First"])] == [["main", "early"]]
        of_test, of_all = pictures(outcome.tests["Second"])
        assert "early" not in of_test.text
        assert lanes(of_test.text)[-1] == "late"
        assert lanes(of_all.text) == ["main", "early", "late"]

    def test_without_anything_it_says_what_to_do(self, tmp_path: Path) -> None:
        head = SUITE.partition("Fails")[0]
        test = run(tmp_path, suite=f"{head}Empty\n    Log Timeline\n").tests["Empty"]
        assert test.message == (
            "ValueError: There is nothing to draw. Start a mock server with `Start Mock Server` before."
        )


class TestTheCommand:
    """``python -m ComfyMockLibrary timeline``."""

    @staticmethod
    def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-W", "error", "-m", "ComfyMockLibrary", *arguments]
        return subprocess.run(line, cwd=directory, capture_output=True, text=True, timeout=60, check=False)

    def test_it_makes_a_page_of_the_journals_of_a_run(self, tmp_path: Path) -> None:
        run(tmp_path)
        made = self.command(tmp_path, "timeline", "results/comfymock", "-o", "out.html", "--title", "The <run>")
        assert (made.returncode, made.stdout) == (0, "")
        assert re.fullmatch(r"out\.html: \d+ journals, \d+ events\.\n", made.stderr)
        page = (tmp_path / "out.html").read_text(encoding="utf-8")
        assert "<title>The &lt;run&gt;</title>" in page
        assert lanes(page)[:4] == ["main", "prompts", "requests", "editor"]

    def test_it_writes_to_stdout_too(self, tmp_path: Path) -> None:
        run(tmp_path)
        made = self.command(tmp_path, "timeline", "results/comfymock/main*.jsonl", "-o", "-")
        assert (made.returncode, made.stderr) == (0, "")
        assert made.stdout.startswith("<!DOCTYPE html>")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "nowhere does not exist. Journals are the files *.journal.jsonl below comfymock in"),
            (["."], ". has no journal in it. Journals are the files *.journal.jsonl below comfymock in"),
            (
                [str(PROJECT / "README.md")],
                "README.md is no journal: its first line does not say whose it is. Journals",
            ),
        ],
    )
    def test_what_it_cannot_take_is_said_in_a_line(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        made = self.command(tmp_path, "timeline", *arguments)
        assert (made.returncode, made.stdout) == (2, "")
        assert message in made.stderr
        assert made.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_page_that_cannot_be_written_is_said_in_a_line(self, tmp_path: Path) -> None:
        run(tmp_path)
        made = self.command(tmp_path, "timeline", "results/comfymock", "-o", "no/such/out.html")
        assert made.returncode == 2
        assert made.stderr == (
            "no/such/out.html cannot be written: No such file or directory. Name another file with -o FILE.\n"
        )

    @pytest.mark.parametrize("arguments", [["--help"], ["timeline", "--help"]])
    def test_its_help_has_examples(self, tmp_path: Path, arguments: list[str]) -> None:
        made = self.command(tmp_path, *arguments)
        assert made.returncode == 0
        assert "timeline" in made.stdout
        assert len(arguments) == 1 or "python -m ComfyMockLibrary timeline results/comfymock" in made.stdout
