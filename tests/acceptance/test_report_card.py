"""``python -m ComfyMockLibrary check`` and the suite of the same name, on clients that are good or have one flaw."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from robot_run import PROJECT, RobotProcess, run_robot

from ComfyMockLibrary.engine.report.check import outages_for_one_client

CLIENTS = PROJECT / "tests" / "clients"
PYTHON_CLIENT = [sys.executable, str(CLIENTS / "python_client.py"), "{url}"]
NODE_CLIENT = ["node", str(CLIENTS / "node_client.mjs"), "{url}"]
PATIENCE = "8"
"""Seconds. Bad clients cost this much."""

GOOD_PATIENCE = "40"
"""Seconds. A good client needs 4 to give up a dead connection, or more where it has to wait for the machine."""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="There is no node.")


def check(
    command: list[str], *names: str, options: tuple[str, ...] = ("--timeout", PATIENCE)
) -> subprocess.CompletedProcess[str]:
    only = [text for name in names for text in ("--only", name)]
    return subprocess.run(
        [sys.executable, "-m", "ComfyMockLibrary", "check", *only, *options, "--", *command],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def card_of(command: list[str], *names: str, patience: str = PATIENCE) -> dict[str, dict[str, Any]]:
    """Entries by outage."""
    ran = check(command, *names, options=("--timeout", patience, "--format", "json"))
    assert ran.returncode in (0, 1), ran.stderr
    entries = {each["outage"]: each for each in json.loads(ran.stdout)["outages"]}
    failed = any(each["verdict"] == "not survived" for each in entries.values())
    assert ran.returncode == (1 if failed else 0)
    return entries


class TestGoodClients:
    def test_a_python_client_survives(self) -> None:
        names = (
            "restart",
            "second-outage",
            "half-open",
            "job-lost",
            "job-socket-lost",
            "too-many-requests",
            "fast-job",
        )
        card = card_of(PYTHON_CLIENT, *names, patience=GOOD_PATIENCE)
        assert {name: each["verdict"] for name, each in card.items()} == dict.fromkeys(names, "survived"), card
        assert card["restart"]["attempts"] >= 1
        assert card["job-lost"]["job"].startswith("lost, ")
        assert card["half-open"]["noticed_after"] > 1

    @needs_node
    def test_a_node_client_without_a_websocket_survives_what_concerns_it(self) -> None:
        survives = ("crash", "second-outage", "frozen", "job-lost", "history-late")
        card = card_of(NODE_CLIENT, *survives, "half-open", patience=GOOD_PATIENCE)
        expected = dict.fromkeys(survives, "survived")
        assert {name: each["verdict"] for name, each in card.items()} == {**expected, "half-open": "not applicable"}, (
            card
        )
        assert card["half-open"]["did"] == ["this client has no websocket"]

    def test_a_program_that_does_one_job_is_judged_by_its_job(self) -> None:
        card = card_of([*PYTHON_CLIENT, "--jobs", "1"], "reset", "job-lost", patience=GOOD_PATIENCE)
        assert [each["verdict"] for each in card.values()] == ["survived", "survived"], card

    def test_a_client_that_only_stays_connected_is_asked_for_no_job(self) -> None:
        card = card_of([*PYTHON_CLIENT, "--jobs", "0"], "restart", "job-lost", patience=GOOD_PATIENCE)
        assert [each["verdict"] for each in card.values()] == ["not applicable", "survived"], card
        assert card["job-lost"]["did"] == ["this client queues no jobs by itself"]


@pytest.mark.parametrize(
    ("flaw", "outage", "did"),
    [
        ("never-reconnects", "restart", "works on over HTTP, and never opened another websocket"),
        ("reconnects-once", "second-outage", "came back once, and not after outage 2"),
        ("floods", "upgrade-refused-403", "attempts, where 20 are plenty"),
        ("floods", "long-outage", "attempts in a second"),
        ("deaf", "half-open", "opened no other connection"),
        ("queues-twice", "history-late", "queued its prompt twice"),
        ("believes-messages", "job-socket-lost", "never found its result"),
        ("believes-messages", "job-lost", "still waits for its lost job"),
        ("listens-late", "fast-job", "never found its result"),
        ("gives-up", "restart", "its process ended with exit status 1"),
        ("calls-it-success", "restart", "its process ended with exit status 0"),
        ("new-id", "restart", "came back under another clientId"),
        ("impatient", "too-many-requests", "asked again after "),
    ],
)
def test_a_flaw_is_found(flaw: str, outage: str, did: str) -> None:
    (entry,) = card_of([*PYTHON_CLIENT, "--flaw", flaw], outage).values()
    assert entry["verdict"] == "not survived", entry
    assert did in entry["did"][0]
    assert entry["advice"]


def test_a_program_that_lies_about_its_job_is_found_out() -> None:
    (entry,) = card_of([*PYTHON_CLIENT, "--jobs", "1", "--flaw", "calls-it-success"], "job-lost").values()
    assert (entry["verdict"], entry["did"][0]) == (
        "not survived",
        "ended as if all were well, though its job was lost",
    ), entry


class TestCommandLine:
    def test_it_prints_a_table_and_says_on_stderr_how_far_it_is(self) -> None:
        ran = check(PYTHON_CLIENT, "reset")
        assert ran.returncode == 0, ran.stderr
        assert "survived" in ran.stdout
        assert "holds a websocket, queues one job after the other, fetches the results" in ran.stdout
        assert "[1/1] reset: survived" in ran.stderr

    def test_all_forms_go_into_files(self, tmp_path: Path) -> None:
        for form in ("html", "junit"):
            options = ("--timeout", PATIENCE, "--format", form, "--output", str(tmp_path / form), "--quiet")
            ran = check([*PYTHON_CLIENT, "--jobs", "1"], "reset", options=options)
            assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        assert "<svg" in (tmp_path / "html").read_text(encoding="utf-8")
        assert ElementTree.parse(tmp_path / "junit").getroot().get("tests") == "1"

    def test_journals_and_output_can_be_kept(self, tmp_path: Path) -> None:
        check([*PYTHON_CLIENT, "--jobs", "1"], "reset", options=("--timeout", PATIENCE, "--keep", str(tmp_path)))
        assert {"reset.log", "reset-life-1.journal.jsonl", "rehearsal.log"} <= {
            each.name for each in tmp_path.iterdir()
        }

    def test_the_list(self) -> None:
        ran = check([], options=("--list",))
        assert ran.returncode == 0
        names = [line.split()[0] for line in ran.stdout.splitlines()]
        assert names == [outage.name for outage in outages_for_one_client()]
        assert "restart" in names
        assert "thundering-herd" not in names

    @pytest.mark.parametrize(
        ("command", "options", "message"),
        [
            ([], (), "Say which client"),
            (["true"], ("--only", "restrat"), "There is no outage 'restrat' for one client. Known: client-id"),
            (["true"], (), "without a single request to the server. It ended with exit status 0."),
            (["no-such-program"], (), "cannot be started: No such file or directory: no-such-program."),
            (["true"], ("--server", "--port 1"), "The library sets --port itself"),
            (["true"], ("--timeout", "-1"), "is no time; give seconds"),
            (["true"], ("--format", "pdf"), "invalid choice"),
            (
                [sys.executable, "-c", "print('bye'); raise SystemExit(3)"],
                (),
                "rehearsal.log.\nEnd of its output:\n    bye",
            ),
        ],
    )
    def test_wrong_use_ends_with_2_and_says_why(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        command: list[str],
        options: tuple[str, ...],
        message: str,
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # what a failure names is kept
        ran = check(command, options=options)
        assert ran.returncode == 2
        assert message in ran.stderr
        assert "Traceback" not in ran.stderr
        assert [log for log in re.findall(r"Log: (\S+)\.$", ran.stderr, re.MULTILINE) if not Path(log).exists()] == []

    def test_a_card_that_cannot_be_written_is_not_begun(self, tmp_path: Path) -> None:
        file = tmp_path / "none" / "card.txt"
        ran = check(PYTHON_CLIENT, "reset", options=("--output", str(file)))
        assert (ran.returncode, ran.stderr) == (
            2,
            f"{file} cannot be written: No such file or directory. Name another file with -o FILE.\n",
        )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_nothing_is_left_when_it_is_interrupted(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "ComfyMockLibrary", "check", "--keep", str(tmp_path), "--", *PYTHON_CLIENT]
    process = RobotProcess(tmp_path, command, {}, tmp_path)
    try:
        process.wait_for((tmp_path / "rehearsal.log").exists, "The start of the client")
        process.wait_for(lambda: len(process.started_processes()) > 3, "The start of all processes")
        process.send_signal(number)
        assert process.wait() == status
        process.should_leave_no_process()
    finally:
        process.kill_all()


class TestInASuite:
    SUITE = PROJECT / "robot" / "report_card.robot"

    def run(self, directory: Path, *tests: str, client: str = "", status: int = 0) -> Any:
        chosen = [text for name in tests for text in ("--test", name)]
        variables = ["--variable", f"CLIENT:{client}", "--variable", f"PATIENCE:{PATIENCE} s"]
        run = run_robot(directory, self.SUITE, *variables, *chosen, timeout=300)
        assert run.exit_status == status, run.printed
        return run.tests

    def test_it_is_skipped_without_a_client(self, tmp_path: Path) -> None:
        run = run_robot(tmp_path, self.SUITE)
        run.should_have_passed()
        assert run.impossible == run.tests.keys()

    def test_it_has_the_outages_of_the_card(self, tmp_path: Path) -> None:
        documented = {
            name.lower().replace(" ", "-"): test.documentation.rstrip(".") for name, test in self.run(tmp_path).items()
        }
        assert documented == {outage.name: outage.title for outage in outages_for_one_client()}

    def test_its_verdicts_are_those_of_the_card(self, tmp_path: Path) -> None:
        client = f"{sys.executable} {CLIENTS / 'python_client.py'} {{url}} --jobs 0 --flaw never-reconnects"
        tests = self.run(tmp_path, "Restart", "Job Lost", "Oversized Frame", client=client, status=1)
        assert {name: test.status for name, test in tests.items()} == {
            "Restart": "FAIL",
            "Job Lost": "SKIP",
            "Oversized Frame": "PASS",
        }
        assert tests["Restart"].message.startswith(
            "Client should survive the outage 'restart' but did not: never noticed"
        )
        assert tests["Job Lost"].message == "Not applicable: this client queues no jobs by itself."
