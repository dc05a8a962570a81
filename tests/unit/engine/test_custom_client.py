"""Listening to a client of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ComfyMockLibrary.engine.client.custom_client import ClientUnderTest, CustomClient, load_client
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.prompts import queue_prompt
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.types import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from ComfyMockLibrary.engine.servers import ServerManager

NEVER = ConnectionState.disconnected


class Puppet:
    """Tells what a test wants it to."""

    def __init__(self) -> None:
        self.tell: Callable[..., None] = lambda *_: None
        self.urls: list[str] = []
        self.calls: list[str] = []

    def connect(self, url: str, on_event: Callable[..., None]) -> None:
        self.urls.append(url)
        self.tell = on_event

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def client(puppet: Puppet) -> CustomClient:
    made = CustomClient(puppet, Endpoint("127.0.0.1", 8188), alias="mine")
    made.connect()
    return made


def test_its_events_lead_from_state_to_state(puppet: Puppet, client: CustomClient) -> None:
    assert puppet.urls == ["http://127.0.0.1:8188"]
    for name in (
        "connected",
        "status",
        "disconnected",
        "reconnecting",
        "reconnecting",
        "connected",
        "reconnected",
        "disconnected",
        "reconnection_failed",
    ):
        puppet.tell(name)
    assert [state.value for state in client.path] == [
        "connecting",
        "connected",
        "disconnected",
        "reconnecting",
        "connected",
        "disconnected",
        "failed",
    ]
    assert [(event.name, event.source) for event in client.journal.since(0)][:3] == [
        ("connected", "client"),
        ("status", "server"),
        ("disconnected", "client"),
    ]
    assert client.positions_of_state(ConnectionState.connected) == [0, 5]


def test_a_second_connection_counts_although_nobody_told_of_the_loss(puppet: Puppet, client: CustomClient) -> None:
    puppet.tell("connected")
    puppet.tell("connected")
    assert client.positions_of_state(ConnectionState.connected) == [0, 1]


@pytest.mark.parametrize(("data", "kept"), [(None, {}), ({"a": 1}, {"a": 1}), ("text", {"value": "text"})])
def test_data_may_be_anything(puppet: Puppet, client: CustomClient, data: Any, kept: dict[str, Any]) -> None:
    puppet.tell("message", data)
    assert client.journal.since(0)[0].data == kept


def test_nothing_is_heard_behind_the_close(puppet: Puppet, client: CustomClient) -> None:
    puppet.tell("connected")
    client.close()
    client.close()
    puppet.tell("connected")
    assert puppet.calls == ["close"]
    assert [event.name for event in client.journal.since(0)] == ["connected", "disconnected"]
    assert client.state is ConnectionState.disconnected


def test_a_connection_belongs_to_the_life_that_began_before_it(puppet: Puppet, tmp_path: Any) -> None:
    from ComfyMockLibrary.engine.servers import ServerManager

    servers: ServerManager = ServerManager(tmp_path)
    server = servers.start()
    client = CustomClient(puppet, server.endpoint, server=server)
    client.connect()
    waits = ClientWaits(client, server)
    assert client.life_id is None
    puppet.tell("connected")
    assert client.life_id == server.life_id
    waits.for_connection(0)
    servers.restart(server)
    assert client.life_id is None
    with pytest.raises(AssertionError, match="did not happen within 0 s"):
        waits.for_connection(0)
    puppet.tell("connected")
    waits.for_connection(0)
    client.close()
    servers.close()


def test_what_it_does_not_have_is_said(client: CustomClient) -> None:
    with pytest.raises(ValueError, match=r"The client 'mine' \(Puppet\) has no method reconnect\(\)\."):
        client.reconnect()
    with pytest.raises(ValueError, match="has no method abort_reconnect"):
        client.abort_reconnect()
    with pytest.raises(ValueError, match="Nobody knows the clientId of client 'mine'"):
        queue_prompt(client)


def test_what_it_has_is_used(puppet: Puppet) -> None:
    puppet.reconnect = lambda: puppet.calls.append("reconnect")  # type: ignore[attr-defined]
    puppet.abort_reconnect = lambda: puppet.calls.append("abort")  # type: ignore[attr-defined]
    puppet.client_id = "me"  # type: ignore[attr-defined]
    client = CustomClient(puppet, Endpoint("127.0.0.1", 8188))
    client.connect()
    client.reconnect()
    assert client.abort_reconnect()
    puppet.tell("connected")
    assert not client.abort_reconnect()
    assert puppet.calls == ["reconnect", "abort", "abort"]
    assert client.client_id == "me"


def test_classes_and_objects_are_taken(puppet: Puppet) -> None:
    assert load_client(puppet) is puppet
    assert isinstance(load_client(Puppet), Puppet)
    assert isinstance(puppet, ClientUnderTest)
    assert not isinstance(object(), ClientUnderTest)
