"""A prompt as a graph: nodes by id, joined by links."""

from __future__ import annotations

from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]


def is_link(value: object) -> bool:
    """Whether an input value is a link: ``[node id, output slot]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
        and not isinstance(value[1], bool)
    )


def inputs_of(prompt: Json, node: str) -> Json:
    """A node's inputs. None where they are no object: only nodes that an output needs have been validated."""
    inputs = prompt[node].get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def linked_nodes(prompt: Json, node: str) -> list[str]:
    """Ids of the nodes that a node's inputs are linked to, in the order of its inputs.

    Links to nodes that the prompt does not have are left out: validation speaks of them where it matters.
    """
    return [value[0] for value in inputs_of(prompt, node).values() if is_link(value) and value[0] in prompt]


def upstream_first(prompt: Json) -> Iterator[str]:
    """All nodes, each after the nodes that it is linked to. Nodes on or behind a cycle are left out."""
    order = TopologicalSorter({node: linked_nodes(prompt, node) for node in prompt})
    with suppress(CycleError):
        order.prepare()
    while ready := order.get_ready():
        yield from ready
        order.done(*ready)


def has_cycle(prompt: Json, output: str) -> bool:
    """Whether a cycle lies upstream of a node."""
    upstream: dict[str, list[str]] = {}
    stack = [output]
    while stack:
        node = stack.pop()
        if node not in upstream:
            upstream[node] = linked_nodes(prompt, node)
            stack.extend(upstream[node])
    try:
        TopologicalSorter(upstream).prepare()
    except CycleError:
        return True
    return False
