"""What a script waits for, found in the records of journals."""

from __future__ import annotations

from typing import Any

import pytest

from mockserver.outages.outage import WaitFor
from mockserver.outages.recorded import Recorded

LIFE = {"kind": "journal"}


def opened(socket: int, client_id: str) -> dict[str, Any]:
    return {"kind": "socket_opened", "socket": socket, "client_id": client_id}


def closed(socket: int, client_id: str) -> dict[str, Any]:
    return {"kind": "socket_closed", "socket": socket, "client_id": client_id}


def sent(type_: str, *sockets: int, **data: Any) -> dict[str, Any]:
    return {"kind": "message_sent", "type": type_, "data": data, "sockets": list(sockets)}


def recorded(*records: dict[str, Any]) -> Recorded:
    known = Recorded()
    for record in (LIFE, *records):
        known.add(record)
    return known


def found(wait: WaitFor, *records: dict[str, Any], since: int = 0) -> int | None:
    return recorded(*records).find(wait, since)


class TestMessages:
    RUN = (
        opened(1, "me"),
        sent("executing", 1, node="1", prompt_id="p"),
        sent("executing", 1, node="2", prompt_id="p"),
        sent("progress", 1, node="2", value=3, max=20, prompt_id="p"),
        sent("executing", 1, node=None, prompt_id="p"),
    )

    @pytest.mark.parametrize(
        ("wait", "position"),
        [
            (WaitFor(event="executing"), 3),
            (WaitFor(event="executing", nth=2), 4),
            (WaitFor(event="executing", node="2"), 4),
            (WaitFor(event="executing", node=None), 6),
            (WaitFor(event="terminal"), 6),
            (WaitFor(event="progress", value=3), 5),
            (WaitFor(event="progress", value=4), None),
            (WaitFor(event="executing", client_id="me"), 3),
            (WaitFor(event="executing", client_id="you"), None),
            (WaitFor(event="executing", prompt_id="other"), None),
            (WaitFor(event="executing", nth=4), None),
        ],
    )
    def test_the_position_behind_it_is_found(self, wait: WaitFor, position: int | None) -> None:
        assert found(wait, *self.RUN) == position

    def test_it_looks_from_a_position_on(self) -> None:
        assert found(WaitFor(event="executing"), *self.RUN, since=3) == 4

    def test_a_message_to_nobody_counts(self) -> None:
        assert found(WaitFor(event="execution_success"), sent("execution_success")) == 2

    def test_a_message_to_many_is_one(self) -> None:
        both = (opened(1, "a"), opened(2, "b"), sent("status", 1, 2))
        assert found(WaitFor(event="status", client_id="b"), *both) == 4
        assert found(WaitFor(event="status", nth=2), *both) is None

    def test_a_binary_message_has_no_data(self) -> None:
        assert found(WaitFor(event="binary_1"), {"kind": "message_sent", "type": "binary_1", "sockets": []}) == 2


class TestConnections:
    def test_clients_are_counted_in_the_life_that_runs(self) -> None:
        known = recorded(opened(1, "a"), opened(2, "b"), closed(1, "a"))
        assert known.find(WaitFor(clients=1), 0) == len(known)
        assert known.find(WaitFor(clients=2), 0) is None
        known.add(LIFE)
        assert known.clients == 0
        assert known.find(WaitFor(clients=1), 0) is None

    def test_connecting_and_disconnecting_are_events(self) -> None:
        records = (opened(1, "a"), closed(1, "a"), opened(2, "a"))
        assert found(WaitFor(event="connected"), *records) == 2
        assert found(WaitFor(event="connected", nth=2), *records) == 4
        assert found(WaitFor(event="disconnected", client_id="a"), *records) == 3


ASKED = {"kind": "request", "request": 1, "method": "GET", "path": "/api/queue?clientId=me"}
ANSWERED = {"kind": "answer", "request": 1, "status": 503}


class TestRequests:
    @pytest.mark.parametrize(
        ("wait", "position"),
        [
            (WaitFor(event="request"), 2),
            (WaitFor(event="request", path="/queue", method="get"), 2),
            (WaitFor(event="request", path="/q*", client_id="me"), 2),
            (WaitFor(event="request", path="/prompt"), None),
            (WaitFor(event="request", status=503), 3),
            (WaitFor(event="request", status=200), None),
            (WaitFor(event="request", nth=2), None),
        ],
    )
    def test_a_request_counts_when_it_comes_and_with_a_status_when_it_is_answered(
        self, wait: WaitFor, position: int | None
    ) -> None:
        assert found(wait, ASKED, ANSWERED) == position


class TestFaults:
    def test_events_of_a_fault_are_found_by_its_id(self) -> None:
        records = [{"kind": "fault_struck", "fault": fault} for fault in ("a", "b", "b")]
        assert found(WaitFor(event="fault_struck"), *records) == 2
        assert found(WaitFor(event="fault_struck", fault="b", nth=2), *records) == 4
        assert found(WaitFor(event="fault_ended", fault="b"), *records) is None


class TestIds:
    def test_those_that_came_last_are_filled_in(self) -> None:
        queued = [{"kind": "prompt", "state": "queued", "prompt_id": each} for each in ("first", "second")]
        started = {"kind": "prompt", "state": "started", "prompt_id": "first"}
        known = recorded(opened(1, "a"), *queued, opened(2, "b"), started)
        whole = {"who": {"client_id": "{client_id}"}, "ids": ["{prompt_id}", 3, None], "text": "a {prompt_id}"}
        assert known.filled(whole) == {"who": {"client_id": "b"}, "ids": ["second", 3, None], "text": "a {prompt_id}"}

    def test_an_id_that_is_not_known_yet_fits_nothing(self) -> None:
        wait = WaitFor(event="executing", prompt_id="{prompt_id}")
        known = recorded(sent("executing", node="1", prompt_id="p"))
        assert known.find(wait, 0) is None
        known.add({"kind": "prompt", "state": "queued", "prompt_id": "p"})
        assert known.find(wait, 0) == 2
