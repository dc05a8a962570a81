"""Faults of HTTP: exact status lines, headers and bytes, and how connections end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from faulty import Life, exchange, get, shapes, three_nodes

from mockserver.network.draws import Direction, Draws

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

QUEUE = b'{"queue_running": [], "queue_pending": []}'


def parts(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    return line, dict(each.split(": ", 1) for each in lines), body


@pytest.mark.parametrize(
    ("fields", "line", "headers", "body"),
    [
        ({}, "HTTP/1.1 500 Internal Server Error", {"Content-Type": "text/plain"}, b""),
        ({"status": 401}, "HTTP/1.1 401 Unauthorized", {}, b""),
        ({"status": 404, "body": "ü"}, "HTTP/1.1 404 Not Found", {"Content-Length": "2"}, "ü".encode()),
        ({"status": 429, "retry_after": 0.1}, "HTTP/1.1 429 Too Many Requests", {"Retry-After": "1"}, b""),
        ({"status": 503, "retry_after": 0}, "HTTP/1.1 503 Service Unavailable", {"Retry-After": "0"}, b""),
        (
            {"status": 502, "body": "<html>", "content_type": "text/html"},
            "HTTP/1.1 502 Bad Gateway",
            {"Content-Type": "text/html"},
            b"<html>",
        ),
        ({"status": 204, "body": "ignored"}, "HTTP/1.1 204 No Content", {}, b""),
    ],
    ids=str,
)
def test_a_request_is_answered_with_a_status(
    life: Life, fields: Json, line: str, headers: dict[str, str], body: bytes
) -> None:
    life.set("fail_request", path="/queue", **fields)
    for path in ("/queue", "/api/queue"):
        answer, end = exchange(life.port, get(path))
        found_line, found_headers, found_body = parts(answer)
        assert (found_line, found_body, end) == (line, body, "FIN")
        assert headers.items() <= found_headers.items()
    assert life.ask("GET", "/system_stats").status == 200


def test_a_failed_request_is_not_carried_out_but_one_without_an_answer_is(life: Life) -> None:
    life.set("fail_request", method="post", path="/prompt", status=500, times=1)
    assert life.ask("POST", "/prompt", {"prompt": three_nodes()}).status == 500
    assert life.ask("GET", "/history").json == {}
    life.set("empty_answer", path="/prompt", times=1)
    answer = life.ask("POST", "/prompt", {"prompt": three_nodes(), "client_id": "me"})
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    assert [record["state"] for record in life.records("prompt")][:1] == ["queued"]


def test_an_error_of_a_route_can_be_emptied_too(life: Life) -> None:
    life.set("empty_answer", path="/prompt")
    assert life.ask("POST", "/prompt", {}).body == b""
    life.set("malform_json", path="/nowhere")
    assert life.ask("GET", "/nowhere").status == 404


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"times": 3}, [503, 503, 503, 200, 200]),
        ({"nth": 2}, [200, 503, 200, 200, 200]),
        ({"nth": 2, "times": 2}, [200, 503, 503, 200, 200]),
        ({"who": {"client_id": "127.0.0.1"}}, [503] * 5),
        ({"who": {"client_id": "me"}}, [200] * 5),
        ({"path": "/sys*"}, [200] * 5),
        ({"method": "DELETE"}, [200] * 5),
        ({"when": {"event": "request", "path": "/queue", "nth": 4}}, [200, 200, 200, 503, 503]),
        ({"when": {"event": "request", "path": "/queue", "method": "PUT"}}, [200] * 5),
        ({"after": 80_000}, [200] * 5),
    ],
    ids=str,
)
def test_which_requests_are_struck(life: Life, fields: Json, expected: list[int]) -> None:
    life.set("fail_request", status=503, **fields)
    assert [life.ask("GET", "/queue").status for _ in range(5)] == expected


def test_the_seed_decides_which_requests_are_struck(start_life: Callable[..., Life]) -> None:
    life = start_life("--seed", "5")
    life.set("fail_request", path="/queue", probability=0.4, id="f")
    found = [life.ask("GET", "/queue?clientId=me").status == 500 for _ in range(30)]
    draws = Draws(5, "me", 1, Direction.to_server, "f")
    assert found == [draws.at(position) < 0.4 for position in range(30)]
    assert any(found)


def test_an_outage_window_ends_by_itself(life: Life) -> None:
    life.set("fail_request", status=503, seconds=0.3, id="w", when={"event": "request"})  # which is in it, however late
    began = time.monotonic()
    assert life.ask("GET", "/queue").status == 503
    life.wait_for_record("fault_ended", fault="w", reason="seconds")
    assert time.monotonic() - began >= 0.3
    assert life.ask("GET", "/queue").status == 200


def test_an_answer_is_late(life: Life) -> None:
    life.set("delay_request", path="/queue", delay=0.3, times=1)
    began = time.monotonic()
    assert life.ask("GET", "/queue").body == QUEUE
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("hang_request", {}),
        ("hang_request", {"times": 1}),
        ("delay_request", {"delay": 80_000}),
        ("delay_request", {"delay": 80_000, "times": 1}),
        ("dribble_answer", {"delay": 80_000, "times": 1}),
    ],
    ids=str,
)
def test_what_is_held_is_answered_when_the_fault_is_cleared(life: Life, kind: str, fields: Json) -> None:
    import socket

    life.set(kind, path="/queue", id="h", **fields)
    with socket.create_connection(("127.0.0.1", life.port), timeout=60) as connection:
        connection.sendall(get("/queue"))
        life.wait_for_strike("h")
        if fields.get("times"):
            assert exchange(life.port, get("/queue"))[0].endswith(QUEUE)
        life.clear("h")
        found = b""
        while data := connection.recv(4096):
            found += data
        assert found.endswith(QUEUE)


def test_a_client_may_leave_while_its_request_hangs(life: Life) -> None:
    import socket

    life.set("hang_request", path="/queue", id="h")
    with socket.create_connection(("127.0.0.1", life.port)) as connection:
        connection.sendall(get("/queue"))
        life.wait_for_strike("h")
    life.clear("h")
    assert life.ask("GET", "/queue").body == QUEUE


@pytest.mark.parametrize(("keep", "kept"), [({}, QUEUE[:21]), ({"keep": 5}, QUEUE[:5]), ({"keep": 0}, b"")], ids=str)
@pytest.mark.parametrize(("kind", "end"), [("truncate_answer", "FIN"), ("reset_request", "RST")])
def test_an_answer_breaks_off(life: Life, kind: str, end: str, keep: Json, kept: bytes) -> None:
    life.set(kind, path="/queue", **keep)
    for _ in range(5):
        answer, found_end = exchange(life.port, get("/queue"))
        line, headers, body = parts(answer)
        assert (line, headers["Content-Length"], body, found_end) == ("HTTP/1.1 200 OK", str(len(QUEUE)), kept, end)


@pytest.mark.parametrize(("kind", "end"), [("truncate_answer", "FIN"), ("reset_request", "RST")])
def test_a_long_answer_breaks_off_just_as_exactly(life: Life, kind: str, end: str) -> None:
    whole = life.ask("GET", "/object_info").body
    kept = len(whole) - 1
    assert kept > 400_000
    life.set(kind, path="/object_info", keep=kept)
    answer, found_end = exchange(life.port, get("/object_info"))
    assert (parts(answer)[2] == whole[:kept], found_end) == (True, end)


def test_json_breaks_off_in_an_answer_that_is_whole(life: Life) -> None:
    life.set("malform_json", path="/queue")
    answer = life.ask("GET", "/queue")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, QUEUE[:28], "28")
    assert answer.headers["Content-Type"].startswith("application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


def test_an_answer_comes_in_small_pieces(life: Life) -> None:
    life.set("dribble_answer", path="/queue", size=10, delay=0.05)
    began = time.monotonic()
    answer, end = exchange(life.port, get("/queue"))
    assert (parts(answer)[2], end) == (QUEUE, "FIN")
    assert time.monotonic() - began >= 0.2


def test_an_answer_has_a_wrong_content_type(life: Life) -> None:
    life.set("wrong_content_type", path="/queue", content_type="text/html")
    answer = life.ask("GET", "/queue")
    assert (answer.body, answer.headers["Content-Type"]) == (QUEUE, "text/html")


def test_a_file_breaks_off_too(life: Life) -> None:
    prompt_id = life.queue(three_nodes(), client_id="me")
    life.wait_for_history(prompt_id)
    image = life.ask("GET", f"/history/{prompt_id}").json[prompt_id]["outputs"]["3"]["images"][0]["filename"]
    path = f"/view?filename={image}&type=output"
    whole = life.ask("GET", path).body
    life.set("truncate_answer", path="/view", keep=10)
    assert parts(exchange(life.port, get(path))[0])[2] == whole[:10]
    life.set("truncate_answer", path="/missing.txt")
    assert exchange(life.port, get("/missing.txt"))[0].startswith(b"HTTP/1.1 404")


def test_websockets_are_no_requests_to_these_faults(life: Life) -> None:
    life.set("fail_request", path="*")
    wire = life.wire("me")
    life.steer("DELETE", "/faults")
    prompt_id = life.queue(three_nodes(), client_id="me")
    assert shapes(wire.run_of(prompt_id))[-1] == "executing None"


def test_the_journal_has_each_strike(life: Life) -> None:
    life.set("fail_request", status=503, id="f")
    life.ask("GET", "/queue?clientId=me&x=1")
    record = life.strikes("f")[0]
    assert record | {"at": 0} == {
        "at": 0,
        "kind": "fault_struck",
        "fault": "f",
        "strike": 1,
        "client_id": "me",
        "method": "GET",
        "path": "/queue?clientId=me&x=1",
    }
