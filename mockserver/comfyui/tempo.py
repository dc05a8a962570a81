"""How long nodes take. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockserver.settings import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockserver.settings import Settings

Json = dict[str, Any]


@dataclass(frozen=True)
class Rate:
    """What a run of a node costs, in seconds: at all, per step, per megapixel that it handles."""

    base: float = 0.0
    step: float = 0.0
    megapixel: float = 0.0

    def seconds(self, steps: int, megapixels: float) -> float:
        """Duration of one run."""
        return self.base + steps * self.step + megapixels * self.megapixel


_RECORDED = {
    "ImageScale": Rate(0.0005, megapixel=0.03),
    "ImageScaleBy": Rate(0.0005, megapixel=0.03),
    "EmptyImage": Rate(0.0005, megapixel=0.002),
    "ImageUpscaleWithModel": Rate(0.005, 0.05),
}
_RECORDED_OTHERS = Rate(0.0005, 0.02, 0.001)
"""Figures of the machine without GPU that the transcripts were recorded on."""

_REALISTIC = {
    "CLIPTextEncode": Rate(0.15),
    "ImageUpscaleWithModel": Rate(0.2, 0.4),
    "SaveImage": Rate(0.05, megapixel=0.2),
    "VAEDecode": Rate(0.3, megapixel=0.5),
    "VAEDecodeTiled": Rate(0.3, 0.2),
    "VAEEncode": Rate(0.2, megapixel=0.4),
}
_REALISTIC_LOADER = Rate(1.5)
_REALISTIC_OTHERS = Rate(0.02, 0.12, 0.02)


@dataclass(frozen=True)
class Tempo:
    """Durations of nodes. The most particular setting counts: node id, class, mock block, step, pace."""

    pace: Pace = Pace.QUICK
    node_duration: float = 0.01
    durations: Mapping[str, float] = field(default_factory=dict)
    step_duration: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Tempo:
        """What the settings say."""
        return cls(settings.pace, settings.node_duration, settings.durations, settings.step_duration)

    def seconds(
        self, node: str, class_type: str, steps: int, megapixels: float, of_mock_block: float | None = None
    ) -> float:
        """Duration of one run of a node that reports ``steps`` updates and handles that many pixels."""
        for key in (node, class_type):
            if key in self.durations:
                return self.durations[key]
        if of_mock_block is not None:
            return of_mock_block
        if steps and self.step_duration is not None:
            return steps * self.step_duration
        if self.pace is Pace.QUICK:
            return self.node_duration
        return self._rate(class_type).seconds(steps, megapixels)

    def _rate(self, class_type: str) -> Rate:
        if self.pace is Pace.RECORDED:
            return _RECORDED.get(class_type, _RECORDED_OTHERS)
        if "Loader" in class_type:
            return _REALISTIC_LOADER
        return _REALISTIC.get(class_type, _REALISTIC_OTHERS)
