"""Every node class of the catalogue can be acted out."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from mockserver.comfyui.behaviour import Stage
from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.execution import Cache, Run
from mockserver.comfyui.folders import Folders
from mockserver.comfyui.queue import QueueItem
from mockserver.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

CATALOG = Catalog.load()
PLAIN = {"INT": 64, "FLOAT": 1.0, "STRING": "text", "BOOLEAN": False, "COMBO": "", "*": 1}
NEEDS_FILES = {  # which have tests of their own
    "LoadImage",
    "LoadImageMask",
    "LoadImageOutput",
    "LoadLatent",
}


def run(prompt: Json, outputs: list[str], folder: Path) -> Run:
    """Runs a prompt to its end."""
    stage = Stage(Random(1), Folders(Settings(base_directory=folder)))
    run = Run(QueueItem(0, "id", prompt, {}, outputs), CATALOG, Cache(), stage, lambda: 0)
    for _ in run.steps():
        pass
    return run


def plain_value(config: list[Any]) -> Any:
    """A valid value of an input that takes no link."""
    kind, options = config[0], config[1] if len(config) > 1 else {}
    if isinstance(kind, list):
        return kind[0] if kind else "none"
    if kind == "COMBO":
        return options.get("default") or next(iter(options.get("options") or ["none"]))
    if kind == "INT":
        return max(options.get("min", 1), min(options.get("max", 64), 64))
    return options.get("default", PLAIN.get(kind))


def is_plain(config: list[Any]) -> bool:
    return isinstance(config[0], list) or config[0] in PLAIN


def add(prompt: Json, class_type: str, made: dict[str, list[Any]]) -> str:
    """Adds a node with everything that it needs, and returns its id."""
    node_class = CATALOG[class_type]
    node = str(len(prompt) + 1)
    prompt[node] = {"class_type": class_type, "inputs": {}}
    for name in node_class.required_inputs:
        config = node_class.input_config(name)
        if is_plain(config):
            prompt[node]["inputs"][name] = plain_value(config)
            continue
        kind = config[0].split(",")[0]
        if kind not in made:
            source = SOURCES.get(kind)
            if source is None:  # a widget of its own, as a webcam
                prompt[node]["inputs"][name] = "text"
                continue
            made[kind] = [add(prompt, source, made), CATALOG[source].outputs.index(kind)]
        prompt[node]["inputs"][name] = made[kind]
    return node


def sources() -> dict[str, str]:
    """For each type a class that makes it from nothing but types that can be made."""
    found = {"IMAGE": "EmptyImage", "MASK": "SolidMask", "LATENT": "EmptyLatentImage"}
    while True:
        before = len(found)
        for name in CATALOG.object_info:
            node_class = CATALOG[name]
            if name in NEEDS_FILES:
                continue
            configs = [node_class.input_config(needed) for needed in node_class.required_inputs]
            if all(is_plain(config) or config[0] in found for config in configs):
                for kind in node_class.outputs:
                    if isinstance(kind, str) and kind not in PLAIN:
                        found.setdefault(kind, name)
        if len(found) == before:
            return found


SOURCES = sources()


@pytest.mark.parametrize("class_type", sorted(CATALOG.object_info.keys() - NEEDS_FILES))
def test_every_class_runs(class_type: str, tmp_path: Path) -> None:
    prompt: Json = {}
    node = add(prompt, class_type, {})
    done = run(prompt, [node], tmp_path)
    assert done.outcome.completed, done.outcome.messages[-1]


@pytest.mark.parametrize("value", ["x", "", 5, 1.5, None, True, {}, {"a": 1}], ids=repr)
def test_no_class_fails_outside_of_its_own_node(value: Any, tmp_path: Path) -> None:
    for class_type, info in CATALOG.object_info.items():
        names = [*info["input"].get("required", {}), *info["input"].get("optional", {})]
        prompt = {"1": {"class_type": class_type, "inputs": dict.fromkeys(names, value)}}
        done = run(prompt, ["1"], tmp_path)
        assert done.outcome.messages[-1][0] in ("execution_success", "execution_error"), class_type
