"""The ports that are told whose websocket a connection becomes, and how it has ended."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import websocket

if TYPE_CHECKING:
    from conftest import Site

    from mockserver.comfyui.sockets import Socket


def test_the_port_is_told_before_the_answer(site: Site) -> None:
    told: list[tuple[str, str, bool]] = []

    def upgraded(request: Any, client_id: str, response: Any) -> None:
        told.append((request.path, client_id, response.prepared))

    site.server.ports.upgraded = upgraded
    websocket.create_connection(f"ws://127.0.0.1:{site.port}/ws?clientId=me", timeout=30).close()
    websocket.create_connection(f"ws://127.0.0.1:{site.port}/api/ws", timeout=30).close()
    assert told[0] == ("/ws", "me", False)
    assert told[1][0] == "/api/ws"
    assert len(told[1][1]) == 32


def test_what_a_client_said_at_its_end_is_known_although_it_could_not_be_answered(site: Site) -> None:
    ended: queue.Queue[tuple[int | None, str]] = queue.Queue()

    async def lose(socket: Socket) -> None:
        assert socket.transport is not None
        socket.transport.abort()

    async def note(socket: Socket, has_opened: bool) -> None:
        if not has_opened:
            ended.put((socket.close_code, socket.closed_by))

    site.server.ports.closing, site.server.ports.socket = lose, note
    client = websocket.create_connection(f"ws://127.0.0.1:{site.port}/ws", timeout=30)
    client.send_close(4001)
    assert ended.get(timeout=30) == (4001, "client")
    client.shutdown()
