"""Nodes that are acted out by their interface alone, or as a ``mock`` block says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Preview, Report, Result, Text, Update
from mockserver.comfyui.nodes.outputs import save_pictures
from mockserver.comfyui.values import Audio, Image, Latent, Mask, Noise, Sigmas, Stub, Video

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Json = dict[str, Any]

_PLAIN = (str, int, float, bool, list, dict, type(None))

_FIRST_USES: dict[str, Callable[[Any], Any]] = {
    "AUDIO": lambda value: value["waveform"],
    "CLIP": lambda value: value.tokenize,
    "IMAGE": lambda value: value.shape,
    "LATENT": lambda value: value["samples"],
    "MASK": lambda value: value.shape,
    "MODEL": lambda value: value.clone,
    "SIGMAS": lambda value: value.shape,
    "VAE": lambda value: value.decode,
}
"""What a node does first with an input of this type: plain values fail at it."""

_MOST_STEPS = 100_000


def act_by_interface(call: Call) -> Result:
    """Plausible values of the types that the class puts out; an output node that takes images writes them."""
    for name in call.node_class.inputs:
        kind = _kind_of_input(call, name)
        if name in call.inputs and isinstance(kind, str) and kind in _FIRST_USES:
            value = call.inputs[name]
            if isinstance(value, _PLAIN):
                _FIRST_USES[kind](value)
    images = _first(call, Image)
    if call.node_class.is_output and images is not None:
        prefix = call.inputs.get("filename_prefix")
        entries = save_pictures(call, images, prefix if isinstance(prefix, str) else "ComfyUI", "output")
        return Result(ui={"images": entries})
    return Result([_plausible(call, kind, slot) for slot, kind in enumerate(call.node_class.outputs)])


def steps_of_mock_block(call: Call) -> int:
    """How many updates the block makes the node report."""
    assert call.mock is not None
    steps = call[call.mock.steps] if isinstance(call.mock.steps, str) else call.mock.steps
    if isinstance(steps, bool) or not isinstance(steps, int):
        return 0
    return min(max(0, steps), _MOST_STEPS)


def act_mock_block(call: Call) -> Generator[Report, None, Result]:
    """What the block of a user's file says."""
    mock = call.mock
    assert mock is not None
    for text in mock.texts:
        yield Text(_filled_in(text.text, call), text.to)
    steps = steps_of_mock_block(call)
    for step in range(1, steps + 1):
        yield Update(step, steps, _preview(call) if mock.previews else None)
    if mock.fails is not None:
        raise Exception(mock.fails)
    ui = mock.ui
    if mock.images:
        images = _first(call, Image) or Image([_picture(call, seed) for seed in range(mock.images)])
        ui = {**(ui or {}), "images": save_pictures(call, images, str(call["filename_prefix"] or "ComfyUI"), "output")}
    if mock.outputs is None:
        return Result([_passed_on(call, kind, slot) for slot, kind in enumerate(call.node_class.outputs)], ui)
    return Result([_named(call, output) for output in mock.outputs], ui)


def _filled_in(text: str, call: Call) -> str:
    for name in call.node_class.inputs:
        text = text.replace(f"{{{name}}}", str(call[name]))
    return text


def _named(call: Call, output: Any) -> Any:
    if isinstance(output, dict) and set(output) == {"input"}:
        return call[output["input"]]
    return output


def _passed_on(call: Call, kind: Any, slot: int) -> Any:
    for name in call.node_class.inputs:
        if _kind_of_input(call, name) == kind and name in call.inputs:
            return call.inputs[name]
    return _plausible(call, kind, slot)


def _kind_of_input(call: Call, name: str) -> Any:
    return call.node_class.input_config(name)[0]


def _first(call: Call, kind: type) -> Any:
    return next((value for value in call.inputs.values() if isinstance(value, kind)), None)


def _preview(call: Call) -> Preview:
    return Preview("jpeg", pictures.encoded(pictures.preview(_picture(call, 0), call.stage.preview_size), "jpeg"))


def _size(call: Call) -> tuple[int, int]:
    """The size that a picture from this node has: as its inputs say, or as what comes in."""
    width, height = call.inputs.get("width"), call.inputs.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    image = _first(call, Image)
    if image is not None:
        return image.width, image.height
    latent = _first(call, Latent)
    return (512, 512) if latent is None else (latent.width * latent.scale, latent.height * latent.scale)


def _picture(call: Call, number: int) -> pictures.Picture:
    width, height = _size(call)
    plain = sorted((name, str(value)) for name, value in call.inputs.items() if isinstance(value, _PLAIN))
    digest = hashlib.sha256(repr((call.node_class.name, plain)).encode()).digest()
    return pictures.plausible(width, height, int.from_bytes(digest[:6], "big") + number)


def _image(call: Call) -> Image:
    return _first(call, Image) or Image([_picture(call, 0)])


def _mask(call: Call) -> Mask:
    found = _first(call, Mask)
    return found or Mask([pictures.solid_mask(*_size(call), 0.0)])


def _latent(call: Call) -> Latent:
    found = _first(call, Latent)
    if found is not None:
        assert isinstance(found, Latent)
        return found
    width, height = _size(call)
    batch, length = call.inputs.get("batch_size"), call.inputs.get("length")
    frames = (length - 1) // 4 + 1 if isinstance(length, int) and length > 0 else None
    return Latent(max(1, width // 8), max(1, height // 8), batch if isinstance(batch, int) else 1, frames)


def _sigmas(call: Call) -> Sigmas:
    found = _first(call, Sigmas)
    steps = call.inputs.get("steps")
    return found or Sigmas((steps if isinstance(steps, int) else 20) + 1)


_MAKERS: dict[str, Callable[[Call], Any]] = {
    "AUDIO": lambda call: _first(call, Audio) or Audio(),
    "BOOLEAN": lambda call: False,
    "FLOAT": lambda call: 1.0,
    "IMAGE": _image,
    "INT": lambda call: 1,
    "LATENT": _latent,
    "MASK": _mask,
    "NOISE": lambda call: Noise(0),
    "SIGMAS": _sigmas,
    "STRING": lambda call: next((str(value) for value in call.inputs.values() if isinstance(value, str)), ""),
    "VIDEO": lambda call: _first(call, Video) or Video(_image(call)),
}


def _made(call: Call, kind: str) -> Any:
    maker = _MAKERS.get(kind)
    return Stub(kind) if maker is None else maker(call)


def _plausible(call: Call, kind: Any, slot: int) -> Any:
    is_list = call.node_class.info.get("output_is_list", [])
    value = (kind[0] if kind else "") if isinstance(kind, list) else _made(call, kind)
    return [value] if slot < len(is_list) and is_list[slot] else value
