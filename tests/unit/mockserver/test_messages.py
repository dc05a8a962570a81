"""Messages, byte for byte as recorded from ComfyUI 0.3.64."""

from __future__ import annotations

import json
import struct

from mockserver.comfyui import messages
from mockserver.comfyui.messages import Message, Progress


def test_text_messages_are_json_as_python_writes_it() -> None:
    assert Message("odd", {"text": "ü☃", "number": 1.0}).payload() == (
        b'{"type": "odd", "data": {"text": "\\u00fc\\u2603", "number": 1.0}}'
    )


def test_only_the_first_status_has_a_sid() -> None:
    assert messages.status(3).data == {"status": {"exec_info": {"queue_remaining": 3}}}
    assert messages.status(0, "me").data == {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}


def test_executing_in_its_three_forms() -> None:
    assert messages.executing("p", "1").data == {"node": "1", "display_node": "1", "prompt_id": "p"}
    assert messages.executing_ended("p").data == {"node": None, "prompt_id": "p"}
    assert messages.executing_resumed("1").data == {"node": "1"}


def test_progress_state_holds_every_node_visited() -> None:
    state = messages.progress_state("p", [Progress("1", 1.0, 1.0, "finished"), Progress("2", 3, 20, "running")])
    assert state.data["prompt_id"] == "p"
    assert list(state.data["nodes"]) == ["1", "2"]
    assert state.data["nodes"]["2"] == {
        "value": 3,
        "max": 20,
        "state": "running",
        "node_id": "2",
        "prompt_id": "p",
        "display_node_id": "2",
        "parent_node_id": None,
        "real_node_id": "2",
    }


def test_the_outcomes_of_a_prompt() -> None:
    assert messages.execution_start("p", 5) == Message("execution_start", {"prompt_id": "p", "timestamp": 5})
    assert messages.execution_cached("p", ["1"], 5).data == {"nodes": ["1"], "prompt_id": "p", "timestamp": 5}
    assert messages.execution_success("p", 5) == Message("execution_success", {"prompt_id": "p", "timestamp": 5})
    assert messages.execution_interrupted("p", "2", "KSampler", ["1"], 5).data == {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "KSampler",
        "executed": ["1"],
        "timestamp": 5,
    }
    failed = messages.execution_error("p", "2", "KSampler", ["1"], {"exception_type": "ValueError"}, 5)
    assert list(failed.data) == ["prompt_id", "node_id", "node_type", "executed", "exception_type", "timestamp"]


def test_executed_and_progress() -> None:
    assert messages.executed("p", "3", None).data == {
        "node": "3",
        "display_node": "3",
        "output": None,
        "prompt_id": "p",
    }
    assert messages.progress("p", "2", 1, 20).data == {"value": 1, "max": 20, "prompt_id": "p", "node": "2"}


def test_preview_image_is_event_1_with_the_format() -> None:
    assert messages.preview_image(b"JFIF", "jpeg").payload() == b"\0\0\0\x01\0\0\0\x01JFIF"
    assert messages.preview_image(b"PNG", "png").payload() == b"\0\0\0\x01\0\0\0\x02PNG"


def test_preview_image_with_metadata_is_event_4_with_json_before_the_image() -> None:
    payload = messages.preview_image_with_metadata(b"IMAGE", "png", "p", "7").payload()
    event, length = struct.unpack_from(">II", payload)
    metadata = json.loads(payload[8 : 8 + length])
    assert event == 4
    assert list(metadata.items()) == [
        ("node_id", "7"),
        ("prompt_id", "p"),
        ("display_node_id", "7"),
        ("parent_node_id", None),
        ("real_node_id", "7"),
        ("image_type", "image/png"),
    ]
    assert payload[8 + length :] == b"IMAGE"


def test_progress_text_is_event_3_with_the_node_before_the_text() -> None:
    assert messages.progress_text("ü1", "läuft").payload() == (
        b"\0\0\0\x03\0\0\0\x03" + "ü1".encode() + "läuft".encode()
    )
