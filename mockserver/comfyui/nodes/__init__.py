"""Actors of node classes, one module per kind. Imported when the first prompt runs, as it brings Pillow with it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.behaviour import Call, Report, Result, actor_of, fingerprint_of, steps_of_actor
from mockserver.comfyui.nodes import files, images, inputs, masks, outputs, sampling, stand_ins, texts
from mockserver.comfyui.nodes.names import function_of

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "files",
    "fingerprint_of",
    "images",
    "inputs",
    "masks",
    "outputs",
    "perform",
    "sampling",
    "stand_ins",
    "steps_of",
    "texts",
]


def steps_of(call: Call) -> int:
    """How many updates a run will report."""
    return steps_of_actor(call) if call.mock is None else stand_ins.steps_of_mock_block(call)


def perform(call: Call) -> Generator[Report, None, Result]:
    """Acts out one run of a node."""
    outcome: Any
    if call.mock is not None:
        outcome = stand_ins.act_mock_block(call)
    else:
        _check_arguments(call)
        outcome = (actor_of(call.node_class.name) or stand_ins.act_by_interface)(call)
    if inspect.isgenerator(outcome):
        outcome = yield from outcome
    assert isinstance(outcome, Result)
    return outcome


def _check_arguments(call: Call) -> None:
    """Fails as Python does where inputs are no arguments of the node's function; validation lets few such by."""
    known = {*call.node_class.inputs, *call.node_class.hidden_inputs}
    for name in call.inputs:
        if name not in known:
            raise TypeError(f"{function_of(call.node_class)}() got an unexpected keyword argument {name!r}")
    missing = [repr(name) for name in call.node_class.required_inputs if name not in call.inputs]
    if missing:
        count = f"{len(missing)} required positional argument{'s' if len(missing) > 1 else ''}"
        *others, last = missing
        listed = f"{', '.join(others)}{',' if len(others) > 1 else ''} and {last}" if others else last
        raise TypeError(f"{function_of(call.node_class)}() missing {count}: {listed}")
