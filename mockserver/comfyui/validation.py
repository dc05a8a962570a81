"""Whether a posted prompt can run: what ``POST /prompt`` checks before it queues. Pure.

As in the real server it converts values in the prompt it is given: what is queued holds the converted ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.node_checks import SLIPS, Link, NodeCheck, Verdict, error, inner_exception, outer_exception
from mockserver.comfyui.profile import RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator

    from mockserver.comfyui.catalog import Catalog, NodeClass
    from mockserver.comfyui.profile import Profile

Json = dict[str, Any]

NO_PROMPT = error("no_prompt", "No prompt provided", "No prompt provided")
BAD_PROMPT_ID = error(
    "invalid_prompt_id",
    "prompt_id must be a valid UUID",
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one",
)


@dataclass
class Validation:
    """Outcome: the error that refuses the prompt, or the outputs that can run. Both may come with node errors."""

    refusal: Json | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: Json = field(default_factory=dict)


def validate(
    prompt: Json,
    catalog: Catalog,
    targets: Collection[str] | None = None,
    *,
    file_exists: Callable[[Any], bool] = lambda _: True,
    profile: Profile = RECORDED,
) -> Validation:
    """Checks a prompt. ``targets`` limits it to these output nodes.

    ``file_exists`` tells whether there is a file of this name, which may end in ``[input]``, ``[output]`` or
    ``[temp]``. A prompt that is no prompt at all raises TypeError: the real server answers 500.
    """
    outputs: list[str] = []
    for node in prompt:
        refusal = _class_error(node, prompt[node], catalog, profile)
        if refusal is not None:
            return Validation(refusal)
        if catalog[prompt[node]["class_type"]].is_output and (targets is None or node in targets):
            outputs.append(node)
    if not outputs:
        return Validation(error("prompt_no_outputs", "Prompt has no outputs"))

    checks = _Checks(prompt, catalog, file_exists, profile)
    if profile.names_cycles:
        cycle = checks.find_cycle(outputs)
        if cycle is not None:
            return Validation(_cycle_error(prompt, cycle))
    good = [output for output in outputs if checks.check(output)]
    if good:
        return Validation(None, good, checks.node_errors)
    details = [f"{each['message']}: {each['details']}" for output in outputs for each in checks.errors_of(output)]
    message = "Prompt outputs failed validation"
    refusal = error("prompt_outputs_failed_validation", message, "\n".join(details))
    return Validation(refusal, [], checks.node_errors)


def _class_error(node: str, definition: Any, catalog: Catalog, profile: Profile) -> Json | None:
    is_missing = "class_type" not in definition
    class_type: Any = None if is_missing else definition["class_type"]
    if not is_missing and catalog.find(class_type) is not None:
        return None
    details = f"Node ID '#{node}'"
    if not profile.names_missing_node_types:
        if is_missing:
            message = "Cannot execute because a node is missing the class_type property."
        else:
            message = f"Cannot execute because node {class_type} does not exist."
        return error("invalid_prompt", message, details)
    meta = definition.get("_meta") if isinstance(definition, dict) else None
    title = meta.get("title", class_type) if isinstance(meta, dict) else class_type
    if is_missing:
        message = f"Node 'ID #{node}' has no class_type. The workflow may be corrupted or a custom node is missing."
    else:
        message = f"Node '{title}' not found. The custom node may not be installed."
    return error("missing_node_type", message, details, node_id=node, class_type=class_type, node_title=title)


def _cycle_error(prompt: Json, cycle: list[str]) -> Json:
    steps = [f"{node} ({prompt[node]['class_type']})" for node in [*cycle, cycle[0]]]
    return error(
        "dependency_cycle", "Dependency cycle detected", " -> ".join(steps), node_id=cycle[0], cycle_nodes=cycle
    )


class _Checks:
    """Checks nodes from the outputs upstream, each once, without recursion: chains may be long."""

    def __init__(self, prompt: Json, catalog: Catalog, file_exists: Callable[[Any], bool], profile: Profile) -> None:
        self.node_errors: Json = {}
        """As in the answer."""
        self._prompt = prompt
        self._catalog = catalog
        self._file_exists = file_exists
        self._profile = profile
        self._verdicts: dict[str, Verdict] = {}

    def check(self, output: str) -> bool:
        """Whether the output and all that it needs can run."""
        try:
            self._settle(output)
        except SLIPS as slip:
            self._verdicts[output] = Verdict(False, [outer_exception(slip)])
        good = self._verdicts[output].good
        if not good:
            self._note_errors(output)
        return good

    def errors_of(self, node: str) -> list[Json]:
        """The errors of this very node."""
        return self._verdicts[node].errors

    def find_cycle(self, outputs: list[str]) -> list[str] | None:
        """The nodes of a cycle upstream of the outputs, if there is one, each before the one that it needs."""
        finished: set[str] = set()
        for output in outputs:
            path = [output]
            unseen = [self._upstream(output)]
            while path:
                node = next(unseen[-1], None)
                if node is None:
                    finished.add(path.pop())
                    unseen.pop()
                elif node in path:
                    return path[path.index(node) :]
                elif node not in finished:
                    path.append(node)
                    unseen.append(self._upstream(node))
        return None

    def _upstream(self, node: str) -> Generator[str, None, None]:
        inputs = self._prompt[node].get("inputs")
        for name in self._class_of(node).inputs if isinstance(inputs, dict) else ():
            value = inputs.get(name)
            if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in self._prompt:
                yield value[0]

    def _note_errors(self, output: str) -> None:
        """Adds the output to all faulty nodes that are known by now, related to it or not, as the real server does."""
        for node, verdict in self._verdicts.items():
            if not verdict.good and verdict.errors:
                entry = {
                    "errors": verdict.errors,
                    "dependent_outputs": [],
                    "class_type": self._prompt[node]["class_type"],
                }
                self.node_errors.setdefault(node, entry)["dependent_outputs"].append(output)

    def _settle(self, output: str) -> None:
        if output in self._verdicts:
            return
        stack: list[tuple[str, Generator[Link, bool, Verdict], Link | None]] = [(output, self._steps(output), None)]
        being_checked = {output}
        answer: bool | None = None
        while stack:
            node, steps, reached_by = stack[-1]
            try:
                link = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                verdict: Verdict = end.value
            except SLIPS as slip:
                if reached_by is None:
                    raise
                verdict = Verdict(False, [inner_exception(slip, reached_by)])
            else:
                if link.node in self._verdicts:
                    answer = self._verdicts[link.node].good
                elif link.node in being_checked:
                    answer = False  # a cycle: the real server runs out of stack there, and forgets why
                else:
                    stack.append((link.node, self._steps(link.node), link))
                    being_checked.add(link.node)
                    answer = None
                continue
            self._verdicts[node] = verdict
            being_checked.discard(node)
            stack.pop()
            answer = verdict.good

    def _steps(self, node: str) -> Generator[Link, bool, Verdict]:
        return NodeCheck(self._prompt, node, self._class_of, self._file_exists, self._profile).steps()

    def _class_of(self, node: str) -> NodeClass:
        return self._catalog[self._prompt[node]["class_type"]]
