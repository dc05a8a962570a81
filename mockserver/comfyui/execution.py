"""One prompt's run as a sequence of steps. Pure: it waits for nothing and sends nothing itself.

Whoever drives it sends what it yields as ``Send``, and does the waiting that it yields as ``Work``. An interrupt or a
failure strikes by throwing ``Interrupted`` or ``NodeFailure`` into it at a ``Work`` step, which is where the real
server looks for them too: at the start of a node and at each update of its progress.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.comfyui import messages
from mockserver.comfyui.behaviour import Act, Stage, act
from mockserver.comfyui.graph import inputs_of, is_link, linked_nodes, upstream_first
from mockserver.comfyui.messages import AnyMessage, Message, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockserver.comfyui.catalog import Catalog
    from mockserver.comfyui.queue import QueueItem

Json = dict[str, Any]


class Interrupted(Exception):
    """Thrown into a run: the prompt was interrupted."""


class NodeFailure(Exception):
    """Thrown into a run: the node fails with this error."""

    def __init__(self, exception_type: str, exception_message: str, traceback: list[str] | None = None) -> None:
        super().__init__(exception_message)
        self.exception_type = exception_type
        self.exception_message = exception_message
        self.traceback = traceback or []


@dataclass(frozen=True)
class Send:
    """A message to the owner of the prompt; ``to_all`` reaches everybody when the prompt has no owner."""

    message: AnyMessage
    to_all: bool = False


@dataclass(frozen=True)
class Work:
    """A stretch of a node's work, one of ``of`` equal shares of its duration."""

    node: str
    class_type: str
    value: int
    of: int


Step = Send | Work


@dataclass
class Outcome:
    """What a run leaves behind: the history entry's parts."""

    completed: bool = True
    messages: list[list[Any]] = field(default_factory=list)
    outputs: Json = field(default_factory=dict)
    meta: Json = field(default_factory=dict)

    def history_entry(self, item: QueueItem) -> Json:
        """The entry of ``/history``."""
        return {
            "prompt": list(item),
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if self.completed else "error",
                "completed": self.completed,
                "messages": self.messages,
            },
            "meta": self.meta,
        }


class Cache:
    """Results of the nodes of the last prompt, kept until a prompt without those nodes.

    Keys hold a node's class, its inputs and what is upstream, not its id.
    """

    def __init__(self) -> None:
        self._results: dict[str, Json | None] = {}

    def begin(self, keys: set[str]) -> None:
        """Forgets what the prompt with these keys does not use."""
        self._results = {key: result for key, result in self._results.items() if key in keys}

    def __contains__(self, key: object) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Json | None:
        return self._results[key]

    def __setitem__(self, key: str, output: Json | None) -> None:
        self._results[key] = output

    def clear(self) -> None:
        """Forgets everything."""
        self._results = {}


class Run:
    """The run of one prompt. ``steps`` drives it; ``outcome`` and ``current_node`` can be read at any time."""

    def __init__(
        self, item: QueueItem, catalog: Catalog, cache: Cache, stage: Stage, now_ms: Callable[[], int]
    ) -> None:
        self.outcome = Outcome()
        self.current_node: str | None = None
        self._item = item
        self._prompt = item.prompt
        self._catalog = catalog
        self._cache = cache
        self._stage = stage
        self._now_ms = now_ms
        self._progress: dict[str, Progress] = {}
        self._executed: list[str] = []

    def steps(self) -> Generator[Step, None, None]:
        """The steps of the run, in the order of the wire."""
        item, prompt = self._item, self._prompt
        keys = _cache_keys(prompt)
        self._cache.begin(set(keys.values()))
        cached = [node for node in prompt if keys.get(node) in self._cache]
        yield self._noted(messages.execution_start(item.prompt_id, self._now_ms()))
        yield self._noted(messages.execution_cached(item.prompt_id, cached, self._now_ms()))

        schedule = _Schedule(prompt, self._catalog, item.outputs, cached)
        while (node := schedule.next()) is not None:
            self.current_node = node
            if keys[node] in self._cache:
                yield from self._replay(node, self._cache[keys[node]])
            else:
                try:
                    output = yield from self._perform(node)
                except Interrupted:
                    self.outcome.completed = False
                    yield self._noted(self._interruption(node), to_all=True)
                    return
                except NodeFailure as failure:
                    self.outcome.completed = False
                    yield self._noted(self._failure(node, failure))
                    return
                self._cache[keys[node]] = output
            self._executed.append(node)
            schedule.done(node)
        self.current_node = None
        yield self._noted(messages.execution_success(item.prompt_id, self._now_ms()))

    def _noted(self, message: Message, *, to_all: bool = False) -> Send:
        """A message that the history keeps as well."""
        self.outcome.messages.append([message.type, message.data])
        return Send(message, to_all)

    def _perform(self, node: str) -> Generator[Step, None, Json | None]:
        class_type = self._prompt[node]["class_type"]
        yield self._progressed(Progress(node, 0.0, 1.0, "running"))
        yield Send(messages.executing(self._item.prompt_id, node))
        performance: Act = act(class_type, inputs_of(self._prompt, node), self._stage)
        yield Work(node, class_type, 0, max(1, performance.steps))
        for step in range(1, performance.steps + 1):
            if step > 1:
                yield Work(node, class_type, step - 1, performance.steps)
            yield self._progressed(Progress(node, step, performance.steps, "running"))
            yield Send(messages.progress(self._item.prompt_id, node, step, performance.steps), to_all=True)
        if performance.output is not None:
            yield self._result(node, performance.output)
        maximum = performance.steps or 1.0
        yield self._progressed(Progress(node, maximum, maximum, "finished"))
        return performance.output

    def _replay(self, node: str, output: Json | None) -> Generator[Step, None, None]:
        if output is not None:
            yield self._result(node, output)
        yield self._progressed(Progress(node, 1, 1, "finished"))

    def _progressed(self, progress: Progress) -> Send:
        self._progress[progress.node] = progress
        return Send(messages.progress_state(self._item.prompt_id, list(self._progress.values())), to_all=True)

    def _result(self, node: str, output: Json) -> Send:
        self.outcome.outputs[node] = output
        self.outcome.meta[node] = {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
        return Send(messages.executed(self._item.prompt_id, node, output))

    def _interruption(self, node: str) -> Message:
        class_type = self._prompt[node]["class_type"]
        return messages.execution_interrupted(
            self._item.prompt_id, node, class_type, list(self._executed), self._now_ms()
        )

    def _failure(self, node: str, failure: NodeFailure) -> Message:
        inputs = inputs_of(self._prompt, node)
        class_type = self._prompt[node]["class_type"]
        error = {
            "exception_message": failure.exception_message,
            "exception_type": failure.exception_type,
            "traceback": failure.traceback,
            "current_inputs": {name: [value] for name, value in inputs.items() if not is_link(value)},
            "current_outputs": list(self._executed),
        }
        return messages.execution_error(
            self._item.prompt_id, node, class_type, list(self._executed), error, self._now_ms()
        )


class _Schedule:
    """The order in which nodes run.

    Waiting nodes stand in the order in which a walk upstream from the outputs finds them, last input first. Of those
    whose inputs are ready the first output node is next, else the first that feeds an output node, else the first two
    links away from one, else the first.
    """

    def __init__(self, prompt: Json, catalog: Catalog, outputs: list[str], cached: list[str]) -> None:
        self._prompt = prompt
        self._done: set[str] = set()
        self._waiting: dict[str, set[str]] = {}
        known = set(cached)
        for output in outputs:
            stack = [output]
            while stack:
                node = stack.pop()
                if node in self._waiting:
                    continue
                needed = {upstream for upstream in linked_nodes(prompt, node) if upstream not in known}
                self._waiting[node] = needed
                stack.extend(upstream for upstream in linked_nodes(prompt, node) if upstream in needed)
        is_output = {node for node in self._waiting if catalog[prompt[node]["class_type"]].is_output}
        feeds_output = {upstream for node in is_output for upstream in self._waiting[node]}
        two_away = {upstream for node in feeds_output for upstream in self._waiting[node]}
        self._preference = (is_output, feeds_output, two_away)

    def next(self) -> str | None:
        """The node to run now; None when all have run."""
        ready = [node for node, needed in self._waiting.items() if not needed - self._done]
        for preferred in self._preference:
            for node in ready:
                if node in preferred:
                    return node
        return ready[0] if ready else None

    def done(self, node: str) -> None:
        """Notes that a node has its result."""
        self._done.add(node)
        del self._waiting[node]


def _cache_keys(prompt: Json) -> dict[str, str]:
    """A key for each node: digest of its class, its inputs and the keys of what is upstream."""
    keys: dict[str, str] = {}
    for node in upstream_first(prompt):
        inputs = {
            name: ["upstream", keys[value[0]], value[1]] if is_link(value) and value[0] in keys else ["value", value]
            for name, value in inputs_of(prompt, node).items()
        }
        identity = json.dumps([prompt[node]["class_type"], inputs], sort_keys=True)
        keys[node] = hashlib.sha256(identity.encode()).hexdigest()
    return keys
