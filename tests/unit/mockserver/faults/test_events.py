"""Events: which ones a fault waits for, and which messages and requests it strikes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET, convert

from mockserver.comfyui import messages
from mockserver.faults.events import Occurrence, doubt_of, is_expected, is_request, is_struck
from mockserver.faults.kinds import Crash, DropMessage, Event

EXECUTING = Occurrence.of_message(messages.executing("p", "3"), "me")
ENDED = Occurrence.of_message(messages.executing_ended("p"), "me")
RESUMED = Occurrence.of_message(messages.executing_resumed("3"), "me")
SUCCESS = Occurrence.of_message(messages.execution_success("p", 0), "me")
ERROR = Occurrence.of_message(messages.execution_error("p", "3", "X", [], {}, 0), "me")
PROGRESS = Occurrence.of_message(messages.progress("p", "3", 7, 20), "me")
STATUS = Occurrence.of_message(messages.status(1), None)
PREVIEW = Occurrence.of_message(messages.preview_image(b"", "png"), "me")
CONNECTED = Occurrence("connected", "me")
REQUEST = Occurrence("request", "127.0.0.1", {"method": "POST", "path": "/api/prompt"})
ALL = (EXECUTING, ENDED, RESUMED, SUCCESS, ERROR, PROGRESS, STATUS, PREVIEW, CONNECTED, REQUEST)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "executing"}, [EXECUTING, ENDED, RESUMED]),
        ({"event": "executing", "node": "3"}, [EXECUTING, RESUMED]),
        ({"event": "executing", "node": None}, [ENDED]),
        ({"event": "executing", "node": "4"}, []),
        ({"event": "executing", "prompt_id": "p"}, [EXECUTING, ENDED]),
        ({"event": "executing", "prompt_id": "q"}, []),
        ({"event": "executing", "client_id": "me"}, [EXECUTING, ENDED, RESUMED]),
        ({"event": "executing", "client_id": "you"}, []),
        ({"event": "execution_error", "node": "3"}, [ERROR]),
        ({"event": "progress", "value": 7}, [PROGRESS]),
        ({"event": "progress", "value": 7.5}, []),
        ({"event": "terminal"}, [ENDED, SUCCESS, ERROR]),
        ({"event": "terminal", "node": None}, [ENDED]),
        ({"event": "binary_1"}, [PREVIEW]),
        ({"event": "status"}, [STATUS]),
        ({"event": "status", "node": None}, []),
        ({"event": "*"}, [*ALL[:-2]]),
        ({"event": "connected"}, [CONNECTED]),
        ({"event": "connected", "client_id": "you"}, []),
        ({"event": "disconnected"}, []),
        ({"event": "request"}, [REQUEST]),
        ({"event": "request", "method": "post", "path": "/prompt"}, [REQUEST]),
        ({"event": "request", "path": "/api/pro*"}, [REQUEST]),
        ({"event": "request", "method": "GET"}, []),
        ({"event": "request", "client_id": "127.0.0.1"}, [REQUEST]),
    ],
    ids=str,
)
def test_events_that_are_waited_for(event: dict[str, Any], expected: list[Occurrence]) -> None:
    waited_for = convert(event, Event)
    assert [each for each in ALL if is_expected(waited_for, each)] == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message": "*"}, [*ALL[:-2]]),
        ({"message": "terminal"}, [ENDED, SUCCESS, ERROR]),
        ({"message": "executing", "node": "3", "prompt_id": "p"}, [EXECUTING]),
        ({"message": "progress", "value": 7}, [PROGRESS]),
    ],
    ids=str,
)
def test_messages_that_are_struck(fields: dict[str, Any], expected: list[Occurrence]) -> None:
    fault = DropMessage(**fields)
    assert [each for each in ALL if is_struck(fault, each)] == expected


@pytest.mark.parametrize(
    ("method", "path", "requested", "found"),
    [
        (None, None, "/queue", True),
        ("get", "/queue", "/queue", True),
        ("GET", "/queue", "/api/queue", True),
        ("GET", "/api/queue", "/queue", True),
        ("GET", "/queue", "/queue/x", False),
        ("GET", "/history/*", "/history/p", True),
        ("GET", "*", "/", True),
        ("GET", "/QUEUE", "/queue", False),
        ("PUT", None, "/queue", False),
        (None, "/apix", "/apix", True),
    ],
)
def test_requests_that_are_meant(method: str | None, path: str | None, requested: str, found: bool) -> None:
    assert is_request(method, path, "GET", requested) is found


def test_data_that_are_no_object_are_no_data() -> None:
    strange: Any = ["node"]
    assert Occurrence.of_message(messages.Message("executing", strange), None).node is UNSET


@pytest.mark.parametrize(
    ("name", "meant"),
    [("exectued", "executed"), ("executed_", "executed"), ("binary1", "binary_1"), ("statu", "status")],
)
def test_a_name_that_is_nearly_one_of_comfyui_is_doubted(name: str, meant: str) -> None:
    said = f"ComfyUI has no message of the type {name!r}. Did you mean {meant!r}?"
    assert doubt_of(DropMessage(message=name)) == doubt_of(Crash(when=Event(event=name))) == said


@pytest.mark.parametrize("event", [*ALL, Occurrence("my_extension.done"), Occurrence("terminal"), Occurrence("*")])
def test_no_other_name_is_doubted(event: Occurrence) -> None:
    assert doubt_of(DropMessage(message=event.event)) is None
