"""Node classes that the server knows: interface facts of ComfyUI 0.3.64, as its ``/object_info`` gives them."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DATA_FILE = Path(__file__).parent.parent / "data" / "object_info.json"


@dataclass(frozen=True)
class NodeClass:
    """Interface of one node class."""

    name: str
    info: Json

    @property
    def is_output(self) -> bool:
        """Whether a prompt can end in this node."""
        return bool(self.info["output_node"])

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
        inputs = self.info["input"]
        config: list[Any] = inputs.get("required", {}).get(name) or inputs["optional"][name]
        return config


class Catalog:
    """All node classes by name."""

    def __init__(self, object_info: Json) -> None:
        self._object_info = object_info

    @classmethod
    @functools.cache
    def load(cls) -> Catalog:
        """The classes that come with the server; read once."""
        return cls(json.loads(DATA_FILE.read_text(encoding="utf-8")))

    def find(self, name: str) -> NodeClass | None:
        """The class of this name, if there is one."""
        info = self._object_info.get(name)
        return None if info is None else NodeClass(name, info)

    def __getitem__(self, name: str) -> NodeClass:
        return NodeClass(name, self._object_info[name])
