"""The life's journal, and the format of journals."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Struct

from mockserver import journal as journal_module
from mockserver.control.api import ControlApi
from mockserver.journal import FORMAT_VERSION, SCHEMA_FILE, Journal, anchor

Json = dict[str, Any]

ANCHOR = {"format": 1, "boot_id": "b", "monotonic": 1.5, "wall": "2026-01-01T00:00:00+00:00"}
RECORDS: list[Json] = [
    {"kind": "journal", **ANCHOR, "party": "server", "life_id": "life-1", "pid": 7},
    {"kind": "journal", **ANCHOR, "party": "client", "client": "alias", "client_id": "id"},
    {"kind": "journal_ended", "why": "No space left on device"},
    {"kind": "life", "state": "ready", "port": 8188, "control_url": "http://127.0.0.1:1"},
    {"kind": "life", "state": "stopping", "order": "SIGTERM"},
    {"kind": "life", "state": "stopped"},
    {"kind": "life", "state": "ended", "order": "end of stdin"},
    {
        "kind": "request",
        "request": 1,
        "method": "POST",
        "path": "/queue?x=1",
        "headers": {"Host": "a"},
        "remote": "127.0.0.1:9",
        "length": 2,
        "body": "{}",
    },
    {
        "kind": "request",
        "request": 2,
        "method": "POST",
        "path": "/prompt",
        "headers": {},
        "remote": "",
        "length": None,
        "body": None,
        "digest": "0a",
    },
    {"kind": "answer", "request": 1, "status": 200, "seconds": 0.1, "headers": {}, "body": None},
    {"kind": "socket_opened", "socket": 1, "client_id": "me", "ordinal": 1, "remote": "127.0.0.1:9"},
    {"kind": "feature_flags", "socket": 1, "flags": {}},
    {"kind": "socket_closed", "socket": 1, "client_id": "me", "code": None, "closed_by": "lost"},
    {"kind": "message_sent", "type": "status", "data": {}, "sockets": [1, 2]},
    {"kind": "message_sent", "type": "binary_1", "length": 9, "sockets": []},
    {"kind": "message_received", "socket": 1, "text": None, "length": 3},
    {"kind": "prompt", "prompt_id": "p", "client_id": None, "state": "queued"},
    {"kind": "queue_cleared"},
    {"kind": "event", "index": 0, "name": "connected", "source": "client", "data": {}},
]


OPTIONAL = {("prompt", "client_id"), ("request", "digest")}


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The format as it is written down."""
    contents = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(contents)
    return Draft202012Validator(contents)


def records_in(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_first_record_ties_the_clocks_together(tmp_path: Path, schema: Draft202012Validator) -> None:
    before = time.monotonic()
    Journal(tmp_path / "journal", party="server", life_id="life-1", pid=7)
    (record,) = records_in(tmp_path / "journal")
    schema.validate(record)
    assert (record["kind"], record["format"], record["party"]) == ("journal", FORMAT_VERSION, "server")
    assert before - 0.001 <= record["monotonic"] <= record["at"] <= time.monotonic() + 0.001
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(record["wall"])) < timedelta(minutes=1)


def test_the_boot_is_named() -> None:
    assert re.fullmatch(r"[0-9a-f-]{36}|unknown", anchor()["boot_id"])


def test_records_are_in_the_file_at_once_and_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for number in range(3):
        journal.record("request", number=number)
        assert records_in(tmp_path / "journal")[-1]["number"] == number
    times = [record["at"] for record in records_in(tmp_path / "journal")]
    assert times == sorted(times)


def test_what_is_no_json_is_written_as_text(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").record("x", path=Path("a"), text="ü\n\ud800")
    assert records_in(tmp_path / "journal")[1] | {"at": 0} == {"at": 0, "kind": "x", "path": "a", "text": "ü\n\ud800"}


class Numbered(Struct):
    """A record as a structure."""

    at: float
    kind: str
    number: int
    text: str = ""


def numbered(number: int, text: str = "") -> Numbered:
    return Numbered(1.0, "x", number, text)


def test_a_record_that_may_wait_is_written_with_the_next_one_or_on_demand(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    for number in (1, 2):
        journal.append(numbered(number), may_wait=True)
    assert len(records_in(file)) == 1
    journal.record("answer")
    assert [record["kind"] for record in records_in(file)] == ["journal", "x", "x", "answer"]
    journal.append(numbered(3), may_wait=True)
    journal.append(numbered(4))
    assert [record.get("number") for record in records_in(file)] == [None, 1, 2, None, 3, 4]
    for write in (journal.write_waiting, lambda: journal.since(0)):
        journal.append(numbered(5), may_wait=True)
        assert [record.get("number") for record in records_in(file)][-1] != 5
        write()
        assert records_in(file).pop()["number"] == 5
        journal.append(numbered(6))
    assert journal.since(0) == (0, records_in(file))
    assert len(journal) == len(records_in(file))


def test_two_threads_may_write_what_waits(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    other = threading.Thread(target=journal.write_waiting)

    class Meanwhile(deque[Struct]):
        """Lets the other thread come in between a look and what follows from it."""

        def popleft(self) -> Struct:
            if not other.ident:
                other.start()
                other.join(0.1)
            return super().popleft()

    journal._waiting = Meanwhile([numbered(1), numbered(2)])
    journal.record("life")
    other.join()
    assert [record["kind"] for record in records_in(file)] == ["journal", "x", "x", "life"]


ENDS = """\
import os, sys, threading
from pathlib import Path
from mockserver.journal import Journal

journal = Journal(Path(sys.argv[1]))
journal.record_last("life", state="ended", order="end of stdin")
late = threading.Thread(target=journal.record, args=["queue_cleared"], daemon=True)
late.start()
late.join(0.5)
os._exit(0)
"""


def test_nothing_comes_after_the_last_record(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDS, str(tmp_path / "journal")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [record["kind"] for record in records_in(tmp_path / "journal")] == ["journal", "life"]


@pytest.mark.parametrize("name", ["journal", None])
def test_the_latest_can_be_read_whether_there_is_a_file_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(journal_module, "LATEST", 10)
    monkeypatch.setattr(journal_module, "LATEST_BYTES", 2000)
    monkeypatch.setattr(journal_module, "_BLOCK", 100)
    journal = Journal(None if name is None else tmp_path / name)
    for number in range(1, 21):
        journal.append(numbered(number))
    first, records = journal.since(0)
    assert (first, [each["number"] for each in records]) == (11, list(range(11, 21)))
    for number in range(21, 24):
        journal.append(numbered(number, "x" * 900), length=950)
    first, records = journal.since(0)
    assert (first, [each["number"] for each in records]) == (22, [22, 23])
    assert journal.since(23) == (23, records[1:])
    assert journal.since(99) == (24, [])
    journal.append(numbered(24, "x" * 3000), length=3000)
    assert journal.since(0) == (25, [])
    assert len(journal) == 25


@given(texts=st.lists(st.text(max_size=300), max_size=40), position=st.integers(0, 45), block=st.integers(1, 500))
def test_what_is_read_back_is_what_the_file_has(texts: list[str], position: int, block: int) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "_BLOCK", block)
        file = Path(directory) / "journal"
        journal = Journal(file)
        for text in texts:
            journal.record("message_received", text=text)
        assert journal.since(position) == (min(position, len(texts) + 1), records_in(file)[position:])


def test_two_readers_that_wait_get_a_record_that_comes_just_when_the_second_one_does() -> None:
    async def read() -> None:
        journal = Journal(None)
        server: Any = SimpleNamespace(journal=journal)
        request: Any = SimpleNamespace(query={"since": str(len(journal)), "wait": "60"})
        api = ControlApi(server, 0, lambda: pytest.fail("nobody asks for faults"))
        first = asyncio.ensure_future(api.get_journal(request))
        asyncio.get_running_loop().call_soon(journal.record, "queue_cleared")
        second = asyncio.ensure_future(api.get_journal(request))
        done, _ = await asyncio.wait([first, second], timeout=30)
        assert done == {first, second}
        assert [json.loads(each.result().text or "")["next"] for each in (first, second)] == [2, 2]

    asyncio.run(read())


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("mine")
    with pytest.raises(FileExistsError):
        Journal(tmp_path / "journal")
    assert (tmp_path / "journal").read_text() == "mine"


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Journal(None, party="server").record("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record['kind']} {record.get('state', '')}")
def test_the_format_takes_each_kind_with_just_its_fields(schema: Draft202012Validator, record: Json) -> None:
    complete = {"at": 1.0, **record}
    schema.validate(complete)
    for field in complete:
        without = {name: value for name, value in complete.items() if name != field}
        assert schema.is_valid(without) is ((record["kind"], field) in OPTIONAL), field
    assert not schema.is_valid({**complete, "unknown": 1})
    assert not schema.is_valid({**complete, "at": "1"})
    assert not schema.is_valid({**complete, "kind": "unknown"})


@pytest.mark.parametrize("life_id", [None, "life-1"])
def test_an_event_may_name_its_life(schema: Draft202012Validator, life_id: str | None) -> None:
    schema.validate({"at": 1, **RECORDS[-1], "life_id": life_id})


class TestAFileThatCannotGrow:
    """A full disk, or the limit."""

    def test_a_half_line_is_taken_back(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        schema: Draft202012Validator,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        journal = Journal(tmp_path / "journal", party="server", life_id="life-1", pid=7)
        room_for(monkeypatch, 300)
        for number in range(3):
            journal.record("message_received", socket=1, text="x" * 100, length=number)
        journal.record("queue_cleared")
        records = records_in(tmp_path / "journal")
        for record in records:
            schema.validate(record)
        assert [record["kind"] for record in records] == ["journal", "message_received", "journal_ended"]
        assert journal.lost == records[-1]["why"] == "No space left on device"
        assert len(journal) == len(journal.since(0)[1]) == 5
        assert [each.levelname for each in caplog.records] == ["CRITICAL"]

    def test_without_room_for_the_end_there_are_whole_records_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = Journal(tmp_path / "journal")
        room_for(monkeypatch, 10)
        journal.record("queue_cleared")
        assert [record["kind"] for record in records_in(tmp_path / "journal")] == ["journal"]
        assert journal.lost == "No space left on device"

    def test_nothing_is_left_of_one_that_cannot_be_begun(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        room_for(monkeypatch, 10)
        with pytest.raises(OSError, match=r"No space left on device: '.*journal'"):
            Journal(tmp_path / "journal")
        assert not (tmp_path / "journal").exists()

    def test_the_limit_is_kept_with_the_last_record_in_it(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal", limit=4096)
        while journal.lost is None:
            journal.record("queue_cleared")
        assert 4096 - 600 < (tmp_path / "journal").stat().st_size <= 4096
        assert records_in(tmp_path / "journal")[-1]["why"] == "it has reached its limit of 4096 bytes"


@pytest.mark.parametrize("name", ["journal", None])
def test_what_can_be_read_is_bounded_also_for_long_texts(tmp_path: Path, name: str | None) -> None:
    journal = Journal(None if name is None else tmp_path / name)
    for _ in range(40):
        journal.record("message_received", text="x" * 1_000_000)
        journal.append(numbered(1, "x" * 1_000_000), length=1_000_000)
    first, records = journal.since(0)
    assert first + len(records) == len(journal) == 81
    assert 14 <= len(records) <= 17


def room_for(monkeypatch: pytest.MonkeyPatch, size: int) -> list[int]:
    """A disk with so many bytes left; what is taken back is not given back. Returns what is left, as it changes."""
    write, left = os.write, [size]

    def write_what_fits(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data[: left[0]])
        left[0] -= written
        return written

    def give_back(file: int, length: int) -> None:
        left[0] += os.fstat(file).st_size - length
        truncate(file, length)

    truncate = os.ftruncate
    monkeypatch.setattr(os, "write", write_what_fits)
    monkeypatch.setattr(os, "ftruncate", give_back)
    return left
