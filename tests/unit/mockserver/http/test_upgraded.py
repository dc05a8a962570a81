"""The port that is told whose websocket a connection becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import websocket

if TYPE_CHECKING:
    from conftest import Site


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
