"""The clients of one library instance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ComfyMockLibrary.engine.client.comfy_client import ClientOptions
from ComfyMockLibrary.engine.clients import ClientManager
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.platform import PortHolder
from ComfyMockLibrary.engine.servers import MockServer, ServerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = Endpoint("127.0.0.1", 1)


@pytest.fixture
def manager() -> Iterator[ClientManager]:
    manager = ClientManager()
    yield manager
    manager.close()


@pytest.fixture
def servers() -> Iterator[list[MockServer]]:
    """Servers without any life."""
    holders = [PortHolder(0) for _ in range(2)]
    yield [MockServer(f"server-{holder.port}", holder, ServerOptions()) for holder in holders]
    for holder in holders:
        holder.release()


def test_a_new_client_is_the_current_one_and_not_connected_yet(manager: ClientManager) -> None:
    options = ClientOptions(max_attempts=1)
    first = manager.new(NOWHERE, options, alias="alice", client_id="id-1")
    second = manager.new(NOWHERE)
    assert (first.alias, first.client_id, first.options, first.endpoint) == ("alice", "id-1", options, NOWHERE)
    assert manager.clients == [first, second]
    assert manager.get() is second
    assert first.client_id != second.client_id != ""
    assert len(first.journal) == len(second.journal) == 0


def test_clients_are_found_by_alias_handle_or_as_the_current_one(manager: ClientManager) -> None:
    first, second = manager.new(NOWHERE, alias="first"), manager.new(NOWHERE, alias="second")
    assert manager.get("first") is manager.get(first) is first
    assert manager.switch("first") is second
    assert manager.get() is first
    manager.close_client(first)
    assert manager.get() is second


def test_clients_know_their_server(manager: ClientManager, servers: list[MockServer]) -> None:
    mine, yours = servers
    clients = [manager.new(server.endpoint, server=server) for server in (mine, yours, mine)]
    stranger = manager.new(NOWHERE)
    assert manager.of_server(mine) == [clients[0], clients[2]]
    assert manager.server_of(clients[1]) is yours
    assert manager.server_of(stranger) is None
    manager.close_client(clients[0])
    assert manager.of_server(mine) == [clients[2]]
    assert manager.server_of(manager.new(NOWHERE, alias=clients[0].alias)) is None


def test_an_alias_is_used_once_and_one_that_is_made_is_free(manager: ClientManager) -> None:
    made = manager.new(NOWHERE).alias
    number = int(made.removeprefix("client-"))
    taken = [manager.new(NOWHERE, alias=f"client-{number + later}") for later in (1, 2)]
    assert manager.new(NOWHERE).alias == f"client-{number + 3}"
    with pytest.raises(ValueError, match=rf"There is a client '{taken[0].alias}' already. Close it"):
        manager.new(NOWHERE, alias=taken[0].alias)
    manager.close_client(taken[0])
    assert manager.new(NOWHERE, alias=taken[0].alias) is not taken[0]


def test_wrong_names_say_which_are_known(manager: ClientManager) -> None:
    with pytest.raises(ValueError, match=r"no client\. Connect one with `Connect Client`"):
        manager.get()
    with pytest.raises(ValueError, match=r"no client 'x'\. Known: none"):
        manager.get("x")
    client = manager.new(NOWHERE, alias="alice")
    with pytest.raises(ValueError, match=r"no client 'x'\. Known: alice"):
        manager.switch("x")
    manager.close_client(client)
    with pytest.raises(ValueError, match="'alice' is closed"):
        manager.get(client)


def test_a_journal_goes_into_the_directory_under_a_name_for_the_alias(manager: ClientManager, tmp_path: Path) -> None:
    manager.new(NOWHERE, alias="alice/1", client_id="id-1", directory=tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == "alice_1.journal.jsonl"
    assert json.loads(file.read_text(encoding="utf-8"))["client_id"] == "id-1"


def test_closing_closes_all(manager: ClientManager) -> None:
    clients = [manager.new(NOWHERE) for _ in range(3)]
    clients[0].connect()
    manager.close()
    assert manager.clients == []
    for client in clients:
        with pytest.raises(ValueError, match="closed"):
            client.connect()
    manager.close()
