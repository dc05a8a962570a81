"""Descriptions of faults: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fault_descriptions import ANYTHING, VALIDATOR, descriptions, mutations
from hypothesis import given

from mockserver.faults.kinds import BY_NAME, KINDS, FaultError, as_json, name_of, read_fault

LATENCY = "Fields: id, when, after, seed, seconds, direction, who, delay, jitter, distribution."
NOT_JSON = "give finite numbers, text without lone surrogates, and no endless nesting."


def refusal(description: Any) -> str | None:
    """Why a description is refused; None if it is accepted."""
    try:
        read_fault(description)
    except FaultError as failure:
        return str(failure)
    return None


@pytest.mark.parametrize("description", [None, 1, "crash", [], {}, {"fault": None}, {"fault": []}, {"kind": "crash"}])
def test_what_names_no_kind(description: Any) -> None:
    assert refusal(description) == (
        'A fault is an object that names its kind under "fault", for example {"fault": "crash"}.'
    )


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"fault": "craash"}, "There is no fault 'craash'. Did you mean 'crash'?"),
        ({"fault": "x"}, f"There is no fault 'x'. Known: {', '.join(BY_NAME)}."),
        ({"fault": "latency", "delay": 1}, f"latency: Object missing required field `direction`. {LATENCY}"),
        (
            {"fault": "latency", "delay": -1, "direction": "both"},
            f"latency: Expected `float` >= 0.0 - at `$.delay`. {LATENCY}",
        ),
        (
            {"fault": "latency", "delay": 1, "direction": "up"},
            f"latency: Invalid enum value 'up' - at `$.direction`. {LATENCY}",
        ),
        ({"fault": "stop", "x": 1}, "stop: Object contains unknown field `x`. Fields: id, when, after, seed, times."),
        ({"fault": "crash", "times": 2}, "crash: times needs an event under when, at which it happens again."),
        ({"fault": "send_raw_frame"}, "send_raw_frame: give either frame, a name, or hex, the bytes."),
        (
            {"fault": "send_raw_frame", "frame": "masked", "hex": "00"},
            "send_raw_frame: give either frame, a name, or hex, the bytes.",
        ),
        (
            {"fault": "close_sockets", "reason": "ü" * 62},
            "close_sockets: a reason has at most 123 bytes (RFC 6455, section 5.5); shorten it.",
        ),
        (
            {"fault": "fail_request", "path": "api/prompt"},
            (
                "fail_request: Expected a path that begins with / or * - at `$.path`. Fields: id, when, after, seed, "
                "seconds, nth, times, probability, who, method, path, status, retry_after, body, content_type."
            ),
        ),
        (
            {"fault": "crash", "when": {"event": "request", "path": "queue"}},
            "crash: Expected a path that begins with / or * - at `$.when.path`. Fields: id, when, after, seed, times.",
        ),
        (
            {"fault": "crash", "id": "ü"},
            (
                "crash: Expected 1 to 64 letters of ASCII, digits, dots, hyphens and underscores - at `$.id`. "
                "Fields: id, when, after, seed, times."
            ),
        ),
        (
            {"fault": "crash", "when": {"event": "executing", "path": "/queue"}},
            "crash: method and path belong to the event 'request', not to 'executing'.",
        ),
        ({"fault": "crash", "after": float("nan")}, f"crash: {NOT_JSON}"),
        ({"fault": "crash", "after": float("inf")}, f"crash: {NOT_JSON}"),
        ({"fault": "fail_request", "body": "\ud800"}, f"fail_request: {NOT_JSON}"),
    ],
    ids=str,
)
def test_a_refusal_says_what_to_do(description: Any, said: str) -> None:
    assert refusal(description) == said


@pytest.mark.parametrize(
    "description",
    [
        {"fault": "stop", "id": "a\n"},
        {"fault": "stop", "id": ""},
        {"fault": "send_raw_frame", "hex": "0"},
        {"fault": "send_raw_frame", "hex": "00\u00a0"},
        {"fault": "send_raw_frame", "hex": "00\n"},
        {"fault": "wrong_content_type", "content_type": "a\r\nSet-Cookie: b"},
        {"fault": "wrong_content_type", "content_type": "a\n"},
        {"fault": "fail_request", "who": {"connection": 1}},
        {"fault": "fail_prompt", "who": {"connection": 1}},
        {"fault": "crash", "when": {"event": "x", "nth": 0}},
        {"fault": "crash", "seed": 1.5},
        {"fault": "latency", "direction": "both", "delay": 10**400},
    ],
    ids=str,
)
def test_what_would_fail_only_later_is_refused_now(description: Any) -> None:
    assert refusal(description) is not None


def test_endless_nesting_is_refused() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert refusal({"fault": "send_message", "data": deep}) == f"send_message: {NOT_JSON}"


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_every_kind_says_what_it_does_and_at_which_level(kind: type) -> None:
    assert kind.__doc__
    assert kind.__doc__.splitlines()[0].endswith(".")
    assert kind.level in {"process", "listener", "bytes", "closing", "websocket", "messages", "http", "application"}


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_what_concerns_the_network_outlives_a_restart(kind: type) -> None:
    """But for what happens once, and what draws on the state of a life."""
    from mockserver.faults.kinds import Action

    network = kind.level in {"listener", "bytes", "closing"} or name_of(kind) in {
        "slow_start",
        "refuse_upgrade",
        "hang_upgrade",
    }
    assert kind.outlives_restart is (network and not issubclass(kind, Action))


@given(descriptions())
def test_a_description_comes_back_as_it_was_given(description: Any) -> None:
    if refusal(description) is not None:
        return
    fault = read_fault(description)
    assert read_fault(json.loads(json.dumps(as_json(fault)))) == fault


@given(mutations() | ANYTHING)
def test_server_and_schema_agree(description: Any) -> None:
    refused = refusal(description)
    if refused is not None and "a reason has at most" in refused:  # a schema counts characters, the wire bytes
        assert len(description["reason"].encode()) > 123
    elif refused is not None and "method and path belong to" in refused:  # nor does it compare two fields
        assert description["when"]["event"] != "request"
    else:
        assert (refused is None) is VALIDATOR.is_valid(description), refused
