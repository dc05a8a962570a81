"""Programs as clients: address, environment, output, ends, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from engine_helpers import eventually, interruptions

from ComfyMockLibrary.engine import client_process, platform
from ComfyMockLibrary.engine.client_process import ClientProcesses
from ComfyMockLibrary.engine.deadline import Deadline, wait_until
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ComfyMockLibrary.engine.client_process import ClientProcess

ENDPOINT = Endpoint("127.0.0.1", 8188)
WAIT = 30.0

IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); signal.pause()"
ENDS_GRACEFULLY = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready")
signal.sigwait([signal.SIGINT])
sys.exit(7)
"""
HAS_A_CHILD = """
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", {child!r}])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready")
signal.sigwait([signal.SIGUSR1])
os._exit(5)
"""
"""Neither has a handler: one that is called just before ``pause`` leaves it waiting for ever."""
SLEEPS = "import signal; signal.pause()"
LEAVES_THE_GROUP = "import os, signal; os.setsid(); print('ready too'); signal.pause()"


@pytest.fixture
def processes() -> Iterator[ClientProcesses]:
    owned = ClientProcesses()
    yield owned
    owned.close()


@pytest.fixture
def start(processes: ClientProcesses, tmp_path: Path) -> Callable[..., ClientProcess]:
    def start_python(code: str, *arguments: str, **options: object) -> ClientProcess:
        return processes.start([sys.executable, "-c", code, *arguments], ENDPOINT, tmp_path, **options)  # type: ignore[arg-type]

    return start_python


def wait_for_output(process: ClientProcess, *texts: str) -> None:
    found = wait_until(lambda: all(each in process.output() for each in texts) or None, Deadline(WAIT), interval=0.01)
    assert found, process.output()


def family(process: ClientProcess) -> list[psutil.Process]:
    """The process, its supervisor, and all that it has started."""
    supervisor = psutil.Process(process.pid).parent()
    assert supervisor is not None
    return [supervisor, *supervisor.children(recursive=True)]


def should_be_gone(members: list[psutil.Process]) -> None:
    wait_until(lambda: not any(each.is_running() for each in members) or None, Deadline(WAIT), interval=0.01)
    assert [each for each in members if each.is_running()] == []


def test_the_address_is_filled_into_the_arguments_and_nothing_else_is_touched(
    start: Callable[..., ClientProcess],
) -> None:
    process = start(
        "import sys; print(*sys.argv[1:], sep='\\n')", "--at={url}", "{ws_url}", "{host}:{port}", '{"a": {}}'
    )

    assert process.wait(WAIT) == 0
    assert process.output().splitlines() == [
        "--at=http://127.0.0.1:8188",
        "ws://127.0.0.1:8188/ws",
        "127.0.0.1:8188",
        '{"a": {}}',
    ]


def test_the_address_is_in_the_environment_beside_what_was_asked_for(
    start: Callable[..., ClientProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE_ALREADY", "yes")
    monkeypatch.setenv("no_proxy", "example.org")

    process = start(
        "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))", env={"MINE": "1"}, cwd=tmp_path
    )

    assert process.wait(WAIT) == 0
    environment, directory = json.loads(process.output())
    assert environment["COMFYUI_URL"] == "http://127.0.0.1:8188"
    assert environment["COMFYUI_WS_URL"] == "ws://127.0.0.1:8188/ws"
    assert (environment["COMFYUI_HOST"], environment["COMFYUI_PORT"]) == ("127.0.0.1", "8188")
    assert (environment["MINE"], environment["HERE_ALREADY"]) == ("1", "yes")
    assert environment["NO_PROXY"] == environment["no_proxy"] == "example.org,127.0.0.1"
    assert os.path.samefile(directory, tmp_path)  # noqa: PTH121 - the child's path is a text


def test_stdin_stays_open_until_the_end(start: Callable[..., ClientProcess]) -> None:
    process = start("import sys; print('ready'); sys.stdin.read(); print('stdin has ended')")
    wait_for_output(process, "ready\n")  # the end of the line is a write of its own

    assert process.stop(shutdown_timeout=WAIT) == -signal.SIGTERM
    assert process.output() == "ready\n"


@pytest.mark.parametrize("status", [0, 3])
def test_a_process_that_ends_by_itself_has_its_exit_status(start: Callable[..., ClientProcess], status: int) -> None:
    process = start(f"raise SystemExit({status})")

    assert process.wait(WAIT) == status
    assert (process.is_running, process.exit_status) == (False, status)
    assert process.stop() == status
    assert process.describe() == f"ended with exit status {status}"


def test_a_process_that_does_not_end_when_asked_is_killed(start: Callable[..., ClientProcess]) -> None:
    process = start(IGNORES_SIGTERM)
    wait_for_output(process, "ready")

    assert process.wait(0) is None
    assert process.stop(StopSignal.SIGTERM, 0.05) == -signal.SIGKILL


def test_a_process_can_end_gracefully(start: Callable[..., ClientProcess]) -> None:
    process = start(ENDS_GRACEFULLY)
    wait_for_output(process, "ready")

    assert process.stop(StopSignal.SIGINT, WAIT) == 7


@pytest.mark.parametrize("child", [SLEEPS, LEAVES_THE_GROUP], ids=["in its group", "in a session of its own"])
@pytest.mark.parametrize("ending", ["stopped", "by itself"])
def test_nothing_that_it_has_started_is_left(start: Callable[..., ClientProcess], child: str, ending: str) -> None:
    process = start(HAS_A_CHILD.format(child=child))
    wait_for_output(process, *["ready", "ready too"][: 2 if child is LEAVES_THE_GROUP else 1])
    members = family(process)
    assert len(members) == 3

    if ending == "stopped":
        process.stop()
    else:
        os.kill(process.pid, signal.SIGUSR1)  # to it alone
        assert process.wait(WAIT) == 5
    should_be_gone(members)


def test_a_frozen_process_is_killed(start: Callable[..., ClientProcess]) -> None:
    process = start(SLEEPS)
    platform.freeze(process.pid)

    assert process.stop(shutdown_timeout=0.05) == -signal.SIGKILL


def test_a_process_ends_with_its_supervisor(start: Callable[..., ClientProcess]) -> None:
    process = start(SLEEPS)
    members = family(process)

    members[0].kill()

    assert process.wait(WAIT) == -signal.SIGKILL
    should_be_gone(members)


def test_the_supervisor_alone_ends_everything_with_its_stdin() -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(client_process._SUPERVISOR), sys.executable, "-c", SLEEPS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = json.loads(supervisor.stdout.readline())["started"]
        child = psutil.Process(pid)
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        assert json.loads(supervisor.stdout.readline()) == {"ended": -signal.SIGKILL}
        should_be_gone([child])


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-program"], "No such file or directory: no-such-program."),
        (
            ["node my_client.js"],
            (
                "No such file or directory: node my_client.js. "
                "Give the program and each of its arguments on their own: node    my_client.js    {url}."
            ),
        ),
        ([os.devnull], f"Permission denied: {os.devnull}."),
    ],
    ids=["missing", "in one argument", "no program"],
)
def test_a_program_that_cannot_be_started_is_an_error_with_the_reason(
    processes: ClientProcesses, tmp_path: Path, command: list[str], reason: str
) -> None:
    with pytest.raises(RuntimeError) as failure:
        processes.start(command, ENDPOINT, tmp_path, alias="mine")

    assert str(failure.value).removeprefix("Client process 'mine' cannot be started: ") == reason
    assert processes.processes == []


@pytest.mark.parametrize("step", ["_start_supervisor", "_wait_until_started", "start"])
def test_nothing_is_left_of_a_start_that_is_interrupted(
    start: Callable[..., ClientProcess], processes: ClientProcesses, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    do = getattr(client_process.ClientProcess, step)
    begun: list[ClientProcess] = []

    def do_and_be_interrupted(process: ClientProcess) -> None:
        do(process)
        begun.append(process)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client_process.ClientProcess, step, do_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(SLEEPS)

    assert begun[0].wait(WAIT) == -signal.SIGKILL
    assert processes.processes == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file may be open that nobody has got yet
@pytest.mark.skipif(sys.platform == "win32", reason="no timers that interrupt")
def test_a_start_can_be_interrupted_at_any_moment(processes: ClientProcesses, tmp_path: Path) -> None:
    draws, before = random.Random(0), len(psutil.Process().children(recursive=True))
    with interruptions() as do_until_interrupted:
        for _ in range(20):
            do_until_interrupted(
                lambda: processes.start(["sleep", "1000"], ENDPOINT, tmp_path), draws.uniform(1e-4, 6e-2)
            )
            processes.close()
            eventually(lambda: len(psutil.Process().children(recursive=True)) <= before)


def test_a_folder_that_is_none_is_an_error(start: Callable[..., ClientProcess], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"there is no folder .*nowhere"):
        start(SLEEPS, cwd=tmp_path / "nowhere")


def test_processes_are_found_by_alias_and_the_latest_is_the_current_one(
    processes: ClientProcesses, start: Callable[..., ClientProcess]
) -> None:
    one, two = start(SLEEPS, alias="one"), start(SLEEPS)

    assert processes.get() is two
    assert processes.get("one") is one
    assert processes.get(one) is one
    with pytest.raises(ValueError, match="There is a client process 'one' already"):
        start(SLEEPS, alias="one")
    with pytest.raises(ValueError, match=rf"There is no client process 'three'\. Known: one, {two.alias}\."):
        processes.get("three")
    processes.close_process(two)
    assert processes.get() is one
    one.stop()
    assert start(SLEEPS, alias="one") is processes.get("one")


def test_the_end_of_the_output_is_part_of_failures(start: Callable[..., ClientProcess]) -> None:
    process = start("print(*range(30), sep='\\n')")
    process.wait(WAIT)

    assert process.last_words().splitlines()[1:] == [
        "End of its output:",
        "    …",
        *(f"    {number}" for number in range(10, 30)),
    ]
