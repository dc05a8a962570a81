"""The websocket of ``python -m mockserver``: who gets which message, and when."""

from __future__ import annotations

import json
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from mockserver_process import QUICK, TWO_NODES, chain, sampling, types
from websocket import ABNF

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver_process import Client, Json, MockProcess

    StartMockProcess = Callable[..., MockProcess]

A_WHILE = 0.5
"""How long to look for what must not come. Longer would only find more of what is wrong."""

FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
LONGEST_MESSAGE = 4 * 1024 * 1024


def remaining(messages: list[Json]) -> list[int]:
    """The queue lengths that statuses tell."""
    return [m["data"]["status"]["exec_info"]["queue_remaining"] for m in messages if m["type"] == "status"]


@pytest.fixture
def slow_mock_process(start_mock_process: StartMockProcess) -> MockProcess:
    """A mock server whose sampler takes a tenth of a second for each of 1000 steps."""
    return start_mock_process("--status-interval", "0", "--duration", "KSampler=100")


class TestStatus:
    @pytest.mark.parametrize("query", ["", "?clientId="])
    def test_a_client_without_an_id_gets_one(self, mock_process: MockProcess, query: str) -> None:
        clients = [mock_process.connect(path=f"/ws{query}") for _ in range(2)]
        sids = [client.message()["data"]["sid"] for client in clients]
        assert all(re.fullmatch("[0-9a-f]{32}", sid) for sid in sids)
        assert sids[0] != sids[1]

    def test_periodic_statuses_have_no_sid(self, start_mock_process: StartMockProcess) -> None:
        client = start_mock_process("--status-interval", "0.05").connect("me")
        first, *more = [client.message() for _ in range(4)]
        assert first["data"]["sid"] == "me"
        assert more == [{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}] * 3

    def test_strict_is_silent_when_idle(self, start_mock_process: StartMockProcess) -> None:
        client = start_mock_process("--strict").connect("me")
        client.message()
        assert client.is_silent(A_WHILE)

    def test_all_clients_learn_of_every_change_of_the_queue(self, slow_mock_process: MockProcess) -> None:
        client = slow_mock_process.connect("other")
        client.message()
        slow_mock_process.queue(sampling(1000), prompt_id="a")
        slow_mock_process.queue(QUICK, prompt_id="b")
        client.until("status", status={"exec_info": {"queue_remaining": 2}})
        expected = [
            ({"delete": ["b"]}, [1, 1]),  # the only one that waits: wiped, then deleted (recorded)
            ({"clear": True}, [1]),
            ({"delete": ["unknown"]}, []),
        ]
        for body, told in expected:
            slow_mock_process.ask("POST", "/queue", body)
            slow_mock_process.queue(QUICK, prompt_id="b")
            length = 2 if told else 3
            assert remaining(client.until("status", status={"exec_info": {"queue_remaining": length}})) == [
                *told,
                length,
            ]


class TestMessagesOfAPrompt:
    BEGIN = ("status", "status", "execution_start", "execution_cached")
    INNER_NODE = ("progress_state", "executing", "progress_state")
    OUTPUT_NODE = ("progress_state", "executing", "executed", "progress_state")
    CACHED_OUTPUT_NODE = ("executed", "progress_state")
    END = ("execution_success", "status", "executing")

    def test_they_come_to_the_owner_in_the_recorded_order(self, mock_process: MockProcess) -> None:
        owner, other = mock_process.connect("owner"), mock_process.connect("other")
        for client in (owner, other):
            client.message()
        for nodes in ((*self.INNER_NODE, *self.OUTPUT_NODE), self.CACHED_OUTPUT_NODE):
            prompt_id = mock_process.queue(TWO_NODES, client_id="owner")
            messages = owner.until("executing", node=None)
            assert types(messages) == [*self.BEGIN, *nodes, *self.END]
            assert remaining(messages) == [1, 1, 0]
            assert {m["data"]["prompt_id"] for m in messages if m["type"] != "status"} == {prompt_id}
            assert remaining([other.message() for _ in range(3)]) == [1, 1, 0]
        assert other.is_silent(A_WHILE)

    def test_they_carry_what_was_recorded(self, mock_process: MockProcess) -> None:
        owner = mock_process.connect("owner")
        owner.message()
        mock_process.queue(TWO_NODES, client_id="owner", prompt_id="p")
        messages = owner.until("executing", node=None)
        data = [message["data"] for message in messages if message["type"] != "status"]
        assert [each.pop("timestamp") > 1.7e12 for each in data if "timestamp" in each] == [True] * 3
        image = {"images": [{"filename": "a_00001_.png", "subfolder": "", "type": "output"}]}
        assert data[1] == {"nodes": [], "prompt_id": "p"}
        assert data[3] == {"node": "1", "display_node": "1", "prompt_id": "p"}
        assert data[7] == {"node": "2", "display_node": "2", "output": image, "prompt_id": "p"}
        assert data[8]["nodes"]["2"] == {
            "value": 1.0,
            "max": 1.0,
            "state": "finished",
            "node_id": "2",
            "prompt_id": "p",
            "display_node_id": "2",
            "parent_node_id": None,
            "real_node_id": "2",
        }
        assert data[-1] == {"node": None, "prompt_id": "p"}

    def test_without_an_owner_everybody_gets_the_progress(self, mock_process: MockProcess) -> None:
        clients = [mock_process.connect(name) for name in ("a", "b")]
        mock_process.queue(sampling(1))
        for client in clients:
            messages = client.until("status", status={"exec_info": {"queue_remaining": 1}})
            messages += client.until("status", status={"exec_info": {"queue_remaining": 0}})
            assert set(types(messages)) == {"status", "progress_state", "progress"}

    def test_a_client_that_is_away_misses_them(self, mock_process: MockProcess) -> None:
        other = mock_process.connect("other")
        other.message()
        mock_process.run(QUICK, client_id="owner")
        owner = mock_process.connect("owner")
        assert "sid" in owner.message()["data"]
        assert remaining([other.message() for _ in range(3)]) == [1, 1, 0]
        assert owner.is_silent(A_WHILE)
        assert other.is_silent(0)

    def test_an_interrupted_prompt(self, slow_mock_process: MockProcess) -> None:
        client = slow_mock_process.connect("me")
        client.message()
        running = slow_mock_process.queue(sampling(1000), client_id="me")
        waiting = slow_mock_process.queue(QUICK, client_id="me")
        client.until("progress")
        slow_mock_process.ask("POST", "/interrupt", {"prompt_id": waiting})
        client.until("progress")
        slow_mock_process.ask("POST", "/interrupt", {"prompt_id": running})
        messages = client.until("executing", node=None)
        assert set(types(messages[:-3])) <= {"progress", "progress_state"}
        assert types(messages[-3:]) == ["execution_interrupted", "status", "executing"]
        interrupted = messages[-3]["data"]
        assert (interrupted["prompt_id"], interrupted["node_id"], interrupted["node_type"]) == (
            running,
            "1",
            "KSampler",
        )
        assert set(interrupted["executed"]) == {"model", "text", "latent"}
        assert client.until("execution_start")[-1]["data"]["prompt_id"] == waiting


class TestReconnection:
    def test_in_mid_run_the_current_node_follows_the_first_status(self, slow_mock_process: MockProcess) -> None:
        first = slow_mock_process.connect("me")
        prompt_id = slow_mock_process.queue(sampling(1000), client_id="me")
        first.until("progress")
        first.close()
        slow_mock_process.wait_for_record("socket_closed", socket=1)
        again, other = slow_mock_process.connect("me"), slow_mock_process.connect("other")
        status, executing = again.message(), again.message()
        assert status["data"] == {"status": {"exec_info": {"queue_remaining": 1}}, "sid": "me"}
        assert executing == {"type": "executing", "data": {"node": "1"}}
        assert again.until("progress")[-1]["data"]["prompt_id"] == prompt_id
        assert other.message()["data"]["sid"] == "other"
        assert other.is_silent(A_WHILE)

    def test_the_newer_of_two_under_one_id_gets_everything_until_the_older_one_closes(
        self, mock_process: MockProcess
    ) -> None:
        older = mock_process.connect("me")
        older.message()
        newer = mock_process.connect("me")
        newer.message()
        mock_process.queue(QUICK, client_id="me")
        newer.until("executing", node=None)
        assert older.is_silent(A_WHILE)
        older.close()
        mock_process.wait_for_record("socket_closed", socket=1)
        mock_process.run(QUICK, client_id="me")
        assert newer.is_silent(A_WHILE)
        third = mock_process.connect("me")
        third.message()
        mock_process.queue(QUICK, client_id="me")
        assert "execution_success" in types(third.until("executing", node=None))


class TestWhatAClientSends:
    @pytest.mark.parametrize("before", [[], ["no JSON"], ["[]", "null"], [b"binary"]], ids=repr)
    def test_its_first_object_may_be_feature_flags(self, mock_process: MockProcess, before: list[Any]) -> None:
        client = mock_process.connect("me")
        client.message()
        for each in before:
            client.websocket.send(each, ABNF.OPCODE_BINARY if isinstance(each, bytes) else ABNF.OPCODE_TEXT)
        client.websocket.send(FLAGS)
        assert client.message() == {
            "type": "feature_flags",
            "data": {"supports_preview_metadata": True, "max_upload_size": 104857600},
        }

    @pytest.mark.parametrize("before", ["{}", FLAGS])
    def test_a_later_one_is_ignored(self, mock_process: MockProcess, before: str) -> None:
        client = mock_process.connect("me")
        client.message()
        client.websocket.send(before)
        client.websocket.send(FLAGS)
        client.websocket.ping("after")
        answers = [client.frame() for _ in range(2 if before == FLAGS else 1)]
        assert answers[-1] == (ABNF.OPCODE_PONG, b"after")

    def test_a_message_over_4_mib_closes_with_1009(self, mock_process: MockProcess) -> None:
        client, other = mock_process.connect("me"), mock_process.connect("other")
        client.message()
        # The last fragment is small: a server that closes with data unread resets the connection.
        for data, opcode, final in ((b"x" * (LONGEST_MESSAGE - 1), ABNF.OPCODE_TEXT, 0), (b"xx", ABNF.OPCODE_CONT, 1)):
            client.websocket.send_frame(ABNF.create_frame(data, opcode, final))
        assert client.close_frame()[0] == 1009
        mock_process.wait_for_record("socket_closed", client_id="me", code=1009, closed_by="server")
        mock_process.wait_for_record("request", path="/ws?clientId=me")
        mock_process.wait_for_record("answer", status=101)
        assert "Traceback" not in mock_process.log
        mock_process.run(QUICK)
        assert remaining(other.until("status", status={"exec_info": {"queue_remaining": 1}}))[-1] == 1

    def test_a_long_message_is_taken(self, mock_process: MockProcess) -> None:
        client = mock_process.connect("me")
        client.message()
        client.websocket.send("x" * (LONGEST_MESSAGE - 1))
        mock_process.wait_for_record("message_received", length=LONGEST_MESSAGE - 1)

    def test_a_frame_that_is_not_valid_closes_its_socket_only(self, mock_process: MockProcess) -> None:
        client, other = mock_process.connect("me"), mock_process.connect("other")
        for each in (client, other):
            each.message()
        client.websocket.sock.sendall(b"\xff\x80\0\0\0\0")
        assert client.close_frame()[0] == 1002
        mock_process.wait_for_record("socket_closed", client_id="me", code=1002)
        assert "Traceback" not in mock_process.log
        mock_process.queue(QUICK, client_id="other")
        assert "execution_success" in types(other.until("executing", node=None))

    @pytest.mark.parametrize("code", [1000, 1001, 4000])
    def test_its_close_frame_is_answered_with_1000(self, mock_process: MockProcess, code: int) -> None:
        client = mock_process.connect("me")
        client.message()
        client.answer_close(code)
        assert client.close_frame() == (1000, "")
        assert client.meets_the_end()
        mock_process.wait_for_record("socket_closed", socket=1, code=code, closed_by="client")


class TestStalledReader:
    """A client that does not read (protocol 2.5)."""

    @pytest.fixture
    def stalled(self, mock_process: MockProcess) -> Client:
        """A client with little room for what it does not read, and a prompt of many messages for it."""
        small = (socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = mock_process.connect("stalled", sockopt=[small])
        client.message()
        return client

    @pytest.fixture
    def other(self, mock_process: MockProcess) -> Client:
        client = mock_process.connect("other")
        client.message()
        return client

    @pytest.fixture
    def prompt_id(self, mock_process: MockProcess, stalled: Client, other: Client) -> str:
        """A prompt of the stalled client that has ended: some 20 MB of messages."""
        prompt_id = mock_process.queue(chain(300), client_id="stalled")
        mock_process.wait_for_history(prompt_id)
        assert remaining(other.until("status")) == [1]
        return prompt_id

    def test_holds_every_message_to_everybody_while_http_goes_on(
        self, mock_process: MockProcess, stalled: Client, other: Client, prompt_id: str
    ) -> None:
        assert mock_process.run(QUICK, client_id="other")["status"]["completed"]
        assert remaining([other.message()]) == [1]
        assert other.is_silent(A_WHILE)
        newcomer = mock_process.connect("newcomer")
        assert newcomer.message()["data"]["sid"] == "newcomer"
        assert newcomer.is_silent(A_WHILE)

        messages = stalled.until("executing", node=None, prompt_id=prompt_id)
        assert types(messages).count("executed") == 1
        assert types(messages).count("progress_state") == 600
        assert other.until("executing", node=None)
        assert remaining(newcomer.until("status", status={"exec_info": {"queue_remaining": 0}}))[-1] == 0

    @pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
    def test_lets_everything_go_when_it_goes(
        self, mock_process: MockProcess, stalled: Client, other: Client, prompt_id: str, reset: bool
    ) -> None:
        assert prompt_id
        if reset:
            stalled.websocket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stalled.close()
        mock_process.queue(QUICK, client_id="other")
        assert "execution_success" in types(other.until("executing", node=None))
        assert "Traceback" not in mock_process.log
