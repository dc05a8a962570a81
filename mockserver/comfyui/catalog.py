"""Node classes that the server knows: interface facts of ComfyUI 0.3.64, as its ``/object_info`` gives them."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.mock_blocks import MockBlock, read_mock_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockserver.comfyui.option_lists import OptionLists

Json = dict[str, Any]

DATA_FILE = Path(__file__).parent.parent / "data" / "object_info.json"


@dataclass(frozen=True)
class NodeClass:
    """Interface of one node class."""

    name: str
    info: Json
    """As ``/object_info`` gives it, but without options that depend on files."""
    option_lists: OptionLists | None = None

    @property
    def shown(self) -> Json:
        """As ``/object_info`` gives it now. Looks for files where options depend on them."""
        return self.info if self.option_lists is None else self.option_lists.fill(self.name, self.info)

    @property
    def is_v3(self) -> bool:
        """Whether the class is written for the newer node interface, which always states these three."""
        return {"deprecated", "experimental", "api_node"} <= self.info.keys()

    @property
    def is_output(self) -> bool:
        """Whether a prompt can end in this node."""
        return bool(self.info["output_node"])

    @property
    def outputs(self) -> list[Any]:
        """Types of the outputs; a list of options stands for itself."""
        return list(self.info["output"])

    @property
    def hidden_inputs(self) -> Json:
        """What the server fills in by itself, by input name: PROMPT, EXTRA_PNGINFO, UNIQUE_ID and others."""
        hidden: Json = self.info["input"].get("hidden", {})
        return hidden

    @property
    def required_inputs(self) -> list[str]:
        """Names of the inputs that must be given."""
        return list(self.info["input"].get("required", {}))

    @property
    def inputs(self) -> list[str]:
        """Names of all inputs that a prompt can give."""
        return [*self.required_inputs, *self.info["input"].get("optional", {})]

    def input_config(self, name: str) -> list[Any]:
        """Type and options of an input, as ``/object_info`` shows them."""
        inputs = self.shown["input"]
        config: list[Any] = inputs.get("required", {}).get(name) or inputs["optional"][name]
        return config

    def takes_any_option(self, name: str, options: Sequence[Any]) -> bool:
        """Whether an input takes values that are not in its list: model files with ``--any-model``."""
        return self.option_lists is not None and self.option_lists.accepts_anything(self.name, name, options)


class NodesFileError(Exception):
    """A file of node classes cannot be used. The text says what is wrong with it."""


class Catalog:
    """All node classes by name."""

    def __init__(
        self,
        own_classes: Json,
        mock_blocks: dict[str, MockBlock] | None = None,
        option_lists: OptionLists | None = None,
        find_others: Callable[[], Json] = dict,
    ) -> None:
        """``find_others`` gives more classes, behind ``own_classes`` where names are the same, when they are needed."""
        self.mock_blocks = mock_blocks or {}
        """How classes are acted out, where a file of node classes says so."""
        self._own_classes = own_classes
        self._find_others = find_others
        self._option_lists = option_lists

    @classmethod
    @functools.cache
    def load(cls) -> Catalog:
        """The classes that come with the server."""
        return cls({}, find_others=bundled)

    @classmethod
    def assemble(
        cls, nodes_files: Sequence[Path], *, with_api_nodes: bool, option_lists: OptionLists | None = None
    ) -> Catalog:
        """The classes that come with the server and those of the user's files; a later file's replace them.

        Raises NodesFileError.
        """
        own_classes: Json = {}
        mock_blocks: dict[str, MockBlock] = {}
        for file in nodes_files:
            for name, info in _read_nodes_file(file).items():
                try:
                    own_classes[name] = _checked_info(name, info)
                    mock_blocks.pop(name, None)  # that of the earlier entry which this one replaces
                    if "mock" in info:
                        node_class = NodeClass(name, own_classes[name])
                        mock_blocks[name] = read_mock_block(info["mock"], node_class.inputs, len(node_class.outputs))
                except ValueError as failure:
                    raise NodesFileError(f"{file.name}: class {name}: {failure}") from None
        return cls(own_classes, mock_blocks, option_lists, bundled if with_api_nodes else _bundled_without_api_nodes)

    @functools.cached_property
    def object_info(self) -> Json:
        """The classes without what depends on files. Shared with other catalogs, so not to be changed."""
        others = self._find_others()
        return others | self._own_classes if self._own_classes else others

    def find(self, name: str) -> NodeClass | None:
        """The class of this name, if there is one."""
        return self[name] if name in self.object_info else None

    def __getitem__(self, name: str) -> NodeClass:
        return NodeClass(name, self.object_info[name], self._option_lists)

    def listing(self) -> Json:
        """All classes as ``/object_info`` gives them now."""
        return {name: self[name].shown for name in self.object_info}


@functools.cache
def bundled() -> Json:
    """The classes that come with the server. They are read when the first is needed: half a megabyte takes its time."""
    classes: Json = json.loads(DATA_FILE.read_text(encoding="utf-8"))
    return classes


def _bundled_without_api_nodes() -> Json:
    return {name: info for name, info in bundled().items() if not _is_api_node(info)}


def _is_api_node(info: Json) -> bool:
    return str(info["python_module"]).startswith("comfy_api_nodes")


def _read_nodes_file(file: Path) -> Json:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as failure:
        raise NodesFileError(f"{file.name}: {failure}") from None
    if not isinstance(content, dict):
        raise NodesFileError(f"{file.name}: an /object_info is a JSON object of classes by name")
    return content


def _checked_info(name: str, info: object) -> Json:
    """The entry without its mock block, with defaults for what a hand-written one may leave out."""
    if not isinstance(info, dict):
        raise ValueError("its entry is no JSON object")
    inputs = info.get("input", {})
    if not isinstance(inputs, dict) or not all(isinstance(group, dict) for group in inputs.values()):
        raise ValueError('"input" is a JSON object of "required", "optional" and "hidden", objects themselves')
    for group in ("required", "optional"):
        for input_name, config in inputs.get(group, {}).items():
            if not isinstance(config, list) or not config or not isinstance(config[0], (str, list)):
                raise ValueError(f'input {input_name!r} is no list of a type and options, as ["INT", {{"default": 1}}]')
    outputs = info.get("output", [])
    if not isinstance(outputs, list) or not all(isinstance(kind, (str, list)) for kind in outputs):
        raise ValueError('"output" is a list of types, as ["IMAGE", "MASK"]')
    if not isinstance(info.get("output_node", False), (bool, int)):
        raise ValueError('"output_node" is true or false')
    return {
        "input": inputs,
        "input_order": {group: list(names) for group, names in inputs.items()},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": outputs,
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "custom_nodes.mock",
        "category": "mock",
        "output_node": False,
        **{key: value for key, value in info.items() if key != "mock"},
    }
