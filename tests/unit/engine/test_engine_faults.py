"""Faults of a server over all its lives."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from engine_helpers import PATIENCE, eventually
from websocket import WebSocketBadStatusException, WebSocketException, create_connection

from ComfyMockLibrary.engine import faults as engine
from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.control import Control, ControlFailure
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.fault_records import FaultRecords
from ComfyMockLibrary.engine.http import HttpError, ask
from ComfyMockLibrary.engine.prompts import example_workflow
from ComfyMockLibrary.engine.servers import ServerOptions
from ComfyMockLibrary.types import StopSignal
from mockserver.faults import kinds

if TYPE_CHECKING:
    from pathlib import Path

    from ComfyMockLibrary.engine.servers import MockServer, ServerManager

REFUSAL = {"fault": "refuse_upgrade", "status": 403}
INSIDE = {"fault": "fail_request", "path": "/queue", "status": 429}


@pytest.fixture
def server(manager: ServerManager) -> MockServer:
    return manager.start(alias="comfy")


def status_of(server: MockServer, path: str = "/queue") -> int:
    return ask(server.endpoint, "GET", path, Patience(PATIENCE)).status


def upgrade(server: MockServer) -> int:
    """Status of the answer to a handshake."""
    try:
        create_connection(server.ws_url, timeout=PATIENCE).close()
    except WebSocketBadStatusException as refused:
        return refused.status_code
    return 101


def begun_with(server: MockServer) -> list[dict[str, Any]]:
    """The faults that the latest life began with."""
    file = server.log_file.with_name(server.log_file.name.replace(".log", ".faults.json"))
    faults: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return faults


def test_the_engine_knows_which_kinds_outlive_a_restart() -> None:
    assert {kinds.name_of(kind) for kind in kinds.KINDS if kind.outlives_restart} == engine.OUTLIVING


class TestAFault:
    def test_says_how_it_stands(self, server: MockServer) -> None:
        fault = server.faults.set({**INSIDE, "times": 2})
        assert (fault.id, fault.name, fault.server) == ("fail_request-1", "fail_request", "comfy")
        assert (fault.state, fault.strikes, fault.has_ended) == ("active", 0, False)
        assert status_of(server) == 429
        assert (fault.state, fault.strikes) == ("active", 1)
        assert [status_of(server), status_of(server)] == [429, 200]
        assert (fault.state, fault.strikes, fault.has_ended) == ("ended", 2, True)
        assert repr(fault) == "<Fault 'fail_request-1' of 'comfy': ended, strikes: 2>"
        assert str(fault) == "fail_request path=/queue status=429 times=2"

    def test_waits_for_its_event(self, server: MockServer) -> None:
        fault = server.faults.set({**INSIDE, "when": {"event": "request", "path": "/prompt"}})
        assert fault.state == "waiting"
        assert status_of(server) == 200
        status_of(server, "/prompt")
        assert fault.state == "active"
        assert status_of(server) == 429

    def test_is_known_by_an_id_of_its_own(self, server: MockServer) -> None:
        Control(server.alias, server.life).set_fault({**INSIDE, "id": "fail_request-2"})
        made = [server.faults.set(INSIDE).id for _ in range(2)]
        assert made == ["fail_request-1", "fail_request-3"]
        assert server.faults.get("fail_request-3") is server.faults.all()[-1]
        named = server.faults.set({**INSIDE, "id": "mine"})
        assert named is server.faults.get("mine")
        with pytest.raises(ValueError, match=r"has a fault 'mine' already\. Clear it first"):
            server.faults.set({**INSIDE, "id": "mine"})
        server.faults.clear(named)
        assert server.faults.set({**INSIDE, "id": "mine"}).state == "active"
        with pytest.raises(ValueError, match=r"'comfy' has no fault 'x'\. Known: fail_request-1, fail_request-3, mine"):
            server.faults.get("x")

    def test_that_is_described_wrongly_is_not_set(self, server: MockServer) -> None:
        with pytest.raises(ValueError, match="refuse_upgrade: Expected `int` >= 200"):
            server.faults.set({**REFUSAL, "status": 1})
        assert server.faults.all() == []

    def test_strikes_can_be_waited_for(self, server: MockServer) -> None:
        fault = server.faults.set({**INSIDE, "times": 2})
        assert not server.faults.wait_for_strikes(fault, 1, 0.0)
        status_of(server)
        assert server.faults.wait_for_strikes(fault, 1, PATIENCE)
        status_of(server)
        assert server.faults.wait_for_strikes(fault, 2, PATIENCE)
        assert not server.faults.wait_for_strikes(fault, 3, PATIENCE * 100), "it cannot strike any more"


class TestClearing:
    def test_a_fault_that_is_cleared_strikes_no_more(self, server: MockServer) -> None:
        first, second = server.faults.set(INSIDE), server.faults.set({**INSIDE, "path": "/prompt"})
        server.faults.clear(first)
        assert (first.state, second.state) == ("ended", "active")
        assert (status_of(server), status_of(server, "/prompt")) == (200, 429)
        server.faults.clear(first)

    def test_a_fault_that_has_struck_for_the_last_time_and_still_holds_something_lets_it_go(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set({"fault": "hang_upgrade", "times": 1})
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(upgrade, server)
            assert server.faults.wait_for_strikes(fault, 1, PATIENCE)
            assert fault.state == "active"
            server.faults.clear(fault)
            assert hanging.result(PATIENCE) == 101
        manager.restart(server)
        assert upgrade(server) == 101

    def test_a_fault_that_still_holds_something_does_not_outlive_its_last_strike(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set({"fault": "hang_upgrade", "times": 1})
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(upgrade, server)
            assert server.faults.wait_for_strikes(fault, 1, PATIENCE)
            manager.kill(server, StopSignal.SIGKILL)
            assert fault.state == "ended"
            assert isinstance(hanging.exception(PATIENCE), (OSError, WebSocketException))
        manager.restart(server)
        assert upgrade(server) == 101

    def test_all_faults_are_cleared_also_those_of_others(self, server: MockServer) -> None:
        fault = server.faults.set(INSIDE)
        Control(server.alias, server.life).set_fault({**INSIDE, "path": "/prompt"})
        server.faults.clear_all()
        assert fault.state == "ended"
        assert (status_of(server), status_of(server, "/prompt")) == (200, 200)

    def test_a_network_fault_that_is_cleared_while_the_server_is_down_does_not_come_back(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set(REFUSAL)
        manager.kill(server)
        server.faults.clear(fault)
        manager.restart(server)
        assert (fault.state, upgrade(server)) == ("ended", 101)

    def test_what_is_cleared_while_the_server_is_frozen_ends_when_it_is_thawed(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set(INSIDE)
        manager.freeze(server)
        server.faults.clear(fault)
        assert fault.state == "ended"
        assert server.is_frozen
        manager.thaw(server)
        assert status_of(server) == 200

    def test_a_fault_that_has_frozen_the_server_thaws_it(self, server: MockServer) -> None:
        inside = server.faults.set(INSIDE)
        fault = server.faults.set({"fault": "freeze", "when": {"event": "connected"}})
        assert upgrade(server) == 101
        assert server.faults.wait_for_strikes(fault, 1, PATIENCE)
        eventually(lambda: server.is_frozen)
        assert server.life.describe() == f"frozen, pid {server.pid}"
        server.faults.clear(inside, fault)
        assert not server.is_frozen
        assert (fault.state, inside.state, status_of(server)) == ("ended", "ended", 200)

    def test_a_fault_that_freezes_the_server_just_now_thaws_it_too(self, server: MockServer) -> None:
        """The order to clear it reaches a server that stands still."""
        for _ in range(5):
            inside = server.faults.set(INSIDE)
            fault = server.faults.set({"fault": "freeze", "when": {"event": "connected"}})
            upgrade(server)
            server.faults.clear(inside, fault)
            assert status_of(server) == 200
            assert not server.is_frozen

    @pytest.mark.parametrize("who", ["the library", "somebody else"])
    def test_what_is_held_is_released(self, server: MockServer, who: str) -> None:
        description = {"fault": "hold_execution", "id": "held"}
        if who == "the library":
            fault = server.faults.set(description)
        else:
            Control(server.alias, server.life).set_fault(description)
        other = server.faults.set(INSIDE)
        assert server.faults.release("network") == []
        assert server.faults.release("execution") == ["held"]
        assert server.faults.release("execution") == []
        assert other.state == "active"
        if who == "the library":
            assert fault.state == "ended"


class TestLives:
    def test_a_fault_of_the_inside_ends_with_its_life(self, manager: ServerManager, server: MockServer) -> None:
        fault = server.faults.set(INSIDE)
        status_of(server)
        manager.kill(server, StopSignal.SIGKILL)
        assert (fault.state, fault.strikes) == ("ended", 1)
        manager.restart(server)
        assert (fault.state, status_of(server)) == ("ended", 200)
        assert begun_with(server) == []

    @pytest.mark.parametrize("how", list(StopSignal))
    def test_a_fault_of_the_network_is_in_force_in_the_next_life(
        self, manager: ServerManager, server: MockServer, how: StopSignal
    ) -> None:
        fault = server.faults.set(REFUSAL)
        assert (upgrade(server), fault.state) == (403, "active")
        manager.kill(server, how)
        assert fault.state == "waiting"
        manager.restart(server)
        assert (upgrade(server), fault.state, fault.strikes) == (403, "active", 2)

    @pytest.mark.parametrize("how", [StopSignal.SIGTERM, StopSignal.SIGKILL])
    @pytest.mark.parametrize(
        ("limit", "expected"),
        [
            ({"times": 3}, [403, 403, 403, 101]),
            ({"nth": 2}, [101, 403, 101]),
            ({"nth": 2, "times": 2}, [101, 403, 403]),
        ],
    )
    def test_it_strikes_as_often_as_it_was_told_over_all_lives(
        self, manager: ServerManager, server: MockServer, how: StopSignal, limit: dict[str, int], expected: list[int]
    ) -> None:
        fault = server.faults.set({**REFUSAL, **limit})
        seen = [upgrade(server)]
        if seen == [101]:
            seen.append(upgrade(server))
        manager.restart(server, how)
        while len(seen) < len(expected):
            seen.append(upgrade(server))
        assert seen == expected
        manager.restart(server, how)
        assert (fault.state, upgrade(server)) == ("ended", 101)

    def test_its_time_goes_on_while_the_server_is_down(self, manager: ServerManager, server: MockServer) -> None:
        began = now()
        long, short = (server.faults.set({**REFUSAL, "seconds": seconds}) for seconds in (3600.0, 0.2))
        manager.kill(server, StopSignal.SIGKILL)
        assert long.state == "waiting"
        eventually(lambda: short.state == "ended")
        manager.restart(server)
        (given,) = begun_with(server)
        assert given["id"] == long.id
        assert 3600.0 - (now() - began) <= given["seconds"] <= 3599.8

    def test_one_that_waits_for_its_event_still_does_in_the_next_life(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        waiting = {"when": {"event": "request", "path": "/prompt"}, "after": 3600.0}
        fault = server.faults.set({**REFUSAL, **waiting})
        manager.restart(server)
        assert fault.state == "waiting"
        assert begun_with(server) == [{**REFUSAL, **waiting, "id": fault.id}]

    def test_one_that_waits_for_a_time_waits_for_its_rest(self, manager: ServerManager, server: MockServer) -> None:
        began = now()
        fault = server.faults.set({**REFUSAL, "after": 3600.0})
        manager.restart(server)
        assert (fault.state, upgrade(server)) == ("waiting", 101)
        assert 3600.0 - (now() - began) <= begun_with(server)[0]["after"] < 3600.0

    def test_one_that_its_event_has_begun_is_in_force_at_once_in_the_next_life(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set({**REFUSAL, "when": {"event": "request", "path": "/prompt"}})
        status_of(server, "/prompt")
        manager.restart(server)
        assert (fault.state, upgrade(server)) == ("active", 403)

    def test_one_that_is_set_while_the_server_is_down_waits_for_the_next_life(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        manager.kill(server)
        fault = server.faults.set(REFUSAL)
        assert fault.state == "waiting"
        with pytest.raises(ControlFailure, match="'comfy' does not run"):
            server.faults.set(INSIDE)
        manager.restart(server)
        assert (fault.state, upgrade(server)) == ("active", 403)

    def test_a_slow_start_slows_as_many_lives_as_it_was_told(self, manager: ServerManager, server: MockServer) -> None:
        fault = server.faults.set({"fault": "slow_start", "unavailable": 3600.0, "times": 2})
        assert (fault.state, status_of(server)) == ("waiting", 200)
        for strikes in (1, 2):
            manager.restart(server)
            assert (status_of(server), upgrade(server), fault.strikes) == (503, 503, strikes)
        assert fault.state == "ended"
        manager.restart(server)
        assert (status_of(server), upgrade(server)) == (200, 101)

    def test_a_life_begins_with_the_faults_of_its_options_too(self, manager: ServerManager, tmp_path: Path) -> None:
        file = tmp_path / "faults.json"
        file.write_text(json.dumps([INSIDE, {**REFUSAL, "status": 401}]))
        server = manager.start(ServerOptions(faults=file))
        fault = server.faults.set({**REFUSAL, "times": 1, "id": "refuse_upgrade-7"})
        assert fault.state == "active"
        manager.restart(server)
        assert (status_of(server), upgrade(server), upgrade(server)) == (429, 403, 401)

    @pytest.mark.parametrize(
        ("text", "words"), [("{}", "has no JSON list of faults but dict"), ("[", "cannot be read"), (None, "cannot be")]
    )
    def test_a_file_of_faults_that_is_none_is_named(
        self, manager: ServerManager, tmp_path: Path, text: str | None, words: str
    ) -> None:
        file = tmp_path / "faults.json"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ValueError, match=rf"faults\.json {words}"):
            manager.start(ServerOptions(faults=file))
        assert manager.servers == []


class TestTheProcess:
    @pytest.mark.parametrize(
        ("description", "status"),
        [({"fault": "exit", "status": 3}, 3), ({"fault": "crash"}, -9), ({"fault": "stop"}, 0)],
    )
    @pytest.mark.parametrize("trigger", [{}, {"when": {"event": "request", "path": "/queue"}}])
    def test_that_a_fault_ends_is_waited_for_as_any_other(
        self,
        manager: ServerManager,
        server: MockServer,
        description: dict[str, Any],
        status: int,
        trigger: dict[str, Any],
    ) -> None:
        fault = server.faults.set({**description, **trigger})
        if trigger:
            with suppress(HttpError):
                status_of(server)
        assert server.faults.wait_for_strikes(fault, 1, PATIENCE)
        assert manager.wait_for_stop(server, PATIENCE) == status
        assert (fault.state, fault.strikes) == ("ended", 1)
        manager.restart(server)
        assert status_of(server) == 200

    def test_that_has_frozen_itself_is_killed_at_once(self, manager: ServerManager, server: MockServer) -> None:
        server.faults.set({"fault": "freeze", "when": {"event": "connected"}})
        assert upgrade(server) == 101
        eventually(lambda: server.is_frozen)
        assert manager.kill(server, StopSignal.SIGTERM, shutdown_timeout=PATIENCE * 5) == -9


class TestSeeds:
    def test_each_life_has_one_more_than_the_last(self, manager: ServerManager) -> None:
        server = manager.start(ServerOptions(seed=41))
        for seed in (41, 42, 43):
            set_fault = Control(server.alias, server.life).set_fault(INSIDE)
            assert set_fault["seed"] == server.life.seed == seed
            manager.restart(server)
        assert server.seed == 41

    def test_one_is_drawn_and_kept_where_none_is_given(self, manager: ServerManager) -> None:
        first, second = manager.start(alias="first"), manager.start(alias="second")
        assert first.seed != second.seed
        drawn = first.seed
        manager.kill(first)
        manager.start(alias="first")
        assert first.seed == drawn
        manager.kill(first)
        manager.start(ServerOptions(seed=7), alias="first")
        assert Control("first", first.life).set_fault(INSIDE)["seed"] == 9

    def test_the_same_seed_gives_the_same_faults(self, manager: ServerManager) -> None:
        seen = []
        for _ in range(2):
            server = manager.start(ServerOptions(seed=5))
            server.faults.set({**INSIDE, "probability": 0.5})
            seen.append([status_of(server) for _ in range(20)])
        assert seen[0] == seen[1]
        assert set(seen[0]) == {200, 429}


class TestClosing:
    def test_faults_of_a_server_that_is_closed_have_ended_and_keep_what_they_did(
        self, manager: ServerManager, server: MockServer
    ) -> None:
        fault = server.faults.set(REFUSAL)
        upgrade(server)
        manager.close_server(server)
        again = manager.start(alias="comfy")
        again.faults.set(REFUSAL)
        assert (fault.state, fault.strikes) == ("ended", 1)
        manager.close()
        assert (fault.state, fault.strikes) == ("ended", 1)


class TestRecords:
    def test_only_whole_lines_are_read(self, tmp_path: Path) -> None:
        file = tmp_path / "journal.jsonl"
        records = FaultRecords(file)
        records.read()
        assert "a" not in records
        whole = json.dumps({"at": 1.5, "kind": "fault_set", "fault": "a"})
        for text, known in ((whole[:10], False), (whole[10:], False), ("\n", True)):
            with file.open("a") as journal:
                journal.write(text)
            records.read()
            assert ("a" in records) is known

    def test_two_threads_may_read_at_once(self, tmp_path: Path) -> None:
        class Journal(io.FileIO):
            """Lets the other thread read too before this one has noted what it has read, if it can."""

            def read(self, size: int | None = -1) -> bytes:
                data = super().read(size) or b""
                if other.ident is None:
                    other.start()
                    other.join(0.1)
                return data

        path = tmp_path / "journal.jsonl"
        whole = '{"at": 1.5, "kind": "fault_set", "fault": "%s"}\n'
        path.write_text(whole % "a")
        records = FaultRecords(SimpleNamespace(open=lambda _: Journal(path)))  # type: ignore[arg-type]
        other = threading.Thread(target=records.read)
        records.read()
        other.join()
        with path.open("a") as journal:
            journal.write(whole % "b")
        records.read()
        assert "a" in records
        assert "b" in records

    def test_what_was_read_when_it_was_interrupted_is_read_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def be_interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        path = tmp_path / "journal.jsonl"
        path.write_text('{"at": 1.5, "kind": "fault_set", "fault": "a"}\n')
        records = FaultRecords(path)
        with monkeypatch.context() as patch:
            patch.setattr(FaultRecords, "_take", be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                records.read()
        records.read()
        assert "a" in records


def test_a_prompt_that_is_held_goes_on_after_the_release(server: MockServer) -> None:
    hold = server.faults.set({"fault": "hold_execution", "node": "2"})
    workflow = {"prompt": example_workflow(), "client_id": "me"}
    ask(server.endpoint, "POST", "/prompt", Patience(PATIENCE), body=workflow)
    assert server.faults.wait_for_strikes(hold, 1, PATIENCE)
    server.faults.release("execution")
    eventually(lambda: json.loads(ask(server.endpoint, "GET", "/history", Patience(PATIENCE)).body))
