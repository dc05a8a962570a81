"""One prompt's run, driven by hand: the order of its messages (recorded, protocol 2.3) and of its nodes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from acting import Theatre, empty_image, node, sample
from hypothesis import given
from hypothesis import strategies as st

from mockserver.comfyui.execution import Interrupted, NodeFailure, Outcome, Run, Send, Step, To, Work
from mockserver.comfyui.messages import Message
from mockserver.comfyui.queue import QueueItem

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
Strikes = dict[str, Exception]

IMAGE = empty_image()
TWO_NODES: Json = {"1": IMAGE, "2": node("SaveImage", images=["1", 0], filename_prefix="a")}


def invert(upstream: str, **ignored: Any) -> Json:
    """A node behind another one. What it does not know it ignores, but the cache does not."""
    return node("ImageInvert", image=[upstream, 0], **ignored)


def batch(first: str, second: str, **ignored: Any) -> Json:
    """A node behind two others."""
    return node("ImageBatch", image1=[first, 0], image2=[second, 0], **ignored)


def show(upstream: str, **ignored: Any) -> Json:
    """An output node behind another one, which writes no file."""
    return node("PreviewAny", source=[upstream, 0], **ignored)


@dataclass
class Ended:
    """What a run yielded, and what it left behind."""

    steps: list[Send | Work]
    outcome: Outcome

    @property
    def script(self) -> list[str]:
        """The steps, one line each."""
        return [shown(step) for step in self.steps]

    @property
    def messages(self) -> list[Message]:
        """The messages."""
        return [message for message, _ in self.sent]

    @property
    def sent(self) -> list[tuple[Message, To]]:
        """The messages, and who gets them."""
        sends = [step for step in self.steps if isinstance(step, Send)]
        return [(step.message, step.to) for step in sends if isinstance(step.message, Message)]

    @property
    def nodes_run(self) -> list[str]:
        """The nodes that started, in order."""
        return [message.data["node"] for message in self.messages if message.type == "executing"]


def shown(step: Send | Work) -> str:
    """A step as a line: a message's type and its facts, or a stretch of work."""
    if isinstance(step, Work):
        return f"work {step.node} {step.value}/{step.of}"
    assert isinstance(step.message, Message)
    data = step.message.data
    if step.message.type == "progress_state":
        nodes = (f"{name}={each['value']}/{each['max']}" for name, each in data["nodes"].items())
        return " ".join(["progress_state", *nodes])
    if step.message.type == "progress":
        return f"progress {data['node']} {data['value']}/{data['max']}"
    facts = data.get("nodes", [data[name] for name in ("node", "node_id") if name in data])
    return " ".join([step.message.type, *facts])


class Server:
    """What outlasts a run, and a clock that counts the looks at it."""

    def __init__(self, folder: Path) -> None:
        self.theatre = Theatre(folder)
        self.clock = itertools.count(1000)

    def run(self, prompt: Json, outputs: list[str] | None = None, strikes: Strikes | None = None) -> Ended:
        """Runs a prompt to its end. ``strikes`` are thrown in when work begins at the nodes of these names."""
        theatre = self.theatre
        if outputs is None:
            outputs = [each for each in prompt if theatre.catalog[prompt[each]["class_type"]].is_output]
        item = QueueItem(0, "p", prompt, {}, outputs)
        run = Run(item, theatre.catalog, theatre.cache, theatre.stage, lambda: next(self.clock))
        waiting = dict(strikes or {})
        steps: list[Send | Work] = []
        driven = run.steps()
        step: Step = next(driven)
        try:
            while True:
                if isinstance(step, Send | Work):
                    steps.append(step)
                strike = waiting.pop(step.node, None) if isinstance(step, Work) else None
                step = next(driven) if strike is None else driven.throw(strike)
        except StopIteration:
            return Ended(steps, run.outcome)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture(scope="module")
def unused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for prompts that write no files."""
    return tmp_path_factory.mktemp("unused")


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
    script = server.run(sample(steps=2)).script
    begin = script.index("executing 4")
    before = script[begin - 1].removesuffix(" 4=0.0/1.0")
    assert script[begin : begin + 9] == [
        "executing 4",
        "work 4 0/2",
        f"{before} 4=1/2",
        "progress 4 1/2",
        "work 4 1/2",
        f"{before} 4=2/2",
        "progress 4 2/2",
        f"{before} 4=2/2",
        f"{before} 4=2/2 5=0.0/1.0",
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


def test_a_changed_node_and_what_follows_it_runs_again(server: Server) -> None:
    prompt = {"1": IMAGE, "2": invert("1"), "3": show("2")}
    server.run(prompt)
    changed = {**prompt, "2": invert("1", nonce=1)}
    ended = server.run(changed)
    assert ended.script[1] == "execution_cached 1"
    assert ended.nodes_run == ["2", "3"]


def test_another_prompt_empties_the_cache(server: Server) -> None:
    server.run(TWO_NODES)
    server.run({"1": node("PreviewAny", source=1)})
    assert server.run(TWO_NODES).nodes_run == ["1", "2"]


def test_an_interrupted_prompt_ends_where_it_is(server: Server) -> None:
    ended = server.run(TWO_NODES, strikes={"2": Interrupted()})
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
    ended = server.run(TWO_NODES, strikes={"2": NodeFailure("ValueError", "bad image\n", ["line 1\n"])})
    assert ended.script[-3:] == ["executing 2", "work 2 0/1", "execution_error 2"]
    inputs = ended.messages[-1].data.pop("current_inputs")
    assert inputs.pop("images")[0].startswith("tensor(")
    assert inputs == {"filename_prefix": ["a"], "prompt": [str(TWO_NODES)], "extra_pnginfo": [None]}
    assert ended.messages[-1].data == {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "SaveImage",
        "executed": ["1"],
        "exception_message": "bad image\n",
        "exception_type": "ValueError",
        "traceback": ["line 1\n"],
        "current_outputs": ["1", "2"],
        "timestamp": 1002,
    }
    assert not ended.outcome.completed


def test_without_an_owner_everybody_gets_progress_and_interruption_only(server: Server) -> None:
    prompt = sample(steps=1)
    ended = [
        server.run(prompt, strikes={"5": Interrupted()}),
        server.run(prompt, strikes={"5": NodeFailure("E", "e")}),
        server.run(prompt),
    ]
    receivers = {(message.type, to) for each in ended for message, to in each.sent}
    assert receivers == {
        ("execution_start", To.OWNER),
        ("execution_cached", To.OWNER),
        ("progress_state", To.OWNER_OR_ALL),
        ("executing", To.OWNER),
        ("progress", To.OWNER_OR_ALL),
        ("executed", To.OWNER),
        ("execution_success", To.OWNER),
        ("execution_error", To.OWNER),
        ("execution_interrupted", To.OWNER_OR_ALL),
    }


@pytest.mark.parametrize(
    ("strikes", "status", "last"),
    [
        ({}, "success", "execution_success"),
        ({"2": Interrupted()}, "error", "execution_interrupted"),
        ({"2": NodeFailure("E", "e")}, "error", "execution_error"),
    ],
    ids=["success", "interrupted", "failed"],
)
def test_the_history_keeps_what_was_sent(server: Server, strikes: Strikes, status: str, last: str) -> None:
    ended = server.run(TWO_NODES, strikes=strikes)
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
            {"a": IMAGE, "b": empty_image(color=1), "c": batch("a", "b"), "out": show("c")},
            ["b", "a", "c", "out"],
        ),
        (
            {"a": IMAGE, "x": invert("a"), "out1": show("x"), "b": empty_image(color=1), "out2": show("b")},
            ["b", "out2", "a", "x", "out1"],
        ),
        (
            {
                "1": IMAGE,
                "2": invert("1"),
                "3": invert("2"),
                "out1": show("3"),
                "b": empty_image(color=1),
                "y": invert("b"),
                "out2": show("y"),
            },
            ["b", "y", "out2", "1", "2", "3", "out1"],
        ),
    ],
    ids=["last input first", "what feeds an output first", "what is two links away from an output first"],
)
def test_order_of_ready_nodes(server: Server, prompt: Json, order: list[str]) -> None:
    assert server.run(prompt).nodes_run == order


def test_only_what_the_given_outputs_need_runs(server: Server) -> None:
    prompt = {**TWO_NODES, "3": node("PreviewAny", source=1), "4": invert("1")}
    assert server.run(prompt, ["3"]).nodes_run == ["3"]


@pytest.mark.parametrize("inputs", [None, [], "text", 7])
def test_a_node_that_nobody_validated_runs_and_fails_without_inputs(server: Server, inputs: Any) -> None:
    prompt = {
        "1": node("PreviewAny", source=1, unknown=["2", 0]),
        "2": {"class_type": "ImageInvert", "inputs": inputs},
        "3": {"class_type": "KSampler"},
    }
    ended = server.run(prompt)
    assert ended.script[-1] == "execution_error 2"
    assert ended.nodes_run == ["2"]
    assert ended.messages[-1].data["current_inputs"] == {}


def test_a_cycle_beside_the_outputs_is_left_alone(server: Server) -> None:
    prompt = {**TWO_NODES, "3": invert("4"), "4": invert("3")}
    assert server.run(prompt).nodes_run == ["1", "2"]


def test_equal_nodes_replay_for_each_other(server: Server) -> None:
    prompt = {"1": node("PreviewAny", source=1), "2": node("PreviewAny", source=1)}
    assert server.run(prompt).script == [
        "execution_start",
        "execution_cached",
        "progress_state 1=0.0/1.0",
        "executing 1",
        "work 1 0/1",
        "executed 1",
        "progress_state 1=1.0/1.0",
        "executed 2",
        "progress_state 1=1.0/1.0 2=1/1",
        "execution_success",
    ]


@st.composite
def acyclic_prompts(draw: st.DrawFn) -> Json:
    """Nodes that are linked to earlier ones at most, no two of them equal. At least one is an output node."""
    prompt: Json = {"0": empty_image(1, 1)}
    sources = ["0"]
    for number in range(1, draw(st.integers(1, 15))):
        first, second = draw(st.sampled_from(sources)), draw(st.sampled_from(sources))
        made = draw(
            st.sampled_from(
                [show(first, nonce=number), invert(first, nonce=number), batch(first, second, nonce=number)]
            )
        )
        prompt[str(number)] = made
        if made["class_type"] != "PreviewAny":
            sources.append(str(number))
    return {**prompt, "out": show(draw(st.sampled_from(sources)))}


def needed_by(prompt: Json, name: str) -> set[str]:
    """The node and all that is upstream of it."""
    links = [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    return {name}.union(*(needed_by(prompt, upstream) for upstream in links))


@given(acyclic_prompts())
def test_each_needed_node_runs_exactly_once_after_its_inputs(unused: Path, prompt: Json) -> None:
    server = Server(unused)
    outputs = [name for name in prompt if prompt[name]["class_type"] == "PreviewAny"]
    needed = set().union(*(needed_by(prompt, output) for output in outputs))
    ended = server.run(prompt)
    assert sorted(ended.nodes_run) == sorted(needed)
    for position, name in enumerate(ended.nodes_run):
        assert needed_by(prompt, name) <= set(ended.nodes_run[: position + 1])
    assert ended.script[-1] == "execution_success"
    assert set(ended.outcome.outputs) == set(outputs)

    again = server.run(prompt)
    assert again.nodes_run == []
    assert again.outcome.outputs == ended.outcome.outputs


@given(acyclic_prompts(), st.data())
def test_an_interrupted_prompt_goes_on_where_it_was_when_it_comes_again(
    unused: Path, prompt: Json, data: st.DataObject
) -> None:
    server = Server(unused)
    order = Server(unused).run(prompt).nodes_run
    struck = data.draw(st.sampled_from(order))
    before = order[: order.index(struck)]
    ended = server.run(prompt, strikes={struck: Interrupted()})
    assert ended.nodes_run == [*before, struck]
    assert ended.messages[-1].data["executed"] == before
    assert set(server.run(prompt).nodes_run) == set(order) - set(before)
