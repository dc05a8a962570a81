"""Which events a pattern means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ComfyMockLibrary.engine.client.state import CONNECTION_EVENTS
from ComfyMockLibrary.engine.journal import Event
from ComfyMockLibrary.engine.matching import EventPattern

if TYPE_CHECKING:
    from ComfyMockLibrary.types import EventSource


def event(name: str = "executed", source: EventSource = "server", **data: Any) -> Event:
    return Event(0, name, source, data, 0.0, "client")


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        *(("7", 7), ("7.0", 7), ("0.5", 0.5), (7, 7), (7, "7"), ("text", "text"), ("7", "7"), (None, None)),
        *(("true", True), ("True", True), ("false", False), (True, True), ("None", None), ("null", None)),
        *(('["a", 1]', ["a", 1]), ("['a', 1]", ["a", 1]), ('{"a": null}', {"a": None}), ("{'a': None}", {"a": None})),
        ("18446744073709551615", 18446744073709551615),
        (["a"], ["a"]),
        ("", ""),
    ],
)
def test_values_are_compared_in_the_type_that_was_seen(expected: Any, seen: Any) -> None:
    assert EventPattern("executed", {"field": expected}).matches(event(field=seen))


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        *(("8", 7), ("7", 70), ("seven", 7), ("true", False), ("true", 1), ("1", True), ("yes", True), ("", None)),
        *(("none", "None"), ("text", "Text"), ("[1]", [2]), ("no list", [1]), ("(", [1]), (7, "8")),
        ("18446744073709551614", 18446744073709551615),
    ],
)
def test_other_values_do_not_match(expected: Any, seen: Any) -> None:
    assert not EventPattern("executed", {"field": expected}).matches(event(field=seen))


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text())
def test_a_value_written_as_text_matches_itself(value: Any) -> None:
    assert EventPattern("executed", {"field": str(value)}).matches(event(field=value))


def test_fields_are_found_by_dotted_path_or_by_a_name_with_a_dot() -> None:
    seen = event(status={"exec_info": {"queue_remaining": 0}}, **{"a.b": 1})
    assert EventPattern("executed", {"status.exec_info.queue_remaining": "0"}).matches(seen)
    assert EventPattern("executed", {"a.b": "1"}).matches(seen)


@pytest.mark.parametrize("path", ["missing", "node.missing", "node.value.deeper", "", "."])
def test_a_field_that_is_missing_matches_nothing_not_even_none(path: str) -> None:
    for expected in (None, "None", ""):
        assert not EventPattern("executed", {path: expected}).matches(event(node={"value": 1}))


def test_all_fields_must_match() -> None:
    seen = event(node="3", prompt_id="a")
    assert EventPattern("executed", {"node": "3", "prompt_id": "a"}).matches(seen)
    assert not EventPattern("executed", {"node": "3", "prompt_id": "b"}).matches(seen)
    assert EventPattern("executed").matches(seen)
    assert not EventPattern("executing").matches(seen)


@pytest.mark.parametrize("name", CONNECTION_EVENTS)
def test_a_connection_event_is_the_clients_own_unless_the_source_is_given(name: str) -> None:
    own, servers = event(name, "client"), event(name, "server")
    assert EventPattern(name).matches(own)
    assert not EventPattern(name).matches(servers)
    assert EventPattern(name, source="server").matches(servers)
    assert not EventPattern(name, source="server").matches(own)


def test_any_other_name_means_either_source() -> None:
    assert EventPattern("status").matches(event("status", "server"))
    assert EventPattern("callback_failed").matches(event("callback_failed", "client"))
    assert not EventPattern("status", source="client").matches(event("status", "server"))


def test_a_pattern_reads_as_what_was_awaited() -> None:
    assert str(EventPattern("executed")) == "event 'executed'"
    assert str(EventPattern("executed", {"node": "3", "a": 1})) == "event 'executed' with node=3, a=1"
