"""Journal files as the library writes them, held against the format that is written down."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import mockserver
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.journal import EventJournal
from ComfyMockLibrary.engine.records import FORMAT_VERSION, RecordFile, file_name


def records_of(path: Path) -> list[dict[str, Any]]:
    """All records; each must have the format."""
    schema = json.loads((Path(mockserver.__file__).parent / "journal.schema.json").read_text(encoding="utf-8"))
    checker = jsonschema.validators.validator_for(schema)(schema)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        checker.validate(record)
    return records


def test_the_first_record_ties_the_monotonic_clock_to_boot_and_wall_clock(tmp_path: Path) -> None:
    before, wall = now(), datetime.now(timezone.utc)
    RecordFile(tmp_path / "a.jsonl", {"party": "client", "client": "alice", "client_id": "id-1"}).close()
    (anchor,) = records_of(tmp_path / "a.jsonl")
    assert anchor["kind"] == "journal"
    assert anchor["format"] == FORMAT_VERSION
    assert anchor["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert before <= anchor["monotonic"] == anchor["at"] <= now()
    assert wall <= datetime.fromisoformat(anchor["wall"])
    assert (anchor["party"], anchor["client"], anchor["client_id"]) == ("client", "alice", "id-1")


def test_each_event_is_a_line_at_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "below" / "a.journal.jsonl"
    journal = EventJournal("alice", "id-1", path)
    request.addfinalizer(journal.close)
    events = [
        journal.append("connected", "client", {"life_id": "l"}, "l"),
        journal.append("b_preview", "server", {"image": b"12345"}, "l"),
        journal.append("odd", "server", {"text": "a\nb\u2028\ud800", "nested": {"list": [None, 1.5]}}, None),
        journal.append("disconnected", "client", {"code": 1006, "reason": "", "cause": "reset"}, None),
    ]
    _, *records = records_of(path)
    assert [(record["index"], record["name"], record["source"]) for record in records] == [
        (event.index, event.name, event.source) for event in events
    ]
    assert [record["at"] for record in records] == [event.at for event in events]
    assert {record["kind"] for record in records} == {"event"}
    assert [record["life_id"] for record in records] == ["l", "l", None, None]
    assert records[1]["data"] == {"image": "<5 bytes>"}
    assert records[2]["data"] == {"text": "a\nb\u2028\ud800", "nested": {"list": [None, 1.5]}}


def test_what_json_cannot_hold_is_left_out_of_the_file_alone(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "a.journal.jsonl"
    journal = EventJournal("alice", "id-1", path)
    request.addfinalizer(journal.close)
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    events = [
        journal.append("own", "server", data, None)
        for data in ({(1, 2): "pair", "n": 1}, {"cycle": cycle, "n": 1}, {"deep": deep, "n": 1}, {"set": {1}})
    ]
    _, *records = records_of(path)
    assert [record["data"] for record in records] == [
        {"(1, 2)": "pair", "n": 1},
        {"cycle": "<list>", "n": 1},
        {"deep": "<list>", "n": 1},
        {"set": "{1}"},
    ]
    assert events[2].data["deep"] is deep
    assert journal.lost is None


def test_events_after_the_end_of_the_file_are_kept_in_memory(tmp_path: Path) -> None:
    journal = EventJournal("alice", "id-1", tmp_path / "a.jsonl")
    journal.close()
    journal.close()
    assert journal.append("late", "client", {}, None).index == 0
    assert len(records_of(tmp_path / "a.jsonl")) == 1


def test_a_new_journal_replaces_an_old_file(tmp_path: Path) -> None:
    for client_id in ("id-1", "id-2"):
        EventJournal("alice", client_id, tmp_path / "a.jsonl").close()
    (anchor,) = records_of(tmp_path / "a.jsonl")
    assert anchor["client_id"] == "id-2"


@pytest.mark.parametrize("alias", ["a/b", "..", "", "über das Meer", "a\0b", "C:\\x", ". .", "-"])
def test_any_alias_gives_a_name_for_a_file_in_the_directory(alias: str, tmp_path: Path) -> None:
    path = tmp_path / file_name(alias)
    path.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_plain_alias_stays_as_it_is() -> None:
    assert file_name("server-1.a_b") == "server-1.a_b"


def test_a_file_that_cannot_grow_ends_with_a_whole_record(tmp_path: Path) -> None:
    script = (
        "import pathlib, resource, sys\n"
        "from ComfyMockLibrary.engine.records import RecordFile\n"
        "file = RecordFile(pathlib.Path(sys.argv[1]), {'party': 'client', 'client': 'a', 'client_id': 'b'})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "fields = {'index': 0, 'name': 'x' * 200, 'source': 'client', 'data': {}, 'life_id': None}\n"
        "for number in range(5): file.write(float(number), 'event', fields)\n"
        "print(file.lost)\n"
        "file.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.jsonl")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    records = records_of(tmp_path / "a.jsonl")
    assert {record["kind"] for record in records[1:-1]} == {"event"}
    assert (records[-1]["kind"], records[-1]["why"]) == ("journal_ended", "File too large")


def test_a_file_that_cannot_be_begun_is_an_error_with_its_name() -> None:
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        RecordFile(Path("/dev/full"), {})
