"""What the timeline tells of journals whose moments are known."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from timeline_journals import (
    BEGIN,
    answer,
    begun,
    client,
    closed,
    event,
    fault_set,
    handshake,
    life,
    opened,
    order,
    outside,
    over,
    prompt,
    request,
    sent,
)

from ComfyMockLibrary.engine.timeline.story import tell

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.timeline.files import JournalFile
    from ComfyMockLibrary.engine.timeline.model import Lane, Timeline

STOPPING = {"at": 4.0, "kind": "life", "state": "stopping", "order": "SIGTERM"}
STOPPED = {"at": 4.1, "kind": "life", "state": "stopped"}


def told(*journals: JournalFile, until: float = 10.0) -> Timeline:
    return tell(list(journals), BEGIN + until)


def lane(timeline: Timeline, name: str) -> Lane:
    (found,) = [each for each in timeline.lanes if each.name == name]
    return found


def spans(timeline: Timeline, name: str, row: int = 0) -> list[tuple[str, float, float]]:
    return [
        (each.kind, round(each.start - BEGIN, 6), round(each.end - BEGIN, 6))
        for each in lane(timeline, name).rows[row].spans
    ]


def happened(timeline: Timeline, what: str) -> list[tuple[float, str, str]]:
    return [(round(each.at - BEGIN, 6), each.party, each.details) for each in timeline.happenings if each.what == what]


class TestLives:
    """When each ran, and how it ended."""

    def test_a_life_that_could_say_so_has_stopped_gracefully(self) -> None:
        timeline = told(life(1, STOPPING, STOPPED))
        assert spans(timeline, "port 8188") == [("starting", 1, 1), ("life-stopped", 1, 4.1), ("stopping", 4, 4.1)]
        assert happened(timeline, "stopping") == [(4, "port 8188 life 1", "")]
        assert happened(timeline, "ended") == [(4.1, "port 8188 life 1", "stopped gracefully (SIGTERM)")]

    def test_a_killed_one_ended_as_the_library_saw(self) -> None:
        seen = outside(0.5, begun(1.2, 1, "life-a"), order(3, "life-a", "SIGKILL"), over(3.01, "life-a", -9))
        timeline = told(life(1), seen)
        assert spans(timeline, "main")[-1] == ("life-crashed", 1, 3.01)
        assert happened(timeline, "ended") == [(3.01, "main life 1", "ended with SIGKILL")]

    def test_one_that_a_fault_has_crashed_ended_when_it_struck_and_not_when_that_was_noticed(self) -> None:
        struck = {"at": 2.0, "kind": "fault_struck", "fault": "crash-1", "strike": 1}
        seen = outside(0.5, begun(1.2, 1, "life-a"), over(6, "life-a", -9))
        timeline = told(life(1, fault_set(1.5, "crash-1", "crash"), struck), seen)
        assert happened(timeline, "ended") == [(2.0, "main life 1", "crashed by a fault (SIGKILL)")]

    def test_one_of_which_nothing_says_that_it_ended_runs(self) -> None:
        timeline = told(life(1))
        assert spans(timeline, "port 8188")[-1] == ("life-open", 1, 10)
        assert happened(timeline, "ended") == []

    def test_one_that_another_one_follows_has_ended_even_if_nobody_saw_it(self) -> None:
        timeline = told(life(1, request(2, 1, "GET", "/queue")), life(5, life_id="life-b"))
        assert spans(timeline, "port 8188")[1] == ("life-crashed", 1, 2)
        assert happened(timeline, "ended") == [(2, "port 8188 life 1", "ended, and no journal says how")]

    def test_between_two_lives_the_server_is_down(self) -> None:
        timeline = told(life(1, STOPPED), life(5, life_id="life-b", pid=102))
        assert ("down", 4.1, 5) in spans(timeline, "port 8188")
        names = [span.names[0] for span in lane(timeline, "port 8188").rows[0].spans if span.kind.startswith("life")]
        assert names == ["life 1 · pid 101", "life 2 · pid 102"]

    def test_lives_of_one_port_are_one_server_and_others_are_another(self) -> None:
        timeline = told(life(1), life(2, life_id="life-b", port=9000))
        assert [each.name for each in timeline.lanes if each.begins_group] == ["port 8188", "port 9000"]

    @pytest.mark.parametrize(
        ("record", "until"),
        [(order(3.5, "life-a", "thaw"), 3.5), (request(4.5, 1, "GET", "/"), 4.5), (over(5, "life-a", -9), 5)],
    )
    def test_a_frozen_one_stands_still_until_it_is_thawed_writes_again_or_ends(
        self, record: dict[str, Any], until: float
    ) -> None:
        of_life = [record] if record["kind"] == "request" else []
        seen = outside(0.5, begun(1, 1, "life-a"), order(2, "life-a", "freeze"), *([] if of_life else [record]))
        assert ("frozen", 2, until) in spans(told(life(1, *of_life), seen), "main")

    def test_a_fault_can_freeze_it_too(self) -> None:
        struck = {"at": 2.0, "kind": "fault_struck", "fault": "f", "strike": 1}
        ended = {"at": 3.0, "kind": "fault_ended", "fault": "f", "reason": "done", "strikes": 1}
        timeline = told(life(1, fault_set(1.5, "f", "freeze"), struck, ended))
        assert ("frozen", 2, 3) in spans(timeline, "port 8188")

    def test_attempts_while_it_was_down_have_a_lane(self) -> None:
        knocks = [{"at": at, "kind": "connection_attempt"} for at in (5.0, 5.5)]
        timeline = told(life(1, STOPPED), outside(0.5, begun(1, 1, "life-a"), *knocks))
        assert [mark.at - BEGIN for mark in lane(timeline, "attempts").rows[0].marks] == [5.0, 5.5]


class TestClients:
    """Those of this library, and all others."""

    def test_states_follow_each_other_without_a_gap(self) -> None:
        timeline = told(
            life(0.5),
            client(
                1,
                event(1.5, "connected"),
                event(3, "disconnected", code=1006),
                event(3, "reconnecting", attempt=1),
                event(4, "reconnecting", attempt=2),
                event(5, "connected"),
                event(5, "reconnected"),
                event(6, "disconnected"),
                event(6, "reconnecting"),
                event(7, "reconnection_failed"),
            ),
        )
        assert [each for each in spans(timeline, "one") if each[1] < each[2]] == [
            ("connecting", 1, 1.5),
            ("connected", 1.5, 3),
            ("reconnecting", 3, 5),
            ("connected", 5, 6),
            ("reconnecting", 6, 7),
            ("failed", 7, 10),
        ]

    def test_the_states_of_one_that_was_closed_end_there(self) -> None:
        timeline = told(client(1, event(2, "connected"), event(3, "disconnected", cause="closed by the client")))
        assert spans(timeline, "one") == [("connecting", 1, 2), ("connected", 2, 3)]
        assert [each.tone for each in lane(timeline, "one").rows[1].marks] == ["good", "plain"]

    def test_a_message_named_like_a_state_changes_none(self) -> None:
        timeline = told(client(1, event(2, "connected"), event(3, "disconnected", source="server")))
        assert spans(timeline, "one")[-1] == ("connected", 2, 10)

    def test_messages_are_quiet_and_bad_news_are_not(self) -> None:
        timeline = told(client(1, event(2, "status", "server"), event(3, "execution_error", "server")))
        _, marks, ticks = lane(timeline, "one").rows
        assert ([each.what for each in marks.marks], [each.what for each in ticks.marks]) == (
            ["execution_error"],
            ["status"],
        )

    def test_a_client_that_is_not_ours_has_a_lane_of_what_the_server_saw(self) -> None:
        timeline = told(
            life(
                0.5,
                handshake(1, 1, "theirs"),
                answer(1, 1, 101),
                opened(1, 1, "theirs"),
                sent(2, "status", 1),
                closed(3, 1, "theirs", "server", 1012),
                handshake(4, 2, "theirs", 5001),
                answer(4, 2, 503),
            )
        )
        assert spans(timeline, "theirs") == [("connected", 1, 3)]
        assert happened(timeline, "got status") == [(2, "theirs", "")]
        assert happened(timeline, "socket closed") == [(3, "theirs", "socket 1 closed by the server, code 1012")]
        assert happened(timeline, "handshake failed") == [(4, "theirs", "503")]
        assert "requests" not in {each.name for each in timeline.lanes}

    def test_ours_have_one_lane_and_not_two(self) -> None:
        timeline = told(
            life(0.5, handshake(1, 1, "id-1"), answer(1, 1, 101), opened(1, 1, "id-1"), sent(2, "status", 1)),
            client(0.9, event(1, "connected"), event(2, "status", "server")),
        )
        assert [each.name for each in timeline.lanes] == ["port 8188", "one"]
        assert happened(timeline, "got status") == []

    def test_sockets_without_an_id_share_a_lane_without_overlap(self) -> None:
        records = [
            record
            for number in (1, 2)
            for record in (handshake(1, number, None, number), opened(1, number, f"made-up-{number}", number))
        ]
        timeline = told(life(0.5, *records))
        rows = lane(timeline, "without an id").rows
        assert [[span.kind for span in row.spans] for row in rows if row.kind == "bars"] == [["connected"]] * 2

    def test_a_socket_that_was_open_when_its_life_ended_is_broken_off(self) -> None:
        seen = outside(0.4, begun(0.5, 1, "life-a"), over(3, "life-a", -9))
        assert spans(told(life(0.5, opened(1, 1, "theirs")), seen), "theirs") == [("broken", 1, 3)]

    def test_many_clients_that_are_not_ours_do_not_fill_the_page(self) -> None:
        timeline = told(life(0.5, *(opened(1, number, f"c-{number}", number) for number in range(1, 101))))
        names = [each.name for each in timeline.lanes]
        assert len(names) == 14
        assert names[-1] == "88 more"

    def test_clients_come_with_the_server_that_they_were_connected_to(self) -> None:
        timeline = told(
            life(1),
            life(2, life_id="life-b", port=9000),
            client(1, event(2, "connected", life_id="life-b"), alias="b", client_id="b"),
            client(1.5, event(2, "connected"), alias="a", client_id="a"),
            client(0.5, event(2, "connection_failed", life_id=None), alias="lost", client_id="c"),
        )
        assert [each.name for each in timeline.lanes] == ["port 8188", "a", "port 9000", "b", "lost"]


class TestPrompts:
    """Waiting, running, and how they ended."""

    @pytest.mark.parametrize("state", ["success", "execution_error", "execution_interrupted", "crashed"])
    def test_one_waits_runs_and_ends(self, state: str) -> None:
        timeline = told(life(0, prompt(1, "p", "queued"), prompt(2, "p", "started"), prompt(3, "p", state)))
        assert spans(timeline, "prompts") == [("waiting", 1, 2), (state, 2, 3)]

    def test_one_that_runs_when_its_life_ends_is_lost(self) -> None:
        seen = outside(0, begun(0, 1, "life-a"), over(3, "life-a", -9))
        records = (prompt(1, "p", "queued"), prompt(1, "p", "started"), prompt(2, "q", "queued"))
        timeline = told(life(0, *records), seen)
        assert spans(timeline, "prompts") == [("lost", 1, 3)]
        assert spans(timeline, "prompts", 1) == [("waiting-lost", 2, 3)]

    def test_a_cleared_queue_ends_those_that_wait(self) -> None:
        cleared = {"at": 3.0, "kind": "queue_cleared"}
        records = (prompt(1, "p", "queued"), prompt(1, "p", "started"), prompt(2, "q", "queued"), cleared)
        timeline = told(life(0, *records))
        assert spans(timeline, "prompts") == [("running", 1, 10)]
        assert spans(timeline, "prompts", 1) == [("waiting-deleted", 2, 3)]

    def test_a_long_queue_is_cut_off_and_says_so(self) -> None:
        timeline = told(life(0, *(prompt(1, f"p-{number}", "queued") for number in range(30))))
        assert len(lane(timeline, "prompts").rows) == 8
        assert lane(timeline, "prompts").note == "8 of 30"


class TestFaults:
    """Set, begun, struck, ended."""

    def test_one_that_lasts_is_a_bar_with_its_strikes_below(self) -> None:
        timeline = told(
            life(
                0,
                fault_set(1, "f", "latency", when={"event": "executing"}),
                {"at": 2.0, "kind": "fault_begun", "fault": "f"},
                {"at": 3.0, "kind": "fault_struck", "fault": "f", "strike": 1},
                {"at": 4.0, "kind": "fault_ended", "fault": "f", "reason": "cleared", "strikes": 1},
            )
        )
        assert spans(timeline, "faults") == [("fault-waiting", 1, 2), ("fault-active", 2, 4)]
        assert [each.at - BEGIN for each in lane(timeline, "faults").rows[1].marks] == [3]
        assert [what for what in ("f set", "f begun", "f struck", "f ended") if happened(timeline, what)] == [
            "f set",
            "f begun",
            "f struck",
            "f ended",
        ]

    def test_one_that_only_happens_is_a_mark(self) -> None:
        struck = {"at": 2.0, "kind": "fault_struck", "fault": "f", "strike": 1}
        timeline = told(life(0, fault_set(1, "f", "close_sockets"), struck))
        assert [(each.what, each.tone) for each in lane(timeline, "faults").rows[0].marks] == [("f struck", "fault")]

    def test_one_that_nothing_has_ended_ends_with_its_life(self) -> None:
        records = (fault_set(1, "f", "latency"), {"at": 1.0, "kind": "fault_begun", "fault": "f"}, STOPPED)
        assert spans(told(life(0, *records)), "faults") == [("fault-active", 1, 4.1)]

    def test_what_a_later_version_may_tell_of_one_is_no_end(self) -> None:
        records = ({"at": 1.0, "kind": "fault_begun", "fault": "f"}, {"at": 2.0, "kind": "fault_paused", "fault": "f"})
        timeline = told(life(0, fault_set(1, "f", "latency"), *records, STOPPED))
        assert spans(timeline, "faults") == [("fault-active", 1, 4.1)]


class TestRequests:
    """As ticks; failures stand out."""

    @pytest.mark.parametrize(
        ("status", "tone", "details"),
        [(200, "quiet", "200 after 10 ms"), (404, "bad", "404 after 10 ms"), (None, "bad", "no answer")],
    )
    def test_each_has_its_answer(self, status: int | None, tone: str, details: str) -> None:
        timeline = told(life(0, request(1, 1, "POST", "/prompt"), answer(1.1, 1, status)))
        (mark,) = lane(timeline, "requests").rows[0].marks
        assert (mark.what, mark.details, mark.tone) == ("POST /prompt", details, tone)


class TestTheWhole:
    """One clock for everything."""

    def test_it_begins_with_the_first_party_and_knows_the_time_of_day(self) -> None:
        timeline = told(life(2), client(1.5))
        assert (timeline.start, timeline.end) == (BEGIN + 1.5, BEGIN + 10)
        assert timeline.wall == datetime(2026, 1, 2, 3, 4, 1, 500_000, timezone.utc)

    def test_without_an_end_it_ends_with_the_last_record(self) -> None:
        assert tell([life(2, STOPPED)]).end == BEGIN + 4.1

    def test_everything_is_listed_in_order_of_time(self) -> None:
        timeline = told(
            life(0, prompt(2, "p", "queued"), request(3, 1, "GET", "/")), client(1, event(2.5, "connected"))
        )
        assert [each.what for each in timeline.happenings] == [
            "began",
            "ready",
            "prompt queued",
            "connected",
            "GET /",
        ]

    def test_a_part_of_it_keeps_what_lasts_and_leaves_out_what_is_over(self) -> None:
        timeline = told(
            life(0, prompt(1, "p", "queued"), prompt(1, "p", "started"), prompt(2, "p", "success")),
            client(0.5, event(1, "connected"), event(6, "disconnected")),
        ).since(BEGIN + 5)
        assert [each.name for each in timeline.lanes] == ["port 8188", "one"]
        assert spans(timeline, "port 8188") == [("life-open", 5, 10)]
        assert spans(timeline, "one") == [("connected", 5, 6), ("disconnected", 6, 10)]
        assert [each.what for each in timeline.happenings] == ["disconnected"]
        assert timeline.wall == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

    def test_journals_that_tell_nothing_are_a_timeline_too(self) -> None:
        assert tell([outside(1)]).lanes == ()


def test_a_journal_that_has_ended_early_says_so() -> None:
    lost = {"at": 3.0, "kind": "journal_ended", "why": "No space left on device"}
    timeline = told(life(1, lost), client(2, lost))
    assert happened(timeline, "journal ended early") == [
        (3.0, "port 8188 life 1", "No space left on device"),
        (3.0, "one", "No space left on device"),
    ]
