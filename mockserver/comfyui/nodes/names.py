"""Functions of node classes by the names that their errors show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mockserver.comfyui.catalog import NodeClass

_FUNCTIONS = {
    "CLIPTextEncode": "encode",
    "CheckpointLoaderSimple": "load_checkpoint",
    "EmptyImage": "generate",
    "EmptyLatentImage": "generate",
    "ImageBatch": "batch",
    "ImageInvert": "invert",
    "ImagePadForOutpaint": "expand_image",
    "ImageScale": "upscale",
    "ImageScaleBy": "upscale",
    "KSampler": "sample",
    "KSamplerAdvanced": "sample",
    "LatentUpscale": "upscale",
    "LoadImage": "load_image",
    "LoadImageMask": "load_image",
    "SaveImage": "save_images",
    "SaveImageWebsocket": "save_images",
    "SaveLatent": "save",
    "VAEDecode": "decode",
    "VAEEncode": "encode",
}


def function_of(node_class: NodeClass) -> str:
    """The qualified name of the function that runs a node of this class."""
    if node_class.name in ("MaskPreview", "PreviewImage"):  # both inherit it
        return "SaveImage.save_images"
    return f"{node_class.name}.{_FUNCTIONS.get(node_class.name, 'execute')}"
