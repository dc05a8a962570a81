"""How the mock acts a node out: what it reports while it runs, and what it results in.

A class has an actor: a function that takes a ``Call`` and either returns a ``Result``, or is a generator that yields
updates and texts before it does. Actors are registered by the modules of ``nodes``; a class without one is acted out by
its interface alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mockserver.comfyui.folders import Folders
from mockserver.comfyui.values import Image, Latent, Mask
from mockserver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from mockserver.comfyui.catalog import NodeClass
    from mockserver.comfyui.messages import ImageFormat
    from mockserver.comfyui.mock_blocks import MockBlock, Receiver

Json = dict[str, Any]

_LETTERS = "abcdefghijklmnopqrstupvxyz"


@dataclass(frozen=True)
class Preview:
    """An encoded image that goes to clients."""

    format: ImageFormat
    image: bytes


@dataclass(frozen=True)
class Update:
    """A node's progress bar moves."""

    value: int
    maximum: int
    preview: Preview | None = None


@dataclass(frozen=True)
class Text:
    """A node shows a text."""

    text: str
    to: Receiver = "owner"


Report = Update | Text


@dataclass(frozen=True)
class Result:
    """What a run of a node results in: a value per output, and what is reported of it to clients, if anything."""

    values: list[Any] = field(default_factory=list)
    ui: Json | None = None


@dataclass
class Stage:
    """What the actors of one life share."""

    random: Random
    folders: Folders = field(default_factory=lambda: Folders(Settings()))
    preview_method: str = "none"
    preview_size: int = 512
    write_metadata: bool = True
    _method_of_prompt: str | None = None
    _letters: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def sends_previews(self) -> bool:
        """Whether samplers preview in the prompt that runs."""
        return (self._method_of_prompt or self.preview_method) != "none"

    def begin(self, prompt: Json, preview_method: str | None = None) -> None:
        """Forgets the node objects that the prompt does not have. A prompt may have a preview method of its own."""
        self._method_of_prompt = preview_method
        present = {(node, definition["class_type"]) for node, definition in prompt.items()}
        self._letters = {key: letters for key, letters in self._letters.items() if key in present}

    def letters_of(self, node: str, class_type: str) -> str:
        """Five letters in the names of a node's temporary files: the same as long as its node object lives."""
        return self._letters.setdefault((node, class_type), "".join(self.random.choices(_LETTERS, k=5)))


@dataclass(frozen=True)
class Call:
    """One run of a node with its inputs, links resolved and hidden ones filled in."""

    node: str
    node_class: NodeClass
    inputs: Json
    stage: Stage
    mock: MockBlock | None = None

    def __getitem__(self, name: str) -> Any:
        """An input. Left out, it has its default."""
        if name in self.inputs:
            return self.inputs[name]
        return self.default(name)

    def default(self, name: str) -> Any:
        """The default of an input; None where it has none."""
        config = self.node_class.input_config(name) if name in self.node_class.inputs else []
        options = config[1] if len(config) > 1 and isinstance(config[1], dict) else {}
        return options.get("default")

    @property
    def megapixels(self) -> float:
        """Pixels that come in or, from a node that makes them, go out."""
        seen = 0
        for value in self.inputs.values():
            if isinstance(value, Image | Mask):
                seen += value.shape[0] * value.shape[1] * value.shape[2]
            elif isinstance(value, Latent):
                seen += value.pictures * value.width * value.height * value.scale**2
        if not seen:
            width, height = self.inputs.get("width"), self.inputs.get("height")
            if isinstance(width, int) and isinstance(height, int):
                batch = self.inputs.get("batch_size", 1)
                seen = width * height * (batch if isinstance(batch, int) else 1)
        return seen / 1_000_000


_Decorated = TypeVar("_Decorated", bound="Callable[..., Any]")

_ACTORS: dict[str, Callable[[Call], Any]] = {}
_STEPS: dict[str, Callable[[Call], int]] = {}
_FINGERPRINTS: dict[str, Callable[[Json, Stage], object]] = {}


def acts(*class_types: str, steps: Callable[[Call], int] | None = None) -> Callable[[_Decorated], _Decorated]:
    """Registers an actor for these classes. ``steps`` tells how many updates it will report."""

    def register(actor: _Decorated) -> _Decorated:
        for class_type in class_types:
            _ACTORS[class_type] = actor
            if steps is not None:
                _STEPS[class_type] = steps
        return actor

    return register


def actor_of(class_type: str) -> Callable[[Call], Any] | None:
    """The actor of a class, if it has one."""
    return _ACTORS.get(class_type)


def fingerprints(*class_types: str) -> Callable[[_Decorated], _Decorated]:
    """Registers what else than its inputs the results of these classes depend on."""

    def register(fingerprint: _Decorated) -> _Decorated:
        for class_type in class_types:
            _FINGERPRINTS[class_type] = fingerprint
        return fingerprint

    return register


def fingerprint_of(class_type: str, inputs: Json, stage: Stage) -> object:
    """What else than its inputs the result depends on: None for most classes. Raises where that cannot be told."""
    fingerprint = _FINGERPRINTS.get(class_type)
    return None if fingerprint is None else fingerprint(inputs, stage)


def steps_of_actor(call: Call) -> int:
    """How many updates the class's actor will report."""
    steps = _STEPS.get(call.node_class.name)
    return 0 if steps is None else steps(call)
