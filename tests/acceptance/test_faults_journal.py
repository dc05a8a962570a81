"""What the journal tells of a fault: set, begun, struck, ended, in this order, whatever kind it is."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from faulty import Life, get, three_nodes
from jsonschema import Draft202012Validator
from mockserver_process import eventually

from mockserver.faults.kinds import KINDS, Action, Matching, name_of
from mockserver.journal import SCHEMA_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

SCHEMA = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))

OF_THE_NETWORK = ("listener", "bytes", "closing")
"""Levels whose faults are proven elsewhere."""

FIELDS: dict[str, Json] = {
    "slow_start": {"unavailable": 0.1},
    "send_raw_frame": {"frame": "unasked_pong"},
    "drop_message": {"message": "executed"},
    "duplicate_message": {"message": "executed"},
    "delay_message": {"message": "executed", "delay": 0},
    "reorder_message": {"message": "executed"},
    "delay_request": {"path": "/queue", "delay": 0},
    "delay_history": {"delay": 0},
    "take_over_client_id": {"client_id": "me"},
    **{
        name_of(kind): {"path": "/queue"} for kind in KINDS if kind.level == "http" and name_of(kind) != "delay_request"
    },
}
"""What a fault of a kind needs, or needs so that it strikes what the test does."""

ENDS_OF_LIVES = {"crash": -signal.SIGKILL, "exit": 1, "stop": 0, "freeze": -signal.SIGKILL}


@pytest.fixture
def life(life: Life) -> Iterator[Life]:
    yield life
    for record in life.records():
        SCHEMA.validate(record)


def told_of(life: Life, fault_id: str) -> list[str]:
    """The kinds of the records about a fault."""
    return [record["kind"].removeprefix("fault_") for record in life.records() if record.get("fault") == fault_id]


KINDS_HERE = [kind for kind in KINDS if kind.level not in OF_THE_NETWORK]


@pytest.mark.parametrize("kind", [kind for kind in KINDS_HERE if issubclass(kind, Matching)], ids=name_of)
def test_what_is_told_of_one_that_strikes(life: Life, kind: type[Matching]) -> None:
    wire = life.wire("me")
    life.set(name_of(kind), id="f", times=1, **FIELDS.get(name_of(kind), {}))
    asking = socket.create_connection(("127.0.0.1", life.port))
    asking.sendall(get("/queue"))
    life.wire("late", greeted=False)
    wire.send(0x9, b"ping")
    life.queue(three_nodes(), client_id="me")
    life.wait_for_strike("f")
    life.clear("f")
    asking.close()
    assert told_of(life, "f") == ["set", "begun", "struck", "ended"]
    strike = life.strikes("f")[0]
    assert strike["strike"] == 1
    assert strike["client_id"] in ("me", "late", "127.0.0.1")
    (ended,) = (record for record in life.records("fault_ended") if record["fault"] == "f")
    assert ended["strikes"] == 1
    expected = "cleared" if kind.holds or kind.level == "messages" or name_of(kind) == "pong" else "times"
    assert ended["reason"] == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS_HERE if issubclass(kind, Action)], ids=name_of)
def test_what_is_told_of_one_that_happens(life: Life, kind: type[Action]) -> None:
    name = name_of(kind)
    life.wire("me")
    life.set(name, id="f", when={"event": "executing", "node": "2"}, **FIELDS.get(name, {}))
    life.queue(three_nodes(), client_id="me")
    if name == "freeze":
        eventually("A strike", lambda: life.strikes("f"))
        life.signal(signal.SIGKILL)
    if name in ENDS_OF_LIVES:
        for wire in life.wires:
            wire.close()
        assert life.exit_status() == ENDS_OF_LIVES[name]
    else:
        life.wait_for_strike("f")
    ends = [] if name in ("crash", "exit", "freeze") else ["ended"]
    assert told_of(life, "f") == ["set", "struck", *ends]
    strike = life.strikes("f")[0]
    assert (strike["event"], strike["client_id"]) == ("executing", "me")


def test_what_is_told_of_one_that_lasts(life: Life) -> None:
    life.set("take_over_client_id", client_id="me", seconds=0.1, id="f", when={"event": "connected"})
    life.wire("me")
    eventually("Its end", lambda: life.fault("f")["state"] == "ended")
    records = [record for record in life.records() if record.get("fault") == "f"]
    assert [record["kind"] for record in records] == ["fault_set", "fault_begun", "fault_struck", "fault_ended"]
    description = {"fault": "take_over_client_id", "client_id": "me", "seconds": 0.1, "id": "f"}
    assert records[0]["description"] == description | {"when": {"event": "connected"}}
    assert (records[1]["event"], records[1]["client_id"], records[3]["reason"]) == ("connected", "me", "seconds")
    assert records[0]["seed"] == life.steer("GET", "/life").json["seed"]


def test_a_life_that_stops_ends_its_faults(life: Life) -> None:
    life.set("pong", id="first")
    life.set("stop", id="second", after=80_000)
    life.signal(signal.SIGTERM)
    assert life.exit_status() == 0
    assert [(record["fault"], record["reason"]) for record in life.records("fault_ended")] == [
        ("second", "life"),
        ("first", "life"),
    ]
