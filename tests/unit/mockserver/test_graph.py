"""Prompts as graphs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockserver.comfyui.graph import has_cycle, inputs_of, is_link, linked_nodes, upstream_first


def graph(**links: str) -> dict[str, Any]:
    """A prompt from the letters of the nodes that each node is linked to."""
    return {
        node: {"inputs": {f"input{position}": [upstream, 0] for position, upstream in enumerate(upstreams)}}
        for node, upstreams in links.items()
    }


@pytest.mark.parametrize("value", [["1", 0], ["1", 1.0], ["", -1]])
def test_a_node_id_and_a_slot_are_a_link(value: object) -> None:
    assert is_link(value)


@pytest.mark.parametrize("value", [["1"], ["1", 0, 0], [1, 0], ["1", "0"], ["1", True], ("1", 0), "1", None, {}, []])
def test_anything_else_is_no_link(value: object) -> None:
    assert not is_link(value)


@pytest.mark.parametrize("inputs", [None, [], ["a"], "text", 5])
def test_inputs_that_are_no_object_are_none(inputs: object) -> None:
    prompt = {"a": {"inputs": inputs}, "b": {}}
    assert inputs_of(prompt, "a") == inputs_of(prompt, "b") == {}
    assert linked_nodes(prompt, "a") == linked_nodes(prompt, "b") == []


def test_linked_nodes_come_in_the_order_of_the_inputs_and_exist() -> None:
    prompt = graph(a="", b="", c="bxab")
    prompt["c"]["inputs"]["plain"] = "a"
    assert linked_nodes(prompt, "c") == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("prompt", "output", "expected"),
    [
        (graph(a="a"), "a", True),
        (graph(a="b", b="a"), "a", True),
        (graph(a="b", b="c", c="d", d="b"), "a", True),
        (graph(a="b", b="", c="c"), "a", False),
        (graph(a="bc", b="d", c="d", d=""), "a", False),
        (graph(a="x"), "a", False),
    ],
    ids=["itself", "each other", "further up", "elsewhere", "diamond", "missing node"],
)
def test_cycles_count_where_they_lie_upstream(prompt: dict[str, Any], output: str, expected: bool) -> None:
    assert has_cycle(prompt, output) is expected


def test_nodes_on_or_behind_a_cycle_have_no_place_in_the_order() -> None:
    assert sorted(upstream_first(graph(a="", b="a", c="d", d="c", e="d", f="b"))) == ["a", "b", "f"]


@given(st.lists(st.sets(st.integers(0, 14)), max_size=15))
def test_every_node_comes_after_what_it_is_linked_to(links: list[set[int]]) -> None:
    prompt = {
        str(node): {"inputs": {str(upstream): [str(upstream), 0] for upstream in upstreams if upstream < node}}
        for node, upstreams in enumerate(links)
    }
    order = list(upstream_first(prompt))
    assert sorted(order) == sorted(prompt)
    assert all(order.index(up) < order.index(node) for node in prompt for up in linked_nodes(prompt, node))
    assert not any(has_cycle(prompt, node) for node in prompt)
