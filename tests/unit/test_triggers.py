"""Events at which faults begin, as suites write them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ComfyMockLibrary.triggers import EventTrigger, event_trigger
from ComfyMockLibrary.types import HttpMethod, Moment
from mockserver.faults import kinds
from mockserver.faults.kinds import read_fault


@pytest.mark.parametrize(
    ("written", "described"),
    [
        ("executing", {"event": "executing"}),
        (" executing  node=3 ", {"event": "executing", "node": "3"}),
        ("executing node=None", {"event": "executing", "node": None}),
        ("executing node=null", {"event": "executing", "node": None}),
        ("progress value=2 nth=3 moment=before", {"event": "progress", "value": 2.0, "nth": 3, "moment": "before"}),
        ("executed prompt=a-b-c", {"event": "executed", "prompt_id": "a-b-c"}),
        ("request method=post path=/prompt", {"event": "request", "method": "POST", "path": "/prompt"}),
        ("request method=ANY path=/view*", {"event": "request", "path": "/view*"}),
        ("connected client=one", {"event": "connected", "client_id": "id of one"}),
    ],
)
def test_a_trigger_becomes_an_event_of_the_server(written: str, described: dict[str, Any]) -> None:
    trigger = event_trigger(written)
    event = trigger.as_json("id of one" if trigger.client == "one" else None)
    assert event == described
    assert read_fault({"fault": "crash", "when": event}).when is not None
    assert event_trigger(trigger) is trigger


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "Give an event, for example executing node=3."),
        ("node=3", "It begins with the field 'node=3'; give an event first, for example executing node=3."),
        ("executing 3", "'3' is no field of an event; fields are node=, prompt=, value="),
        ("executing nod=3", "'nod=3' is no field of an event"),
        ("progress value=much", "value= cannot be 'much'."),
        ("executing nth=0", "nth=0 is none of them; the first is nth=1."),
        ("executing moment=later", "moment= cannot be 'later'."),
        ("request method=FETCH", "method= cannot be 'FETCH'."),
        ("executing path=/prompt", "path is about the event 'request', not about 'executing'."),
        ("request node=3", "node is about messages, not about 'request'."),
        ("request moment=before", "moment is about messages, not about 'request'."),
    ],
)
def test_what_is_no_trigger_says_why(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        event_trigger(written)


def test_fields_can_stand_in_arguments_of_their_own() -> None:
    fields: dict[str, Any] = {"node": "3", "nth": None, "moment": Moment.before, "method": None}
    assert event_trigger("executing nth=2").with_fields(fields) == EventTrigger(
        "executing", node="3", nth=2, moment=Moment.before
    )
    with pytest.raises(ValueError, match="method is about the event 'request'"):
        event_trigger("executing").with_fields({"method": HttpMethod.GET})


def test_the_server_knows_no_other_fields() -> None:
    assert set(kinds.Event.__struct_fields__) == {
        {"prompt": "prompt_id", "client": "client_id"}.get(name, name) for name in EventTrigger.__dataclass_fields__
    }
