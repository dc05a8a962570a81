"""The control API: what it answers, whom it answers, and that its description is true."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from fault_descriptions import VALIDATOR, descriptions, mutations
from faulty import Life, exchange, get, three_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mockserver_process import eventually
from openapi_spec_validator import validate

from mockserver.control.api import MAX_BODY
from mockserver.faults.kinds import KINDS, FaultError, name_of, read_fault
from mockserver.journal import SCHEMA_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faulty import Lives

Json = dict[str, Any]

LOOPBACK_ONLY = "The control API answers on loopback only, under a loopback name such as 127.0.0.1."
NO_TOKEN = (
    "The control API wants the header Authorization: Bearer TOKEN, with the token of the ready line or of "
    "--control-token."
)


@pytest.fixture(scope="module")
def shared(lives: Lives) -> Iterator[Life]:
    """A life for many examples, which leave nothing behind."""
    life = lives.start("--status-interval", "0", "--node-duration", "0.001")
    yield life
    life.end()
    assert "Traceback" not in life.log, life.log


def test_faults_are_set_listed_and_cleared(life: Life) -> None:
    one = life.steer("POST", "/faults", {"fault": "pong", "id": "a"})
    assert one.status == 201
    seed = one.json["seed"]
    a: Json = {"id": "a", "state": "active", "strikes": 0, "seed": seed, "fault": "pong"}
    b: Json = {"id": "stop-1", "state": "waiting", "strikes": 0, "seed": 3, "fault": "stop", "when": {"event": "x"}}
    assert one.json == a
    several = life.steer("POST", "/faults", [{"fault": "stop", "when": {"event": "x"}, "seed": 3}])
    assert (several.status, several.json) == (201, [b])
    assert life.steer("GET", "/faults").json == {"faults": [a, b]}
    assert life.steer("GET", "/faults/stop-1").json == b
    assert life.steer("DELETE", "/faults/a").json == a | {"state": "ended"}
    assert life.steer("DELETE", "/faults/a").json == a | {"state": "ended"}
    assert life.steer("DELETE", "/faults").json == {"faults": [b | {"state": "ended"}]}
    assert life.steer("DELETE", "/faults").json == {"faults": []}
    assert [each["state"] for each in life.steer("GET", "/faults").json["faults"]] == ["ended", "ended"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/faults", b"[", 400, "The body is no JSON: Expecting value: line 1 column 2 (char 1)."),
        ("POST", "/faults", {"fault": "pang"}, 400, "There is no fault 'pang'. Did you mean 'pong'?"),
        ("POST", "/faults", [{"fault": "pong", "id": "a"}] * 2, 400,
            "The id 'a' is given twice. Give another one, or none."),
        ("GET", "/faults/x", None, 404, "There is no fault 'x'. Known: none."),
        ("DELETE", "/faults/x", None, 404, "There is no fault 'x'. Known: none."),
        ("POST", "/release", {"what": []}, 400,
            "what is []; give 'execution' or 'network', or leave it out for both."),
        ("POST", "/release", ["network"], 400,
            "what is ['network']; give 'execution' or 'network', or leave it out for both."),
        ("GET", "/journal?since=-1", None, 400, "since='-1' is no number; give one from 0 on."),
        ("GET", "/journal?wait=nan", None, 400, "wait='nan' is no number; give one from 0 on."),
        ("GET", "/fault", None, 404, "There is no /fault. What there is is described at /openapi.json."),
        ("PUT", "/faults", {}, 405, "/faults takes DELETE, GET, HEAD, POST. All of it is described at /openapi.json."),
        ("POST", "/faults", b" " * (MAX_BODY + 1), 413, f"The body is too long; {MAX_BODY} bytes are allowed."),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_it_says_of_wrong_requests(
    shared: Life, method: str, path: str, body: Any, status: int, said: str
) -> None:
    answer = shared.steer(method, path, body)
    if status == 404 and path.startswith("/faults/"):
        assert answer.json["error"].startswith("There is no fault 'x'. Known: ")
    else:
        assert answer.json == {"error": said}
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json; charset=utf-8")


@pytest.mark.parametrize(
    "body",
    [b"", b"[" * 200_000, b"\xff", b'"\\ud800"', b'{"fault": NaN}', b"\x00", b'{"fault": "crash", "after": 1e999}'],
    ids=lambda body: str(body[:20]),
)
def test_bytes_that_are_no_description(shared: Life, body: bytes) -> None:
    assert shared.steer("POST", "/faults", body).status == 400
    unknown = {"Content_Type": "application/json; charset=nonsense"}
    assert shared.steer("POST", "/faults", body, **unknown).status == 400


def test_a_list_is_set_wholly_or_not_at_all(life: Life) -> None:
    wrong = [{"fault": "pong", "id": "a"}, {"fault": "send_message"}, {"fault": "pong", "x": 1}]
    wire = life.wire("me")
    assert life.steer("POST", "/faults", wrong).status == 400
    assert life.steer("GET", "/faults").json == {"faults": []}
    assert life.records("fault_set") == []
    life.set("send_message", type="first")
    assert wire.message()["type"] == "first"


def test_an_empty_list_is_nothing(shared: Life) -> None:
    answer = shared.steer("POST", "/faults", [])
    assert (answer.status, answer.json) == (201, [])


# Whom it answers


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({}, 200, None),
        ({"Host": "localhost"}, 200, None),
        ({"Host": "LOCALHOST:80"}, 200, None),
        ({"Host": "[::1]:1"}, 200, None),
        ({"Host": "127.9.9.9"}, 200, None),
        ({"Host": "evil.example"}, 403, LOOPBACK_ONLY),
        ({"Host": "localhost.evil.example:80"}, 403, LOOPBACK_ONLY),
        ({"Host": "192.0.2.1"}, 403, LOOPBACK_ONLY),
        ({"Host": ""}, 403, LOOPBACK_ONLY),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200, None),
        ({"Origin": "http://evil.example"}, 403, "The control API answers no page of another origin."),
        ({"Origin": "null"}, 403, "The control API answers no page of another origin."),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403, LOOPBACK_ONLY),
        ({"Authorization": "Bearer whatever"}, 200, None),
    ],
    ids=str,
)
def test_pages_of_others_are_kept_away(shared: Life, headers: dict[str, str], status: int, said: str | None) -> None:
    for method, path in (("GET", "/life"), ("DELETE", "/faults"), ("GET", "/nowhere")):
        answer = shared.steer(method, path, **headers)
        if said is None:
            assert answer.status == (404 if path == "/nowhere" else status)
        else:
            assert (answer.status, answer.json) == (status, {"error": said})


@pytest.mark.parametrize("arguments", [["--control-listen", "0.0.0.0"], ["--control-token", "tü"]], ids=str)
def test_a_token_is_asked_for(start_life: Callable[..., Life], arguments: list[str]) -> None:
    life = start_life(*arguments)
    token = life.ready["control_token"]
    assert len(token) >= (32 if "0.0.0.0" in arguments else 2)
    answer = life.steer("GET", "/life")
    assert (answer.status, answer.json) == (401, {"error": NO_TOKEN})
    assert answer.headers["WWW-Authenticate"] == "Bearer"

    def with_header(value: bytes) -> bytes:
        request = b"GET /life HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\nAuthorization: " + value
        return exchange(life.control_port, request + b"\r\n\r\n")[0].split()[1]

    good = b"Bearer " + token.encode()
    assert [with_header(value) for value in (good, good + b"x", token.encode(), b"Bearer", b"Bearer \xff\xfe")] == [
        b"200",
        *[b"401"] * 4,
    ]


def test_no_token_is_announced_where_none_is_asked_for(life: Life) -> None:
    assert "control_token" not in life.ready
    assert life.ready["control_url"].startswith("http://127.0.0.1:")


# Its description


def test_its_document_is_valid(shared: Life) -> None:
    document = shared.steer("GET", "/openapi.json").json
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert (
        len(document["paths"]["/faults"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]) == 2
    )


def test_its_document_has_all_routes_and_no_others(shared: Life) -> None:
    paths = shared.steer("GET", "/openapi.json").json["paths"]
    described = {(path, method) for path, methods in paths.items() for method in methods if method != "parameters"}
    for path, method in described:
        address = path.replace("{fault_id}", "x")
        body = b"{" if method == "post" else None  # refused before it does anything
        assert shared.steer(method.upper(), address, body).status in (200, 400, 404)
    for path in paths:
        allowed = shared.steer("PATCH", path.replace("{fault_id}", "x"))
        assert allowed.status == 405
        methods = set(allowed.headers["Allow"].lower().split(",")) - {"head"}
        assert methods == {method for each, method in described if each == path}


def test_every_field_and_kind_is_described(shared: Life) -> None:
    schemas = shared.steer("GET", "/openapi.json").json["components"]["schemas"]
    for kind in KINDS:
        schema = schemas[kind.__name__]
        assert schema["description"]
        assert schema["properties"]["fault"]["enum"] == [name_of(kind)]


HARMLESS = tuple(kind for kind in KINDS if kind.level in ("websocket", "messages", "http", "application"))


@settings(max_examples=60)
@given(st.one_of(mutations(), st.lists(mutations(), max_size=3)))
def test_anything_is_answered_with_201_or_400(shared: Life, body: Any) -> None:
    """Nothing of it begins: it waits for an event that never comes."""
    for each in body if isinstance(body, list) else [body]:
        each["when"] = {"event": "never"}
    answer = shared.steer("POST", "/faults", body)
    assert answer.status in (201, 400), answer
    if not isinstance(body, list):
        assert (answer.status == 201) is VALIDATOR.is_valid(body) or "a reason has at most" in answer.json["error"]
        assert answer.status == 400 or answer.json["fault"] == body["fault"]
    shared.steer("DELETE", "/faults")


@settings(max_examples=60)
@given(descriptions(HARMLESS))
def test_a_life_bears_any_fault(shared: Life, description: Any) -> None:
    """Whatever it is told to do wrong, nothing in it breaks, and it is well again when that is over."""
    description = {**description, "size": 10} if "size" in description else description
    try:
        read_fault(description)
    except FaultError:
        return
    with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as connection:
        wire = shared.wire("me")
        assert shared.steer("POST", "/faults", description).status == 201
        connection.sendall(get("/queue"))
        wire.send(0x9, b"ping")
        shared.queue_leniently(three_nodes())
        late = shared.wire("late", greeted=False)
        assert shared.steer("DELETE", "/faults").status == 200
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
        late.until(b"\r\n\r\n")
        for each in (late, wire):
            each.close()
            shared.wires.remove(each)
    shared.wait_until_idle()
    assert shared.ask("GET", "/system_stats").json["system"]
    shared.ask("POST", "/history", {"clear": True})


# The journal


def test_the_journal_is_the_one_in_the_file(life: Life) -> None:
    life.set("drop_message", message="executed", id="d")
    wire = life.wire("me")
    wire.run_of(life.queue(three_nodes(), client_id="me"))
    life.clear("d")
    answer = life.steer("GET", "/journal").json
    assert (answer["first"], answer["next"]) == (0, len(answer["records"]))
    assert answer["records"] == life.records()[: answer["next"]]
    schema = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    for record in life.records():
        schema.validate(record)
    told = [record["kind"] for record in answer["records"] if record["kind"].startswith("fault_")]
    assert told == ["fault_set", "fault_begun", "fault_struck", "fault_ended"]


def test_the_journal_is_read_from_a_position_and_by_kind(life: Life) -> None:
    for number in range(3):
        life.set("pong", id=f"p{number}")
    every = life.steer("GET", "/journal").json
    middle = len(every["records"]) // 2
    later = life.steer("GET", f"/journal?since={middle}").json
    assert (later["first"], later["records"][: len(every["records"]) - middle]) == (middle, every["records"][middle:])
    sets = life.steer("GET", "/journal?kind=fault_set").json["records"]
    assert [record["fault"] for record in sets] == ["p0", "p1", "p2"]
    assert life.steer("GET", "/journal?kind=nothing").json["records"] == []
    beyond = life.steer("GET", "/journal?since=99999999999999999999999").json
    assert beyond["records"] == []
    assert beyond["first"] == beyond["next"] >= len(every["records"])


def test_a_reader_of_the_journal_waits_for_a_record(life: Life) -> None:
    position = life.steer("GET", "/journal").json["next"]
    with ThreadPoolExecutor(2) as readers:
        waiting = [
            readers.submit(life.steer, "GET", f"/journal?since={position}&wait=60&kind=fault_set") for _ in range(2)
        ]
        life.ask("GET", "/queue")  # a record of another kind
        life.set("pong", id="p")
        for reader in waiting:
            assert [record["fault"] for record in reader.result(60).json["records"]] == ["p"]


def test_a_reader_of_the_journal_waits_no_longer_than_it_says(life: Life) -> None:
    began = time.monotonic()
    assert life.steer("GET", "/journal?kind=never&wait=0.2").json["records"] == []
    assert time.monotonic() - began >= 0.2


def test_old_records_are_in_the_file_only(life: Life) -> None:
    wire = life.wire("me")
    from mockserver.journal import LATEST

    for _ in range(LATEST // 1000 + 1):
        for _ in range(1000):
            wire.send(0x1, b"x")
    eventually("So many records", lambda: life.steer("GET", "/journal?since=999999999").json["next"] > LATEST)
    answer = life.steer("GET", "/journal").json
    assert answer["first"] > 0
    assert answer["next"] - answer["first"] == len(answer["records"]) == LATEST
    assert answer["records"] == life.records()[answer["first"] : answer["next"]]
