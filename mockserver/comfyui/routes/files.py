"""``/upload/image``, ``/upload/mask``, ``/view`` and ``/view_metadata``: images that go in and come out."""

from __future__ import annotations

import itertools
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui import image_files
from mockserver.comfyui.media_types import media_type
from mockserver.comfyui.models import safetensors_header
from mockserver.comfyui.paths import FILE_FOLDERS, FileFolder, below, without_annotation
from mockserver.comfyui.server import SERVER, ComfyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

routes = web.RouteTableDef()

_FOLDERS: dict[str, FileFolder] = {name: name for name in FILE_FOLDERS}
_RECODED = ("webp", "jpeg")
_QUALITY = 90
_ACTIVE_TYPES = {
    "application/javascript",
    "application/xhtml+xml",
    "text/css",
    "text/html",
    "text/html-sandboxed",
    "text/javascript",
}
"""What a browser would act on; sent as application/octet-stream."""


@routes.post("/upload/image")
async def post_image(request: web.Request) -> web.Response:
    """Takes an image: form fields ``image``, ``overwrite``, ``type``, ``subfolder``."""

    def save(image: web.FileField, path: Path) -> None:
        path.write_bytes(image.file.read())

    return _keep_upload(request.app[SERVER], await request.post(), save)


@routes.post("/upload/mask")
async def post_mask(request: web.Request) -> web.Response:
    """Writes the image named by ``original_ref`` with the alpha of the one that is sent.

    If there is no such image nothing is written, and the answer is the same.
    """
    server = request.app[SERVER]
    form = await request.post()

    def save(image: web.FileField, path: Path) -> None:
        reference: Any = json.loads(form["original_ref"])  # type: ignore[arg-type]  # what is no text is a 500
        original = _original(server, reference)
        if original is not None:
            image_files.write_with_alpha_of(original, image.file, path)

    return _keep_upload(server, form, save)


def _keep_upload(
    server: ComfyServer, form: Mapping[str, Any], save: Callable[[web.FileField, Path], None]
) -> web.Response:
    image = form.get("image")
    type_ = form.get("type", "input")
    folder = server.folders[_FOLDERS[type_]]
    if not image or not image.file or not image.filename:
        return web.Response(status=400)
    subfolder = form.get("subfolder", "")
    name = image.filename
    directory = below(folder, os.path.normpath(subfolder))
    path = None if directory is None else below(folder, str(directory), name)
    if path is None or directory is None:
        return web.Response(status=400)
    directory.mkdir(parents=True, exist_ok=True)
    is_known = False
    if form.get("overwrite") not in ("true", "1"):
        name, path, is_known = _free_name(folder, directory, name, image)
    if not is_known:
        save(image, path)
    return web.json_response({"name": name, "subfolder": subfolder, "type": type_})


def _free_name(folder: Path, directory: Path, name: str, image: web.FileField) -> tuple[str, Path, bool]:
    """The first numbered name that nobody has, or the first one that has the same content already."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  (a name, not a path)
    for number in itertools.count():
        numbered = f"{stem} ({number}){suffix}" if number else name
        path = below(folder, str(directory), numbered)
        if path is None:  # a link to elsewhere has this name
            continue
        if not path.exists():
            return numbered, path, False
        content = image.file.read()
        image.file.seek(0)
        if path.read_bytes() == content:
            return numbered, path, True
    raise AssertionError("numbers do not end")


def _original(server: ComfyServer, reference: Any) -> Path | None:
    """The image that a mask is for, if there is one."""
    name, annotated = without_annotation(reference["filename"])
    if not name or name[0] == "/" or ".." in name:
        return None
    type_ = annotated or reference.get("type", "output")
    if type_ not in FILE_FOLDERS:
        return None
    path = below(server.folders[type_], reference.get("subfolder", ""), name)
    return path if path is not None and path.is_file() else None


@routes.get("/view")
async def get_view(request: web.Request) -> web.StreamResponse:
    """A file of the output, input or temp directory: ``?filename=&type=&subfolder=&preview=&channel=``."""
    path = _viewed(request)
    if isinstance(path, web.Response):
        return path
    query = request.query
    headers = {"Content-Disposition": f'filename="{path.name}"'}
    channel = query.get("channel", "rgba")
    if "preview" in query:
        format_, quality = _recoding(query["preview"], query.get("channel", ""))
        content = image_files.recoded(path, format_, quality, opaque=channel == "rgb")
        return web.Response(body=content, content_type=f"image/{format_}", headers=headers)
    if channel in ("rgb", "a"):
        content = image_files.colours(path) if channel == "rgb" else image_files.alpha(path)
        return web.Response(body=content, content_type="image/png", headers=headers)
    content_type = media_type(path.name)
    if content_type in _ACTIVE_TYPES:
        content_type = "application/octet-stream"
    return web.FileResponse(path, headers={**headers, "Content-Type": content_type})


def _viewed(request: web.Request) -> Path | web.Response:
    """The file that a request asks for, or the answer if there is none or it may not be seen."""
    query = request.query
    if "filename" not in query:
        return web.Response(status=404)
    name, annotated = without_annotation(query["filename"])
    type_ = annotated or query.get("type", "output")
    if not name or name[0] == "/" or ".." in name or type_ not in _FOLDERS:
        return web.Response(status=400)
    folder = request.app[SERVER].folders[_FOLDERS[type_]]
    directory = below(folder, query.get("subfolder", ""))
    if directory is None:
        return web.Response(status=403)
    path = below(folder, str(directory), os.path.basename(name))  # noqa: PTH119  (a name, not a path)
    return path if path is not None and _is_file(path) else web.Response(status=404)


@routes.get("/view_metadata/{folder_name}")
async def get_view_metadata(request: web.Request) -> web.Response:
    """What a safetensors model file says of itself."""
    name = request.query.get("filename", "")
    path = request.app[SERVER].models.path(request.match_info["folder_name"], name)
    if not name.endswith(".safetensors") or path is None or not _is_file(path):
        return web.Response(status=404)
    header = safetensors_header(path)
    if header is None or "__metadata__" not in (facts := json.loads(header)):
        return web.Response(status=404)
    return web.json_response(facts["__metadata__"])


def _recoding(preview: str, channel: str) -> tuple[str, int]:
    """Image format and quality that ``preview=format;quality`` asks for."""
    parts = preview.split(";")
    format_, last = parts[0], parts[-1]
    if format_ not in _RECODED or "a" in channel:
        format_ = "webp"
    return format_, int(last) if last.isdigit() else _QUALITY


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # no name of a file
        return path.is_file()
    return False
