"""Runs prompts in tests, without a server and without waiting."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.behaviour import Stage
from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.execution import Cache, Run, Send, Work
from mockserver.comfyui.folders import Folders
from mockserver.comfyui.messages import BinaryMessage, Message
from mockserver.comfyui.profile import RECORDED
from mockserver.comfyui.queue import QueueItem
from mockserver.comfyui.tempo import Tempo
from mockserver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]


def node(class_type: str, **inputs: Any) -> Json:
    """A node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}


def empty_image(width: int = 8, height: int = 8, batch_size: int = 1, color: int = 0) -> Json:
    """A node that makes an image of one colour."""
    return node("EmptyImage", width=width, height=height, batch_size=batch_size, color=color)


def sample(steps: int = 3, width: int = 64, height: int = 64, **more: Any) -> Json:
    """A prompt whose node 4 is a sampler, which has a progress bar, and whose output node is 5."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="m"),
        "2": node("CLIPTextEncode", text="t", clip=["1", 1]),
        "3": node("EmptyLatentImage", width=width, height=height, batch_size=1),
        "4": node(
            "KSampler",
            **{
                "model": ["1", 0],
                "seed": 1,
                "steps": steps,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["3", 0],
                "denoise": 1.0,
                **more,
            },
        ),
        "5": node("SaveLatent", samples=["4", 0], filename_prefix="l"),
    }


class Theatre:
    """A life's stage and cache, on which prompts run one after the other."""

    def __init__(self, folder: Path, catalog: Catalog | None = None, **stage: Any) -> None:
        self.folders = Folders(Settings(base_directory=folder))
        self.stage = Stage(Random(1), self.folders, **stage)
        self.catalog = catalog or Catalog.load()
        self.cache = Cache()
        self.tempo = Tempo()
        self.flag: Any = False
        self.profile = RECORDED
        self.now_ms: Callable[[], int] = lambda: 0
        self.steps: list[Any] = []

    def run(self, prompt: Json, *outputs: str, **extra_data: Any) -> Run:
        """Runs a prompt to its end. ``steps`` keeps what it yielded."""
        item = QueueItem(0, "id", prompt, extra_data, list(outputs))
        run = Run(item, self.catalog, self.cache, self.stage, self.now_ms, self.tempo, self._flag, self.profile)
        self.steps = list(run.steps())
        return run

    def _flag(self) -> Any:
        return self.flag.get("supports_preview_metadata") if not isinstance(self.flag, bool) else self.flag

    @property
    def messages(self) -> list[tuple[str, Json]]:
        """Text messages of the last run."""
        sends = [step.message for step in self.steps if isinstance(step, Send)]
        return [(message.type, message.data) for message in sends if isinstance(message, Message)]

    @property
    def names(self) -> list[str]:
        """Types of the messages of the last run in their order, binary ones as ``binary 1``."""
        sends = [step.message for step in self.steps if isinstance(step, Send)]
        return [f"binary {each.event}" if isinstance(each, BinaryMessage) else each.type for each in sends]

    @property
    def work(self) -> list[Work]:
        """Stretches of work of the last run."""
        return [step for step in self.steps if isinstance(step, Work)]

    def files(self, run: Run, output_node: str, key: str = "images") -> list[Path]:
        """The files that an output node reported."""
        entries = run.outcome.outputs[output_node][key]
        return [self.folders[entry["type"]] / entry["subfolder"] / entry["filename"] for entry in entries]
