"""What the keywords for faults order the server to do, and what they say about themselves."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest

from ComfyMockLibrary import ComfyMockLibrary, types
from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.prompts import QueuedPrompt
from ComfyMockLibrary.keywords.fault_keyword import ENDS_WITH_ITS_LIFE, OUTLIVES_A_RESTART
from ComfyMockLibrary.keywords.network_faults import ByteFaultKeywords
from ComfyMockLibrary.quantities import Percent, Rate, Size
from ComfyMockLibrary.triggers import EventTrigger, event_trigger
from ComfyMockLibrary.types import (
    ClosingPart,
    ConnectionEnding,
    Direction,
    Distribution,
    FaultEnd,
    HttpMethod,
    Moment,
    RawFrame,
)
from mockserver.faults import kinds
from mockserver.faults.kinds import BY_NAME, read_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import Enum

MS = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
AT_NODE_2 = EventTrigger("executing", node="2")
PROMPT = QueuedPrompt("the-id", 1, {}, 0)
DOWN, UP = Direction.to_client, Direction.to_server
PATH = {"path": "/queue"}

CASES: dict[str, list[tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]]] = {
    "Crash Mock Server When": [
        (
            (EventTrigger("executing"),),
            {"node": "None", "prompt": PROMPT, "client": "one", "nth": 2, "moment": Moment.before, "after": SECOND},
            {
                "fault": "crash",
                "when": {
                    "event": "executing",
                    "node": None,
                    "prompt_id": "the-id",
                    "client_id": "id of one",
                    "nth": 2,
                    "moment": "before",
                },
                "after": 1.0,
            },
        ),
        (
            (EventTrigger("request"),),
            {"method": HttpMethod.POST, "path": "/prompt"},
            {"fault": "crash", "when": {"event": "request", "method": "POST", "path": "/prompt"}},
        ),
        ((AT_NODE_2,), {"value": 3.0}, {"fault": "crash", "when": {"event": "executing", "node": "2", "value": 3.0}}),
    ],
    "Stop Mock Server When": [((AT_NODE_2,), {}, {"fault": "stop", "when": {"event": "executing", "node": "2"}})],
    "Freeze Mock Server When": [
        (
            (AT_NODE_2,),
            {"thaw_after": SECOND},
            {"fault": "freeze", "when": {"event": "executing", "node": "2"}, "thaw_after": 1.0},
        )
    ],
    "Exit Mock Server": [
        ((), {}, {"fault": "exit", "status": 1}),
        ((3,), {"when": AT_NODE_2}, {"fault": "exit", "status": 3, "when": {"event": "executing", "node": "2"}}),
    ],
    "Slow Down Start": [
        (
            (),
            {"refused": SECOND, "unavailable": 2 * SECOND, "times": 3},
            {"fault": "slow_start", "refused": 1.0, "unavailable": 2.0, "times": 3},
        )
    ],
    "Refuse Connections": [
        ((), {"lasting": SECOND}, {"fault": "refuse_connections", "established": "keep", "seconds": 1.0})
    ],
    "Drop And Refuse Connections": [((), {}, {"fault": "refuse_connections", "established": "drop"})],
    "Ignore Connections": [((), {}, {"fault": "ignore_connections"})],
    "Slow Down Accepting": [((SECOND,), {}, {"fault": "slow_accept", "delay": 1.0})],
    "Flap Connections": [((), {"down": SECOND, "up": 2 * SECOND}, {"fault": "flap", "down": 1.0, "up": 2.0})],
    "Add Latency": [
        (
            (200 * MS,),
            {"direction": Direction.both, "jitter": 50 * MS, "distribution": Distribution.normal},
            {"fault": "latency", "delay": 0.2, "direction": "both", "jitter": 0.05, "distribution": "normal"},
        )
    ],
    "Limit Bandwidth": [
        ((Rate(1000),), {"direction": DOWN}, {"fault": "bandwidth", "rate": 1000.0, "direction": "to_client"})
    ],
    "Slice Traffic": [
        (
            (Size(10),),
            {"direction": UP, "variation": Size(2), "delay": MS},
            {"fault": "slice", "size": 10, "direction": "to_server", "variation": 2, "delay": 0.001},
        )
    ],
    "Stall Network": [
        ((Percent(0.05),), {"direction": DOWN}, {"fault": "stall", "loss": 0.05, "direction": "to_client"})
    ],
    "Hold Network": [
        (
            (),
            {"direction": DOWN, "client": "one", "connection": 2},
            {"fault": "hold_network", "direction": "to_client", "who": {"client_id": "id of one", "connection": 2}},
        )
    ],
    "Silence Network": [((), {"direction": UP}, {"fault": "silence", "direction": "to_server"})],
    "Cut Connections": [
        (
            (Size(10),),
            {"direction": DOWN, "ending": ConnectionEnding.fin},
            {"fault": "cut", "after_bytes": 10, "direction": "to_client", "ending": "fin"},
        )
    ],
    "Stop Reading": [((), {}, {"fault": "stop_reading"})],
    "Reset Connections": [
        (
            (),
            {"when": event_trigger("connected client=one"), "times": 2},
            {"fault": "reset_connections", "when": {"event": "connected", "client_id": "id of one"}, "times": 2},
        )
    ],
    "End Connections": [((), {"client": "somebody"}, {"fault": "end_connections", "who": {"client_id": "somebody"}})],
    "Half Close Connections": [((), {"connection": 3}, {"fault": "half_close_connections", "who": {"connection": 3}})],
    "Slow Down Closing": [
        ((SECOND,), {"what": ClosingPart.close_reply}, {"fault": "slow_close", "delay": 1.0, "what": "close_reply"})
    ],
    "Close Connections": [((1012,), {"reason": "bye"}, {"fault": "close_sockets", "code": 1012, "reason": "bye"})],
    "Refuse Upgrade": [
        (
            (403,),
            {"retry_after": 2 * SECOND, "body": "no", "times": 3, "nth": 2, "client": "one"},
            {
                "fault": "refuse_upgrade",
                "status": 403,
                "retry_after": 2.0,
                "body": "no",
                "times": 3,
                "nth": 2,
                "who": {"client_id": "id of one"},
            },
        )
    ],
    "Hang Upgrade": [((), {"times": 1}, {"fault": "hang_upgrade", "times": 1})],
    "Suppress Pong": [((), {}, {"fault": "pong", "answer": "none"})],
    "Delay Pong": [((SECOND,), {}, {"fault": "pong", "answer": "late", "delay": 1.0})],
    "Falsify Pong": [((), {"probability": Percent(0.1)}, {"fault": "pong", "answer": "wrong", "probability": 0.1})],
    "Send Raw Frame": [
        ((RawFrame.bad_utf8,), {}, {"fault": "send_raw_frame", "frame": "bad_utf8"}),
        ((), {"hex": "81 00"}, {"fault": "send_raw_frame", "hex": "81 00"}),
        (
            (RawFrame.oversized,),
            {"size": Size(1000)},
            {"fault": "send_raw_frame", "frame": "oversized", "size": 1000},
        ),
    ],
    "Drop Message": [
        (
            ("progress",),
            {"nth": 2, "node": "3", "prompt": "x", "value": 4.0, "client": "one", "connection": 1},
            {
                "fault": "drop_message",
                "message": "progress",
                "nth": 2,
                "node": "3",
                "prompt_id": "x",
                "value": 4.0,
                "who": {"client_id": "id of one", "connection": 1},
            },
        ),
        (("executing",), {"node": "None"}, {"fault": "drop_message", "message": "executing", "node": None}),
    ],
    "Duplicate Message": [
        (("executed",), {"copies": 2}, {"fault": "duplicate_message", "message": "executed", "copies": 2})
    ],
    "Delay Message": [(("executed", SECOND), {}, {"fault": "delay_message", "message": "executed", "delay": 1.0})],
    "Reorder Message": [
        (("executed",), {"behind": 3}, {"fault": "reorder_message", "message": "executed", "behind": 3})
    ],
    "Send Message": [
        ((), {}, {"fault": "send_message", "type": "mock_unknown"}),
        (("progress", {"value": 1}), {}, {"fault": "send_message", "type": "progress", "data": {"value": 1}}),
    ],
    "Fail Request": [
        (
            (HttpMethod.POST, "/prompt"),
            {"status": 503, "retry_after": SECOND, "body": "{}", "content_type": "application/json"},
            {
                "fault": "fail_request",
                "method": "POST",
                "path": "/prompt",
                "status": 503,
                "retry_after": 1.0,
                "body": "{}",
                "content_type": "application/json",
            },
        )
    ],
    "Delay Request": [((SECOND,), PATH, {"fault": "delay_request", "delay": 1.0, "path": "/queue"})],
    "Hang Request": [((), PATH, {"fault": "hang_request", "path": "/queue"})],
    "Truncate Answer": [((), {"keep": Size(3)}, {"fault": "truncate_answer", "keep": 3})],
    "Malform Json": [((), PATH, {"fault": "malform_json", "path": "/queue"})],
    "Dribble Answer": [((), {"size": Size(7), "delay": MS}, {"fault": "dribble_answer", "size": 7, "delay": 0.001})],
    "Empty Answer": [((HttpMethod.GET,), {}, {"fault": "empty_answer", "method": "GET"})],
    "Falsify Content Type": [
        ((), {"content_type": "text/css"}, {"fault": "wrong_content_type", "content_type": "text/css"})
    ],
    "Reset Request": [((), {"keep": Size(0)}, {"fault": "reset_request", "keep": 0})],
    "Fail Prompt": [
        (
            ("3",),
            {"type": "OutOfMemoryError", "message": "full", "class_type": "SaveImage", "prompt": PROMPT},
            {
                "fault": "fail_prompt",
                "node": "3",
                "type": "OutOfMemoryError",
                "message": "full",
                "class_type": "SaveImage",
                "prompt_id": "the-id",
            },
        )
    ],
    "Interrupt Prompt Unasked": [(("2",), {}, {"fault": "interrupt_prompt", "node": "2"})],
    "Hold Execution At": [(("2",), {"progress": 3}, {"fault": "hold_execution", "node": "2", "value": 3})],
    "Lose Queue": [((), {}, {"fault": "lose_queue"})],
    "Lose History": [((), {}, {"fault": "lose_history"})],
    "Forget Prompt": [((PROMPT,), {}, {"fault": "forget_prompt", "prompt_id": "the-id"})],
    "Delay History": [((SECOND,), {}, {"fault": "delay_history", "delay": 1.0})],
    "Skip History": [
        ((), {"prompt": PROMPT, "times": 1}, {"fault": "skip_history", "prompt_id": "the-id", "times": 1})
    ],
    "Lose Output Files": [((), {"client": "one"}, {"fault": "lose_output_files", "who": {"client_id": "id of one"}})],
    "Take Over Client Id": [
        ((), {}, {"fault": "take_over_client_id", "client_id": "id of one"}),
        (("somebody",), {}, {"fault": "take_over_client_id", "client_id": "somebody"}),
    ],
}
"""By keyword: arguments, and what the server is told."""

MOVING_CURSORS = {
    "Exit Mock Server",
    "Drop And Refuse Connections",
    "Flap Connections",
    "Add Latency",
    "Limit Bandwidth",
    "Slice Traffic",
    "Stall Network",
    "Hold Network",
    "Silence Network",
    "Cut Connections",
    "Stop Reading",
    "Reset Connections",
    "End Connections",
    "Half Close Connections",
    "Close Connections",
    "Suppress Pong",
    "Delay Pong",
    "Falsify Pong",
    "Send Raw Frame",
}
"""Keywords whose fault open connections feel at once."""


class Stage:
    """The library with a server and a client that only note what they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.library = ComfyMockLibrary()
        self.told: list[dict[str, Any]] = []
        self.cursors_set = 0
        self.ends: list[FaultEnd] = []
        self.server = SimpleNamespace(alias="main", is_running=True, faults=SimpleNamespace(set=self._set))
        session = self.library._session
        self.client = session.clients.new(Endpoint("127.0.0.1", 1), alias="one", client_id="id of one")
        monkeypatch.setattr(session, "_servers", SimpleNamespace(get=lambda _: self.server))
        monkeypatch.setattr(session, "set_cursors", self._set_cursors)
        monkeypatch.setattr(session, "ends_with", lambda _, until: self.ends.append(until))

    def run(self, keyword: str, *arguments: Any, **options: Any) -> Any:
        return self.library.keywords[name_of(keyword)](*arguments, **options)

    def _set(self, description: dict[str, Any]) -> Any:
        self.told.append(description)
        return SimpleNamespace(id="the-fault", warning=None)

    def _set_cursors(self, server: object) -> None:
        assert server is self.server
        self.cursors_set += 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(monkeypatch)
    yield stage
    stage.client.close()


def name_of(keyword: str) -> str:
    return keyword.lower().replace(" ", "_")


def cases() -> list[Any]:
    return [
        pytest.param(keyword, *case, id=f"{keyword} {number}")
        for keyword, each in CASES.items()
        for number, case in enumerate(each)
    ]


def fault_keywords() -> set[str]:
    """Those that set a fault."""
    library = ComfyMockLibrary()
    return {
        name.replace("_", " ").title()
        for name in library.get_keyword_names()
        if "until" in inspect.signature(library.keywords[name]).parameters
    }


class TestOrders:
    @pytest.mark.parametrize(("keyword", "arguments", "options", "description"), cases())
    def test_a_keyword_tells_the_server(
        self,
        stage: Stage,
        keyword: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        description: dict[str, Any],
    ) -> None:
        assert stage.run(keyword, *arguments, **options).id == "the-fault"
        (told,) = json.loads(json.dumps(stage.told))
        assert {name: value for name, value in told.items() if name in description} == description
        assert read_fault(told) == read_fault(description), "it says more than was meant"

    def test_there_is_a_case_for_each_keyword_and_each_kind_of_fault(self) -> None:
        assert set(CASES) == fault_keywords()
        assert {case[2]["fault"] for each in CASES.values() for case in each} == set(BY_NAME)

    @pytest.mark.parametrize(("keyword", "arguments", "options", "_description"), cases())
    def test_a_keyword_moves_the_cursors_if_connections_feel_it_at_once(
        self, stage: Stage, keyword: str, arguments: tuple[Any, ...], options: dict[str, Any], _description: object
    ) -> None:
        begins_at_once = "when" not in options
        stage.run(keyword, *arguments, **options)
        assert stage.cursors_set == (keyword in MOVING_CURSORS and begins_at_once)

    @pytest.mark.parametrize(
        ("options", "is_running"), [({"after": SECOND}, True), ({"when": AT_NODE_2}, True), ({}, False)]
    )
    def test_no_cursor_moves_for_what_comes_later(
        self, stage: Stage, options: dict[str, Any], is_running: bool
    ) -> None:
        stage.server.is_running = is_running
        stage.run("Add Latency", SECOND, direction=DOWN, **options)
        assert stage.cursors_set == 0

    def test_a_client_is_meant_by_alias_handle_or_client_id(self, stage: Stage) -> None:
        for client in ("one", stage.client, "somebody else's"):
            stage.run("Suppress Pong", client=client)
        assert [told["who"]["client_id"] for told in stage.told] == ["id of one", "id of one", "somebody else's"]

    def test_a_fault_ends_with_the_test_unless_it_is_told_otherwise(self, stage: Stage) -> None:
        stage.run("Lose Queue")
        stage.run("Lose Queue", until=FaultEnd.cleared)
        assert stage.ends == [FaultEnd.test, FaultEnd.cleared]

    @pytest.mark.parametrize(
        ("arguments", "options", "words"),
        [
            ((), {}, "either a frame by name or hex="),
            ((RawFrame.masked,), {"hex": "81"}, "either a frame by name or hex="),
            ((RawFrame.masked,), {"size": Size(3)}, "size= is about the frames oversized and oversized_announced"),
        ],
    )
    def test_a_raw_frame_is_named_or_spelled(
        self, stage: Stage, arguments: tuple[Any, ...], options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            stage.run("Send Raw Frame", *arguments, **options)
        assert stage.told == []

    @pytest.mark.parametrize("keyword", ["Add Latency", "Hold Network", "Silence Network", "Cut Connections"])
    def test_a_direction_is_never_implied(self, stage: Stage, keyword: str) -> None:
        assert inspect.signature(stage.library.keywords[name_of(keyword)]).parameters["direction"].default is (
            inspect.Parameter.empty
        )


class TestDocumentation:
    @pytest.mark.parametrize("keyword", sorted(CASES))
    def test_it_says_whether_the_fault_outlives_a_restart(self, keyword: str) -> None:
        text = ComfyMockLibrary().get_keyword_documentation(name_of(keyword))
        outlives = BY_NAME[CASES[keyword][0][2]["fault"]].outlives_restart
        assert (OUTLIVES_A_RESTART in text, ENDS_WITH_ITS_LIFE in text) == (outlives, not outlives)

    def test_every_argument_is_in_the_signature_once_with_its_type(self) -> None:
        library = ComfyMockLibrary()
        arguments = library.get_keyword_arguments("drop_message")
        assert arguments[:3] == ["message", "*", ("node", None)]
        assert ("until", FaultEnd.test) in arguments
        assert not [each for each in arguments if isinstance(each, str) and each.startswith("**")]
        hints = library.get_keyword_types("drop_message")
        assert (hints["message"], hints["when"], hints["client"]) == (str, EventTrigger, ComfyClient)
        assert library.get_keyword_source("add_latency").startswith(inspect.getsourcefile(ByteFaultKeywords) or "?")


class TestWords:
    @pytest.mark.parametrize(
        ("enum", "words"),
        [
            (types.Direction, get_args(kinds.Direction)),
            (types.Distribution, get_args(kinds.Distribution)),
            (types.Moment, get_args(kinds.Moment)),
            (types.RawFrame, get_args(kinds.FrameName)),
            (types.ConnectionEnding, ("reset", "fin")),
            (types.ClosingPart, ("fin", "close_reply")),
        ],
    )
    def test_the_librarys_words_are_the_servers(self, enum: type[Enum], words: tuple[str, ...]) -> None:
        assert [each.value for each in enum] == list(words)
        assert all(f"``{word}``" in (enum.__doc__ or "") for word in words)
