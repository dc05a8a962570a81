"""How the mock acts a node out: how much work it shows and what it reports as its result. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Json = dict[str, Any]


_MAX_STEPS = 10_000  # what the samplers' interface allows


@dataclass(frozen=True)
class Act:
    """What one run of a node does: progress steps that it reports (0: none), and its result for the client, if any."""

    steps: int = 0
    output: Json | None = None


@dataclass
class Stage:
    """What acts share within one life: counters of file names, and letters of temporary names."""

    random: Random
    _counters: dict[str, int] = field(default_factory=dict)

    def next_file(self, prefix: str, kind: str) -> Json:
        """The next image file of this prefix, as ``executed`` and the history name it."""
        subfolder, _, name = prefix.rpartition("/")
        key = f"{kind}/{prefix}"
        self._counters[key] = self._counters.get(key, 0) + 1
        return {"filename": f"{name}_{self._counters[key]:05}_.png", "subfolder": subfolder, "type": kind}

    def temporary_prefix(self) -> str:
        """Prefix of a preview's files: five letters, drawn anew for each node object."""
        return "ComfyUI_temp_" + "".join(self.random.choices("abcdefghijklmnopqrstupvxyz", k=5))


def act(class_type: str, inputs: Json, stage: Stage) -> Act:
    """Acts out one run of a node of this class with these inputs."""
    actor = _ACTORS.get(class_type)
    return Act() if actor is None else actor(inputs, stage)


def _save_image(inputs: Json, stage: Stage) -> Act:
    return Act(output={"images": [stage.next_file(str(inputs.get("filename_prefix", "ComfyUI")), "output")]})


def _preview_image(inputs: Json, stage: Stage) -> Act:
    return Act(output={"images": [stage.next_file(stage.temporary_prefix(), "temp")]})


def _preview_any(inputs: Json, stage: Stage) -> Act:
    return Act(output={"text": [str(inputs.get("source"))]})


def _sample(inputs: Json, stage: Stage) -> Act:
    steps = inputs.get("steps")
    return Act(steps=min(max(1, steps), _MAX_STEPS) if isinstance(steps, int) else 20)


_ACTORS: dict[str, Callable[[Json, Stage], Act]] = {
    "KSampler": _sample,
    "KSamplerAdvanced": _sample,
    "PreviewAny": _preview_any,
    "PreviewImage": _preview_image,
    "SaveImage": _save_image,
}
