"""One prompt's run, driven by hand: the order of its messages (recorded, protocol 2.3) and of its nodes."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockserver.comfyui.behaviour import Stage
from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.execution import Cache, Interrupted, NodeFailure, Outcome, Run, Send, Step, Work
from mockserver.comfyui.messages import Message
from mockserver.comfyui.queue import QueueItem

Json = dict[str, Any]

IMAGE: Json = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
TWO_NODES: Json = {"1": IMAGE, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}}


def linked(class_type: str, *upstream: str, **inputs: Any) -> Json:
    """A node linked to others; the names of the inputs do not matter to a run."""
    links = {f"input{number}": [each, 0] for number, each in enumerate(upstream)}
    return {"class_type": class_type, "inputs": {**links, **inputs}}


@dataclass
class Ended:
    """What a run yielded, and what it left behind."""

    steps: list[Step]
    outcome: Outcome

    @property
    def script(self) -> list[str]:
        """The steps, one line each."""
        return [shown(step) for step in self.steps]

    @property
    def messages(self) -> list[Message]:
        """The messages."""
        return [step.message for step in self.steps if isinstance(step, Send) and isinstance(step.message, Message)]

    @property
    def nodes_run(self) -> list[str]:
        """The nodes that started, in order."""
        return [message.data["node"] for message in self.messages if message.type == "executing"]


def shown(step: Step) -> str:
    """A step as a line: a message's type and its facts, or a stretch of work."""
    if isinstance(step, Work):
        return f"work {step.node} {step.value}/{step.of}"
    assert isinstance(step.message, Message)
    data = step.message.data
    if step.message.type == "progress_state":
        nodes = (f"{name}={node['value']}/{node['max']}" for name, node in data["nodes"].items())
        return " ".join(["progress_state", *nodes])
    if step.message.type == "progress":
        return f"progress {data['node']} {data['value']}/{data['max']}"
    facts = data.get("nodes", [data[name] for name in ("node", "node_id") if name in data])
    return " ".join([step.message.type, *facts])


class Server:
    """What outlasts a run: cache and stage; and a clock that counts the looks at it."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.stage = Stage(random.Random(1))
        self.clock = itertools.count(1000)

    def run(self, prompt: Json, outputs: list[str] | None = None, **strikes: Exception) -> Ended:
        """Runs a prompt to its end. ``strikes`` are thrown in when work begins at the node of this name (``n1``)."""
        catalog = Catalog.load()
        if outputs is None:
            outputs = [node for node in prompt if catalog[prompt[node]["class_type"]].is_output]
        run = Run(QueueItem(0, "p", prompt, {}, outputs), catalog, self.cache, self.stage, lambda: next(self.clock))
        steps: list[Step] = []
        driven = run.steps()
        try:
            step = next(driven)
            while True:
                steps.append(step)
                strike = strikes.pop(f"n{step.node}", None) if isinstance(step, Work) else None
                step = next(driven) if strike is None else driven.throw(strike)
        except StopIteration:
            return Ended(steps, run.outcome)


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_fresh_prompt(server: Server) -> None:
    ended = server.run(TWO_NODES)
    assert ended.script == [
        "execution_start",
        "execution_cached",
        "progress_state 1=0.0/1.0",
        "executing 1",
        "work 1 0/1",
        "progress_state 1=1.0/1.0",
        "progress_state 1=1.0/1.0 2=0.0/1.0",
        "executing 2",
        "work 2 0/1",
        "executed 2",
        "progress_state 1=1.0/1.0 2=1.0/1.0",
        "execution_success",
    ]
    states = [
        [node["state"] for node in m.data["nodes"].values()] for m in ended.messages if m.type == "progress_state"
    ]
    assert states == [["running"], ["finished"], ["finished", "running"], ["finished", "finished"]]


def test_a_node_with_a_progress_bar(server: Server) -> None:
    prompt = {"1": linked("KSampler", steps=2), "2": linked("PreviewImage", "1")}
    assert server.run(prompt).script[2:10] == [
        "progress_state 1=0.0/1.0",
        "executing 1",
        "work 1 0/2",
        "progress_state 1=1/2",
        "progress 1 1/2",
        "work 1 1/2",
        "progress_state 1=2/2",
        "progress 1 2/2",
    ]


def test_the_same_prompt_again_comes_from_the_cache(server: Server) -> None:
    first = server.run(TWO_NODES)
    again = server.run(TWO_NODES)
    assert again.script == [
        "execution_start",
        "execution_cached 1 2",
        "executed 2",
        "progress_state 2=1/1",
        "execution_success",
    ]
    assert again.outcome.outputs == first.outcome.outputs


def test_numbers_of_a_cached_node_are_integers_and_of_a_running_one_floats(server: Server) -> None:
    fresh, cached = server.run(TWO_NODES), server.run(TWO_NODES)
    for ended, kind in ((fresh, float), (cached, int)):
        nodes = [
            node
            for message in ended.messages
            if message.type == "progress_state"
            for node in message.data["nodes"].values()
        ]
        assert {type(node[name]) for node in nodes for name in ("value", "max")} == {kind}


def test_the_same_graph_under_other_ids_comes_from_the_cache(server: Server) -> None:
    server.run(TWO_NODES)
    renamed = {"x": IMAGE, "y": {**TWO_NODES["2"], "inputs": {**TWO_NODES["2"]["inputs"], "images": ["x", 0]}}}
    assert server.run(renamed).script[1] == "execution_cached x y"


def test_a_changed_node_and_what_follows_it_runs_again(server: Server) -> None:
    prompt = {"1": IMAGE, "2": linked("ImageInvert", "1"), "3": linked("PreviewImage", "2")}
    server.run(prompt)
    changed = {**prompt, "2": linked("ImageInvert", "1", nonce=1)}
    ended = server.run(changed)
    assert ended.script[1] == "execution_cached 1"
    assert ended.nodes_run == ["2", "3"]


def test_another_prompt_empties_the_cache(server: Server) -> None:
    server.run(TWO_NODES)
    server.run({"1": linked("PreviewAny", source=1)})
    assert server.run(TWO_NODES).nodes_run == ["1", "2"]


def test_an_interrupted_prompt_ends_where_it_is(server: Server) -> None:
    ended = server.run(TWO_NODES, n2=Interrupted())
    assert ended.script[-3:] == ["executing 2", "work 2 0/1", "execution_interrupted 2"]
    assert ended.messages[-1].data == {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "SaveImage",
        "executed": ["1"],
        "timestamp": 1002,
    }
    assert not ended.outcome.completed
    assert server.run(TWO_NODES).nodes_run == ["2"]


def test_a_failed_node_ends_the_prompt(server: Server) -> None:
    ended = server.run(TWO_NODES, n2=NodeFailure("ValueError", "bad image\n", ["line 1\n"]))
    assert ended.script[-3:] == ["executing 2", "work 2 0/1", "execution_error 2"]
    assert ended.messages[-1].data == {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "SaveImage",
        "executed": ["1"],
        "exception_message": "bad image\n",
        "exception_type": "ValueError",
        "traceback": ["line 1\n"],
        "current_inputs": {"filename_prefix": ["a"]},
        "current_outputs": ["1"],
        "timestamp": 1002,
    }
    assert not ended.outcome.completed


def test_without_an_owner_everybody_gets_progress_and_interruption_only(server: Server) -> None:
    prompt = {"1": linked("KSampler", steps=1), "2": linked("PreviewImage", "1")}
    ended = [server.run(prompt, n2=Interrupted()), server.run(prompt, n2=NodeFailure("E", "e")), server.run(prompt)]
    to_all = {step.message.type: step.to_all for each in ended for step in each.steps if isinstance(step, Send)}
    assert {type_ for type_, reaches_all in to_all.items() if reaches_all} == {
        "progress_state",
        "progress",
        "execution_interrupted",
    }
    assert len(to_all) == 9


@pytest.mark.parametrize(
    ("strikes", "status", "last"),
    [
        ({}, "success", "execution_success"),
        ({"n2": Interrupted()}, "error", "execution_interrupted"),
        ({"n2": NodeFailure("E", "e")}, "error", "execution_error"),
    ],
    ids=["success", "interrupted", "failed"],
)
def test_the_history_keeps_what_was_sent(server: Server, strikes: dict[str, Exception], status: str, last: str) -> None:
    ended = server.run(TWO_NODES, **strikes)
    item = QueueItem(3, "p", TWO_NODES, {"client_id": "c"}, ["2"])
    entry = ended.outcome.history_entry(item)
    assert entry["prompt"] == [3, "p", TWO_NODES, {"client_id": "c"}, ["2"]]
    assert entry["status"]["status_str"] == status
    assert entry["status"]["completed"] is (status == "success")
    kept = ["execution_start", "execution_cached", last]
    assert entry["status"]["messages"] == [[m.type, m.data] for m in ended.messages if m.type in kept]
    assert [type_ for type_, _ in entry["status"]["messages"]] == kept
    if status == "success":
        file = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}
        assert entry["outputs"] == {"2": {"images": [file]}}
        assert entry["meta"] == {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}}


@pytest.mark.parametrize(
    ("prompt", "order"),
    [
        (
            {
                "a": IMAGE,
                "b": linked("ImageInvert", nonce=1),
                "c": linked("ImageBatch", "a", "b"),
                "out": linked("PreviewImage", "c"),
            },
            ["b", "a", "c", "out"],
        ),
        (
            {
                "a": IMAGE,
                "x": linked("ImageInvert", "a"),
                "out1": linked("PreviewImage", "x"),
                "b": linked("EmptyImage", nonce=1),
                "out2": linked("PreviewImage", "b"),
            },
            ["b", "out2", "a", "x", "out1"],
        ),
        (
            {
                "1": IMAGE,
                "2": linked("ImageInvert", "1"),
                "3": linked("ImageInvert", "2"),
                "out1": linked("PreviewImage", "3"),
                "b": linked("EmptyImage", nonce=1),
                "y": linked("ImageInvert", "b", nonce=1),
                "out2": linked("PreviewImage", "y"),
            },
            ["b", "y", "out2", "1", "2", "3", "out1"],
        ),
    ],
    ids=["last input first", "what feeds an output first", "what is two links away from an output first"],
)
def test_order_of_ready_nodes(server: Server, prompt: Json, order: list[str]) -> None:
    assert server.run(prompt).nodes_run == order


def test_only_what_the_given_outputs_need_runs(server: Server) -> None:
    prompt = {**TWO_NODES, "3": linked("PreviewAny", source=1), "4": linked("ImageInvert", "1")}
    assert server.run(prompt, ["3"]).nodes_run == ["3"]


@pytest.mark.parametrize("inputs", [None, [], "text", 7])
def test_nodes_that_nobody_validated_run_whatever_their_inputs(server: Server, inputs: Any) -> None:
    prompt = {
        "1": linked("PreviewAny", "2", source=1),
        "2": {"class_type": "ImageInvert", "inputs": inputs},
        "3": {"class_type": "KSampler"},
    }
    assert server.run(prompt, n2=NodeFailure("E", "e")).script[-1] == "execution_error 2"
    assert server.run(prompt).nodes_run == ["2", "1"]


def test_a_cycle_beside_the_outputs_is_left_alone(server: Server) -> None:
    prompt = {**TWO_NODES, "3": linked("ImageInvert", "4"), "4": linked("ImageInvert", "3")}
    assert server.run(prompt).nodes_run == ["1", "2"]


def test_equal_nodes_run_once_and_replay_for_each_other(server: Server) -> None:
    prompt = {"1": linked("PreviewAny", source=1), "2": linked("PreviewAny", source=1)}
    ended = server.run(prompt)
    assert ended.nodes_run == ["1"]
    assert ended.script[-3:] == ["executed 2", "progress_state 1=1.0/1.0 2=1/1", "execution_success"]


@st.composite
def acyclic_prompts(draw: st.DrawFn) -> Json:
    """Nodes that are linked to earlier ones at most, no two of them equal."""
    prompt: Json = {}
    for number in range(draw(st.integers(1, 15))):
        upstream = draw(st.lists(st.sampled_from(sorted(prompt)), max_size=3)) if prompt else []
        class_type = draw(st.sampled_from(["PreviewAny", "ImageInvert", "ImageBatch"]))
        prompt[str(number)] = linked(class_type, *upstream, nonce=number)
    return prompt


def needed_by(prompt: Json, node: str) -> set[str]:
    """The node and all that is upstream of it."""
    links = [value[0] for value in prompt[node]["inputs"].values() if isinstance(value, list)]
    return {node}.union(*(needed_by(prompt, upstream) for upstream in links))


@given(acyclic_prompts())
def test_each_needed_node_runs_exactly_once_after_its_inputs(prompt: Json) -> None:
    server = Server()
    outputs = [node for node in prompt if prompt[node]["class_type"] == "PreviewAny"]
    needed = set().union(*(needed_by(prompt, output) for output in outputs))
    ended = server.run(prompt)
    assert sorted(ended.nodes_run) == sorted(needed)
    for position, node in enumerate(ended.nodes_run):
        assert needed_by(prompt, node) <= set(ended.nodes_run[: position + 1])
    assert ended.script[-1] == "execution_success"
    assert set(ended.outcome.outputs) == set(outputs)

    again = server.run(prompt)
    assert again.nodes_run == []
    assert again.outcome.outputs == ended.outcome.outputs


@given(acyclic_prompts(), st.data())
def test_an_interrupted_prompt_goes_on_where_it_was_when_it_comes_again(prompt: Json, data: st.DataObject) -> None:
    server = Server()
    order = Server().run(prompt).nodes_run
    if not order:
        return
    struck = data.draw(st.sampled_from(order))
    before = order[: order.index(struck)]
    ended = server.run(prompt, **{f"n{struck}": Interrupted()})
    assert ended.nodes_run == [*before, struck]
    assert ended.messages[-1].data["executed"] == before
    assert set(server.run(prompt).nodes_run) == set(order) - set(before)
