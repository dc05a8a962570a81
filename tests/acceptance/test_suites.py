"""The project's own suites, run in the ways that its README names. Each way runs them all, once."""

from __future__ import annotations

import os
import sysconfig
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from robot_run import PROJECT, run_robot

from robot import api

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SUITES = PROJECT / "robot"
LONGEST_RUN = 240.0
"""Seconds, on a machine that is busy with other tests; alone, all suites together take under 25."""


def test_all_suites_pass_from_the_projects_root_and_write_xunit(tmp_path: Path) -> None:
    report = tmp_path / "results" / "xunit.xml"
    run = run_robot(tmp_path, SUITES, "--xunit", str(report), working_directory=PROJECT, timeout=LONGEST_RUN)

    run.should_have_passed()
    assert run.errors == ()
    assert executed(run.tests) == expected()
    xunit = ElementTree.parse(report).getroot()
    assert int(xunit.attrib["tests"]) == len(run.tests)
    assert [int(xunit.attrib[count]) for count in ("failures", "errors", "skipped")] == [0, 0, len(run.impossible)]


def test_all_suites_pass_side_by_side_from_elsewhere(tmp_path: Path) -> None:
    run = run_robot(
        tmp_path,
        SUITES,
        *("--processes", "4", "--no-pabotlib"),
        module="pabot.pabot",
        environment={"PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])},
        timeout=LONGEST_RUN,
    )

    run.should_have_passed()
    assert executed(run.tests) == expected()


def test_all_suites_pass_a_dry_run_which_starts_nothing(tmp_path: Path) -> None:
    run = run_robot(tmp_path, SUITES, "--dryrun")

    run.should_have_passed()
    assert executed(run.tests) == expected()
    assert not (run.directory / "comfymock").exists()


def executed(tests: Mapping[str, object]) -> Counter[str]:
    """How many tests were executed, by suite."""
    return Counter(name.partition(".")[0] for name in tests)


def expected() -> Counter[str]:
    """How many tests there are, by suite."""
    top = api.TestSuite.from_file_system(SUITES)
    assert {
        "evidence.robot",
        "faults.robot",
        "outages",
        "reconnection.robot",
        "reconnection_simple.robot",
        "validate_mock_server.robot",
    } <= {suite.source.name for suite in top.suites}
    suites = list(files_of(top))
    assert len({suite.name for suite in suites}) == len(suites)
    return Counter({suite.name: suite.test_count for suite in suites})


def files_of(suite: api.TestSuite) -> Iterator[api.TestSuite]:
    """The suites that have tests of their own."""
    if suite.tests:
        yield suite
    for each in suite.suites:
        yield from files_of(each)
