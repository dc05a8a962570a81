"""Orders to a life, and what is said when they do not reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine_helpers import Peer, ScriptedServer

from ComfyMockLibrary.engine.control import TIMEOUT, Control, ControlFailure, NotKnown
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.servers import ServerOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_helpers import Script

    from ComfyMockLibrary.engine.servers import MockServer, ServerManager


def control_of(server: MockServer) -> Control:
    return Control(server.alias, server.life)


class TestALifeThatListens:
    @pytest.fixture
    def control(self, manager: ServerManager) -> Control:
        return control_of(manager.start(alias="comfy"))

    def test_faults_are_set_listed_and_cleared(self, control: Control) -> None:
        control.set_fault({"fault": "drop_message", "message": "progress", "id": "a"})
        control.set_fault({"fault": "hang_request", "path": "/queue", "id": "b"})
        assert [(each["id"], each["state"], each["strikes"]) for each in control.faults()] == [
            ("a", "active", 0),
            ("b", "active", 0),
        ]
        assert control.clear_fault("a")["state"] == "ended"
        assert [each["id"] for each in control.clear_all_faults()] == ["b"]
        assert {each["state"] for each in control.faults()} == {"ended"}

    def test_what_is_held_is_released(self, control: Control) -> None:
        control.set_fault({"fault": "hold_execution", "id": "held"})
        control.set_fault({"fault": "drop_message", "message": "progress"})
        assert [each["id"] for each in control.release("network")] == []
        assert [each["id"] for each in control.release("execution")] == ["held"]

    def test_the_journal_is_read_from_a_position_on_and_waited_for(self, control: Control) -> None:
        before = control.journal()
        assert before["records"][0]["kind"] == "journal"
        control.set_fault({"fault": "drop_message", "message": "progress", "id": "a"})
        after = control.journal(before["next"], kind="fault_set", wait=20.0)
        assert [each["fault"] for each in after["records"]] == ["a"]
        assert control.journal(after["next"])["records"] == []

    @pytest.mark.parametrize(
        ("description", "words"),
        [
            ({"fault": "crush"}, r"There is no fault 'crush'\. Did you mean 'crash'"),
            ({"fault": "latency", "delay": 1}, "direction"),
        ],
    )
    def test_a_description_that_is_none_is_the_fault_of_who_gave_it(
        self, control: Control, description: dict[str, object], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            control.set_fault(description)

    def test_a_fault_that_may_never_strike_is_set_with_a_warning(self, control: Control) -> None:
        said = "ComfyUI has no message of the type 'exectued'. Did you mean 'executed'?"
        assert control.set_fault({"fault": "drop_message", "message": "exectued"})["warning"] == said
        assert "warning" not in control.set_fault({"fault": "drop_message", "message": "executed"})

    def test_a_fault_that_nobody_has_set_is_not_known(self, control: Control) -> None:
        with pytest.raises(NotKnown, match=r"There is no fault 'a/b'\. Known: none"):
            control.clear_fault("a/b")


def test_a_token_is_shown_where_the_server_asks_for_one(manager: ServerManager) -> None:
    server = manager.start(ServerOptions(raw=("--control-token", "open sesame")))
    assert control_of(server).faults() == []
    server.life.control_token = "wrong"
    with pytest.raises(ControlFailure, match="status 401, The control API wants the header"):
        control_of(server).faults()


class TestALifeThatDoesNotListen:
    def test_it_has_ended(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        manager.kill(server)
        with pytest.raises(ControlFailure, match=r"'comfy' does not run: ended with exit status 0\. .*`Restart Mock"):
            control_of(server).faults()

    def test_it_is_frozen(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        manager.freeze(server)
        with pytest.raises(ControlFailure, match=rf"is frozen \(pid {server.pid}\) .* `Thaw Mock Server`"):
            control_of(server).faults()

    def test_it_ends_once_it_has_answered(self, manager: ServerManager) -> None:
        server = manager.start(alias="comfy")
        assert control_of(server).set_fault({"fault": "exit", "status": 3})["fault"] == "exit"
        assert manager.wait_for_stop(server, 60.0) == 3
        with pytest.raises(ControlFailure, match="does not run: ended with exit status 3"):
            control_of(server).faults()

    def test_it_freezes_while_it_is_asked(self, manager: ServerManager, script: Script) -> None:
        server = manager.start(alias="comfy")

        def freeze(peer: Peer) -> None:
            manager.freeze(server)
            peer.wait_for_end()

        server.life.control_url = script(http=freeze).endpoint.url
        began = now()
        with pytest.raises(ControlFailure, match="is frozen"):
            control_of(server).faults()
        assert now() - began < TIMEOUT / 2

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (lambda peer: peer.answer(500, {"error": "broken"}), "GET /faults: status 500, broken"),
            (lambda peer: peer.answer(500, []), "GET /faults: status 500, None"),
            (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope"), "the answer is no JSON"),
            (Peer.end, "GET .*/faults: "),
        ],
    )
    def test_it_answers_as_it_should_not(
        self, manager: ServerManager, script: Script, answer: Callable[[Peer], object], words: str
    ) -> None:
        server = manager.start(alias="comfy")
        impostor: ScriptedServer = script(http=answer)
        server.life.control_url = impostor.endpoint.url
        with pytest.raises(ControlFailure, match=rf"(?s)'comfy' has not taken the order: .*{words}.*It is running"):
            control_of(server).faults()
