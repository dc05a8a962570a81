"""All that evidence needs is in the journals: of a life that runs, is frozen, was killed, or has had much to do."""

from __future__ import annotations

import hashlib
import http.client
import json
import selectors
import socket
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from jsonschema import Draft202012Validator
from mockserver_process import DEADLINE, Client, ask, eventually, node
from raw_websocket import RawWebsocket, raw_frame

from ComfyMockLibrary import StopSignal
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.evidence import Evidence, workflow_of
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions
from ComfyMockLibrary.engine.verdicts import Verdicts
from mockserver.journal import SCHEMA_FILE
from mockserver.requests_journal import BODY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))

WORKFLOW = {
    "1": node("EmptyImage", width=64, height=48, batch_size=1, color=7),
    "2": node("PreviewImage", images=["1", 0]),
}
LONG_WORKFLOW = {"1": node("PreviewAny", source="x" * BODY_LIMIT)}

REQUESTS = 10_000
LONG = 2_000
CONNECTIONS = 8
SOCKETS = 1_000
BATCH = 100


@pytest.fixture
def manager(tmp_path: Any) -> Iterator[ServerManager]:
    servers = ServerManager(tmp_path)
    yield servers
    servers.close()


@pytest.fixture
def server(manager: ServerManager) -> MockServer:
    return manager.start(ServerOptions(status_interval=0, node_duration=0))


def recorded(server: MockServer, kind: str, count: int = 1) -> None:
    """Waits for records: what ends a connection is known to the server only a moment later."""
    eventually(f"{count} records of {kind}", lambda: len(server.evidence.records(kind)) >= count)


def lead_through_everything(server: MockServer) -> Client:
    """Requests of each kind, websockets that end in each way, messages either way, prompts, faults that strike.

    Returns the client that is still connected.
    """
    leaving, watching = Client(server.port, "/ws?clientId=leaving"), Client(server.port, "/ws?clientId=watching")
    leaving.until("status")
    watching.websocket.send(json.dumps({"type": "feature_flags", "data": {"a": 1}}))
    watching.until("feature_flags")
    watching.websocket.send("no message of ComfyUI's")
    leaving.websocket.close()
    wrong = RawWebsocket(server.port, "/ws?clientId=wrong")
    wrong.send(raw_frame(3, b"no opcode"))
    wrong.rest()
    RawWebsocket(server.port, "/ws?clientId=lost", User_Agent="raw").reset()
    recorded(server, "socket_closed", 3)
    server.faults.set({"fault": "refuse_upgrade", "id": "refusal", "status": 403, "times": 1})
    refused = RawWebsocket(server.port, "/ws?clientId=refused")
    assert refused.status == 403
    refused.close()
    server.faults.set({"fault": "hang_request", "path": "/features"})
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as hanging:
        hanging.sendall(b"GET /features HTTP/1.1\r\nHost: x\r\n\r\n")
        recorded(server, "fault_struck", 2)
    assert ask(server.port, "PUT", "/prompt?a=%C3%BC", None, {"X-One": "1"}).status == 405
    ask(server.port, "POST", "/prompt", {"prompt": LONG_WORKFLOW, "client_id": "nobody"})
    in_chunks(server.port, {"prompt": WORKFLOW, "client_id": "watching"})
    watching.until("execution_success")
    watching.until("status")
    return watching


def in_chunks(port: int, body: Any) -> None:
    """Queues a prompt as .NET does, which does not know the length of its JSON."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.request("POST", "/prompt", iter([json.dumps(body).encode()]), encode_chunked=True)
        assert connection.getresponse().status == 200


def run_on(_: ServerManager, __: MockServer) -> None:
    """Leaves the server as it is."""


def freeze(manager: ServerManager, server: MockServer) -> None:
    manager.freeze(server)


def kill(manager: ServerManager, server: MockServer) -> None:
    manager.kill(server, StopSignal.SIGKILL)


def kill_while_frozen(manager: ServerManager, server: MockServer) -> None:
    manager.freeze(server)
    manager.kill(server)


def begin_another_life(manager: ServerManager, server: MockServer) -> None:
    manager.restart(server, StopSignal.SIGKILL)
    ask(server.port, "GET", "/queue")


@pytest.mark.parametrize("befall", [run_on, freeze, kill, kill_while_frozen, begin_another_life])
def test_everything_is_known_whatever_becomes_of_the_life(
    manager: ServerManager, server: MockServer, befall: Callable[[ServerManager, MockServer], None]
) -> None:
    began = now()
    with closing(lead_through_everything(server)):
        befall(manager, server)
        everything_is_known(Evidence(server), server, began)


def everything_is_known(evidence: Evidence, server: MockServer, began: float) -> None:
    for _, record in evidence.records():
        SCHEMA.validate(record)
    requests_are_known(evidence, began)
    sockets_are_known(evidence, has_ended=len(server.lives) > 1 or not server.is_running)
    messages_are_known(evidence)
    of_first = [record for life, record in evidence.records("prompt", "fault_set", "fault_struck") if life == 1]
    of_prompts = [each for each in of_first if each["kind"] == "prompt"]
    paths = {
        prompt["prompt_id"]: [each["state"] for each in of_prompts if _same(each, prompt)] for prompt in of_prompts
    }
    assert list(paths.values()) == [["queued", "started", "success"]] * 2
    assert next(each["fault"] for each in of_first if each["kind"] == "fault_struck") == "refusal"
    refusal = [each["kind"] for _, each in evidence.records() if each.get("fault") == "refusal"]
    assert refusal == ["fault_set", "fault_begun", "fault_struck", "fault_ended"]
    assert {each.life for each in evidence.requests()} == set(range(1, len(server.lives) + 1))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["prompt_id"] == other["prompt_id"])


def requests_are_known(evidence: Evidence, began: float) -> None:
    of_first = [each for each in evidence.requests() if each.life == 1]
    assert [(each.method, each.path, each.status) for each in of_first if not each.is_handshake] == [
        ("GET", "/features", None),
        ("PUT", "/prompt", 405),
        ("POST", "/prompt", 200),
        ("POST", "/prompt", 200),
    ]
    assert [each.status for each in of_first if each.is_handshake] == [101, 101, 101, 101, 403]
    wrong, long, chunked = of_first[-3:]
    assert (wrong.query, wrong.headers["x-one"], wrong.body) == ({"a": "ü"}, "1", None)
    assert wrong.answer_body == "405: Method Not Allowed"
    assert wrong.answer_headers["content-type"] == "text/plain; charset=utf-8"
    assert (long.body, workflow_of(long)) == (None, long.digest)
    assert (
        long.digest == hashlib.sha256(json.dumps({"prompt": LONG_WORKFLOW, "client_id": "nobody"}).encode()).hexdigest()
    )
    assert (chunked.json["prompt"], chunked.client_id) == (WORKFLOW, "watching")
    assert chunked.answer_json["node_errors"] == {}
    moments = [each.at for each in of_first]
    assert moments == sorted(moments)
    assert began <= moments[0]
    assert moments[-1] <= now()
    assert all(each.seconds is not None and each.seconds >= 0 for each in of_first if each.status is not None)


def sockets_are_known(evidence: Evidence, *, has_ended: bool) -> None:
    leaving, watching, wrong, lost = evidence.sockets()
    assert [each.client_id for each in (leaving, watching, wrong, lost)] == ["leaving", "watching", "wrong", "lost"]
    assert (leaving.closed_by, leaving.code) == ("client", 1000)
    assert (wrong.closed_by, wrong.code) == ("server", 1002)
    assert (lost.closed_by, lost.headers["user-agent"]) == ("lost", "raw")
    assert watching.flags == {"a": 1}
    assert (watching.is_open, watching.closed_by) == (not has_ended, "life" if has_ended else None)
    assert all(each.closed_at is None or each.closed_at >= each.at for each in evidence.sockets())


def messages_are_known(evidence: Evidence) -> None:
    received = [each for each in evidence.messages() if each.direction == "received"]
    assert [(each.type, each.data, each.client_ids) for each in received] == [
        ("feature_flags", {"a": 1}, ("watching",)),
        ("text", "no message of ComfyUI's", ("watching",)),
    ]
    ends = [each for each in evidence.messages() if each.type == "execution_success"]
    assert [each.client_ids for each in ends] == [(), ("watching",)]


def test_a_body_in_chunks_that_is_too_long_is_refused_and_known(manager: ServerManager) -> None:
    server = manager.start(ServerOptions(raw=("--max-upload-size", "1")))
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as connection:
        connection.request("POST", "/prompt", iter([bytes(1 << 20)] * 2), encode_chunked=True)
        assert connection.getresponse().status == 413
    (refused,) = server.evidence.requests()
    assert (refused.status, refused.body) == (413, None)


def test_a_websocket_that_is_open_when_its_life_stops_was_answered(manager: ServerManager) -> None:
    server = manager.start(ServerOptions(status_interval=0, strict=True))
    with closing(Client(server.port, "/ws?clientId=me")):
        manager.kill(server, StopSignal.SIGINT)
        assert [each.outcome for each in server.evidence.attempts()] == ["connected"]


def test_many_requests_and_sockets_are_all_known(server: MockServer) -> None:
    process = psutil.Process(server.pid)
    with ExitStack() as stack:
        ask_often(server.port, REQUESTS // 10)
        before = process.memory_info().rss
        ask_often(server.port, REQUESTS - REQUESTS // 10)
        grown = process.memory_info().rss - before
        for first in range(0, SOCKETS, BATCH):
            batch = [RawWebsocket(server.port, f"/ws?clientId={first + number}") for number in range(BATCH)]
            for each in batch:
                stack.callback(each.close)
        ask(server.port, "POST", "/queue", {"clear": True})  # which tells everybody
        began = now()
        evidence = Evidence(server)
        requests = evidence.requests()
        assert len([each for each in requests if each.path == "/queue" and each.status == 200]) == REQUESTS + 1
        assert [each.number for each in requests] == list(range(1, REQUESTS + SOCKETS + 2))
        assert len([each for each in evidence.sockets() if each.is_open]) == SOCKETS
        eventually("A status for all", lambda: len(evidence.messages()[-1].client_ids) == SOCKETS)
        assert len(evidence.attempts()) == SOCKETS
        with suppress(AssertionError):
            Verdicts(server, evidence).should_not_flood(0, all_requests=True)
        assert now() - began < DEADLINE
    assert grown < REQUESTS * LONG / 2, "what is in the file is not in memory"


def ask_often(port: int, count: int) -> None:
    """Many requests over a few connections, each so long that it would be noticed if all of them stayed in memory."""
    request = b"GET /queue?" + b"x" * LONG + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        left = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(request)
            left[connection] = count // CONNECTIONS - 1
        assert count % CONNECTIONS == 0
        while selector.get_map():
            for key, _ in selector.select(DEADLINE):
                connection = key.fileobj  # type: ignore[assignment]
                assert b"queue_running" in connection.recv(65536)
                if left[connection]:
                    left[connection] -= 1
                    connection.sendall(request)
                else:
                    selector.unregister(connection)
