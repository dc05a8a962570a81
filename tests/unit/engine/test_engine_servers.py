"""Mock servers over all their lives."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil
import pytest
from engine_helpers import FROZEN_AT_ITS_START, LAUNCHERS, PATIENCE, eventually, finished, interruptions

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import Deadline, now
from ComfyMockLibrary.engine.http import ask_json
from ComfyMockLibrary.engine.outside import OutsideJournal
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_helpers import MakeManager

both_launchers = pytest.mark.parametrize("launcher_kind", LAUNCHERS)


def answers(server: MockServer) -> bool:
    return bool(ask_json(server.endpoint, "GET", "/system_stats", Patience(PATIENCE))["system"])


def can_be_bound(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as plain:
        try:
            plain.bind((address, port))
        except OSError:
            return False
    return True


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def stands_still(process: psutil.Process) -> bool:
    return process.is_running() and platform.is_frozen(process.pid)


class TestLives:
    @both_launchers
    def test_a_server_keeps_its_port_over_all_lives(self, manager: ServerManager) -> None:
        server = manager.start()
        port = server.port
        for how, status in ((StopSignal.SIGTERM, 0), (StopSignal.SIGKILL, -9), (StopSignal.SIGINT, 0)):
            assert answers(server)
            manager.restart(server, how)
            assert server.lives[-2].exit_status == status
        assert answers(server)
        assert server.port == port == server.endpoint.port
        assert [life.number for life in server.lives] == [1, 2, 3, 4]
        assert [life.is_running for life in server.lives] == [False, False, False, True]
        for different in ("life_id", "pid", "log_file", "journal_file"):
            assert len({getattr(life, different) for life in server.lives}) == 4, different
        for life in server.lives:
            anchor = json.loads(life.journal_file.read_text().splitlines()[0])
            assert (anchor["life_id"], anchor["pid"]) == (life.life_id, life.pid)
            assert life.life_id in life.log_file.read_text()
        assert (server.life_id, server.pid) == (server.lives[-1].life_id, server.lives[-1].pid)

    def test_the_handle_says_where_the_server_is(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.ws_url == f"ws://127.0.0.1:{server.port}/ws"
        with urlopen(f"{server.control_url}/life", timeout=PATIENCE) as answer:
            assert json.load(answer)["life_id"] == server.life_id
        assert repr(server) == f"<MockServer 'comfy' at {server.url}: life 1 running, pid {server.pid}>"

    def test_the_port_is_held_while_the_server_is_down_and_free_after_its_close(
        self, manager: ServerManager, free_port: Callable[[], int]
    ) -> None:
        server = manager.start(port=free_port())
        manager.kill(server, StopSignal.SIGKILL)
        for address in ("127.0.0.1", "::1"):
            assert not can_be_bound(server.port, address)
        assert refuses(server.port)
        manager.close_server(server)
        for address in ("127.0.0.1", "::1"):
            assert can_be_bound(server.port, address)

    @both_launchers
    @pytest.mark.parametrize(
        ("how", "status"), [(StopSignal.SIGTERM, 0), (StopSignal.SIGINT, 0), (StopSignal.SIGKILL, -9)]
    )
    def test_killing_gives_the_exit_status_and_changes_nothing_the_second_time(
        self, manager: ServerManager, how: StopSignal, status: int
    ) -> None:
        server = manager.start()
        assert manager.kill(server, how) == status
        assert not server.is_running
        assert refuses(server.port)
        assert not psutil.pid_exists(server.pid)
        assert manager.kill(server) == status
        assert server.life.exit_status == status

    @both_launchers
    def test_a_frozen_server_answers_nothing_and_is_killed_at_once(self, manager: ServerManager) -> None:
        server = manager.start()
        manager.freeze(server)
        assert server.is_frozen
        assert server.is_running
        assert server.life.describe() == f"frozen, pid {server.pid}"
        with pytest.raises(RuntimeError, match="no answer within"):
            ask_json(server.endpoint, "GET", "/queue", Patience(0.2))
        began = now()
        assert manager.kill(server, StopSignal.SIGTERM, shutdown_timeout=PATIENCE * 5) == -9
        assert now() - began < PATIENCE
        assert not server.is_frozen
        assert server.life.describe() == "ended with SIGKILL"
        manager.restart(server)
        assert not server.is_frozen

    def test_a_thawed_server_goes_on(self, manager: ServerManager) -> None:
        server = manager.start()
        manager.freeze(server)
        manager.thaw(server)
        assert not server.is_frozen
        assert answers(server)
        assert manager.kill(server) == 0

    def test_a_stop_that_is_not_heard_becomes_a_kill(self, manager: ServerManager) -> None:
        server = manager.start()
        os.kill(server.pid, signal.SIGSTOP)
        assert manager.kill(server, StopSignal.SIGTERM, shutdown_timeout=0.2) == -9

    def test_a_kill_has_its_own_time_however_short_that_of_a_stop_is(self, manager: ServerManager) -> None:
        server = manager.start()
        for how in (StopSignal.SIGKILL, StopSignal.SIGTERM):
            assert manager.kill(server, how, shutdown_timeout=0.0) in (-9, 0)
            manager.restart(server)

    @both_launchers
    @pytest.mark.parametrize(
        ("number", "status", "words"), [(9, -9, "ended with SIGKILL"), (15, 0, "ended with exit status 0")]
    )
    def test_a_server_that_ends_by_itself_is_noticed(
        self, manager: ServerManager, number: int, status: int, words: str
    ) -> None:
        server = manager.start()
        assert manager.wait_for_stop(server, 0.0) is None
        os.kill(server.pid, number)
        assert manager.wait_for_stop(server, PATIENCE) == status
        assert not server.is_running
        assert server.life.describe() == words
        manager.restart(server)
        assert answers(server)

    def test_a_downtime_passes_between_two_lives(self, manager: ServerManager) -> None:
        server = manager.start()
        began = now()
        manager.restart(server, downtime=0.3)
        assert now() - began >= 0.3

    def test_nobody_is_served_while_a_server_is_down(self, manager: ServerManager) -> None:
        server, stop, served, lives = manager.start(), threading.Event(), [], []

        def ask() -> None:
            while not stop.is_set():
                try:
                    ask_json(server.endpoint, "GET", "/queue", Patience(PATIENCE))
                    served.append(server.life)
                except RuntimeError:
                    lives.append(server.life)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(5):
                eventually(lambda: served and served[-1] is server.life)
                manager.kill(server, StopSignal.SIGKILL)
                before = len(served)
                eventually(lambda: lives and lives[-1] is server.life)
                assert len(served) <= before + 1, "an answer that was on its way already"
                manager.restart(server)
        finally:
            stop.set()
            thread.join()

    def test_only_one_life_begins_when_two_threads_want_the_next_one(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        manager.kill(server)
        together, failures = threading.Barrier(2), []

        def begin() -> None:
            together.wait()
            try:
                manager._begin_life(server, Deadline(PATIENCE))
            except RuntimeError as failure:
                failures.append(str(failure))

        threads = [threading.Thread(target=begin) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [life.number for life in server.lives] == [1, 2]
        assert answers(server)
        assert json.loads(server.journal_file.read_text().splitlines()[0])["life_id"] == server.life_id
        (failure,) = failures
        assert failure.startswith("The mock server 'comfy' was started by somebody else since its last life has ended")

    def test_a_server_can_be_killed_while_another_thread_starts_one(
        self, manager: ServerManager, tmp_path: Path
    ) -> None:
        server, faults = manager.start(), tmp_path / "faults.json"
        faults.write_text(FROZEN_AT_ITS_START)
        failures = []

        def start() -> None:
            try:
                manager.start(ServerOptions(faults=faults), startup_timeout=PATIENCE * 5)
            except RuntimeError as failure:
                failures.append(str(failure))

        thread = threading.Thread(target=start)
        thread.start()
        pid = eventually(lambda: [each.pid for each in psutil.Process().children(recursive=True) if stands_still(each)])
        manager.restart(server, StopSignal.SIGKILL)
        assert thread.is_alive()
        os.kill(pid[0], signal.SIGKILL)
        thread.join()
        assert "ended with SIGKILL" in failures[0]

    @pytest.mark.parametrize(("launcher_kind", "count"), [("fork", 20), ("popen", 5)])
    def test_restarts_leave_no_threads_files_or_processes(self, manager: ServerManager, count: int) -> None:
        server, me = manager.start(), psutil.Process()
        manager.restart(server)
        gc.collect()

        def running() -> tuple[int, int, int]:
            return threading.active_count(), me.num_fds(), len(me.children(recursive=True))

        before = running()
        for number in range(count):
            manager.restart(server, list(StopSignal)[number % 3])
        assert len(server.lives) == count + 2
        eventually(lambda: all(count <= most for count, most in zip(running(), before, strict=True)))


class TestStarts:
    @both_launchers
    def test_a_start_that_fails_shows_the_end_of_the_output_and_leaves_nothing(
        self, manager: ServerManager, free_port: Callable[[], int]
    ) -> None:
        port = free_port()
        with pytest.raises(RuntimeError) as failure:
            manager.start(ServerOptions(raw=("--nonsense",)), alias="bad", port=port)
        text = str(failure.value)
        assert f"'bad' on port {port} ended with exit status 2 before it was ready" in text
        assert "unrecognized arguments: --nonsense" in text
        assert "bad-life-1.log" in text
        assert manager.servers == []
        assert can_be_bound(port)
        assert manager.start(alias="bad").is_running

    @both_launchers
    def test_a_start_that_takes_too_long_leaves_nothing(self, manager: ServerManager, tmp_path: Path) -> None:
        faults = tmp_path / "faults.json"
        faults.write_text(FROZEN_AT_ITS_START)
        with pytest.raises(RuntimeError, match=r"port \d+ was not ready within 0 s.*longer startup_timeout"):
            manager.start(ServerOptions(faults=faults), startup_timeout=0.0)
        assert manager.servers == []

    def test_a_restart_that_fails_leaves_the_server_stopped_with_its_port(
        self, manager: ServerManager, tmp_path: Path
    ) -> None:
        faults = tmp_path / "faults.json"
        faults.write_text("[]")
        server = manager.start(ServerOptions(faults=faults))
        faults.write_text(FROZEN_AT_ITS_START)
        with pytest.raises(RuntimeError, match="was not ready within 0 s"):
            manager.restart(server, startup_timeout=0.0)
        assert not server.is_running
        assert len(server.lives) == 1
        assert not can_be_bound(server.port)
        faults.write_text("[]")
        manager.restart(server)
        assert server.is_running

    @pytest.mark.parametrize("name", ["alias", "port"])
    def test_starting_a_stopped_server_again_is_its_next_life(self, manager: ServerManager, name: str) -> None:
        server = manager.start(alias="comfy")
        manager.kill(server)
        options = ServerOptions(node_duration=0.5)
        again = manager.start(options, alias="comfy") if name == "alias" else manager.start(options, port=server.port)
        assert again is server
        assert len(server.lives) == 2
        assert server.options is options

    def test_options_of_a_start_that_fails_do_not_stay(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        manager.kill(server)
        for raw in (("--nonsense",), ("--port=1",)):
            with pytest.raises((RuntimeError, ValueError)):
                manager.start(ServerOptions(raw=raw), alias="comfy")
        manager.restart(server)
        assert server.is_running

    def test_a_port_can_be_chosen(self, manager: ServerManager, free_port: Callable[[], int]) -> None:
        port = free_port()
        for _ in range(2):
            assert manager.start(port=port).port == port
            manager.close()

    def test_who_has_the_port_is_named(self, manager: ServerManager, free_port: Callable[[], int]) -> None:
        port = free_port()
        taken = pytest.raises(RuntimeError, match=rf"Port {port} is taken by process {os.getpid()}")
        with socket.create_server(("127.0.0.1", port)), taken:
            manager.start(port=port)
        assert manager.start(port=port).is_running

    @both_launchers
    def test_who_took_the_port_while_the_server_was_down_is_named(self, manager: ServerManager) -> None:
        server = manager.start()
        manager.kill(server)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("0.0.0.0", server.port))
            thief.listen()
            with pytest.raises(RuntimeError, match=rf"(?s)Port {server.port} on .* is taken by process {os.getpid()} "):
                manager.restart(server)
        manager.restart(server)
        assert answers(server)

    @pytest.mark.parametrize("kind", ["given", "made when asked"])
    def test_files_go_into_the_directory(
        self, new_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        below = Path("not", "there")
        manager = new_manager(below if kind == "given" else lambda: below)
        server = manager.start(alias="my server/1")
        manager.restart(server)
        monkeypatch.chdir("/")
        manager.close()
        files = sorted(path.name for path in (tmp_path / below).iterdir())
        of_lives = [f"my_server_1-life-{number}.{end}" for number in (1, 2) for end in ("journal.jsonl", "log")]
        assert files == [*of_lives, "my_server_1.server.journal.jsonl"]
        assert all(path.is_file() for life in server.lives for path in (life.log_file, life.journal_file))

    def test_a_life_does_not_find_the_files_of_an_earlier_run(self, new_manager: MakeManager, tmp_path: Path) -> None:
        for _ in range(2):
            manager = new_manager(tmp_path)
            server = manager.start(alias="comfy")
            manager.close()
            assert server.log_file.read_text().count(server.life_id) == 1
            assert server.journal_file.read_text().count('"kind":"journal"') == 1

    def test_a_temporary_directory_goes_with_the_manager(self, manager: ServerManager) -> None:
        server = manager.start()
        directory = manager.directory
        assert server.log_file.parent == directory
        manager.close()
        assert not directory.exists()


class TestInterruptedStarts:
    """Ctrl-C and the timeouts of tests raise in the main thread at any moment."""

    @both_launchers
    def test_a_life_that_is_ready_ends(self, manager: ServerManager, monkeypatch: pytest.MonkeyPatch) -> None:
        def be_interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        server = manager.start()
        manager.kill(server)
        with monkeypatch.context() as patch:
            patch.setattr(OutsideJournal, "life_begun", be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                manager.restart(server)
        assert not server.is_running
        assert refuses(server.port)
        manager.restart(server)
        assert answers(server)

    def test_a_server_that_nobody_gets_ends(
        self, manager: ServerManager, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
    ) -> None:
        begun: list[MockServer] = []
        begin = ServerManager._begin_life

        def begin_and_be_interrupted(manager: ServerManager, server: MockServer, deadline: Deadline) -> None:
            begin(manager, server, deadline)
            begun.append(server)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ServerManager, "_begin_life", begin_and_be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                manager.start(alias="comfy", port=free_port())
        (server,) = begun
        assert manager.servers == []
        assert not server.is_running
        assert can_be_bound(server.port)
        assert manager.start(alias="comfy").is_running

    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file may be open that nobody has got yet
    @pytest.mark.skipif(sys.platform == "win32", reason="no timers that interrupt")
    @pytest.mark.parametrize(("launcher_kind", "count"), [("fork", 50), ("popen", 5)])
    def test_the_next_start_works_at_whatever_moment_one_was_interrupted(
        self, manager: ServerManager, count: int
    ) -> None:
        server, draws = manager.start(startup_timeout=PATIENCE), random.Random(0)
        began = now()
        manager.restart(server, StopSignal.SIGKILL)
        longest = now() - began
        with interruptions() as do_until_interrupted:
            for _ in range(count):
                do_until_interrupted(lambda: manager.restart(server, StopSignal.SIGKILL), draws.uniform(1e-4, longest))
                assert server.is_running or refuses(server.port)
                manager.restart(server, StopSignal.SIGKILL, startup_timeout=PATIENCE)
                assert answers(server)


class TestNames:
    def test_servers_are_found_by_alias_port_handle_or_as_the_current_one(self, manager: ServerManager) -> None:
        first, second = manager.start(alias="first"), manager.start()
        assert manager.servers == [first, second]
        for known in ("first", first.port, str(first.port), first):
            assert manager.get(known) is first
        assert manager.get() is second
        assert manager.switch("first") is second
        assert manager.get() is first
        manager.close_server(first)
        assert manager.get() is second

    def test_an_alias_that_is_made_is_free(self, manager: ServerManager) -> None:
        made = manager.start().alias
        number = int(made.removeprefix("server-"))
        taken = [manager.start(alias=f"server-{number + later}") for later in (1, 2)]
        new = manager.start()
        assert new.alias not in (made, *(server.alias for server in taken))
        assert manager.servers[1:3] == taken
        assert all(server.is_running for server in taken)

    def test_wrong_names_say_which_are_known(self, manager: ServerManager) -> None:
        with pytest.raises(ValueError, match=r"no mock server. Start one with `Start Mock Server`"):
            manager.get()
        with pytest.raises(ValueError, match=r"no mock server 'x'. Known: none"):
            manager.get("x")
        server = manager.start(alias="comfy")
        with pytest.raises(ValueError, match=rf"no mock server '1'. Known: comfy \(port {server.port}\)"):
            manager.get(1)
        manager.close_server(server)
        for use in (manager.get, manager.switch):
            with pytest.raises(ValueError, match=r"is closed\. Start a new one|There is no mock server"):
                use(server)

    def test_wrong_starts_say_what_to_do(self, manager: ServerManager) -> None:
        first, second = manager.start(alias="first"), manager.start(alias="second")
        wrong: list[tuple[Callable[[], object], str]] = [
            (lambda: manager.start(alias="first"), rf"'first' runs already on port {first.port} \(pid {first.pid}\)"),
            (lambda: manager.start(port=first.port), "'first' runs already"),
            (lambda: manager.start(alias="third", port=first.port), f"Port {first.port} belongs to .* 'first'"),
            (lambda: manager.start(alias="first", port=second.port), f"'first' has port {first.port} and cannot move"),
        ]
        for start, message in wrong:
            with pytest.raises(ValueError, match=message):
                start()
        assert manager.servers == [first, second]
        assert (len(first.lives), len(second.lives)) == (1, 1)

    @pytest.mark.parametrize(
        "option",
        [
            "--port=1",
            "--seed=1",
            "--faults",
            "--journal",
            "--life-id",
            "--supervised",
            "--kill-with-parent",
            "--help",
            "-h",
            "--version",
        ],
    )
    def test_options_that_are_the_librarys_own_or_make_no_server_are_refused(
        self, manager: ServerManager, option: str
    ) -> None:
        with pytest.raises(ValueError, match=option.partition("=")[0]):
            manager.start(ServerOptions(raw=(option,)))
        assert manager.servers == []

    def test_options_become_a_command_line(self) -> None:
        options = ServerOptions(status_interval=0.5, node_duration=0.0, strict=True, raw=("--close-code", "1012"))
        expected = "--status-interval 0.5 --node-duration 0.0 --strict --close-code 1012"
        assert options.command_line() == tuple(expected.split())
        assert ServerOptions().command_line() == ()

    @pytest.mark.parametrize("do", ["freeze", "thaw"])
    def test_a_server_that_has_ended_can_be_neither_frozen_nor_thawed(self, manager: ServerManager, do: str) -> None:
        server = manager.start(alias="comfy")
        manager.kill(server)
        with pytest.raises(
            RuntimeError, match=r"'comfy' does not run: ended with exit status 0\. .* `Restart Mock Server`"
        ):
            getattr(manager, do)(server)

    @pytest.mark.parametrize("do", ["freeze", "thaw"])
    def test_a_server_that_ends_meanwhile_can_be_neither_frozen_nor_thawed(
        self, manager: ServerManager, monkeypatch: pytest.MonkeyPatch, do: str
    ) -> None:
        server = manager.start(alias="comfy")
        change = getattr(platform, do)

        def change_when_ended(pid: int) -> None:
            manager.kill(server)
            change(pid)

        monkeypatch.setattr(platform, do, change_when_ended)
        with pytest.raises(RuntimeError, match=rf"'comfy' cannot be .*: process {server.pid} has ended\. .* `Restart "):
            getattr(manager, do)(server)


class TestManagers:
    def test_two_side_by_side_do_not_touch_each_other(self, new_manager: MakeManager) -> None:
        mine, yours = new_manager(), new_manager()
        ours = [manager.start(alias="comfy") for manager in (mine, yours)]
        with pytest.raises(ValueError, match=r"is closed|no mock server"):
            mine.get(ours[1])
        mine.close()
        assert not ours[0].is_running
        assert answers(ours[1])
        assert ours[1].log_file.exists()
        mine.start(alias="comfy")
        assert answers(ours[1])

    def test_closing_ends_servers_in_whatever_state(self, manager: ServerManager, free_port: Callable[[], int]) -> None:
        running, frozen, stopped, crashed = (manager.start(port=free_port()) for _ in range(4))
        manager.freeze(frozen)
        manager.kill(stopped)
        os.kill(crashed.pid, signal.SIGKILL)
        finished(manager.close)
        assert manager.servers == []
        for server in (running, frozen, stopped, crashed):
            assert not psutil.pid_exists(server.pid)
            assert can_be_bound(server.port)
        manager.close()
        with pytest.raises(ValueError, match=r"no mock server"):
            manager.get()

    def test_many_threads_may_start_servers_at_once(self, manager: ServerManager) -> None:
        threads = [threading.Thread(target=manager.start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 2)
        assert len({server.port for server in manager.servers}) == 4
        assert all(server.is_running for server in manager.servers)
