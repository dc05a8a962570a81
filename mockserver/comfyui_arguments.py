"""ComfyUI's command line arguments that mean nothing to a server without GPU and models (ComfyUI 0.3.64, read).

They are accepted, so that a launcher made for the real server starts this one, and named when the life starts.
"""

from __future__ import annotations

import argparse

_FLAGS = """
    async-offload auto-launch bf16-text-enc bf16-unet bf16-vae cache-classic cpu cpu-vae cuda-malloc deterministic
    disable-all-custom-nodes disable-auto-launch disable-cuda-malloc disable-ipex-optimize disable-mmap
    disable-pinned-memory disable-smart-memory disable-xformers dont-print-server dont-upcast-attention
    enable-manager force-channels-last force-fp16 force-fp32 force-non-blocking force-upcast-attention fp16-text-enc
    fp16-unet fp16-vae fp32-text-enc fp32-unet fp32-vae fp64-unet fp8_e4m3fn-text-enc fp8_e4m3fn-unet
    fp8_e5m2-text-enc fp8_e5m2-unet fp8_e8m0fnu-unet gpu-only highvram log-stdout lowvram mmap-torch-files normalvram
    novram quick-test-for-ci supports-fp8-compute use-flash-attention use-pytorch-cross-attention
    use-quad-cross-attention use-sage-attention use-split-cross-attention windows-standalone-build
""".split()  # noqa: SIM905 - a list of fifty lines reads worse

_WITH_A_VALUE = """
    comfy-api-base cuda-device database-url default-device default-hashing-function front-end-version
    models-directory oneapi-device-selector reserve-vram
""".split()  # noqa: SIM905

_WITH_VALUES = {"directml": "?", "extra-model-paths-config": "+", "fast": "*", "whitelist-custom-nodes": "+"}


def add_meaningless_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them all, unseen in the help text. Those that are given are named in ``meaningless``."""
    parser.set_defaults(meaningless=[])
    for name in _FLAGS:
        _add(parser, name, 0)
    for name in _WITH_A_VALUE:
        _add(parser, name, None)
    for name, count in _WITH_VALUES.items():
        _add(parser, name, count)


def _add(parser: argparse.ArgumentParser, name: str, nargs: int | str | None) -> None:
    parser.add_argument(f"--{name}", nargs=nargs, action=_Ignore, help=argparse.SUPPRESS)


class _Ignore(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.meaningless = [*namespace.meaningless, self.option_strings[0]]
