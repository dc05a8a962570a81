"""Lives behave the same however they are started."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil
import pytest
from engine_helpers import FROZEN_AT_ITS_START, LAUNCHERS, PATIENCE, eventually

from ComfyMockLibrary.engine import fork_launcher, launchers, platform
from ComfyMockLibrary.engine.deadline import Deadline
from ComfyMockLibrary.engine.fork_launcher import ForkLauncher
from ComfyMockLibrary.engine.launcher import LaunchedLife, LifeSettings, NotReady
from ComfyMockLibrary.engine.popen_launcher import PopenLauncher
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRINTS_AT_EVERY_START = """\
import os

def talk():
    print("hello\\n3.11\\n[]")

def talk_after_a_fork():
    print("half a line", end="", flush=True)
    talk()

talk()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=talk_after_a_fork)
"""
"""What Python imports as ``sitecustomize``."""


@pytest.fixture(params=LAUNCHERS)
def launch(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., LaunchedLife]]:
    """Launches lives, by each launcher in turn."""
    monkeypatch.setenv(launchers.SWITCH, request.param)
    launched: list[LaunchedLife] = []

    def launch(*options: str, life_id: str = "life-1") -> LaunchedLife:
        files = tmp_path / f"{life_id}.log", tmp_path / f"{life_id}.jsonl"
        launched.append(launchers.default().launch(LifeSettings(0, life_id, *files, options)))
        return launched[-1]

    yield launch
    for life in launched:
        life.stop(StopSignal.SIGKILL)
        assert life.wait(Deadline(PATIENCE)) is not None
        life.release()


@pytest.fixture
def own_launcher() -> Iterator[ForkLauncher]:
    """A launcher with a fork server of its own, which ends with the test."""
    launcher = ForkLauncher()
    yield launcher
    if launcher._server is not None:
        launcher._server.close()


def ready(life: LaunchedLife) -> LaunchedLife:
    life.wait_until_ready(Deadline(PATIENCE))
    return life


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_a_launcher_warms_up_with_the_process_that_forks_its_lives(tmp_path: Path) -> None:
    launcher = ForkLauncher()
    before = children()
    for _ in range(2):
        launcher.warm_up()
    (warm,) = children() - before
    life = launcher.launch(LifeSettings(0, "life-1", tmp_path / "log", tmp_path / "journal"))
    assert psutil.Process(ready(life).pid).ppid() == warm
    life.stop(StopSignal.SIGKILL)
    assert life.wait(Deadline(PATIENCE)) == -9
    assert launcher._server is not None
    launcher._server.close()


def test_a_launcher_of_new_processes_has_nothing_to_warm_up() -> None:
    before = children()
    PopenLauncher().warm_up()
    assert children() <= before


def test_a_life_says_when_it_is_ready_and_where(launch: Callable[..., LaunchedLife], tmp_path: Path) -> None:
    life = launch()
    line = life.wait_until_ready(Deadline(PATIENCE))
    assert (line["pid"], line["life_id"]) == (life.pid, "life-1")
    assert life.exit_status() is None
    with urlopen(f"{line['control_url']}/life", timeout=PATIENCE) as answer:
        assert json.load(answer)["port"] == line["port"]
    assert "life-1" in (tmp_path / "life-1.log").read_text()
    assert json.loads((tmp_path / "life-1.jsonl").read_text().splitlines()[0])["life_id"] == "life-1"


@pytest.mark.parametrize(
    ("options", "stop", "status"),
    [
        ((), StopSignal.SIGTERM, 0),
        ((), StopSignal.SIGINT, 0),
        ((), StopSignal.SIGKILL, -9),
        (("--strict",), StopSignal.SIGTERM, -15),
    ],
)
def test_a_life_ends_the_way_it_is_told(
    launch: Callable[..., LaunchedLife], options: tuple[str, ...], stop: StopSignal, status: int
) -> None:
    life = ready(launch(*options))
    assert life.wait(Deadline(0.0)) is None
    life.stop(stop)
    assert life.wait(Deadline(PATIENCE)) == status
    assert life.exit_status() == status
    life.stop(stop)
    assert life.wait(Deadline(0.0)) == status
    assert not psutil.pid_exists(life.pid)


def test_a_frozen_life_can_be_killed(launch: Callable[..., LaunchedLife]) -> None:
    life = ready(launch())
    platform.freeze(life.pid)
    life.stop(StopSignal.SIGTERM)
    assert life.wait(Deadline(0.2)) is None
    life.stop(StopSignal.SIGKILL)
    assert life.wait(Deadline(PATIENCE)) == -9


def test_a_life_that_ends_before_it_is_ready_says_how(launch: Callable[..., LaunchedLife], tmp_path: Path) -> None:
    life = launch("--nonsense")
    with pytest.raises(NotReady, match=r"ended with exit status 2 before it was ready"):
        life.wait_until_ready(Deadline(PATIENCE))
    assert "unrecognized arguments: --nonsense" in (tmp_path / "life-1.log").read_text()


def test_a_life_that_is_not_ready_in_time_is_not_waited_for(
    launch: Callable[..., LaunchedLife], tmp_path: Path
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(FROZEN_AT_ITS_START)
    with pytest.raises(NotReady, match=r"was not ready within 0 s"):
        launch("--faults", str(faults)).wait_until_ready(Deadline(0.0))


def test_a_life_is_not_left_running_when_its_start_is_interrupted(
    launch: Callable[..., LaunchedLife], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, result = fork_launcher._ForkServer.send, platform._Call.result
    started: list[LaunchedLife] = []

    def send_and_be_interrupted(server: fork_launcher._ForkServer, line: bytes) -> None:
        send(server, line)
        if json.loads(line)["order"] == "start":
            started.append(server._lives[json.loads(line)["id"]])
            raise KeyboardInterrupt

    def be_interrupted(call: platform._Call[LaunchedLife]) -> LaunchedLife:
        started.append(result(call))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fork_launcher._ForkServer, "send", send_and_be_interrupted)
        patch.setattr(platform._Call, "result", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            launch()
    assert [life.wait(Deadline(PATIENCE)) for life in started] == [-9]


def test_lives_do_not_hold_each_others_files_or_ends(launch: Callable[..., LaunchedLife]) -> None:
    lives = [ready(launch(life_id=f"life-{number}")) for number in range(3)]
    assert len({life.pid for life in lives}) == 3
    eventually(lambda: len({psutil.Process(life.pid).num_fds() for life in lives}) == 1)  # nobody inherits anything
    lives[1].stop(StopSignal.SIGTERM)
    assert lives[1].wait(Deadline(PATIENCE)) == 0
    assert [life.exit_status() for life in lives] == [None, 0, None]


def test_a_life_sees_the_end_of_its_own_session_only(launch: Callable[..., LaunchedLife]) -> None:
    assert os.getpgid(ready(launch()).pid) not in (os.getpgid(0), 0)


def test_what_is_no_ready_line_is_not_ready(tmp_path: Path) -> None:
    settings = LifeSettings(0, "x", tmp_path / "log", tmp_path / "jsonl", ("--version",))
    life = launchers.of_programs().launch(settings)
    with pytest.raises(NotReady, match=r"wrote b'mockserver .*' instead of its ready line"):
        life.wait_until_ready(Deadline(PATIENCE))
    assert life.wait(Deadline(PATIENCE)) == 0
    life.release()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_life_may_print_before_its_ready_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_launcher: ForkLauncher, launcher: str, unbuffered: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRINTS_AT_EVERY_START)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    launch = (own_launcher if launcher == "fork" else launchers.of_programs()).launch
    life = launch(LifeSettings(0, "x", tmp_path / "log", tmp_path / "jsonl"))
    try:
        line = life.wait_until_ready(Deadline(PATIENCE))
        assert (line["life_id"], line["pid"]) == ("x", life.pid)
    finally:
        life.stop(StopSignal.SIGKILL)
        assert life.wait(Deadline(PATIENCE)) == -9
        life.release()


def test_a_fork_server_whose_reports_are_not_read_any_more_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_launcher: ForkLauncher
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        patch.setattr("ComfyMockLibrary.engine.fork_launcher._ForkServer._take", fail)
        life = own_launcher.launch(LifeSettings(0, "one", tmp_path / "one", tmp_path / "one.jsonl"))
        with pytest.raises(NotReady, match="was lost with the process that starts servers"):
            life.wait_until_ready(Deadline(PATIENCE))
        assert own_launcher._server is not None
        own_launcher._server._reader.join(PATIENCE)
    ready(own_launcher.launch(LifeSettings(0, "two", tmp_path / "two", tmp_path / "two.jsonl")))


def test_all_servers_of_a_process_share_one_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launchers.SWITCH, raising=False)
    assert isinstance(launchers.default(), ForkLauncher)
    assert launchers.default() is launchers.default()
    monkeypatch.setenv(launchers.SWITCH, "popen")
    assert isinstance(launchers.default(), PopenLauncher)


def test_an_unknown_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launchers.SWITCH, "magic")
    with pytest.raises(ValueError, match="COMFYMOCK_LAUNCHER=magic is no launcher; set it to one of fork, popen"):
        launchers.default()


def test_a_fork_server_that_is_killed_takes_its_lives_along_and_is_replaced(tmp_path: Path) -> None:
    launcher = ForkLauncher()

    def launch(life_id: str) -> LaunchedLife:
        return ready(launcher.launch(LifeSettings(0, life_id, tmp_path / life_id, tmp_path / f"{life_id}.jsonl")))

    first = launch("one")
    fork_server = psutil.Process(first.pid).parent()
    assert fork_server
    fork_server.kill()
    assert first.wait(Deadline(PATIENCE)) == -9
    eventually(lambda: not psutil.pid_exists(first.pid))
    second = launch("two")
    assert launcher._server
    launcher._server.close()
    assert second.wait(Deadline(PATIENCE)) == -9
    eventually(lambda: not psutil.pid_exists(second.pid))
