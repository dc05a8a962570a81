"""What is recorded of a server from outside, held against the format that is written down."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from engine_helpers import PATIENCE, eventually
from test_engine_records import records_of
from websocket import ABNF, create_connection

from ComfyMockLibrary import StopSignal
from ComfyMockLibrary.engine.deadline import pause
from ComfyMockLibrary.engine.journal import EventJournal
from ComfyMockLibrary.engine.outside import OutsideJournal
from ComfyMockLibrary.engine.servers import ServerOptions

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
        {"kind": "watch_begun"},
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


def test_what_a_client_has_seen_is_recorded_for_whoever_looks(
    new_manager: Callable[..., ServerManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = new_manager(tmp_path)
    server = manager.start(alias="main")
    write = OutsideJournal.attempt

    def be_slow(journal: OutsideJournal, at: float) -> None:
        pause(0.2)  # as on a disk that is busy
        write(journal, at)

    monkeypatch.setattr(OutsideJournal, "attempt", be_slow)
    manager.kill(server, StopSignal.SIGKILL, watch_attempts=True)
    for number in (1, 2):
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", server.port), 30) as client:
            client.recv(1)
        assert len(server.evidence.attempts()) == number


def test_an_end_is_recorded_once(tmp_path: Path) -> None:
    journal = OutsideJournal(tmp_path / "a.jsonl", "main", 8188)
    for _ in range(2):
        journal.life_over("life-a", 1)
    journal.close()
    journal.close()
    journal.attempt(1.0)  # too late
    assert [each["kind"] for each in records_of(tmp_path / "a.jsonl")] == ["journal", "life_over"]


def test_an_end_is_recorded_once_by_two_threads(tmp_path: Path) -> None:
    journal = OutsideJournal(tmp_path / "a.jsonl", "main", 8188)
    other = threading.Thread(target=lambda: journal.life_over("life-a", 1))

    class Meanwhile(set[str]):
        """Lets the other thread come in between a look and what follows from it, if it can."""

        def __contains__(self, life_id: object) -> bool:
            found = super().__contains__(life_id)
            if threading.current_thread() is not other:
                other.start()
                other.join(0.1)
            return found

    journal._over = Meanwhile()
    journal.life_over("life-a", 1)
    other.join()
    journal.close()
    assert [each["kind"] for each in records_of(tmp_path / "a.jsonl")] == ["journal", "life_over"]


@pytest.mark.parametrize("kind", [OutsideJournal, EventJournal])
def test_a_journal_can_be_closed_while_it_is_asked_whether_it_is_whole(
    kind: type[OutsideJournal | EventJournal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is OutsideJournal:
        journal: OutsideJournal | EventJournal = OutsideJournal(tmp_path / "a.jsonl", "main", 8188)
    else:
        journal = EventJournal("main", "id", tmp_path / "a.jsonl")
    looks = iter([journal._file, None])
    with monkeypatch.context() as patch:
        patch.setattr(kind, "_file", property(lambda _: next(looks)), raising=False)
        assert journal.lost is None
    journal.close()


def test_attempts_are_seen_while_a_life_still_stops(manager: ServerManager) -> None:
    server = manager.start(ServerOptions(raw=("--grace-time", str(PATIENCE))))
    client = create_connection(server.ws_url, timeout=PATIENCE)
    with ThreadPoolExecutor() as pool:
        killing = pool.submit(manager.kill, server, shutdown_timeout=PATIENCE, watch_attempts=True)
        while client.recv_frame().opcode != ABNF.OPCODE_CLOSE:
            pass

        def is_reset() -> bool:
            assert not killing.done(), "nobody has watched the port while the life stopped"
            try:
                with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as attempt:
                    attempt.recv(1)
            except ConnectionRefusedError:
                return False
            except ConnectionResetError:
                return True
            raise AssertionError("somebody serves the port")

        eventually(is_reset)
        assert not killing.done()
        client.close()  # now the life has its answer
        assert killing.result() == 0
    refused = next(each for each in server.evidence.attempts() if each.outcome == "refused")
    over = next(record["at"] for record in records_of(server.outside_file) if record["kind"] == "life_over")
    assert refused.at < over
