"""Faults of messages: exactly the messages they are about are missing, doubled, late or out of order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from faulty import PLAIN, Life, Wire, sampler, shapes, three_nodes

from mockserver.network.draws import Direction, Draws

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def run(life: Life, wire: Wire, client_id: str = "me", prompt: Json | None = None) -> list[str]:
    """Runs a prompt; gives what its owner sees of it up to its end, which must not be struck."""
    prompt_id = life.queue(prompt or three_nodes(), client_id=client_id)
    return shapes(wire.run_of(prompt_id))


def without(*positions: int) -> list[str]:
    return [shape for position, shape in enumerate(PLAIN) if position not in positions]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message": "executing", "node": "2"}, without(3)),
        ({"message": "executing", "nth": 2}, without(3)),
        ({"message": "executing", "nth": 2, "times": 2}, without(3, 4)),
        ({"message": "executing", "times": 1}, without(2)),
        ({"message": "executed"}, without(5)),
        ({"message": "execution_success"}, without(6)),
        ({"message": "terminal", "times": 1}, without(6)),
        ({"message": "executing", "who": {"client_id": "me"}, "node": "1"}, without(2)),
        ({"message": "executing", "who": {"client_id": "me", "connection": 1}, "node": "1"}, without(2)),
        ({"message": "executing", "who": {"connection": 1}, "node": "1"}, without(2)),
        ({"message": "executing", "who": {"client_id": "other"}}, PLAIN),
        ({"message": "executing", "who": {"connection": 2}}, PLAIN),
        ({"message": "executing", "node": "7"}, PLAIN),
        ({"message": "executing", "prompt_id": "other"}, PLAIN),
        ({"message": "*", "nth": 1, "times": 5, "when": {"event": "execution_start", "moment": "before"}}, without()),
    ],
    ids=str,
)
def test_dropped_messages_never_come(life: Life, fields: Json, expected: list[str]) -> None:
    wire = life.wire("me")
    life.set("drop_message", **fields)
    seen = run(life, wire)
    assert seen == (expected if fields["message"] != "*" else seen)
    if fields["message"] == "*":
        assert seen[0] != "execution_start"


def test_a_prompt_that_never_ends_for_its_client_is_in_the_history(life: Life) -> None:
    wire, watcher = life.wire("me"), life.wire("watcher")
    life.set("drop_message", message="terminal", who={"client_id": "me"})
    prompt_id = life.queue(three_nodes(), client_id="me")
    life.wait_for_history(prompt_id)
    watcher.until_message("status", status={"exec_info": {"queue_remaining": 0}})
    seen = shapes(wire.until_message("status", status={"exec_info": {"queue_remaining": 0}}))
    assert seen == PLAIN[:-2]
    life.wait_for_strike("drop_message-1", 2)  # the last message is due behind that status
    assert len(life.strikes("drop_message-1")) == 2
    wire.send(0x9, b"alive")
    assert wire.frame() == (0x8A, b"alive")


def test_times_and_nth_count_for_each_client(life: Life) -> None:
    me, other = life.wire("me"), life.wire("other")
    life.set("drop_message", message="executing", nth=2, id="d")
    for client_id, wire in (("me", me), ("other", other)):
        assert run(life, wire, client_id) == without(3)
        assert run(life, wire, client_id) == PLAIN
    assert life.fault("d")["state"] == "active"


def test_one_about_a_single_client_ends_with_its_times(life: Life) -> None:
    wire = life.wire("me")
    life.set("drop_message", message="executing", times=2, id="d", who={"client_id": "me"})
    assert run(life, wire) == without(2, 3)
    assert life.fault("d")["state"] == "ended"
    assert life.records("fault_ended")[0]["reason"] == "times"


def test_the_second_connection_of_a_client_can_be_meant(life: Life) -> None:
    life.set("drop_message", message="executing", node="1", who={"client_id": "me", "connection": 2})
    first = life.wire("me")
    assert run(life, first) == PLAIN
    first.close()
    life.wait_until_gone("me")
    assert run(life, life.wire("me")) == without(2)


def test_progress_is_struck_by_its_value(life: Life) -> None:
    wire = life.wire("me")
    life.set("drop_message", message="progress", value=3)
    prompt_id = life.queue(sampler(5), client_id="me")
    values = [each["data"]["value"] for each in wire.run_of(prompt_id) if each["type"] == "progress"]
    assert values == [1, 2, 4, 5]


@pytest.mark.parametrize("copies", [1, 3])
def test_duplicates_come_in_a_row(life: Life, copies: int) -> None:
    wire = life.wire("me")
    life.set("duplicate_message", message="execution_success", copies=copies)
    assert run(life, wire) == PLAIN[:-2] + ["execution_success"] * (1 + copies) + PLAIN[-1:]


def test_delayed_messages_come_after_their_delay(life: Life) -> None:
    wire = life.wire("me")
    life.set("delay_message", message="execution_success", delay=0.5)
    began = time.monotonic()
    life.queue(three_nodes(), client_id="me")
    wire.until_message("execution_success")
    assert time.monotonic() - began >= 0.5


def test_delayed_messages_are_overtaken_and_a_cleared_delay_lets_them_go(life: Life) -> None:
    wire = life.wire("me")
    life.set("delay_message", message="executing", node="1", delay=80_000, id="d")
    assert run(life, wire) == without(2)
    life.clear("d")
    assert shapes(wire.until_message("executing"))[-1] == "executing 1"


def test_reordered_messages_come_behind_others(life: Life) -> None:
    wire = life.wire("me")
    life.set("drop_message", message="progress_state")
    life.set("reorder_message", message="executing", node="1", behind=2)
    assert run(life, wire) == [*PLAIN[:2], "executing 2", "executing 3", "executing 1", *PLAIN[5:]]


def test_a_reordered_message_that_nothing_follows_comes_when_the_fault_is_cleared(life: Life) -> None:
    wire = life.wire("me")
    life.set("reorder_message", message="executed", behind=1_000, times=1, id="r", who={"client_id": "me"})
    assert run(life, wire) == without(5)
    assert life.fault("r")["state"] == "active"
    life.clear("r")
    assert shapes(wire.until_message("executed")) == ["executed 3"]


def test_what_is_cleared_while_a_slow_client_holds_everybody_does_not_strike_the_others(life: Life) -> None:
    slow, wire = life.wire("slow"), life.wire("me")
    for _ in range(2):
        life.set("send_message", type="big", data={"pad": "x" * 7_000_000}, who={"client_id": "slow"})
    life.set("duplicate_message", message="status", id="d", who={"client_id": "slow"})
    life.set("reorder_message", message="status", id="behind", who={"client_id": "me"})
    life.queue(three_nodes(), client_id="nobody")
    life.wait_for_strike("d")  # its copies wait for the client
    assert life.steer("DELETE", "/faults").status == 200
    slow.until_message("status")
    assert wire.message()["data"]["status"]["exec_info"]["queue_remaining"] == 1
    assert life.strikes("behind") == []


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("mock_unknown", {}),
        ("executing", {"node": "7", "display_node": "7", "prompt_id": "foreign"}),
        ("progress", {"value": 1, "max": 9, "prompt_id": "stale", "node": "1"}),
        ("", {"ü": [None, 1e300]}),
    ],
)
def test_messages_of_any_kind_are_sent_as_they_are(life: Life, type_: str, data: Json) -> None:
    me, other = life.wire("me"), life.wire("other")
    life.set("send_message", type=type_, data=data, who={"client_id": "me"})
    assert me.message() == {"type": type_, "data": data}
    life.set("send_message", type="for all")
    assert other.message() == me.message() == {"type": "for all", "data": {}}


def test_a_message_set_at_an_event_comes_right_behind_it(life: Life) -> None:
    wire = life.wire("me")
    life.set("send_message", type="stale", times=3, when={"event": "executing"})
    seen = wire.until_message("execution_success") if life.queue(three_nodes(), client_id="me") else []
    types = [message["type"] for message in seen]
    assert types.count("stale") == 3
    assert all(types[at - 1] == "executing" for at, type_ in enumerate(types) if type_ == "stale")


def test_messages_to_nobody_are_in_the_journal_as_ever(life: Life) -> None:
    life.set("drop_message", message="executed")
    prompt_id = life.queue(three_nodes(), client_id="nobody")
    life.wait_for_record("message_sent", type="executing", data={"node": None, "prompt_id": prompt_id})
    assert [record["type"] for record in life.records("message_sent") if not record["sockets"]].count("executed") == 1


def test_of_several_faults_the_first_strikes(life: Life) -> None:
    wire = life.wire("me")
    life.set("duplicate_message", message="executed", id="first")
    life.set("drop_message", message="executed", id="second")
    assert run(life, wire).count("executed 3") == 2
    life.clear("first")
    assert run(life, wire) == without(5)
    assert [len(life.strikes(name)) for name in ("first", "second")] == [1, 1]


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
def test_the_seed_decides_which_messages_are_struck(start_life: Callable[..., Life], company: bool) -> None:
    life = start_life("--seed", "7")
    wire = life.wire("me")
    if company:
        other = life.wire("other")
        life.set("duplicate_message", message="progress", probability=0.5, id="before")
        run(life, other, "other", sampler(20))
    life.set("drop_message", message="progress", probability=0.5, id="p")
    prompt_id = life.queue(sampler(40), client_id="me")
    seen = {each["data"]["value"] for each in wire.run_of(prompt_id) if each["type"] == "progress"}
    struck = {int(record["strike"]) for record in life.strikes("p")}
    draws = Draws(7, "me", 1, Direction.to_client, "p")
    drawn = [value for value in range(1, 41) if draws.at(value - 1) < 0.5]
    if company:  # the one set first has struck some of those that are drawn
        draws_before = Draws(7, "me", 1, Direction.to_client, "before")
        drawn = [value for value in drawn if draws_before.at(value - 1) >= 0.5]
    assert sorted(seen) == [value for value in range(1, 41) if value not in drawn]
    assert len(struck) == len(drawn) > 0
