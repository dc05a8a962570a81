"""Whether a posted prompt can run: what ``POST /prompt`` checks before it queues. Pure."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.graph import has_cycle, inputs_of, is_link

if TYPE_CHECKING:
    from collections.abc import Collection

    from mockserver.comfyui.catalog import Catalog, NodeClass

Json = dict[str, Any]


def error(type_: str, message: str, details: str = "", **extra_info: Any) -> Json:
    """An error as the answer carries it."""
    return {"type": type_, "message": message, "details": details, "extra_info": extra_info}


NO_PROMPT = error("no_prompt", "No prompt provided", "No prompt provided")


@dataclass
class Validation:
    """Outcome: the error that refuses the prompt, or the outputs that can run. Both may come with node errors."""

    refusal: Json | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: Json = field(default_factory=dict)


def validate(prompt: Json, catalog: Catalog, targets: Collection[str] | None = None) -> Validation:
    """Checks a prompt. ``targets`` limits it to these output nodes."""
    outputs: list[str] = []
    for node, definition in prompt.items():
        refusal = _class_error(node, definition, catalog)
        if refusal is not None:
            return Validation(refusal)
        if catalog[definition["class_type"]].is_output and (targets is None or node in targets):
            outputs.append(node)
    if not outputs:
        return Validation(error("prompt_no_outputs", "Prompt has no outputs"))

    nodes = _NodeValidation(prompt, catalog)
    good = [output for output in outputs if not has_cycle(prompt, output) and nodes.check(output)]
    node_errors = nodes.report(outputs)
    if good:
        return Validation(None, good, node_errors)
    details = [
        f"{found['message']}: {found['details']}" for output in outputs for found in nodes.errors.get(output, [])
    ]
    message = "Prompt outputs failed validation"
    return Validation(error("prompt_outputs_failed_validation", message, "\n".join(details)), [], node_errors)


def _class_error(node: str, definition: object, catalog: Catalog) -> Json | None:
    class_type = definition.get("class_type") if isinstance(definition, dict) else None
    if class_type is None:
        message = "Cannot execute because a node is missing the class_type property."
    elif catalog.find(class_type) is None:
        message = f"Cannot execute because node {class_type} does not exist."
    else:
        return None
    return error("invalid_prompt", message, f"Node ID '#{node}'")


class _NodeValidation:
    """Checks nodes from the outputs upstream, each once, and after the nodes that it is linked to."""

    def __init__(self, prompt: Json, catalog: Catalog) -> None:
        self.errors: dict[str, list[Json]] = {}
        self._prompt = prompt
        self._catalog = catalog
        self._verdicts: dict[str, bool] = {}

    def check(self, output: str) -> bool:
        """Whether the node and all that it needs can run. No cycle may lie upstream of it."""
        stack = [output]
        while stack:
            unchecked = [node for node in self._linked_nodes(stack[-1]) if node not in self._verdicts]
            if unchecked:
                stack.extend(unchecked)
            else:
                self._check_node(stack.pop())
        return self._verdicts[output]

    def _linked_nodes(self, node: str) -> list[str]:
        """The nodes that the known inputs are linked to."""
        inputs = inputs_of(self._prompt, node)
        values = [inputs.get(name) for name in self._class_of(node).inputs]
        return [value[0] for value in values if isinstance(value, list) and is_link(value) and value[0] in self._prompt]

    def _class_of(self, node: str) -> NodeClass:
        return self._catalog[self._prompt[node]["class_type"]]

    def _check_node(self, node: str) -> None:
        try:
            found, upstream_is_good = self._check_inputs(node, self._class_of(node))
        except (IndexError, KeyError, TypeError) as failure:
            found, upstream_is_good = [_exception_error(failure)], True
        if found:
            self.errors[node] = found
        self._verdicts[node] = upstream_is_good and not found

    def _check_inputs(self, node: str, node_class: NodeClass) -> tuple[list[Json], bool]:
        inputs = self._prompt[node]["inputs"]
        found: list[Json] = []
        upstream_is_good = True
        for name in node_class.inputs:
            if name not in inputs:
                if name in node_class.required_inputs:
                    found.append(error("required_input_missing", "Required input is missing", name, input_name=name))
                continue
            value = inputs[name]
            if not isinstance(value, list):
                continue
            if not is_link(value):
                found.append(
                    error(
                        "bad_linked_input",
                        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                        name,
                        input_name=name,
                        input_config=node_class.input_config(name),
                        received_value=value,
                    )
                )
                continue
            upstream_is_good = self._verdicts[value[0]] and upstream_is_good
        return found, upstream_is_good

    def report(self, outputs: list[str]) -> Json:
        """The ``node_errors`` of the answer."""
        failed = [output for output in outputs if not self._verdicts.get(output, True)]
        return {
            node: {"errors": found, "dependent_outputs": failed, "class_type": self._prompt[node]["class_type"]}
            for node, found in self.errors.items()
        }


def _exception_error(failure: Exception) -> Json:
    return error(
        "exception_during_validation",
        "Exception when validating node",
        str(failure),
        exception_type=type(failure).__name__,
        traceback=traceback.format_tb(failure.__traceback__),
    )
