"""Which files are journals, which belong together, and what is said about those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from timeline_journals import BEGIN, client, event, journal, life, written

from ComfyMockLibrary.engine.timeline.files import JournalError, find_journals, read_journal, read_journals

if TYPE_CHECKING:
    from pathlib import Path


def test_files_directories_and_patterns_are_journals_each_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    one, two = written(tmp_path / "below", life(1), client(2))
    other = tmp_path / "by-hand.jsonl"
    other.write_bytes(one.read_bytes())
    assert find_journals([tmp_path]) == [one, two]
    assert find_journals([one, str(tmp_path / "*" / "*.jsonl"), other]) == [one, two, other]
    assert find_journals([str(tmp_path / "**" / "1.*")]) == [two]


def test_one_in_a_directory_that_is_just_being_begun_is_left_out(tmp_path: Path) -> None:
    (path,) = written(tmp_path, life(1))
    begun = tmp_path / "begun.journal.jsonl"
    begun.touch()
    assert [each.path for each in read_journals(find_journals([tmp_path]))] == [path]
    with pytest.raises(JournalError, match="its first line does not say whose it is"):
        read_journals(find_journals([begun]))


ANCHOR = (
    '{"at": 1, "kind": "journal", "party": "client", "format": 1, "boot_id": "b", "monotonic": 1, '
    '"wall": "2026-01-02T03:04:05+00:00", "client": "one", "client_id": "id"}'
)


@pytest.mark.parametrize("what", ["missing.jsonl", "*.nothing", ""])
def test_where_there_is_none_the_message_says_where_they_are(tmp_path: Path, what: str) -> None:
    with pytest.raises(
        JournalError, match=r"(does not exist|has no journal in it)\. Journals are the files \*\.journal"
    ):
        find_journals([tmp_path / what])


def test_none_at_all_is_said_too() -> None:
    with pytest.raises(JournalError, match=r"^No journal was given\. "):
        find_journals([])


def test_a_last_line_without_its_end_is_left_for_later(tmp_path: Path) -> None:
    (path,) = written(tmp_path, client(1, event(2, "connected"), event(3, "disconnected")))
    path.write_bytes(path.read_bytes()[:-5])
    read = read_journal(path)
    assert [each["name"] for each in read.records] == ["connected"]
    assert (read.party, read.begun_at, read.last_at) == ("client", BEGIN + 1, BEGIN + 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no journal: its first line does not say whose it is"),
        ("hello\n", "is no journal: its first line does not say whose it is"),
        ("[" * 100_000 + "\n", "is no journal: its first line does not say whose it is"),
        ('{"at": 1, "kind": "event"}\n', "is no journal: its first line does not say whose it is"),
        ('{"at": 1, "kind": "journal", "party": "server", "format": 2}\n', "has format 2; this version reads 1"),
        ('{"at": 1, "kind": "journal", "party": "client", "format": 1}\n', "is no journal: its line 1 is no record"),
        *(
            (f"{ANCHOR}\n{line}\n", "is no journal: its line 2 is no record")
            for line in (
                "[1]",
                "{" + '"a":{' * 100_000,
                '{"at": NaN, "kind": "queue_cleared"}',
                '{"at": -1, "kind": "queue_cleared"}',
                '{"at": 1e999, "kind": "queue_cleared"}',
                '{"at": true, "kind": "queue_cleared"}',
                '{"at": 1, "kind": "life", "state": "ready"}',
                '{"at": 1, "kind": "prompt", "prompt_id": 1, "state": "queued"}',
                '{"at": 1, "kind": "message_sent", "type": "a", "data": {}, "sockets": [[]]}',
            )
        ),
    ],
)
def test_what_is_no_journal_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(JournalError, match=message) as failure:
        read_journal(path)
    assert str(failure.value).startswith(str(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(tmp_path)


def test_journals_of_two_boots_are_refused_and_listed(tmp_path: Path) -> None:
    other = journal(3, boot="other-boot", party="client", client="two", client_id="id-2")
    paths = written(tmp_path, life(1), client(2), other)
    with pytest.raises(JournalError, match="of 2 boots or machines, whose clocks cannot be compared") as failure:
        read_journals(paths)
    first, second = str(failure.value).split("one at a time. ")[1].split("; ")
    assert (paths[0].name in first, paths[1].name in first, paths[2].name in second) == (True, True, True)


def test_what_a_later_version_may_add_is_let_through(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{ANCHOR}\n{{"at": 2, "kind": "new"}}\n{{"at": 3, "kind": "queue_cleared", "by": "me"}}\n')
    assert [each["at"] for each in read_journal(path).records] == [2, 3]
