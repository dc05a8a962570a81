"""Outages as users run them: by the command line of the server, and by keywords."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from mockserver_process import QUICK, node, types
from robot_run import PROJECT, eventually, run_robot, started_robot

from ComfyMockLibrary.engine import lossy_network, outages
from mockserver.outages.outage import Expectation, Outage, Server, Step, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import StartMockProcess

SCENARIO = """\
name: mine
title: My own outage
documentation: For a test.
server: {node_duration: 20 ms, status_interval: 0}
script:
"""

EXPECTATION = "expectation: {words: Nothing is expected.}\n"

SETTINGS = "*** Settings ***\nLibrary    ComfyMockLibrary    timeout=30 s\n*** Test Cases ***\n"


def scenario(directory: Path, *steps: str) -> Path:
    """A file with these steps."""
    file = directory / "mine.yaml"
    file.write_text(SCENARIO + "".join(f"  - {step}\n" for step in steps) + EXPECTATION, encoding="utf-8")
    return file


class TestTheScenarioOfOneLife:
    """``python -m mockserver --scenario FILE``."""

    def test_it_takes_the_settings_of_the_file_and_those_of_the_command_line_before(
        self, tmp_path: Path, start_mock_process: StartMockProcess
    ) -> None:
        file = scenario(tmp_path, "{after: 0}")
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("node_duration: 20 ms", "strict: true, seed: 7"), encoding="utf-8")
        from_file = start_mock_process("--scenario", str(file))
        assert from_file.control("/life").json["seed"] == 7
        assert from_file.control("/life").json["strict"] is True
        overruled = start_mock_process("--scenario", str(file), "--seed", "8")
        assert overruled.control("/life").json["seed"] == 8

    def test_faults_are_set_and_cleared_at_events(self, tmp_path: Path, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process(
            "--scenario",
            str(
                scenario(
                    tmp_path,
                    "{wait_for: {clients: 1}}",
                    '{fault: {fault: drop_message, message: executing, id: mute, who: {client_id: "{client_id}"}}}',
                    "{wait_for: {event: execution_success}}",
                    "{clear: mute}",
                )
            ),
        )
        client = server.connect("me")
        client.until("status")
        server.wait_for_record("fault_begun", fault="mute")
        server.queue(QUICK, client_id="me")
        assert "executing" not in types(client.until("execution_success"))
        server.wait_for_record("fault_ended", fault="mute", reason="cleared")
        server.queue({"1": node("PreviewAny", source="again")}, client_id="me")
        client.until("executing", node=None)

    def test_prompts_are_queued(self, tmp_path: Path, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process("--scenario", str(scenario(tmp_path, "{queue_prompt: {times: 2, client_id: you}}")))

        def ended() -> list[str]:
            prompts = server.records("prompt")
            return [each["client_id"] for each in prompts if each["state"] == "success"]

        eventually(lambda: len(ended()) >= 2 or None, 30.0)
        assert ended() == ["you", "you"]

    def test_it_stands_still_and_goes_on(self, tmp_path: Path, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process(
            "--scenario",
            str(
                scenario(
                    tmp_path, "{wait_for: {clients: 1}}", "{freeze: {}}", "{after: 200 ms, thaw: {}}", "{kill: {}}"
                )
            ),
        )
        server.connect()
        assert server.exit_status() == -9
        frozen, over = (
            re.search(rf"^(\S+ \S+) scenario mine, step {step}", server.log, re.MULTILINE) for step in ("2", "4")
        )
        assert frozen is not None
        assert over is not None
        assert over[1] > frozen[1]

    @pytest.mark.parametrize(("signal", "status"), [("SIGKILL", -9), ("SIGTERM", 0)])
    def test_the_life_ends_where_the_script_ends_it_and_the_rest_is_named(
        self, signal: str, status: int, tmp_path: Path, start_mock_process: StartMockProcess
    ) -> None:
        server = start_mock_process(
            "--scenario",
            str(scenario(tmp_path, f"{{restart: {{signal: {signal}, downtime: 1 s}}}}", "{wait_for: {clients: 1}}")),
        )
        assert server.exit_status() == status
        assert (
            "scenario mine: from step 2 on it is about later lives, which this process cannot start; "
            "`Run Outage` leads a server through all of them"
        ) in server.log

    def test_a_step_that_fails_is_named_in_the_log(self, tmp_path: Path, start_mock_process: StartMockProcess) -> None:
        twice = "{fault: {fault: drop_message, message: executing, id: mute}}"
        server = start_mock_process("--scenario", str(scenario(tmp_path, twice, twice)))
        assert eventually(lambda: "the scenario has ended early" in server.log or None, 30.0)
        assert "The fault 'mute' is set already" in server.log
        assert server.ask("GET", "/queue").status == 200

    def test_a_wrong_file_is_named_with_line_and_column(self, tmp_path: Path) -> None:
        file = scenario(tmp_path, "{wait_for: {client: 1}}")
        finished = subprocess.run(
            [sys.executable, "-m", "mockserver", "--scenario", str(file)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert finished.returncode == 2
        assert finished.stderr.endswith(
            "error: mine.yaml:6:17: There is no field 'client' here. Did you mean 'clients'?\n"
        )


class TestTheKeywords:
    """In a child ``robot``."""

    def test_an_outage_is_run_and_told_in_the_log(self, tmp_path: Path) -> None:
        run = run_robot(
            tmp_path,
            SETTINGS + "Crash\n"
            "    Start Mock Server\n"
            "    Connect Client    base_delay=20 ms\n"
            "    ${result} =    Run Outage    crash\n"
            "    Wait For Event    reconnected\n"
            "    Should Be Equal    ${result.name}    crash\n"
            "    Should Be Equal As Integers    ${result.outage.expectation.reconnects}    1\n"
            "    Length Should Be    ${result.steps}    4\n"
            "    ${server} =    Get Mock Server\n"
            "    Length Should Be    ${server.lives}    2\n",
        )
        run.should_have_passed()
        log = run.tests["Crash"].log
        steps = re.findall(r"\[Outage crash\] \S+ (.*)", log)
        assert steps == [
            "step 1: wait for clients=1",
            "step 2: restart signal=SIGKILL downtime=1",
            "step 3: wait for clients=1",
            "step end: heal",
        ]

    def test_a_file_of_the_users_own_is_run(self, tmp_path: Path) -> None:
        scenario(tmp_path, "{queue_prompt: {}}", "{wait_for: {event: execution_success}}")
        run = run_robot(tmp_path, SETTINGS + "Own\n    Start Mock Server\n    Run Outage    ${CURDIR}/mine.yaml\n")
        run.should_have_passed()

    def test_failures_say_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "wrong.yaml").write_text("name: wrong\ntitle: 3\n", encoding="utf-8")
        run = run_robot(
            tmp_path,
            SETTINGS + "Nobody Comes\n    Start Mock Server\n    Run Outage    crash    patience=100 ms\n"
            "No Server\n    Run Outage    crash\n"
            "No Outage\n    Start Mock Server\n    Run Outage    crush\n"
            "Wrong File\n    Start Outage    ${CURDIR}/wrong.yaml\n"
            "Two At Once\n    Start Outage    crash\n    Start Outage    crash\n"
            "Not Over\n    Start Outage    crash\n    Wait For Outage To End    timeout=50 ms\n"
            "None Started\n    Wait For Outage To End\n",
        )
        texts = {name: test.message for name, test in run.tests.items()}
        assert re.fullmatch(
            r"Outage 'crash' was not led to its end: step 1 \(wait for clients=1\) timed out: it had not come within "
            r"0\.1 s\. No client is connected\. Server: running, pid \d+\. Log: results/comfymock/\S+\.log\. The "
            r"client has to be connected before or while the outage runs; a slow one needs a longer patience\.",
            texts["Nobody Comes"],
        )
        assert "Start one with `Start Mock Server`" in texts["No Server"]
        assert texts["No Outage"] == "ValueError: There is no outage 'crush'. Did you mean 'crash'?"
        assert (
            texts["Wrong File"]
            == "OutageError: wrong.yaml:1:1: documentation and script and expectation must be given."
        )
        assert "Wait for its end with `Wait For Outage To End`" in texts["Two At Once"]
        assert "was not over within 0.05 s. Give it a longer timeout." in texts["Not Over"]
        assert texts["None Started"] == "ValueError: No outage was started. Start one with `Start Outage`."

    def test_an_outage_that_is_under_way_ends_with_its_test_and_heals(self, tmp_path: Path) -> None:
        scenario(tmp_path, "{freeze: {}}", "{after: 1 h}")
        run = run_robot(
            tmp_path,
            "*** Settings ***\nLibrary    ComfyMockLibrary\nSuite Setup    Start Mock Server\n*** Test Cases ***\n"
            "Begins\n    Start Outage    ${CURDIR}/mine.yaml\n"
            "Works Again\n    Connect Client    timeout=30 s\n",
        )
        run.should_have_passed()

    def test_a_run_that_is_killed_in_the_middle_leaves_nothing(self, tmp_path: Path) -> None:
        scenario(tmp_path, "{freeze: {}}", "{after: 1 h}")
        suite = SETTINGS + "Hangs\n    Start Mock Server\n    Run Outage    ${CURDIR}/mine.yaml\n"
        with started_robot(tmp_path, suite) as robot:
            robot.wait_for(robot.has_a_frozen_one, "The freeze")
            robot.send_signal(9)
            robot.wait()
            robot.should_leave_no_process()

    def test_all_outages_are_listed(self, tmp_path: Path) -> None:
        run = run_robot(
            tmp_path,
            SETTINGS + "List\n"
            "    @{outages} =    Get Outages\n"
            "    Should Be True    len($outages) >= 27\n"
            "    ${named} =    Evaluate    {each.name: each for each in $outages}\n"
            "    Should Be Equal    ${named}[job-lost][needs]    job\n"
            "    Should Be Equal    ${named}[job-lost][reports][0]    artokun/comfyui-mcp issue 2507\n"
            "    Should Be Equal As Integers    ${named}[thundering-herd][clients]    500\n",
        )
        run.should_have_passed()


class TestTheHerd:
    def test_it_says_how_it_fared(self, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process()
        herd = subprocess.Popen(
            [sys.executable, "-m", "ComfyMockLibrary.herd", f"http://127.0.0.1:{server.port}", "20"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert eventually(lambda: len(server.records("socket_opened")) == 20 or None, 30.0)
            said, _ = herd.communicate("", timeout=30)
        finally:
            herd.kill()
            herd.wait()
        assert json.loads(said) == {"clients": 20, "connected": 20, "attempts": 20, "lost": 0}
        assert herd.returncode == 0


ECHO = """\
import socket, sys, threading, time
listening = socket.create_server(("127.0.0.1", 0))

def echo():
    accepted, _ = listening.accept()
    while data := accepted.recv(100):
        accepted.sendall(data)

threading.Thread(target=echo, daemon=True).start()
connected = socket.create_connection(listening.getsockname())
late, whole = 0, True
for number in range(int(sys.argv[1])):
    began = time.monotonic()
    connected.sendall(b"%100d" % number)
    received = b""
    while len(received) < 100:
        received += connected.recv(100)
    whole = whole and received == b"%100d" % number
    late += time.monotonic() - began > 0.15
print(late, whole)
"""


def has_a_process_with(argument: str) -> bool:
    """Whether there is a process on this machine with such an argument."""
    return any(argument in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


@pytest.fixture(scope="module")
def loss_is_possible() -> None:
    try:
        lossy_network.require()
    except lossy_network.NotAvailable as reason:
        pytest.skip(str(reason))


@pytest.mark.usefixtures("loss_is_possible")
class TestRealPacketLoss:
    def test_packets_are_lost_and_nothing_is_missing(self) -> None:
        run = lossy_network.run([sys.executable, "-c", ECHO, "200"], 0.1, timeout=300)
        late, whole = run.output.split()
        assert whole == "True"
        # One in ten of at least 400 packets: that fewer than 10 are lost happens once in a billion runs.
        assert run.packets >= 400
        assert 10 <= run.lost <= run.packets / 4
        assert int(late) >= 1  # those that were lost came late, by at least the shortest retransmission timeout
        assert run.exit_status == 0

    def test_without_loss_none_is_lost(self) -> None:
        run = lossy_network.run([sys.executable, "-c", ECHO, "20"], 0.0, timeout=300)
        assert run.lost == 0
        assert run.packets >= 40

    def test_the_network_outside_cannot_be_reached(self, start_mock_process: StartMockProcess) -> None:
        port = start_mock_process().port
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        run = lossy_network.run([sys.executable, "-c", program], 0.0, timeout=60)
        assert run.exit_status == 1
        assert "ConnectionRefusedError" in run.output

    def test_a_command_that_is_none_is_named(self) -> None:
        run = lossy_network.run(["no-such-program"], 0.0, timeout=60)
        assert run.exit_status == 127
        assert run.output == "no-such-program: No such file or directory\n"

    def test_a_command_that_takes_too_long_is_ended(self, tmp_path: Path) -> None:
        program = f"import threading; threading.Event().wait()  # {tmp_path}"
        with pytest.raises(TimeoutError, match="did not end within 2 s"):
            lossy_network.run([sys.executable, "-c", program], 0.0, timeout=2)
        assert eventually(lambda: not has_a_process_with(program) or None, 30.0)

    def test_a_whole_run_survives_it(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner.robot"
        inner.write_text(
            SETTINGS + "Inside\n    Start Mock Server\n    Connect Client\n    ${prompt} =    Queue Prompt\n"
            "    Wait For Prompt    ${prompt}    success    timeout=60 s\n",
            encoding="utf-8",
        )
        python = sys.executable
        run = run_robot(
            tmp_path,
            SETTINGS + "Outside\n"
            f"    ${{run}} =    Run In Lossy Network    5%    {python}    -m    robot    --output    NONE    {inner}\n"
            "    Should Be True    ${run.packets} > 20\n"
            "    Should Contain    ${run.output}    1 test, 1 passed\n"
            "Fails\n"
            f"    Run In Lossy Network    0%    {python}    -c    raise SystemExit(3)\n"
            "Any Status\n"
            f"    Run In Lossy Network    0%    {python}    -c    raise SystemExit(3)    expected_status=None\n",
            timeout=180.0,
        )
        assert run.tests["Outside"].status == "PASS", run.tests["Outside"].message
        assert "ended with exit status 3, not 0." in run.tests["Fails"].message
        assert run.tests["Any Status"].status == "PASS"


class TestWithoutRealPacketLoss:
    """The reason is said, and nothing is run without loss instead."""

    def test_a_missing_program_is_named_with_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lossy_network.shutil, "which", lambda *_, **__: None)
        with pytest.raises(lossy_network.NotAvailable, match=r"there is no program unshare\. Install util-linux\."):
            lossy_network.run(["anything"], 0.1, timeout=1)

    def test_another_system_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lossy_network.sys, "platform", "darwin")
        with pytest.raises(lossy_network.NotAvailable, match="needs Linux"):
            lossy_network.run(["anything"], 0.1, timeout=1)

    def test_the_test_is_skipped_with_the_reason(self, tmp_path: Path) -> None:
        for program in ("unshare", "nft"):
            refused = tmp_path / program
            refused.write_text("#!/bin/sh\necho namespaces are not allowed >&2\nexit 1\n", encoding="utf-8")
            refused.chmod(0o755)
        run = run_robot(
            tmp_path,
            SETTINGS + "Skipped\n    Run In Lossy Network    5%    touch    ${CURDIR}/was-run\n",
            environment={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        )
        assert run.tests["Skipped"].status == "SKIP"
        assert run.tests["Skipped"].message == "Packets cannot be lost here: namespaces are not allowed"
        assert not (tmp_path / "was-run").exists()


class TestTheDocumentation:
    """``docs/outages.md``."""

    TEXT = (PROJECT / "docs" / "outages.md").read_text(encoding="utf-8")

    def test_its_example_passes(self, tmp_path: Path) -> None:
        outage, suite = (
            re.search(rf"^```{language}\n(.*?)^```", self.TEXT, re.DOTALL | re.MULTILINE)
            for language in ("yaml", "robot")
        )
        assert outage is not None
        assert suite is not None
        (tmp_path / "restart-in-the-middle.yaml").write_text(outage[1], encoding="utf-8")
        run_robot(tmp_path, suite[1]).should_have_passed()

    def test_it_names_every_outage_with_its_title(self) -> None:
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (?:job|connection) \|", self.TEXT, re.MULTILINE)
        assert dict(rows) == {file.stem: outages.load(file).title for file in outages.shipped()}

    def test_it_names_every_field(self) -> None:
        for part in (Outage, Server, Step, WaitFor, Expectation):
            assert [name for name in part.__struct_fields__ if f"`{name}`" not in self.TEXT] == []
