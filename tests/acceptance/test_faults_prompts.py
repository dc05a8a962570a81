"""Faults of the application: prompts that fail, stand still or are forgotten, and a history that is late or wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from faulty import PLAIN, Life, Wire, sampler, shapes, three_nodes
from mockserver_process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

IDLE = {"queue_running": [], "queue_pending": []}
OUT_OF_MEMORY = (
    "Allocation on device \nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before "
    "you might have accidentally set the batch_size to a large number."
)


def run(life: Life, wire: Wire, client_id: str = "me", prompt: Json | None = None) -> tuple[str, list[Json]]:
    """Runs a prompt; gives its id, and what its owner sees of it."""
    prompt_id = life.queue(prompt or three_nodes(), client_id=client_id)
    return prompt_id, wire.run_of(prompt_id)


def history(life: Life, prompt_id: str) -> Json:
    """What the history has under this id."""
    found: Json = life.ask("GET", f"/history/{prompt_id}").json
    return found


def queue_of(life: Life) -> Json:
    """Waiting and running prompts."""
    found: Json = life.ask("GET", "/queue").json
    return found


@pytest.fixture
def patient(start_life: Callable[..., Life]) -> Life:
    """A life whose nodes take an hour each."""
    return start_life("--duration", "ImageInvert=3600")


@pytest.mark.parametrize(
    ("fields", "type_", "message"),
    [
        ({}, "RuntimeError", "failed on purpose\n"),
        ({"type": "ValueError", "message": "too ü"}, "ValueError", "too ü\n"),
        ({"type": "OutOfMemoryError"}, "torch.OutOfMemoryError", OUT_OF_MEMORY),
        ({"type": "torch.OutOfMemoryError", "message": "CUDA"}, "torch.OutOfMemoryError", "CUDA\n"),
    ],
    ids=str,
)
def test_a_node_fails_with_its_own_words(life: Life, fields: Json, type_: str, message: str) -> None:
    wire = life.wire("me")
    life.set("fail_prompt", node="2", id="f", **fields)
    prompt_id, seen = run(life, wire)
    assert shapes(seen) == [*PLAIN[:4], "execution_error", "executing None"]
    error = seen[-2]["data"]
    assert error | {"timestamp": 0, "current_inputs": {}, "current_outputs": []} == {
        "prompt_id": prompt_id,
        "node_id": "2",
        "node_type": "ImageInvert",
        "executed": ["1"],
        "exception_message": message,
        "exception_type": type_,
        "traceback": ["mock fault f\n"],
        "current_inputs": {},
        "current_outputs": [],
        "timestamp": 0,
    }
    status = history(life, prompt_id)[prompt_id]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1] == ["execution_error", error]


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({}, [True, True]),
        ({"times": 1}, [True, False]),
        ({"nth": 3}, [True, False]),
        ({"nth": 4}, [False, True]),
        ({"class_type": "SaveImage"}, [True, True]),
        ({"class_type": "KSampler"}, [False, False]),
        ({"prompt_id": "other"}, [False, False]),
        ({"who": {"client_id": "me"}}, [True, True]),
        ({"who": {"client_id": "other"}}, [False, False]),
    ],
    ids=str,
)
def test_which_nodes_fail(life: Life, fields: Json, fails: list[bool]) -> None:
    wire = life.wire("me")
    life.set("fail_prompt", **fields)
    assert ["execution_error" in shapes(run(life, wire)[1]) for _ in range(2)] == fails


def test_a_prompt_is_interrupted_though_nobody_has_asked_for_it(life: Life) -> None:
    wire = life.wire("me")
    life.set("interrupt_prompt", node="2", times=1)
    prompt_id, seen = run(life, wire)
    assert shapes(seen) == [*PLAIN[:4], "execution_interrupted", "executing None"]
    assert history(life, prompt_id)[prompt_id]["status"]["messages"][-1][0] == "execution_interrupted"
    assert shapes(run(life, wire)[1]) == PLAIN


@pytest.mark.parametrize("how", ["cleared", "released", "all released", "all cleared"])
@pytest.mark.parametrize("times", [{}, {"times": 1}], ids=str)
def test_a_prompt_stands_still_at_a_node(life: Life, times: Json, how: str) -> None:
    wire = life.wire("me")
    life.set("hold_execution", node="2", id="h", **times)
    prompt_id = life.queue(three_nodes(), client_id="me")
    wire.until_message("executing", node="2")
    life.wait_for_strike("h")
    assert wire.is_silent()
    assert queue_of(life)["queue_running"][0][1] == prompt_id
    if how == "cleared":
        life.clear("h")
    elif how == "all cleared":
        assert [each["id"] for each in life.steer("DELETE", "/faults").json["faults"]] == ["h"]
    else:
        body = {"what": "execution"} if how == "released" else None
        assert [each["id"] for each in life.steer("POST", "/release", body).json["faults"]] == ["h"]
    assert shapes(wire.run_of(prompt_id)) == PLAIN[4:]


@pytest.mark.parametrize("kind", ["fail_prompt", "interrupt_prompt", "hold_execution"])
def test_what_is_cleared_while_a_prompt_stands_still_does_not_strike_it_afterwards(life: Life, kind: str) -> None:
    wire = life.wire("me")
    life.set("hold_execution", node="2", id="h")
    life.set(kind, node="2", id="behind")
    prompt_id = life.queue(three_nodes(), client_id="me")
    life.wait_for_strike("h")
    assert life.steer("DELETE", "/faults").status == 200
    assert shapes(wire.run_of(prompt_id)) == PLAIN
    assert life.strikes("behind") == []


def test_a_prompt_stands_still_at_a_value_of_its_progress(life: Life) -> None:
    wire = life.wire("me")
    life.set("hold_execution", node="1", value=3, id="h")
    prompt_id = life.queue(sampler(5), client_id="me")
    seen = wire.until_message("progress", value=3)
    life.wait_for_strike("h")
    assert wire.is_silent()
    life.clear("h")
    seen += wire.run_of(prompt_id)
    assert [each["data"]["value"] for each in seen if each["type"] == "progress"] == [1, 2, 3, 4, 5]
    assert life.strikes("h")[0]["value"] == 3


def test_an_interrupt_of_a_held_prompt_takes_effect_when_it_is_released(life: Life) -> None:
    wire = life.wire("me")
    life.set("hold_execution", node="2", id="h")
    prompt_id = life.queue(three_nodes(), client_id="me")
    life.wait_for_strike("h")
    assert life.ask("POST", "/interrupt").status == 200
    life.clear("h")
    assert shapes(wire.run_of(prompt_id))[-2:] == ["execution_interrupted", "executing None"]


# What is forgotten


def test_the_queue_is_lost(patient: Life) -> None:
    wire = patient.wire("me")
    ids = [patient.queue(three_nodes(), client_id="me") for _ in range(3)]
    wire.until_message("executing", node="2")
    patient.set("lose_queue", id="l")
    assert patient.strikes("l")[0]["prompts"] == ids
    eventually("An empty queue", lambda: queue_of(patient) == IDLE)
    assert patient.ask("GET", "/history").json == {}
    patient.set("send_message", type="after")
    seen = wire.until_message("after")
    assert {message["type"] for message in seen} <= {"status", "after"}
    patient.set("interrupt_prompt", node="2")
    assert shapes(run(patient, wire)[1])[-1] == "executing None"


def test_the_queue_is_lost_at_an_event(life: Life) -> None:
    wire = life.wire("me")
    life.set("lose_queue", when={"event": "executing", "node": "2"}, id="l")
    life.queue(three_nodes(), client_id="me")
    life.wait_for_strike("l")
    life.set("send_message", type="after")
    assert shapes(wire.until_message("after")) == [*PLAIN[:4], "after"]
    assert shapes(run(life, wire)[1]) == PLAIN


def test_a_life_without_faults_pays_for_none_after_a_forgotten_prompt(patient: Life) -> None:
    """The ports are let go when the last message of the forgotten prompt has been kept back."""
    wire = patient.wire("me")
    patient.queue(three_nodes(), client_id="me")
    wire.until_message("executing", node="2")
    patient.set("forget_prompt", id="f")
    assert len(patient.strikes("f")[0]["prompts"]) == 1
    patient.set("interrupt_prompt", node="2", times=2)
    for _ in range(2):
        assert shapes(run(patient, wire)[1])[-1] == "executing None"


@pytest.mark.parametrize("where", ["waiting", "running", "held", "finished", "late", "nowhere"])
def test_a_prompt_is_forgotten_wherever_it_is(patient: Life, where: str) -> None:
    wire = patient.wire("me")
    prompt_id = "nowhere"
    if where in ("finished", "late"):
        patient.set("fail_prompt", node="2", times=1)
        if where == "late":
            patient.set("delay_history", delay=80_000, id="late")
        prompt_id = run(patient, wire)[0]
    if where == "held":
        patient.set("hold_execution", node="1", id="h")
    if where in ("waiting", "running", "held"):
        prompt_id = patient.queue(three_nodes(), client_id="me")
    if where == "waiting":
        wire.until_message("executing", node="2")
        prompt_id = patient.queue(three_nodes(), client_id="me")
    if where == "running":
        wire.until_message("executing", node="2")
    if where == "held":
        wire.until_message("executing", node="1")
        patient.wait_for_strike("h")
    patient.set("forget_prompt", prompt_id=prompt_id, id="f")
    assert patient.strikes("f")[0]["prompts"] == ([] if where == "nowhere" else [prompt_id])
    queued = 1 if where == "waiting" else 0
    eventually("The end of it", lambda: sum(map(len, queue_of(patient).values())) == queued)
    if where == "late":
        patient.clear("late")
    assert history(patient, prompt_id) == {}
    patient.set("send_message", type="after")
    assert not [each for each in wire.until_message("after") if each["data"].get("prompt_id") == prompt_id]


def test_the_history_is_lost(life: Life) -> None:
    wire = life.wire("me")
    life.set("delay_history", delay=80_000, nth=2, id="late")
    run(life, wire)
    run(life, wire)
    assert len(life.ask("GET", "/history").json) == 1
    life.set("lose_history")
    assert life.ask("GET", "/history").json == {}
    life.clear("late")
    prompt_id, _ = run(life, wire)
    assert list(life.ask("GET", "/history").json) == [prompt_id]


@pytest.mark.parametrize("cleared", [True, False])
def test_the_history_is_late(life: Life, cleared: bool) -> None:
    wire = life.wire("me")
    life.set("delay_history", delay=80_000 if cleared else 0.5, id="d", times=1)
    began = time.monotonic()
    prompt_id, seen = run(life, wire)
    assert shapes(seen) == PLAIN
    if cleared:
        assert history(life, prompt_id) == {}
        life.clear("d")
    life.wait_for_history(prompt_id)
    assert cleared or time.monotonic() - began >= 0.5
    assert history(life, prompt_id)[prompt_id]["status"]["completed"]


def test_the_history_never_knows_the_prompt(life: Life) -> None:
    wire = life.wire("me")
    life.set("skip_history", times=1)
    prompt_id, seen = run(life, wire)
    assert shapes(seen) == PLAIN
    assert history(life, prompt_id) == {}
    assert history(life, run(life, wire)[0]) != {}


def test_output_files_are_gone(life: Life) -> None:
    wire = life.wire("me")
    life.set("lose_output_files", times=1)
    for status in (404, 200):
        prompt_id, seen = run(life, wire)
        (image,) = history(life, prompt_id)[prompt_id]["outputs"]["3"]["images"]
        assert next(each for each in seen if each["type"] == "executed")["data"]["output"]["images"] == [image]
        assert life.ask("GET", f"/view?filename={image['filename']}&type=output").status == status


# The clientId


def test_another_one_takes_a_client_id_over(life: Life) -> None:
    wire, other = life.wire("me"), life.wire("other")
    life.set("take_over_client_id", client_id="me", id="t")
    life.wait_for_history(life.queue(three_nodes(), client_id="me"))
    run(life, other, "other")
    assert wire.is_silent()
    wire.send(0x9, b"alive")
    assert wire.frame() == (0x8A, b"alive")
    again = life.wire("me")
    assert shapes(run(life, again)[1]) == PLAIN
    life.clear("t")  # the other one leaves, and with it whoever is registered
    life.wait_for_history(life.queue(three_nodes(), client_id="me"))
    assert again.is_silent()
    assert [record["client_id"] for record in life.strikes("t")] == ["me"]
