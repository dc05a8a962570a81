"""Evidence: one list over all lives, from journals that may end anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from story import Story, ToldLife

from ComfyMockLibrary.engine.evidence import _JournalFile, sent_prompts, workflow_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A server in its first life."""
    told = Story(tmp_path)
    told.begin_life()
    return told


def test_a_request_has_its_answer(story: Story) -> None:
    story.request("POST", "/api/prompt?x=1&y=", 400, '{"client_id": "me"}', "no", User_Agent="node")
    (request,) = story.evidence.requests()
    assert (request.life, request.method, request.path, request.route) == (1, "POST", "/api/prompt", "/prompt")
    assert (request.query, request.headers) == ({"x": "1", "y": ""}, {"user-agent": "node"})
    assert (request.status, request.answer_body, request.seconds) == (400, "no", 0.01)
    assert (request.json, request.client_id) == ({"client_id": "me"}, "me")
    assert str(request) == "POST /api/prompt (400, life 1)"


@pytest.mark.parametrize("body", [None, "no JSON", "[]", '{"client_id": 7}'])
def test_a_request_may_say_nothing_of_its_client(story: Story, body: str | None) -> None:
    story.request("POST", "/prompt", None, body)
    (request,) = story.evidence.requests()
    assert (request.client_id, request.status) == (None, None)
    assert str(request) == "POST /prompt (no answer, life 1)"


def test_a_websocket_is_known_from_its_handshake_to_its_end(story: Story) -> None:
    number = story.connect("me", User_Agent="node")
    story.record("feature_flags", socket=number, flags={"a": True})
    evidence = story.evidence
    (opened,) = evidence.sockets()
    assert (opened.is_open, opened.headers["user-agent"], opened.flags) == (True, "node", {"a": True})
    assert str(opened) == "socket 1 of 'me' in life 1: open"
    story.lose(number, code=1000, closed_by="client")
    (closed,) = evidence.sockets("me")
    assert (closed.is_open, closed.closed_at, closed.code, closed.closed_by) == (False, story.at, 1000, "client")
    assert str(closed) == "socket 1 of 'me' in life 1: closed by the client with 1000"
    assert evidence.sockets("other") == []


def test_a_websocket_ends_with_its_life(story: Story) -> None:
    story.connect()
    last_sign = story.at
    evidence = story.evidence
    assert evidence.sockets()[0].is_open
    story.end_life()
    (socket,) = evidence.sockets()
    assert (socket.closed_at, socket.code, socket.closed_by) == (last_sign, None, "life")


def test_a_life_that_was_killed_ends_when_it_was_told_to(story: Story) -> None:
    story.connect()
    story.at += 60
    story.kill()
    assert story.evidence.sockets()[0].closed_at == story.at


def test_a_websocket_that_is_closed_during_a_look_is_not_taken_for_one_that_its_life_has_ended(story: Story) -> None:
    number = story.connect()

    class LastWords(ToldLife):
        """Closes its websocket and ends between two looks at it."""

        looks = 0

        @property  # type: ignore[override]
        def is_running(self) -> bool:
            self.looks += 1
            if self.looks == 2:
                story.lose(number, code=1001, closed_by="server")
            return self.looks < 2

        @is_running.setter
        def is_running(self, _: bool) -> None: ...

    life = story.lives[0]
    story.lives[0] = LastWords(life.number, life.journal_file, life.life_id)
    evidence = story.evidence
    assert [evidence.sockets()[0].closed_by for _ in range(3)] == [None, "server", "server"]


def test_a_port_that_is_used_again_is_another_client(story: Story) -> None:
    for name in ("first", "second"):
        story.record(
            "request",
            request=1,
            method="GET",
            path="/ws",
            headers={"User-Agent": name},
            remote="h:1",
            length=0,
            body=None,
        )
        number = len(name)
        story.record("socket_opened", socket=number, client_id="", ordinal=1, remote="h:1")
    assert [each.headers["user-agent"] for each in story.evidence.sockets()] == ["first", "second"]


def test_a_record_that_is_only_begun_is_left_for_later(story: Story) -> None:
    file = story.lives[0].journal_file
    whole = json.dumps({"at": 1, "kind": "queue_cleared"}) + "\n"
    evidence = story.evidence
    with file.open("a") as journal:
        journal.write(whole + whole[:10])
    assert len(evidence.records("queue_cleared")) == 1
    with file.open("a") as journal:
        journal.write(whole[10:])
    assert len(evidence.records("queue_cleared")) == 2


def test_a_look_that_is_interrupted_is_made_again_and_finds_everything_once(story: Story) -> None:
    class Interrupting(dict[str, Any]):
        """Where Ctrl-C comes at the second record."""

        def setdefault(self, kind: str, default: Any = None) -> Any:
            if self:
                raise KeyboardInterrupt
            return super().setdefault(kind, default)

    story.request("GET", "/queue")
    journal = _JournalFile(story.lives[0].journal_file)
    journal._by_kind = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        journal.read()
    journal.read()
    assert [each["kind"] for each in journal.records()] == ["journal", "request", "answer"]
    assert [len(journal.records(kind)) for kind in ("journal", "request", "answer")] == [1, 1, 1]


@pytest.mark.parametrize("line", ["half a li", "[1]", "-1", '{"at": 1}', "[" * 100_000])
def test_what_is_no_record_is_named_with_its_line(story: Story, line: str) -> None:
    file = story.lives[0].journal_file
    count = len(story.evidence.records())
    with file.open("a") as journal:
        journal.write(f"{line}\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=rf"{file.name} is damaged: line {count + 1} is no record\. "):
            story.evidence.records()


def test_clients_may_ask_for_what_is_no_address_and_send_what_cannot_be_read(story: Story) -> None:
    story.request("POST", "//[?a=b", "[" * 100_000)
    (request,) = story.evidence.requests()
    assert (request.path, request.query, request.json) == ("//[", {"a": "b"}, None)


def test_a_life_without_a_journal_tells_nothing(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.begin_life()
    story.lives[0].journal_file.unlink()
    assert story.evidence.records() == []


def test_all_lives_are_one_list(story: Story) -> None:
    story.request("GET", "/queue")
    story.end_life()
    story.begin_life()
    story.request("GET", "/queue")
    assert [request.life for request in story.evidence.requests()] == [1, 2]


def test_messages_have_their_receivers_and_senders(story: Story) -> None:
    me, other = story.connect("me"), story.connect("other")
    story.record("message_sent", type="status", data={"a": 1}, sockets=[me, other])
    story.record("message_sent", type="binary_1", length=9, sockets=[])
    for text in ('{"type": "feature_flags", "data": {}}', "[1]", "{", None):
        story.record("message_received", socket=other, text=text, length=1)
    messages = story.evidence.messages()
    assert [(each.direction, each.type, each.client_ids) for each in messages] == [
        ("sent", "status", ("me", "other")),
        ("sent", "binary_1", ()),
        ("received", "feature_flags", ("other",)),
        ("received", "text", ("other",)),
        ("received", "text", ("other",)),
        ("received", "binary", ("other",)),
    ]
    assert messages[0].data == {"a": 1}


class TestLosses:
    """From the loss of a websocket until there is one again."""

    def test_attempts_of_all_kinds_count(self, story: Story) -> None:
        story.connect()
        story.end_life()
        lost_at = story.at
        story.refuse(lost_at + 1)
        story.refuse(lost_at + 3)
        story.at += 4
        story.begin_life()
        for status in (503, None, 101):
            story.connect(status=status)
        (loss,) = story.evidence.losses()
        assert (loss.lost_at, loss.back_at) == (lost_at, story.at)
        assert [(each.outcome, each.life) for each in loss.attempts] == [
            ("refused", None),
            ("refused", None),
            ("503", 2),
            ("unanswered", 2),
            ("connected", 2),
        ]
        assert loss.delays[:2] == pytest.approx([1, 2])
        assert [each.succeeded for each in loss.attempts] == [False, False, False, False, True]

    def test_a_client_that_has_left_has_lost_nothing(self, story: Story) -> None:
        story.lose(story.connect(), code=1000, closed_by="client")
        assert story.evidence.losses() == []

    def test_each_client_has_losses_of_its_own(self, story: Story) -> None:
        me, other = story.connect("me"), story.connect("other")
        story.lose(me, "me")
        story.lose(other, "other")
        story.connect("other")
        assert [loss.back_at is None for loss in story.evidence.losses("me")] == [True]
        assert [loss.back_at is None for loss in story.evidence.losses("other")] == [False]
        assert len(story.evidence.losses()) == 2

    def test_a_client_may_notice_it_before_the_server_does(self, story: Story) -> None:
        half_open = story.connect()
        story.connect(status=503)
        since = story.at
        back = story.connect()
        story.lose(half_open)
        (loss,) = story.evidence.losses()
        assert since - 0.02 < loss.lost_at < since < loss.back_at
        assert [each.outcome for each in loss.attempts] == ["503", "connected"]
        story.lose(back)
        assert [each.back_at is None for each in story.evidence.losses()] == [False, True]

    def test_they_are_in_the_order_of_the_losses(self, story: Story) -> None:
        one, other = story.connect("one"), story.connect("other")
        story.lose(other, "other")
        story.lose(one, "one")
        assert [loss.client_id for loss in story.evidence.losses()] == ["other", "one"]

    def test_it_goes_on_as_long_as_the_client_is_away(self, story: Story) -> None:
        story.lose(story.connect())
        story.connect(status=403)
        (loss,) = story.evidence.losses()
        assert (loss.back_at, [each.outcome for each in loss.attempts]) == (None, ["403"])


def test_a_prompt_is_known_by_its_workflow(story: Story) -> None:
    for prompt in ({"1": {}}, {"1": {}}, {"2": {}}):
        story.queue(prompt)
    story.request("POST", "/prompt", 500, "no JSON")
    story.request("GET", "/prompt")
    one, same, other, broken = map(workflow_of, sent_prompts(story.evidence.requests()))
    assert one == same != other
    assert broken is None


def test_a_prompt_that_is_too_long_is_known_by_its_digest(story: Story) -> None:
    story.record(
        "request", request=1, method="POST", path="/prompt", headers={}, remote="", length=9, body=None, digest="a1"
    )
    assert [workflow_of(each) for each in story.evidence.requests()] == ["a1"]


def test_a_life_without_a_journal_is_no_loss(story: Story) -> None:
    story.lives.append(ToldLife(2, story.directory / "nothing.jsonl", "id-2", is_running=False))
    assert story.evidence.losses() == []
