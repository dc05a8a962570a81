"""The reference client against real mock servers that crash, stop, freeze and come back."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from engine_helpers import PATIENCE, be_impatient, eventually, finished

from ComfyMockLibrary.engine.client import comfy_client
from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.journal_files import JournalFile
from ComfyMockLibrary.engine.prompts import queue_prompt
from ComfyMockLibrary.engine.servers import ServerOptions
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState, StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_helpers import MakeClient

    from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
    from ComfyMockLibrary.engine.journal import Event
    from ComfyMockLibrary.engine.servers import MockServer, ServerManager

OUTAGE = ["disconnected", "reconnecting", "connected", "reconnected"]


@pytest.fixture
def server(manager: ServerManager) -> MockServer:
    return manager.start(ServerOptions(node_duration=0.005, status_interval=0.05))


@pytest.fixture
def connect(new_client: MakeClient) -> Callable[..., ComfyClient]:
    def connect(server: MockServer, **options: Any) -> ComfyClient:
        backoff = Backoff(BackoffStrategy.constant, base_delay=0.05)
        client = new_client(server.endpoint, server=server, **{"backoff": backoff, "max_attempts": None, **options})
        client.connect()
        eventually(lambda: client.is_connected)
        return client

    return connect


def own(client: ComfyClient) -> list[str]:
    """The client's own events; repeated attempts count as one."""
    names = [event.name for event in client.journal.since(0) if event.source == "client"]
    return [name for at, name in enumerate(names) if (name, names[at - 1 : at]) != ("reconnecting", ["reconnecting"])]


def records(server: MockServer, kind: str) -> list[dict[str, Any]]:
    """Records of one kind from the journals of all lives, which may be at the next one."""
    known = [record for life in server.lives for record in JournalFile(life.journal_file).news()]
    return [record for record in known if record["kind"] == kind]


def test_the_fifth_outage_is_noticed_like_the_first_whatever_its_kind(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client = connect(server, client_id="me", ping_interval=0.05)
    prompts = []
    for outage in ("SIGKILL", "SIGTERM", "freeze", "SIGINT", "SIGKILL"):
        prompts.append(queue_prompt(client, timeout=PATIENCE).prompt_id)
        eventually(lambda: [event for event in client.journal.since(0) if is_end(event, prompts[-1])])
        if outage == "freeze":
            manager.freeze(server)
            be_impatient(client, 0.5)
            eventually(lambda: not client.is_connected)
            manager.kill(server)
            manager.restart(server)
        else:
            manager.restart(server, StopSignal(outage), downtime=0.1)
        eventually(lambda: client.life_id == server.life_id)

    assert own(client) == ["connected", *OUTAGE * 5]
    assert [event.data["code"] for event in client.journal.since(0) if event.name == "disconnected"] == [
        *(1006, 1001, 1006, 1001, 1006)
    ]
    ends = [event.data["prompt_id"] for event in client.journal.since(0) if event.name == "execution_success"]
    assert ends == prompts, "neither lost nor repeated"
    lives = [event.life_id for event in client.journal.since(0) if event.name == "connected"]
    assert lives == [life.life_id for life in server.lives if life.life_id in lives]
    assert len(lives) == 6
    assert {record["client_id"] for record in records(server, "socket_opened")} == {"me"}
    for event in client.journal.since(0):
        if event.source == "server" and event.name == "status":
            assert event.life_id in lives


def is_end(event: Event, prompt_id: str) -> bool:
    return event.name == "executing" and event.data["node"] is None and event.data["prompt_id"] == prompt_id


def test_what_the_client_heard_is_what_each_life_said(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client = connect(server)
    for _ in range(5):
        prompt = queue_prompt(client, timeout=PATIENCE).prompt_id
        eventually(lambda prompt=prompt: [event for event in client.journal.since(0) if is_end(event, prompt)])
        manager.restart(server)
        eventually(lambda: client.life_id == server.life_id)
    client.close()
    manager.kill(server)
    said = [(record["type"], record["data"]) for record in records(server, "message_sent") if record["sockets"]]
    heard = [(event.name, event.data) for event in client.journal.since(0) if event.source == "server"]
    assert [name for name, _ in heard if name != "status"] == [name for name, _ in said if name != "status"]
    assert [data for name, data in heard if name != "status"] == [data for name, data in said if name != "status"]
    assert len(heard) <= len(said)


def test_feature_flags_are_negotiated_in_each_life(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client = connect(server, feature_flags={"supports_preview_metadata": True})
    for count in (1, 2, 3):
        answers = eventually(
            lambda count=count: [event for event in client.journal.since(0) if event.name == "feature_flags"][
                count - 1 :
            ]
        )
        assert answers[0].data["supports_preview_metadata"] is True
        manager.restart(server)


def test_a_frozen_server_is_noticed_and_refuses_no_attempt_until_it_is_thawed(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client = connect(server, ping_interval=0.05)
    frozen_at = now()
    manager.freeze(server)
    be_impatient(client, 1.0)
    client.options = replace(client.options, connect_timeout=1.0)
    lost = eventually(lambda: [event for event in client.journal.since(0) if event.name == "disconnected"])[0]
    assert lost.data == {"code": 1006, "reason": "", "cause": "no pong within 1 s"}
    assert lost.at - frozen_at < PATIENCE
    failed = eventually(lambda: [event for event in client.journal.since(lost.index) if "error" in event.data])[0]
    assert failed.data["error"] == "upgrade not answered within 1 s"
    manager.thaw(server)
    eventually(lambda: client.is_connected)
    assert client.life_id == server.life_id
    assert own(client) == ["connected", *OUTAGE]


def test_a_good_server_keeps_a_client_with_short_pings(server: MockServer, connect: Callable[..., ComfyClient]) -> None:
    client = connect(server, ping_interval=0.02, pong_timeout=PATIENCE)
    eventually(lambda: len([event for event in client.journal.since(0) if event.name == "status"]) >= 10)
    assert own(client) == ["connected"]


def test_a_client_gives_up_on_a_server_that_stays_down(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    failures: list[tuple[str, int]] = []
    client = connect(server, max_attempts=3, on_failure=lambda event: failures.append((event.name, event.index)))
    manager.kill(server, StopSignal.SIGKILL)
    eventually(lambda: failures)
    last = client.journal.since(0)[-1]
    assert failures == [("reconnection_failed", last.index)]
    assert last.data["attempts"] == 3
    assert "refused" in last.data["error"]
    assert client.state is ConnectionState.failed
    attempts = [event.data["attempt"] for event in client.journal.since(0) if event.name == "reconnecting"]
    assert attempts == [1, 2, 3]
    manager.restart(server)
    client.reconnect()
    eventually(lambda: client.life_id == server.life_id)


def test_state_and_is_connected_agree_at_any_moment(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client, stop, torn = connect(server), threading.Event(), []

    def sample() -> None:
        while not stop.is_set():
            with client.journal:
                if client.is_connected != (client.state is ConnectionState.connected):
                    torn.append(client.state)
                if client.is_connected and client.life_id is None:
                    torn.append("no life")

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        for number in range(4):
            manager.restart(server, list(StopSignal)[number % 3])
            eventually(lambda: client.life_id == server.life_id)
    finally:
        stop.set()
        sampler.join()
    assert torn == []


def test_clients_leave_nothing_open_over_many_outages(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client, me = connect(server), psutil.Process()
    threads, files = set(threading.enumerate()), me.num_fds()
    for _ in range(10):
        manager.restart(server, StopSignal.SIGKILL)
        eventually(lambda: client.life_id == server.life_id)
    eventually(lambda: set(threading.enumerate()) <= threads and me.num_fds() <= files + 1)  # one for its wait
    own = client._thread
    finished(client.close)
    assert own in threads - set(threading.enumerate())


def test_several_clients_of_one_server_live_through_its_outage(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    clients = [connect(server, alias=f"client {number}") for number in range(5)]
    manager.restart(server, StopSignal.SIGKILL)
    for client in clients:
        eventually(lambda client=client: client.life_id == server.life_id)
        assert own(client) == ["connected", *OUTAGE]
    prompt = queue_prompt(clients[2], timeout=PATIENCE).prompt_id
    eventually(lambda: [event for event in clients[2].journal.since(0) if is_end(event, prompt)])
    for client in clients:
        heard = [event.name for event in client.journal.since(0) if event.data.get("prompt_id") == prompt]
        assert bool(heard) == (client is clients[2])


def test_validation_tells_a_frozen_server_from_a_good_one(
    manager: ServerManager, server: MockServer, connect: Callable[..., ComfyClient]
) -> None:
    client = connect(server, ping_interval=None)
    assert client.validate(PATIENCE) is None
    manager.freeze(server)
    assert "no answer within 0.2 s" in str(finished(lambda: client.validate(0.2)))
    manager.thaw(server)
    assert client.validate(PATIENCE) is None


def test_a_close_says_the_code_to_a_frozen_server_and_does_not_wait_for_its_answer(
    manager: ServerManager, connect: Callable[..., ComfyClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfy_client, "CLOSE_TIMEOUT", 10 * PATIENCE)
    server = manager.start(ServerOptions(status_interval=0))  # one that writes to a closed connection reads no more
    client = connect(server, ping_interval=None)
    manager.freeze(server)
    finished(client.close)
    manager.thaw(server)
    eventually(lambda: records(server, "socket_closed"))
    assert [(closed["code"], closed["closed_by"]) for closed in records(server, "socket_closed")] == [(1000, "client")]
