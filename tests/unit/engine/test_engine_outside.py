"""What is recorded of a server from outside, held against the format that is written down."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from engine_helpers import eventually
from test_engine_records import records_of

from ComfyMockLibrary import StopSignal
from ComfyMockLibrary.engine.outside import OutsideJournal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ComfyMockLibrary.engine.servers import ServerManager


def test_lives_orders_and_attempts_are_recorded(new_manager: Callable[..., ServerManager], tmp_path: Path) -> None:
    manager = new_manager(tmp_path)
    server = manager.start(alias="main")
    manager.freeze(server)
    manager.thaw(server)
    manager.kill(server, StopSignal.SIGKILL, watch_attempts=True)
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", server.port)).close()
    attempt = eventually(server.evidence.attempts, 10.0)[0]
    manager.restart(server)
    first, second = server.lives
    manager.close_server(server)

    anchor, *records = records_of(tmp_path / "main.server.journal.jsonl")
    assert (anchor["party"], anchor["server"], anchor["port"]) == ("library", "main", server.port)
    assert [{name: value for name, value in each.items() if name != "at"} for each in records] == [
        {"kind": "life_begun", "life_id": first.life_id, "number": 1, "pid": first.pid},
        {"kind": "order", "life_id": first.life_id, "order": "freeze"},
        {"kind": "order", "life_id": first.life_id, "order": "thaw"},
        {"kind": "order", "life_id": first.life_id, "order": "SIGKILL"},
        {"kind": "life_over", "life_id": first.life_id, "status": -9},
        {"kind": "connection_attempt"},
        {"kind": "watch_over"},
        {"kind": "life_begun", "life_id": second.life_id, "number": 2, "pid": second.pid},
        {"kind": "order", "life_id": second.life_id, "order": "SIGTERM"},
        {"kind": "life_over", "life_id": second.life_id, "status": 0},
    ]
    assert [each["at"] for each in records if each["kind"] == "connection_attempt"] == [attempt.at]
    assert (attempt.outcome, attempt.life) == ("refused", None)
    assert [each["at"] for each in records] == sorted(each["at"] for each in records)
    assert server.journal_files == [
        tmp_path / "main.server.journal.jsonl",
        tmp_path / "main-life-1.journal.jsonl",
        tmp_path / "main-life-2.journal.jsonl",
    ]


def test_an_end_is_recorded_once(tmp_path: Path) -> None:
    journal = OutsideJournal(tmp_path / "a.jsonl", "main", 8188)
    for _ in range(2):
        journal.life_over("life-a", 1)
    journal.close()
    journal.close()
    journal.attempt(1.0)  # too late
    assert [each["kind"] for each in records_of(tmp_path / "a.jsonl")] == ["journal", "life_over"]
