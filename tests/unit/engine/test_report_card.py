"""The report card in all its forms."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from report_facts import DAEMON, case, connected, job, refused, restart, socket

from ComfyMockLibrary.engine.outages import load
from ComfyMockLibrary.engine.report.card import Card, Entry
from ComfyMockLibrary.engine.report.html import html
from ComfyMockLibrary.engine.report.judge import Judgement, judge
from ComfyMockLibrary.engine.report.junit import junit
from ComfyMockLibrary.engine.report.picture import MARGIN, WIDTH, picture
from ComfyMockLibrary.engine.report.text import text

EVIL = "<script>alert('x')</script>\x1b[31m\u202e"


def entry(name: str, *, words: tuple[str, ...] = (), **facts: Any) -> Entry:
    asked = case(name, words=words, **facts)
    judgement = judge(asked)
    assert judgement is not None
    return Entry(load(name), judgement, 4.5, asked.course)


@pytest.fixture
def card() -> Card:
    survived = entry(
        "restart",
        windows=[restart()],
        sockets=[socket(1.0, closed=10.0), socket(12.5, life=2)],
        attempts=[*refused(10.2), *connected(12.5)],
        jobs=[job(ended_at=9.0, fetched_at=9.5)],
        words=(EVIL,),
    )
    failed = entry("crash", windows=[restart()], sockets=[socket(1.0, closed=10.0)], time_is_up=True, words=("bye",))
    skipped = Entry(load("job-lost"), Judgement("not applicable", ("this client queues no jobs by itself",)))
    return Card(f"node {EVIL}", DAEMON, [survived, failed, skipped], "2026-01-02T03:04:05+00:00", "tests")


def test_the_sum(card: Card) -> None:
    assert card.summary == "1 survived, 1 not survived, 1 not applicable"
    assert not card.is_good
    assert Card("me", DAEMON, [card.entries[0], card.entries[2]], "now", "tests").is_good


def test_text_is_a_table_with_advice(card: Card) -> None:
    lines = text(card).splitlines()
    assert " ".join(lines[3].split()) == "outage verdict noticed tries back job what the client did"
    assert lines[4].split()[:9] == ["restart", "survived", "0.2", "s", "2", "0.5", "s", "found", "came"]
    assert "crash     NOT SURVIVED" in lines[5]
    assert lines[6].strip().startswith("> React to the end of the websocket")
    assert "\x1b" not in text(card)


def test_json_has_everything(card: Card) -> None:
    read = json.loads(json.dumps(card.as_json()))
    assert (read["survived"], read["not_survived"], read["not_applicable"]) == (1, 1, 1)
    first, second, third = read["outages"]
    assert (first["outage"], first["verdict"], first["attempts"], first["noticed_after"]) == (
        "restart",
        "survived",
        2,
        0.2,
    )
    assert (first["back_after"], first["job"], first["advice"], first["seconds"]) == (0.5, "found", None, 4.5)
    assert second["did"] == ["never noticed that its connection was gone"]
    assert second["output"] == ["bye"]
    assert third["did"] == ["this client queues no jobs by itself"]


def test_junit_is_read_by_machines(card: Card) -> None:
    suite = ElementTree.fromstring(junit(card))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    passed, failed, skipped = suite
    assert [each.tag for each in passed] == ["system-out"]
    assert failed[0].get("message") == "never noticed that its connection was gone"
    assert "React to the end" in (failed[0].text or "")
    assert skipped[0].tag == "skipped"


def test_html_is_one_page_with_a_picture_for_each_outage_that_was_tried(card: Card) -> None:
    page = html(card)
    assert page.count("<svg ") == 2
    assert page.count("<article ") == 3
    for part in ("http://", "https://", "<script", "src=", "@import", "\x1b", "\u202e"):
        assert part not in page
    assert "&lt;script&gt;" in page


def test_a_picture_shows_what_happened_and_stays_in_its_frame(card: Card) -> None:
    course = card.entries[0].course
    assert course is not None
    drawn = picture(course, "What happened")
    assert [bar.kind for bar in drawn.bars] == ["cut", "life", "socket", "socket", "job found"]
    assert [tick.kind for tick in drawn.ticks] == ["bad", "good", "found"]
    assert {label.text for label in drawn.labels} >= {"server", "websocket", "attempts", "jobs", "20.0 s"}
    for shape in (*drawn.bars, *drawn.ticks):
        assert MARGIN <= shape.x <= MARGIN + WIDTH
        assert 0 <= shape.y < drawn.height
    lost, back = (bar for bar in drawn.bars if bar.kind == "socket")
    assert lost.x + lost.width == pytest.approx(MARGIN + WIDTH / 2)
    assert back.y == lost.y, "It needs no row of its own."


def test_a_flood_makes_no_flood_of_shapes() -> None:
    attempts = refused(*(10 + number / 1000 for number in range(5000)))
    asked = case("upgrade-refused-403", windows=[restart(10.0, 15.0, 1)], attempts=attempts)
    assert len(picture(asked.course, "").ticks) <= 400


def test_many_things_at_once_share_rows() -> None:
    sockets = [socket(float(number)) for number in range(1, 10)]
    assert picture(case("restart", sockets=sockets, windows=[restart()]).course, "").height < 120
