"""Model files that the server says it has. There are none behind the names, unless a base directory holds some."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.folders import inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mockserver.settings import Settings

FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
)
"""Model folders in the order of ``/models`` (ComfyUI 0.3.64, recorded)."""

EXTENSIONS = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft", ".gguf", ".onnx")
"""What names of model files end in."""

_LONGEST_HEADER = 1024 * 1024

_EXAMPLE = '{"checkpoints": ["a.safetensors"]}'

FAMILIAR: dict[str, list[str]] = {
    "checkpoints": [
        "dreamshaper_8.safetensors",
        "flux1-dev-fp8.safetensors",
        "flux1-schnell-fp8.safetensors",
        "sd3.5_large_fp8_scaled.safetensors",
        "sd_xl_base_1.0.safetensors",
        "sd_xl_refiner_1.0.safetensors",
        "svd_xt.safetensors",
        "v1-5-pruned-emaonly-fp16.safetensors",
        "v1-5-pruned-emaonly.ckpt",
        "v1-5-pruned-emaonly.safetensors",
    ],
    "configs": ["v1-inference.yaml", "v2-inference-v.yaml"],
    "loras": ["lcm_lora_sdxl.safetensors", "pytorch_lora_weights.safetensors"],
    "vae": ["ae.safetensors", "vae-ft-mse-840000-ema-pruned.safetensors", "wan_2.1_vae.safetensors"],
    "text_encoders": [
        "clip_g.safetensors",
        "clip_l.safetensors",
        "qwen_2.5_vl_7b_fp8_scaled.safetensors",
        "t5xxl_fp16.safetensors",
        "t5xxl_fp8_e4m3fn.safetensors",
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    ],
    "diffusion_models": [
        "flux1-dev.safetensors",
        "flux1-schnell.safetensors",
        "qwen_image_fp8_e4m3fn.safetensors",
        "wan2.1_t2v_1.3B_fp16.safetensors",
    ],
    "clip_vision": ["clip_vision_g.safetensors", "clip_vision_h.safetensors"],
    "style_models": ["flux1-redux-dev.safetensors"],
    "embeddings": ["EasyNegative.safetensors"],
    "controlnet": ["control_v11p_sd15_canny.pth", "control_v11p_sd15_openpose.pth"],
    "gligen": ["gligen_sd14_textbox_pruned.safetensors"],
    "upscale_models": ["4x-UltraSharp.pth", "RealESRGAN_x4plus.pth"],
    "photomaker": ["photomaker-v1.bin"],
    "model_patches": ["qwen_image_canny_diffsynth_controlnet.safetensors"],
    "audio_encoders": ["wav2vec2_large_english_fp16.safetensors"],
}
"""Names that the published example workflows use."""


class ModelsFileError(Exception):
    """A file of model names cannot be used. The text says what is wrong with it."""


class Models:
    """Lists of model files by folder."""

    def __init__(self, names: Mapping[str, Sequence[str]], directory: Path | None = None) -> None:
        self._names = {folder: sorted(names.get(folder, ())) for folder in dict.fromkeys((*FOLDERS, *names))}
        self._directory = directory

    @classmethod
    def of(cls, settings: Settings) -> Models:
        """Those of a life: from its file, else familiar ones, else (``--strict``) none. Raises ModelsFileError."""
        by_default = {} if settings.strict else FAMILIAR
        names = by_default if settings.models is None else _read(settings.models)
        base = settings.base_directory
        return cls(names, None if base is None else base / "models")

    @property
    def folders(self) -> list[str]:
        """Names of the folders."""
        return list(self._names)

    def path(self, folder: str, *parts: str) -> Path | None:
        """Where the files of a folder really lie, if anywhere; never outside of the base directory."""
        if self._directory is None or folder not in self._names:
            return None
        return inside(self._directory.resolve(), folder, *parts)

    def locations(self, folder: str) -> list[str]:
        """Directories that hold the files of a folder; none without a base directory."""
        path = self.path(folder)
        return [] if path is None else [str(path)]

    def names(self, folder: str) -> list[str]:
        """File names in a folder, also of its subfolders; none for an unknown folder."""
        return sorted({*self._names.get(folder, ()), *self._found(folder)})

    def _found(self, folder: str) -> list[str]:
        root = self.path(folder)
        found = []
        for directory, _, names in os.walk(root) if root is not None else ():
            found += [os.path.relpath(os.path.join(directory, name), root) for name in names]  # noqa: PTH118
        return [name for name in found if name.lower().endswith((*EXTENSIONS, ".yaml"))]


def safetensors_header(path: Path) -> bytes | None:
    """The JSON at the beginning of a model file, unless it is longer than it should be."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length) if length <= _LONGEST_HEADER else None


def _read(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as failure:
        raise ModelsFileError(f"{path.name}: {failure}") from None
    if not isinstance(content, dict):
        raise ModelsFileError(f"{path.name}: give lists of names by folder, as {_EXAMPLE}")
    for folder, names in content.items():
        if not isinstance(names, list):
            raise ModelsFileError(f"{path.name}: folder {folder!r} is no list of names, as {_EXAMPLE}")
        for name in names:
            if not isinstance(name, str):
                raise ModelsFileError(f"{path.name}: folder {folder!r}: a name is text, not {json.dumps(name):.40}")
    return content
