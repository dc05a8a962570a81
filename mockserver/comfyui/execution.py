"""One prompt's run as a sequence of steps. Pure: it waits for nothing and sends nothing itself.

Whoever drives it sends what it yields as ``Send``, does the waiting that it yields as ``Work``, and may carry out what
it yields as ``Compute`` wherever it likes, in another thread for example; what it does not carry out the run does
itself. An interrupt or a failure strikes by throwing ``Interrupted`` or ``NodeFailure`` into it at a ``Work`` step,
which is where the real server looks for them too: at the start of a node and at each update of its progress.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from mockserver.comfyui import messages
from mockserver.comfyui.behaviour import Call, Preview, Report, Result, Stage, Text, Update
from mockserver.comfyui.graph import inputs_of, is_link, linked_nodes, upstream_first
from mockserver.comfyui.messages import AnyMessage, Message, Progress
from mockserver.comfyui.profile import RECORDED
from mockserver.comfyui.tempo import Tempo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockserver.comfyui.catalog import Catalog, NodeClass
    from mockserver.comfyui.profile import Profile
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

    @classmethod
    def of(cls, failure: Exception) -> NodeFailure:
        """The failure of a node that raised this, in the words of the real server."""
        kind = type(failure)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return cls(name, f"{failure}\n", traceback.format_tb(failure.__traceback__))


class To(Enum):
    """Who gets a message."""

    OWNER = "owner"
    """The owner of the prompt; nobody if it has none."""

    OWNER_OR_ALL = "owner or all"
    """The owner of the prompt; everybody if it has none."""

    ALL = "all"
    """Everybody."""


@dataclass(frozen=True)
class Send:
    """A message to clients."""

    message: AnyMessage
    to: To = To.OWNER


@dataclass(frozen=True)
class Work:
    """A stretch of a node's work, one of ``of`` equal shares of its duration."""

    node: str
    class_type: str
    value: int
    of: int
    seconds: float = 0.0
    """How long this stretch takes."""
    then_updates: bool = False
    """Whether the node's progress is updated afterwards, where an interrupt takes effect as well."""


class Compute:
    """Something to be computed, here or in another thread. It is done once."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self._task: Callable[[], Any] | None = task
        self._value: Any = None
        self._failure: Exception | None = None

    def run(self) -> None:
        """Computes it, and keeps what comes of it."""
        if self._task is None:
            return
        task, self._task = self._task, None
        try:
            self._value = task()
        except Exception as failure:  # noqa: BLE001 - whatever a node raises is its failure
            self._failure = failure

    def result(self) -> Any:
        """What came of it. Raises what it raised."""
        self.run()
        if self._failure is not None:
            raise self._failure
        return self._value


Step = Send | Work | Compute


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


@dataclass(frozen=True)
class Kept:
    """Result of a node in the cache: a list of values per output, and what was reported of it."""

    values: list[list[Any]]
    ui: Json | None = None


class Cache:
    """Results of the nodes of the last prompt, kept until a prompt without those nodes.

    Keys hold a node's class, its inputs and what is upstream, not its id. With ``keep`` the results that were not used
    for the longest time go first, beyond that many; 0 keeps none at all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._results: dict[str, Kept] = {}
        self._keep = keep

    def begin(self, keys: set[str]) -> None:
        """Forgets what the prompt with these keys does not use."""
        if self._keep is None:
            self._results = {key: result for key, result in self._results.items() if key in keys}
            return
        used = {key: self._results.pop(key) for key in list(self._results) if key in keys}
        self._results |= used
        for key in list(self._results)[: max(0, len(self._results) - self._keep)]:
            del self._results[key]

    def __contains__(self, key: object) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Kept:
        return self._results[key]

    def __setitem__(self, key: str, result: Kept) -> None:
        self._results[key] = result

    def clear(self) -> None:
        """Forgets everything."""
        self._results = {}


def perform(call: Call) -> Generator[Report, None, Result]:
    """Acts out a node. Imports the actors only now, as they bring an image library with them."""
    from mockserver.comfyui import nodes

    return nodes.perform(call)


def steps_of(call: Call) -> int:
    """How many updates a run will report."""
    from mockserver.comfyui import nodes

    return nodes.steps_of(call)


def fingerprint_of(class_type: str, inputs: Json, stage: Stage) -> object:
    """What else than its inputs a node's result depends on. Raises where that cannot be told."""
    from mockserver.comfyui import nodes

    return nodes.fingerprint_of(class_type, inputs, stage)


class Run:
    """The run of one prompt. ``steps`` drives it; ``outcome`` and ``current_node`` can be read at any time."""

    def __init__(
        self,
        item: QueueItem,
        catalog: Catalog,
        cache: Cache,
        stage: Stage,
        now_ms: Callable[[], int],
        tempo: Tempo | None = None,
        preview_flag: Callable[[], object] = lambda: False,
        profile: Profile = RECORDED,
    ) -> None:
        """``preview_flag`` tells the owner's flag ``supports_preview_metadata``; only ``True`` itself counts."""
        self.outcome = Outcome()
        self.current_node: str | None = None
        self._item = item
        self._prompt = item.prompt
        self._catalog = catalog
        self._cache = cache
        self._stage = stage
        self._now_ms = now_ms
        self._tempo = tempo or Tempo()
        self._preview_flag = preview_flag
        self._profile = profile
        self._keys: dict[str, str] = {}
        self._results: dict[str, Kept] = {}
        self._progress: dict[str, Progress] = {}
        self._executed: list[str] = []
        self._last_update: tuple[str, int, float] | None = None
        self._current_inputs: dict[str, list[Any]] = {}

    def steps(self) -> Generator[Step, None, None]:
        """The steps of the run, in the order of the wire."""
        item, prompt = self._item, self._prompt
        yield self._noted(messages.execution_start(item.prompt_id, self._now_ms()))
        self._stage.begin(prompt, self._preview_method())
        self._keys = yield from self._compute(self._cache_keys)
        self._cache.begin(set(self._keys.values()))
        cached = [node for node in prompt if self._keys.get(node) in self._cache]
        self._results = {node: self._cache[self._keys[node]] for node in cached}
        yield self._noted(messages.execution_cached(item.prompt_id, cached, self._now_ms()))
        yield from self._run_nodes(_Schedule(prompt, self._catalog, item.outputs, cached))
        self._collect_outputs()

    def _run_nodes(self, schedule: _Schedule) -> Generator[Step, None, None]:
        while (node := schedule.next()) is not None:
            self.current_node = node
            if self._keys.get(node) in self._cache:  # also because an equal node of this prompt has run
                self._results[node] = self._cache[self._keys[node]]
                yield from self._replay(node)
            else:
                self._current_inputs = {}
                try:
                    yield from self._perform(node)
                except Interrupted:
                    self.outcome.completed = False
                    yield self._noted(self._interruption(node), To.OWNER_OR_ALL)
                    return
                except NodeFailure as failure:
                    self.outcome.completed = False
                    inputs = {key: [_shown(each) for each in values] for key, values in self._current_inputs.items()}
                    yield self._noted(self._failure(node, failure, inputs))
                    return
                self._executed.append(node)
            schedule.done(node)
        self.current_node = None
        stuck = schedule.first_waiting()
        if stuck is None:
            yield self._noted(messages.execution_success(self._item.prompt_id, self._now_ms()))
        else:
            # A cycle through inputs that no validation looks at. The real server calls such a prompt a success.
            cycle = NodeFailure("graph.DependencyCycleError", "Dependency cycle detected")
            yield self._noted(self._failure(stuck, cycle, []))

    def _noted(self, message: Message, to: To = To.OWNER) -> Send:
        """A message that the history keeps as well."""
        self.outcome.messages.append([message.type, message.data])
        return Send(message, to)

    def _compute(self, task: Callable[[], Any]) -> Generator[Step, None, Any]:
        step = Compute(task)
        yield step
        return step.result()

    def _compute_of_node(self, task: Callable[[], Any]) -> Generator[Step, None, Any]:
        step = Compute(task)
        yield step
        return _as_node(step.result)

    def _perform(self, node: str) -> Generator[Step, None, None]:
        class_type = self._prompt[node]["class_type"]
        node_class = self._catalog[class_type]
        yield self._progressed(Progress(node, 0.0, 1.0, "running"))
        yield Send(messages.executing(self._item.prompt_id, node))
        calls: list[Call] = _as_node(lambda: self._calls(node, node_class))
        steps = yield from self._compute_of_node(lambda: sum(steps_of(call) for call in calls))
        shares = max(1, steps)
        seconds = self._seconds(node, class_type, steps, calls) / shares
        yield Work(node, class_type, 0, shares, seconds, then_updates=steps > 0)
        done, bar = 0, (1.0, 1.0)
        results = []
        for call in calls:
            reports = perform(call)
            while True:
                report = yield from self._compute_of_node(partial(_next, reports))
                if isinstance(report, Result):
                    results.append(report)
                    break
                if isinstance(report, Text):
                    yield self._text(node, report)
                    continue
                yield from self._update(node, report)
                bar = (report.maximum, report.maximum)
                done += 1
                if done < shares:
                    yield Work(node, class_type, done, shares, seconds, then_updates=True)
        kept = _merged(node_class, results)
        self._results[node] = kept
        if node in self._keys and class_type not in _NEVER_CACHED:
            self._cache[self._keys[node]] = kept
        if kept.ui is not None:
            yield Send(messages.executed(self._item.prompt_id, node, kept.ui))
        yield self._progressed(Progress(node, *bar, "finished"))

    def _seconds(self, node: str, class_type: str, steps: int, calls: list[Call]) -> float:
        mock = self._catalog.mock_blocks.get(class_type)
        megapixels = sum(call.megapixels for call in calls)
        return self._tempo.seconds(node, class_type, steps, megapixels, None if mock is None else mock.duration)

    def _replay(self, node: str) -> Generator[Step, None, None]:
        yield Send(messages.executed(self._item.prompt_id, node, self._results[node].ui))
        yield self._progressed(Progress(node, 1, 1, "finished"))

    def _progressed(self, progress: Progress) -> Send:
        self._progress[progress.node] = progress
        return Send(messages.progress_state(self._item.prompt_id, list(self._progress.values())), To.OWNER_OR_ALL)

    def _preview_method(self) -> str | None:
        extra_data = self._item.extra_data
        if not self._profile.takes_preview_method or not isinstance(extra_data, dict):
            return None
        method = extra_data.get("preview_method")
        return method if method in _PREVIEW_METHODS else None

    def _is_throttled(self, node: str, update: Update) -> bool:
        """Whether an update comes too soon after the last one to be told."""
        now, part = self._now_ms(), update.value / update.maximum
        if self._last_update is not None and update.preview is None and update.value < update.maximum:
            last_node, at, last_part = self._last_update
            if last_node == node and (now - at < 100 or abs(part - last_part) < 0.005):
                return True
        self._last_update = (node, now, part)
        return False

    def _update(self, node: str, update: Update) -> Generator[Step, None, None]:
        if self._profile.throttles_progress and self._is_throttled(node, update):
            return
        prompt_id = self._item.prompt_id
        yield self._progressed(Progress(node, update.value, update.maximum, "running"))
        with_metadata = update.preview is not None and _as_node(self._preview_flag) is True
        if update.preview is not None and with_metadata:
            yield self._preview(node, update.preview)
        yield Send(messages.progress(prompt_id, node, update.value, update.maximum), To.OWNER_OR_ALL)
        if update.preview is not None and not with_metadata:
            plain = messages.preview_image(update.preview.image, update.preview.format)
            yield Send(plain, To.OWNER_OR_ALL)

    def _preview(self, node: str, preview: Preview) -> Send:
        message = messages.preview_image_with_metadata(preview.image, preview.format, self._item.prompt_id, node)
        return Send(message, To.OWNER_OR_ALL)

    @staticmethod
    def _text(node: str, text: Text) -> Send:
        return Send(messages.progress_text(node, text.text), To.ALL if text.to == "all" else To.OWNER_OR_ALL)

    def _calls(self, node: str, node_class: NodeClass) -> list[Call]:
        """One call for each element of the longest list among the inputs, as the real server maps nodes over lists."""
        lists = self._input_lists(node, node_class)
        self._current_inputs = lists
        mock = self._catalog.mock_blocks.get(node_class.name)
        if node_class.name in _TAKE_LISTS:
            return [Call(node, node_class, lists, self._stage, mock)]
        if not all(lists.values()):
            raise NodeFailure("IndexError", "list index out of range\n")
        length = max((len(values) for values in lists.values()), default=1)
        return [
            Call(
                node,
                node_class,
                {name: values[min(position, len(values) - 1)] for name, values in lists.items()},
                self._stage,
                mock,
            )
            for position in range(length)
        ]

    def _input_lists(self, node: str, node_class: NodeClass) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {}
        for name, value in inputs_of(self._prompt, node).items():
            if is_link(value):
                if value[0] not in self._results:
                    # The real server's worker dies of a link to a node that does not exist.
                    raise NodeFailure("KeyError", f"{value[0]!r}\n")
                values = self._results[value[0]].values
                slot = int(value[1])
                if slot < len(values):
                    lists[name] = values[slot]
            elif name in node_class.inputs:
                lists[name] = [value]
        if not node_class.is_v3:
            for name, kind in node_class.hidden_inputs.items():
                lists[name] = [self._hidden(kind, node)]
        return lists

    def _hidden(self, kind: object, node: str) -> Any:
        extra_data = self._item.extra_data
        hidden = {
            "PROMPT": self._prompt,
            "DYNPROMPT": self._prompt,
            "EXTRA_PNGINFO": extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node,
            "AUTH_TOKEN_COMFY_ORG": extra_data.get("auth_token_comfy_org"),
            "API_KEY_COMFY_ORG": extra_data.get("api_key_comfy_org"),
        }
        return hidden.get(kind) if isinstance(kind, str) else None

    def _collect_outputs(self) -> None:
        """What the history shows: every node of the prompt whose result is there, also one that was not asked for."""
        for node in self._prompt:
            if self._profile.keeps_visited_outputs_only and node not in self._progress:
                continue
            kept = self._results.get(node)
            if kept is not None and kept.ui is not None:
                self.outcome.outputs[node] = kept.ui
                self.outcome.meta[node] = {
                    "node_id": node,
                    "display_node": node,
                    "parent_node": None,
                    "real_node_id": node,
                }

    def _interruption(self, node: str) -> Message:
        class_type = self._prompt[node]["class_type"]
        return messages.execution_interrupted(
            self._item.prompt_id, node, class_type, list(self._executed), self._now_ms()
        )

    def _failure(self, node: str, failure: NodeFailure, current_inputs: Json | list[Any]) -> Message:
        class_type = self._prompt[node]["class_type"]
        error = {
            "exception_message": failure.exception_message,
            "exception_type": failure.exception_type,
            "traceback": failure.traceback,
            "current_inputs": current_inputs,
            "current_outputs": list(self._prompt),
        }
        return messages.execution_error(
            self._item.prompt_id, node, class_type, list(self._executed), error, self._now_ms()
        )

    def _cache_keys(self) -> dict[str, str]:
        """A key for each node: digest of its class, its inputs and the keys of what is upstream.

        A node has none, and neither has what is behind it, where its result cannot be the same twice.
        """
        prompt, keys = self._prompt, dict[str, str]()
        for node in upstream_first(prompt):
            class_type = prompt[node]["class_type"]
            node_class = self._catalog.find(class_type)
            links = [value[0] for value in inputs_of(prompt, node).values() if is_link(value)]
            if node_class is None or class_type in _NEVER_CACHED or any(link not in keys for link in links):
                continue
            inputs = {
                name: ["upstream", keys[value[0]], value[1]] if is_link(value) else ["value", value]
                for name, value in inputs_of(prompt, node).items()
            }
            try:
                fingerprint = fingerprint_of(class_type, inputs_of(prompt, node), self._stage)
            except Exception:  # noqa: BLE001 - it cannot be told, so the result is never the same
                continue
            identity: list[Any] = [class_type, inputs, fingerprint]
            if "UNIQUE_ID" in node_class.hidden_inputs.values():
                identity.append(node)
            keys[node] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return keys


_PREVIEW_METHODS = ("none", "auto", "latent2rgb", "taesd")
_NEVER_CACHED = frozenset({"SaveImageWebsocket"})
_TAKE_LISTS = frozenset({"RebatchImages", "RebatchLatents"})


def _as_node(task: Callable[[], Any]) -> Any:
    """The value of a task that a node does: what it raises is the node's failure."""
    try:
        return task()
    except NodeFailure:
        raise
    except Exception as failure:
        raise NodeFailure.of(failure) from failure


def _next(reports: Generator[Report, None, Result]) -> Report | Result:
    try:
        return next(reports)
    except StopIteration as end:
        result: Result = end.value
        return result


def _merged(node_class: NodeClass, results: list[Result]) -> Kept:
    """The results of all calls as one: a list of values per output, lists of what was reported joined."""
    is_list = node_class.info.get("output_is_list") or []
    values: list[list[Any]] = []
    for slot in range(max((len(result.values) for result in results), default=0)):
        found = [result.values[slot] for result in results if slot < len(result.values)]
        if slot < len(is_list) and is_list[slot]:
            found = [value for several in found for value in several]
        values.append(found)
    reported = [result.ui for result in results if result.ui is not None]
    if not reported:
        return Kept(values)
    return Kept(values, {key: [value for ui in reported for value in ui[key]] for key in reported[0]})


def _shown(value: Any) -> Any:
    """An input as ``execution_error`` shows it."""
    return value if value is None or isinstance(value, int | float | bool | str) else str(value)


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

    def first_waiting(self) -> str | None:
        """A node that waits for what never comes, once ``next`` has none to run."""
        return next(iter(self._waiting), None)

    def done(self, node: str) -> None:
        """Notes that a node has its result."""
        self._done.add(node)
        del self._waiting[node]
