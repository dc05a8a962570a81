"""Latents, noise levels and samplers. Nothing is denoised, but steps, sizes and previews are right."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image as Pillow

from mockserver.comfyui import pictures
from mockserver.comfyui.behaviour import Call, Preview, Report, Result, Update, acts
from mockserver.comfyui.values import Image, Latent, Noise, Sigmas

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockserver.comfyui.behaviour import Stage

_MAX_STEPS = 10_000  # what the samplers' interface allows


def decoded(latent: Latent) -> Image:
    """The pictures of a latent."""
    if latent.image is not None:
        return latent.image
    width, height = latent.width * latent.scale, latent.height * latent.scale
    pictures.guard(width, height, latent.pictures)
    return Image([pictures.plausible(width, height, latent.seed + at) for at in range(latent.pictures)])


def _ksampler_steps(call: Call) -> int:
    steps: int = min(call["steps"], _MAX_STEPS)
    return steps if call["denoise"] > 0 else 0


def _advanced_steps(call: Call) -> int:
    end: int = min(call["end_at_step"], call["steps"], _MAX_STEPS)
    start: int = call["start_at_step"]
    return max(0, end - start)


def _custom_steps(call: Call) -> int:
    return max(0, len(call["sigmas"]) - 1)


@acts("KSampler", steps=_ksampler_steps)
def _ksampler(call: Call) -> Generator[Report, None, Result]:
    latent = call["latent_image"]["samples"]
    _ = call["model"].get_model_object
    result = yield from _sample(call, latent, call["seed"], _ksampler_steps(call))
    return Result([result])


@acts("KSamplerAdvanced", steps=_advanced_steps)
def _ksampler_advanced(call: Call) -> Generator[Report, None, Result]:
    latent = call["latent_image"]["samples"]
    _ = call["model"].get_model_object
    result = yield from _sample(call, latent, call["noise_seed"], _advanced_steps(call))
    return Result([result])


@acts("SamplerCustom", steps=_custom_steps)
def _sampler_custom(call: Call) -> Generator[Report, None, Result]:
    latent = call["latent_image"]["samples"]
    result = yield from _sample(call, latent, call["noise_seed"], _custom_steps(call))
    return Result([result, result])


@acts("SamplerCustomAdvanced", steps=_custom_steps)
def _sampler_custom_advanced(call: Call) -> Generator[Report, None, Result]:
    latent = call["latent_image"]["samples"]
    result = yield from _sample(call, latent, call["noise"].seed, _custom_steps(call))
    return Result([result, result])


def _sample(call: Call, latent: Latent, seed: int, steps: int) -> Generator[Report, None, Latent]:
    if steps == 0:
        return latent
    result = replace(latent, image=None, seed=_mixed(seed, latent.seed))
    for step in range(1, steps + 1):
        yield Update(step, steps, _preview(result, call.stage, step, steps))
    return result


def _mixed(*seeds: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(seeds).encode()).digest()[:6], "big")


def _preview(latent: Latent, stage: Stage, step: int, steps: int) -> Preview | None:
    """The first picture of the batch out of the noise, as coarse as the latent is."""
    if not stage.sends_previews:
        return None
    picture = pictures.plausible(latent.width, latent.height, latent.seed)
    shown = Pillow.blend(pictures.solid(latent.width, latent.height, 0x808080), picture, step / steps)
    return Preview("jpeg", pictures.encoded(pictures.preview(shown, stage.preview_size), "jpeg"))


def _sigmas_of_steps(call: Call) -> int:
    denoise = call.inputs.get("denoise", 1.0)
    steps: int = min(call["steps"], _MAX_STEPS)
    return 0 if denoise <= 0 else steps + 1


@acts(
    "BasicScheduler",
    "KarrasScheduler",
    "ExponentialScheduler",
    "PolyexponentialScheduler",
    "LaplaceScheduler",
    "VPScheduler",
    "BetaSamplingScheduler",
    "SDTurboScheduler",
    "AlignYourStepsScheduler",
    "GITSScheduler",
    "LTXVScheduler",
    "OptimalStepsScheduler",
)
def _scheduler(call: Call) -> Result:
    return Result([Sigmas(_sigmas_of_steps(call))])


@acts("SplitSigmas")
def _split_sigmas(call: Call) -> Result:
    count = len(call["sigmas"])
    return Result([Sigmas(min(count, call["step"] + 1)), Sigmas(max(0, count - call["step"]))])


@acts("SplitSigmasDenoise")
def _split_sigmas_by_denoise(call: Call) -> Result:
    count = len(call["sigmas"])
    last = round(max(0, count - 1) * call["denoise"])
    return Result([Sigmas(count - last if last else 0), Sigmas(min(count, last + 1))])


@acts("FlipSigmas", "SetFirstSigma")
def _same_sigmas(call: Call) -> Result:
    return Result([Sigmas(len(call["sigmas"]))])


@acts("RandomNoise")
def _random_noise(call: Call) -> Result:
    return Result([Noise(call["noise_seed"])])


@acts("DisableNoise")
def _no_noise(call: Call) -> Result:
    return Result([Noise(0)])


_LATENTS = {
    "EmptyLatentImage": (4, 8),
    "EmptySD3LatentImage": (16, 8),
    "EmptyHunyuanImageLatent": (64, 32),
    "EmptyChromaRadianceLatentImage": (3, 1),
}
"""Channels, and pixels per cell."""


@acts(*_LATENTS)
def _empty_latent(call: Call) -> Result:
    channels, scale = _LATENTS[call.node_class.name]
    width, height = call["width"] // scale, call["height"] // scale
    return Result([Latent(width, height, call["batch_size"], channels=channels, scale=scale)])


_VIDEO_LATENTS = {
    "EmptyHunyuanLatentVideo": (16, 8, 4),
    "EmptyMochiLatentVideo": (12, 8, 6),
    "EmptyLTXVLatentVideo": (128, 32, 8),
    "EmptyCosmosLatentVideo": (16, 8, 8),
}
"""Channels, pixels per cell, frames per cell."""


@acts(*_VIDEO_LATENTS)
def _empty_video_latent(call: Call) -> Result:
    channels, scale, frames = _VIDEO_LATENTS[call.node_class.name]
    width, height = call["width"] // scale, call["height"] // scale
    length = (call["length"] - 1) // frames + 1
    return Result([Latent(width, height, call["batch_size"], length, channels, scale)])


@acts("LatentUpscale")
def _upscale(call: Call) -> Result:
    latent, width, height = call["samples"], call["width"], call["height"]
    if width == 0 and height == 0:
        return Result([latent])
    samples = latent.copy()["samples"]
    if width == 0:
        width = round(samples.width * height / samples.height)
    elif height == 0:
        height = round(samples.height * width / samples.width)
    return Result([samples.resized(max(64, width) // 8, max(64, height) // 8)])


@acts("LatentUpscaleBy")
def _upscale_by(call: Call) -> Result:
    samples = call["samples"].copy()["samples"]
    return Result([samples.resized(round(samples.width * call["scale_by"]), round(samples.height * call["scale_by"]))])


@acts("RepeatLatentBatch")
def _repeat(call: Call) -> Result:
    samples = call["samples"].copy()["samples"]
    return Result([replace(samples, batch=samples.batch * call["amount"], image=None)])


@acts("LatentFromBatch")
def _from_batch(call: Call) -> Result:
    samples = call["samples"].copy()["samples"]
    start = min(samples.batch - 1, call["batch_index"])
    return Result([replace(samples, batch=min(samples.batch - start, call["length"]), image=None)])


@acts("LatentBatch")
def _batch(call: Call) -> Result:
    first, second = call["samples1"].copy()["samples"], call["samples2"]["samples"]
    return Result([replace(first, batch=first.batch + second.batch, image=None)])


@acts("RebatchLatents")
def _rebatch(call: Call) -> Result:
    latents = [latent["samples"] for latent in call["latents"]]
    size, total = call["batch_size"][0], sum(latent.batch for latent in latents)
    batches = [min(size, total - start) for start in range(0, total, size)]
    return Result([[replace(latents[0], batch=batch, image=None) for batch in batches]])


def _decode(call: Call) -> Image:
    decode = call["vae"].decode
    samples = call["samples"]["samples"]
    _ = decode
    return decoded(samples)


@acts("VAEDecode")
def _vae_decode(call: Call) -> Result:
    return Result([_decode(call)])


@acts("VAEDecodeTiled", steps=lambda call: _tiles(call, call["samples"]["samples"]))
def _vae_decode_tiled(call: Call) -> Generator[Report, None, Result]:
    image = _decode(call)
    yield from _tiled(_tiles(call, call["samples"]["samples"]))
    return Result([image])


@acts("VAEEncode", "VAEEncodeForInpaint")
def _vae_encode(call: Call) -> Result:
    _ = call["vae"].encode
    return Result([_encoded(call["pixels"])])


@acts("VAEEncodeTiled", steps=lambda call: _tiles(call, _encoded(call["pixels"])))
def _vae_encode_tiled(call: Call) -> Generator[Report, None, Result]:
    _ = call["vae"].encode
    latent = _encoded(call["pixels"])
    yield from _tiled(_tiles(call, latent))
    return Result([latent])


def _encoded(pixels: Any) -> Latent:
    _, height, width, _ = pixels.shape
    box = (0, 0, max(8, width // 8 * 8), max(8, height // 8 * 8))
    cropped = Image([picture.crop(box) for picture in pixels])
    return Latent(cropped.width // 8, cropped.height // 8, len(cropped), image=cropped)


def _tiles(call: Call, latent: Latent) -> int:
    """Tiles of three passes of different shapes, together."""
    tile: int = call["tile_size"] // 8
    overlap: int = call["overlap"] // 8

    def count(length: int, of_tile: int) -> int:
        step = max(1, of_tile - overlap)
        return max(1, -(-(length - overlap) // step))

    shapes = ((tile * 2, max(1, tile // 2)), (max(1, tile // 2), tile * 2), (tile, tile))
    return latent.batch * sum(count(latent.width, wide) * count(latent.height, high) for wide, high in shapes)


def _tiled(count: int) -> Generator[Report, None, None]:
    for tile in range(1, count + 1):
        yield Update(tile, count)
