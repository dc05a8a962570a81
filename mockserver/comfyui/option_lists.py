"""Option lists that depend on files: model files and uploaded ones. Pure, what there is is handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockserver.comfyui.media_types import media_type
from mockserver.comfyui.models import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockserver.comfyui.models import Models

Json = dict[str, Any]

MODEL_INPUTS: dict[str, dict[str, str]] = {
    "AudioEncoderLoader": {"audio_encoder_name": "audio_encoders"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "CheckpointLoader": {"config_name": "configs", "ckpt_name": "checkpoints"},
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "ControlNetLoader": {"control_net_name": "controlnet"},
    "CreateHookLora": {"lora_name": "loras"},
    "CreateHookLoraModelOnly": {"lora_name": "loras"},
    "CreateHookModelAsLora": {"ckpt_name": "checkpoints"},
    "CreateHookModelAsLoraModelOnly": {"ckpt_name": "checkpoints"},
    "DiffControlNetLoader": {"control_net_name": "controlnet"},
    "DiffusersLoader": {"model_path": "diffusers"},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders"},
    "GLIGENLoader": {"gligen_name": "gligen"},
    "HypernetworkLoader": {"hypernetwork_name": "hypernetworks"},
    "ImageOnlyCheckpointLoader": {"ckpt_name": "checkpoints"},
    "LoraLoader": {"lora_name": "loras"},
    "LoraLoaderModelOnly": {"lora_name": "loras"},
    "ModelPatchLoader": {"name": "model_patches"},
    "PhotoMakerLoader": {"photomaker_model_name": "photomaker"},
    "QuadrupleCLIPLoader": {f"clip_name{number}": "text_encoders" for number in (1, 2, 3, 4)},
    "StyleModelLoader": {"style_model_name": "style_models"},
    "TripleCLIPLoader": {f"clip_name{number}": "text_encoders" for number in (1, 2, 3)},
    "UNETLoader": {"unet_name": "diffusion_models"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "VAELoader": {"vae_name": "vae"},
    "unCLIPCheckpointLoader": {"ckpt_name": "checkpoints"},
}
"""Model folder behind an input, by class and input name."""


def _of_kind(*kinds: str) -> Callable[[str], bool]:
    return lambda name: media_type(name).partition("/")[0] in kinds


FILE_INPUTS: dict[str, dict[str, Callable[[str], bool]]] = {
    "LoadAudio": {"audio": _of_kind("audio", "video")},
    "LoadImage": {"image": _of_kind("image")},
    "LoadImageMask": {"image": lambda _: True},
    "LoadLatent": {"latent": lambda name: name.endswith(".latent")},
    "LoadVideo": {"file": _of_kind("video")},
}
"""Which files of the input directory an input offers, by class and input name."""


class OptionLists:
    """Fills option lists with what there is at the moment."""

    def __init__(
        self, models: Models, list_input_files: Callable[[], Sequence[str]], *, any_model: bool = False
    ) -> None:
        self._models = models
        self._list_input_files = list_input_files
        self._any_model = any_model

    def fill(self, name: str, info: Json) -> Json:
        """The ``/object_info`` entry of a class with its lists filled."""
        if name not in MODEL_INPUTS and name not in FILE_INPUTS:
            return info
        found = {each: self._models.names(folder) for each, folder in MODEL_INPUTS.get(name, {}).items()}
        for each, is_offered in FILE_INPUTS.get(name, {}).items():
            found[each] = sorted(file for file in self._list_input_files() if is_offered(file))
        filled = {
            group: {each: _with_options(config, found.get(each)) for each, config in inputs.items()}
            for group, inputs in info["input"].items()
        }
        return {**info, "input": filled}

    def accepts_anything(self, name: str, input_name: str, options: Sequence[Any]) -> bool:
        """Whether an input takes any file name: model files with ``--any-model``."""
        if not self._any_model:
            return False
        is_file = (str(option).lower().endswith(EXTENSIONS) for option in options)
        return input_name in MODEL_INPUTS.get(name, {}) or any(is_file)


def _with_options(config: Any, found: list[str] | None) -> Any:
    """The input with these options before its own."""
    if not found:
        return config
    type_, *rest = config
    if isinstance(type_, list):
        return [_joined(found, type_), *rest]
    if type_ == "COMBO" and rest:
        return [type_, {**rest[0], "options": _joined(found, rest[0].get("options") or [])}]
    return config


def _joined(found: list[str], own: list[Any]) -> list[Any]:
    return [*found, *(option for option in own if option not in found)]
