"""What happens to us when the machine has had enough: clear errors, no process left, nothing that waits for ever."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import termios
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from jsonschema import Draft202012Validator
from mockserver_process import DEADLINE, QUICK, TWO_NODES, ask, has_ended
from mockserver_process import eventually as wait_until_so
from robot_run import (
    BEFORE_IT_ASKS_TO_DIE_WITH_ITS_PARENT,
    BEFORE_IT_FORKS,
    BEFORE_IT_IMPORTS,
    BEFORE_IT_LISTENS,
    run_robot,
    servers_held_at,
    started_robot,
)

from ComfyMockLibrary.engine import launchers
from ComfyMockLibrary.engine.fork_launcher import ForkLauncher
from ComfyMockLibrary.engine.servers import ServerManager, ServerOptions
from mockserver.journal import SCHEMA_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mockserver_process import MockProcess

LAUNCHERS = sorted(launchers._LAUNCHERS)

STAGES = {
    "imports": BEFORE_IT_IMPORTS,
    "forks": BEFORE_IT_FORKS,
    "asks to die with its parent": BEFORE_IT_ASKS_TO_DIE_WITH_ITS_PARENT,
    "listens": BEFORE_IT_LISTENS,
}
"""What a launcher or a life is just about to do when something happens to it."""

STARTS = [(launcher, stage) for launcher in LAUNCHERS for stage in STAGES if (launcher, stage) != ("popen", "forks")]

SMALL = 128 * 1024
"""Size in bytes of a disk that is soon full."""


class TestAProcessIsKilledWhileAServerStarts:
    """SIGKILL, at each stage of a start."""

    @pytest.mark.parametrize("stage", STAGES)
    def test_the_launcher(self, tmp_path: Path, stage: str) -> None:
        with started_robot(tmp_path, STARTS_AGAIN, environment=held(tmp_path, stage, "fork")) as robot:
            robot.wait_for((tmp_path / "holds").exists, "The stage")
            if stage != "listens":  # where an order has been read already; at the others it may not have come yet
                robot.wait_for(lambda: something_waits_to_be_read(int((tmp_path / "holds").read_text())), "The order")
            (launcher,) = (each for each in robot.started_processes() if each.ppid() == robot.pid)
            launcher.kill()
            robot.wait_for((tmp_path / "failed").exists, "The failure")
            # Its pipes close first: a life that went on before it has ended would still find that out.
            robot.wait_for(lambda: has_ended(launcher), "The launcher's end")
            with open_gate(tmp_path):
                robot.wait()
                robot.should_leave_no_process()
            outcome = robot.result().tests["Start Again"]
            assert outcome.status == "PASS", outcome.message
            port = (tmp_path / "port").read_text()
            assert (
                (tmp_path / "failed")
                .read_text()
                .startswith(
                    f"Mock server 'server-1' on port {port} was lost with the process that starts servers "
                    f"(pid {launcher.pid}), which has ended: the next start begins a new one"
                )
            )

    @pytest.mark.parametrize("launcher", LAUNCHERS)
    def test_the_server_itself(self, tmp_path: Path, launcher: str) -> None:
        with started_robot(tmp_path, STARTS_AGAIN, environment=held(tmp_path, "listens", launcher)) as robot:
            robot.wait_for((tmp_path / "holds").exists, "The stage")
            psutil.Process(int((tmp_path / "holds").read_text())).kill()
            robot.wait()
            robot.should_leave_no_process()
            outcome = robot.result().tests["Start Again"]
            assert outcome.status == "PASS", outcome.message
            assert "ended with SIGKILL before it was ready" in (tmp_path / "failed").read_text()

    @pytest.mark.parametrize(("launcher", "stage"), STARTS)
    def test_robot(self, tmp_path: Path, launcher: str, stage: str) -> None:
        with started_robot(tmp_path, STARTS_AGAIN, environment=held(tmp_path, stage, launcher)) as robot:
            robot.wait_for((tmp_path / "holds").exists, "The stage")
            robot.send_signal(signal.SIGKILL)
            assert robot.wait() == -signal.SIGKILL
            with open_gate(tmp_path):
                robot.should_leave_no_process()


def test_a_launcher_that_is_killed_later_takes_its_servers_with_it_and_the_next_start_works(tmp_path: Path) -> None:
    servers = ServerManager(tmp_path, ForkLauncher())
    try:
        first = servers.start()
        (launcher,) = (each for each in psutil.Process().children() if each.pid == psutil.Process(first.pid).ppid())
        servers.freeze(first)
        launcher.kill()
        assert servers.wait_for_stop(first, DEADLINE) == -signal.SIGKILL
        servers.restart(first)
        assert ask(first.port, "GET", "/queue").status == 200
    finally:
        servers.close()
    wait_until_so("The end of the life", lambda: not psutil.pid_exists(first.pid))


class TestTheDiskIsFull:
    """The file of a journal cannot grow."""

    @pytest.fixture(params=["limit", "disk"])
    def server(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        start_mock_process: Callable[..., MockProcess],
    ) -> Iterator[MockProcess]:
        """A server that cannot write any more: for a limit of the system, and on a disk that is full indeed."""
        if request.param == "limit":
            server = start_mock_process("--status-interval", "0", "--node-duration", "0")
            longest = server.journal_file.stat().st_size + 1500
            psutil.Process(server.pid).rlimit(psutil.RLIMIT_FSIZE, (longest, longest))
            yield server
            return
        with small_disk(tmp_path / "disk") as disk:
            file = disk / "journal"
            server = start_mock_process("--status-interval", "0", "--node-duration", "0", journal_file=file)
            fill(disk)
            yield server
            server.end()

    def test_the_life_goes_on_without_its_journal(self, server: MockProcess) -> None:
        client = server.connect("me")
        client.message()
        for _ in range(20):
            assert server.ask("GET", "/queue").status == 200
        life = server.control("/life").json
        assert life["journal_lost"] in ("No space left on device", "File too large")
        server.queue(QUICK, client_id="me")
        client.until("executing", node=None)
        latest = server.control("/journal").json["records"]
        assert {"kind": "prompt", "state": "success"}.items() <= [each for each in latest if each["kind"] == "prompt"][
            -1
        ].items()

        records = records_of(server)
        assert records[-1] == {"at": records[-1]["at"], "kind": "journal_ended", "why": life["journal_lost"]}
        said = [line for line in server.log.splitlines() if "ends here" in line]
        assert len(said) == 1, server.log
        assert f"the journal {server.journal_file} ends here: {life['journal_lost']}. The life goes on" in said[0]
        assert "Traceback" not in server.log
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0

    def test_a_node_that_cannot_write_fails_as_the_real_one_does(
        self, tmp_path: Path, start_mock_process: Callable[..., MockProcess]
    ) -> None:
        with small_disk(tmp_path / "disk") as disk:
            server = start_mock_process("--node-duration", "0", "--output-directory", str(disk))
            fill(disk)
            entry = server.run(TWO_NODES)
            kind, failure = entry["status"]["messages"][-1]
            assert (kind, failure["exception_type"]) == ("execution_error", "OSError")
            assert "No space left on device" in failure["exception_message"]
            assert server.run(QUICK)["status"]["status_str"] == "success"
            server.end()

    def test_a_server_does_not_start_without_a_journal_that_it_was_told_to_keep(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk") as disk:
            fill(disk)
            ended = subprocess.run(
                [sys.executable, "-m", "mockserver", "0", "--journal", str(disk / "journal")],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr == (
                f"The mock server cannot start: [Errno 28] No space left on device: '{disk / 'journal'}'.\n"
            )
            assert not (disk / "journal").exists()

    def test_no_server_starts_where_its_files_have_no_room(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk") as disk:
            servers = ServerManager(disk)
            try:
                server = servers.start()
                fill(disk)
                with pytest.raises(RuntimeError) as failure:
                    servers.restart(server)
                assert str(failure.value) == (
                    f"The mock server 'server-1' cannot start: No space left on device ({disk}/server-1-life-2.log). "
                    "Make room there, or give Robot an --outputdir on another disk."
                ).replace("server-1", server.alias)
                with pytest.raises(RuntimeError, match="No space left on device"):
                    servers.start()
                assert servers.servers == [server]
                (disk / "filler").unlink()
                servers.restart(server)
                assert ask(server.port, "GET", "/queue").status == 200
            finally:
                servers.close()

    def test_a_client_goes_on_and_the_run_says_what_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        with small_disk(tmp_path / "results" / "comfymock") as disk:
            run = run_robot(tmp_path, FILLS_ITS_DISK)
            run.should_have_passed()
            assert [each for each in run.errors if "client" in each] == [
                "The journal of 'client-1' has ended early: No space left on device. Its timeline is not complete."
            ]
            (records,) = (each.read_bytes() for each in disk.glob("client-1.journal.jsonl"))
            assert all(json.loads(line) for line in records.splitlines())


class TestTheJournalHasALimit:
    """``--journal-limit``."""

    def test_the_journal_says_that_it_has_reached_it(self, start_mock_process: Callable[..., MockProcess]) -> None:
        server = start_mock_process("--status-interval", "0", "--journal-limit", "0.01")
        while server.control("/life").json["journal_lost"] is None:
            assert server.ask("GET", "/queue").status == 200
        records = records_of(server)
        assert server.journal_file.stat().st_size <= 0.01 * 1024 * 1024
        assert records[-1]["why"] == "it has reached its limit of 10486 bytes"
        assert "ends here: it has reached its limit of 10486 bytes" in server.log

    def test_the_library_does_not_take_such_a_journal_for_all_that_happened(self, tmp_path: Path) -> None:
        servers = ServerManager(tmp_path)
        try:
            server = servers.start(ServerOptions(raw=("--journal-limit", "0.01")))
            ask(server.port, "GET", "/queue")
            assert server.evidence.requests()
            for _ in range(20):
                ask(server.port, "GET", "/queue")
            with pytest.raises(
                RuntimeError, match=r"life 1 of .* is not known to the end.*reached its limit.*--journal-limit"
            ):
                server.evidence.requests()
        finally:
            servers.close()


class TestDescriptorsAreExhausted:
    """EMFILE."""

    def test_a_server_keeps_its_sockets_does_not_spin_and_accepts_again(
        self, start_mock_process: Callable[..., MockProcess]
    ) -> None:
        server = start_mock_process("--status-interval", "0.05", "--node-duration", "0")
        client = server.connect("me")
        before = server.control("/life").json
        with exhausted(server.pid) as process:
            waiting = [socket.create_connection(("127.0.0.1", server.port), DEADLINE) for _ in range(5)]
            wait_until_so("The log's line", lambda: "no connection can be accepted" in server.log)
            began = process.cpu_times()
            for _ in range(20):  # a second of messages
                client.until("status")
            ended = process.cpu_times()
            assert ended.user + ended.system - began.user - began.system < 0.5
        for each in waiting:
            each.sendall(b"GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert each.recv(12) == b"HTTP/1.1 200"
            each.close()
        assert server.control("/life").json["life_id"] == before["life_id"]
        assert [line[24:] for line in server.log.splitlines() if " accepted" in line] == [
            "no connection can be accepted: [Errno 24] Too many open files. Those that are open go on",
            "connections are accepted again",
        ]
        assert "Traceback" not in server.log

    @pytest.mark.parametrize("trigger", [{}, {"when": {"event": "status"}}], ids=["at once", "at an event"])
    def test_a_freeze_that_nothing_could_thaw_fails_and_messages_go_on(
        self, start_mock_process: Callable[..., MockProcess], trigger: dict[str, Any]
    ) -> None:
        server = start_mock_process("--status-interval", "0.05")
        server.connect("me")
        server.control("/faults")  # what sets faults is there
        control_port = int(server.ready["control_url"].rpartition(":")[2])
        with closing(http.client.HTTPConnection("127.0.0.1", control_port, timeout=DEADLINE)) as control:
            control.request("GET", "/life")
            control.getresponse().read()
            with exhausted(server.pid):
                control.request(
                    "POST", "/faults", json.dumps({"fault": "freeze", "thaw_after": 0, "id": "f", **trigger})
                )
                answer = control.getresponse()
                assert (answer.status, json.load(answer)["state"]) == (201, "waiting")
                wait_until_so("Its end", lambda: server.records("fault_ended"))
                wait_until_so(
                    "A message after it",
                    lambda: server.records("fault_ended", "message_sent")[-1]["kind"] == "message_sent",
                )
        assert server.control("/faults/f").json["state"] == "ended"
        assert "fault f has failed, and has ended: [Errno 24] Too many open files" in server.log
        assert "Traceback" not in server.log

    def test_a_node_that_cannot_open_its_file_fails_and_the_next_prompt_runs(
        self, start_mock_process: Callable[..., MockProcess]
    ) -> None:
        server = start_mock_process("--status-interval", "0", "--node-duration", "0")
        server.run(TWO_NODES)  # thread and directory are there
        client = server.connect("me")
        client.message()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        connection.request("GET", "/queue")
        connection.getresponse().read()
        with exhausted(server.pid), closing(connection):
            prompt = {**TWO_NODES, "2": {**TWO_NODES["2"], "inputs": {"images": ["1", 0], "filename_prefix": "b"}}}
            body = json.dumps({"prompt": prompt, "client_id": "me"})
            connection.request("POST", "/prompt", body)
            assert connection.getresponse().status == 200
            failure = client.until("execution_error")[-1]
            assert "Too many open files" in failure["data"]["exception_message"]
            client.until("executing", node=None)
        assert server.run(TWO_NODES)["status"]["status_str"] == "success"

    def test_in_robot_nothing_hangs_and_each_failure_says_what_to_do(self, tmp_path: Path) -> None:
        run = run_robot(tmp_path, EXHAUSTS_ITSELF)
        run.should_have_passed()

    def test_in_the_launcher_one_start_fails_and_the_other_servers_go_on(self, tmp_path: Path) -> None:
        servers = ServerManager(tmp_path, ForkLauncher())
        try:
            first = servers.start()
            launcher = psutil.Process(first.pid).parent()
            assert launcher is not None
            with exhausted(launcher.pid):
                servers.start()  # as the process that was forked to spare
                with pytest.raises(RuntimeError) as failure:
                    servers.start(alias="third")
            assert (
                f"was not started: Too many open files in the process that starts servers (pid {launcher.pid})"
                in str(failure.value)
            )
            assert ask(first.port, "GET", "/queue").status == 200
            assert ask(servers.start(alias="third").port, "GET", "/queue").status == 200
        finally:
            servers.close()


def test_two_hundred_servers_at_once(tmp_path: Path) -> None:
    launcher = ForkLauncher()
    servers = ServerManager(tmp_path, launcher)
    try:
        started = [servers.start(ServerOptions(status_interval=0)) for _ in range(200)]
        assert len({each.port for each in started}) == 200
        assert {ask(each.port, "GET", "/queue").status for each in started} == {200}
        memory = [psutil.Process(each.pid).memory_full_info() for each in started]
        if hasattr(memory[0], "pss"):
            assert sum(each.pss for each in memory) / 200 < 12 * 1024 * 1024
    finally:
        servers.close()
    assert not [each.pid for each in started if psutil.pid_exists(each.pid)]
    assert servers.servers == []


class TestTheOutputDirectoryIsReadOnly:
    """Or no directory at all."""

    @pytest.mark.parametrize("kind", ["read-only", "file"])
    def test_the_error_names_the_directory_and_what_to_do(self, tmp_path: Path, kind: str) -> None:
        place = tmp_path / "results" / "comfymock"
        place.parent.mkdir()
        if kind == "file":
            place.write_text("mine")
            run = run_robot(tmp_path, HAS_NO_PLACE)
            what, files = "File exists", (place, place)
        else:
            with mounted(place, "ro"):
                run = run_robot(tmp_path, HAS_NO_PLACE)
            what, files = (
                "Read-only file system",
                (place / "server-1.server.journal.jsonl", place / "client-1.journal.jsonl"),
            )
        advice = "Give Robot an --outputdir in which this user may create and change files."
        assert run.tests["Try All"].message == (
            "Several failures occurred:\n\n"
            f"1) The mock server 'server-1' cannot start: {what} ({files[0]}). {advice}\n\n"
            f"2) The client 'client-1' cannot be made: {what} ({files[1]}). {advice}"
        )

    def test_a_server_by_hand_names_the_file(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", "ro") as disk:
            ended = subprocess.run(
                [sys.executable, "-m", "mockserver", "0", "--journal", str(disk / "journal")],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            assert ended.returncode == 1
            assert f"cannot start: [Errno 30] Read-only file system: '{disk / 'journal'}'" in ended.stderr


STARTS_AGAIN = """\
*** Settings ***
Library    ComfyMockLibrary    startup_timeout=1 hour
Library    OperatingSystem

*** Test Cases ***
Start Again
    ${holder} =    Evaluate    socket.socket()    # bound, never listening: nobody else gets the port
    Evaluate    $holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    Evaluate    $holder.bind(('127.0.0.1', 0))
    ${free} =    Evaluate    $holder.getsockname()[1]
    Create File    port    ${free}
    ${message} =    Run Keyword And Expect Error    *    Start Mock Server    port=${free}
    Create File    failed    ${message}
    Start Mock Server
    Connect Client
"""

FILLS_ITS_DISK = """\
*** Settings ***
Library    ComfyMockLibrary
Library    OperatingSystem

*** Test Cases ***
Fill It
    Start Mock Server
    Connect Client
    Evaluate    open($OUTPUT_DIR + '/comfymock/filler', 'wb', buffering=0).write(b'x' * 1000000)
    FOR    ${number}    IN RANGE    20
        ${prompt} =    Queue Prompt
        Wait For Prompt    ${prompt}    success
    END
    Kill Mock Server    signal=SIGKILL
    Wait For Event    disconnected
    Connection State Should Be    reconnecting
"""

EXHAUSTS_ITSELF = """\
*** Settings ***
Library    ComfyMockLibrary
Test Teardown    Have Descriptors

*** Test Cases ***
Nothing New Can Be Had
    Start Mock Server    alias=first
    Connect Client    alias=one
    Wait For Event    status
    Have No Descriptors
    Run Keyword And Expect Error
    ...    The mock server 'second' cannot start: Too many open files*close servers and clients*ulimit -n.
    ...    Start Mock Server    alias=second
    Run Keyword And Expect Error
    ...    The client 'two' cannot be made: Too many open files*close servers and clients*ulimit -n.
    ...    Connect Client    alias=two
    Run Keyword And Expect Error    *Too many open files*    Queue Prompt
    Kill Mock Server    signal=SIGKILL
    Wait For Event    disconnected
    Wait For Event    reconnecting
    Have Descriptors
    Start Mock Server    alias=first
    Wait For Connection

What Is Open Can Be Closed
    ${server} =    Start Mock Server
    Connect Client
    Have No Descriptors
    Close Client
    Kill Mock Server
    Should Not Be True    ${server.is_running}

*** Keywords ***
Have No Descriptors
    ${limits} =    Evaluate    resource.getrlimit(resource.RLIMIT_NOFILE)
    Set Test Variable    ${LIMITS}    ${limits}
    ${lowest} =    Evaluate    socket.socket().fileno()
    Evaluate    resource.setrlimit(resource.RLIMIT_NOFILE, ($lowest, $limits[1]))

Have Descriptors
    Evaluate    resource.setrlimit(resource.RLIMIT_NOFILE, $LIMITS)
"""
"""The lowest free number as the limit: then there is no other one either, whatever numbers are in use above it."""

HAS_NO_PLACE = """\
*** Settings ***
Library    ComfyMockLibrary

*** Test Cases ***
Try All
    Run Keyword And Continue On Failure    Start Mock Server    alias=server-1
    Run Keyword And Continue On Failure    Connect Client    url=http://127.0.0.1:9    alias=client-1
"""


def held(directory: Path, stage: str, launcher: str) -> dict[str, str]:
    return {**servers_held_at(directory, STAGES[stage]), launchers.SWITCH: launcher}


def something_waits_to_be_read(pid: int) -> bool:
    """Whether there is something in a pipe that a process reads from."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if str(descriptor.readlink()).startswith("pipe:") and descriptor.lstat().st_mode & stat.S_IRUSR:
            with descriptor.open("rb") as pipe:
                length = bytearray(4)
                fcntl.ioctl(pipe, termios.FIONREAD, length)
            if any(length):
                return True
    return False


@contextmanager
def open_gate(directory: Path) -> Iterator[None]:
    """Lets go whoever is held, or will be."""
    gate = os.open(directory / "gate", os.O_RDWR)
    try:
        yield
    finally:
        os.close(gate)


def records_of(server: MockProcess) -> list[dict[str, Any]]:
    """All records, each of which must have the format, the last one too."""
    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    content = server.journal_file.read_bytes()
    assert content.endswith(b"\n")
    records = [json.loads(line) for line in content.splitlines()]
    for record in records:
        validator.validate(record)
    return records


@contextmanager
def exhausted(pid: int) -> Iterator[psutil.Process]:
    """Leaves a process no descriptor but those that it has."""
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    taken = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in range(len(taken) + 1) if number not in taken)
    process.rlimit(psutil.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield process
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    with mounted(place, f"size={SMALL}") as disk:
        yield disk


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own, where this user may mount one."""
    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "comfymock-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    """Leaves no room."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 1024):
            continue
