"""What the server knows: node classes, models, embeddings, extensions, templates, translations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.comfyui import image_files
from mockserver.comfyui.paths import below
from mockserver.comfyui.server import SERVER

if TYPE_CHECKING:
    from pathlib import Path

routes = web.RouteTableDef()

_NOT_OF_USERS = ("configs", "custom_nodes")
"""Folders that ``/experiment/models`` leaves out."""


@routes.get("/object_info")
async def get_object_info(request: web.Request) -> web.Response:
    """All node classes."""
    return web.json_response(request.app[SERVER].catalog.listing())


@routes.get("/object_info/{node_class}")
async def get_object_info_of_class(request: web.Request) -> web.Response:
    """One node class; an empty object for an unknown one."""
    name = request.match_info["node_class"]
    node_class = request.app[SERVER].catalog.find(name)
    return web.json_response({} if node_class is None else {name: node_class.shown})


@routes.get("/embeddings")
async def get_embeddings(request: web.Request) -> web.Response:
    """Names of the embeddings, without extension."""
    names = request.app[SERVER].models.names("embeddings")
    return web.json_response([os.path.splitext(name)[0] for name in names])  # noqa: PTH122  (names, not paths)


@routes.get("/models")
async def get_model_folders(request: web.Request) -> web.Response:
    """Names of the model folders."""
    return web.json_response(request.app[SERVER].models.folders)


@routes.get("/models/{folder}")
async def get_models(request: web.Request) -> web.Response:
    """File names in a model folder."""
    models = request.app[SERVER].models
    folder = request.match_info["folder"]
    if folder not in models.folders:
        return web.Response(status=404)
    return web.json_response(models.names(folder))


@routes.get("/experiment/models")
async def get_experimental_model_folders(request: web.Request) -> web.Response:
    """Model folders with where they are."""
    models = request.app[SERVER].models
    names = [name for name in models.folders if name not in _NOT_OF_USERS]
    return web.json_response([{"name": name, "folders": models.locations(name)} for name in names])


@routes.get("/experiment/models/{folder}")
async def get_experimental_models(request: web.Request) -> web.Response:
    """Model files with facts about them. Those that are only names have neither size nor times."""
    models = request.app[SERVER].models
    folder = request.match_info["folder"]
    if folder not in models.folders:
        return web.Response(status=404)
    return web.json_response([_model_facts(name, models.path(folder, name)) for name in models.names(folder)])


@routes.get("/experiment/models/preview/{folder}/{path_index}/{filename:.*}")
async def get_model_preview(request: web.Request) -> web.Response:
    """The picture that lies beside a model file, as WebP."""
    models = request.app[SERVER].models
    place = request.match_info
    index = int(place["path_index"])
    root = models.path(place["folder"])
    if root is None or index not in (0, -1):
        return web.Response(status=404)
    model = below(root, place["filename"])
    for suffix in (".webp", ".png", ".jpg", ".jpeg", ".preview.png", ".preview.jpg", ".preview.jpeg"):
        picture = None if model is None else below(root, f"{model.with_suffix('')}{suffix}")
        if picture is not None and picture.is_file():
            try:
                return web.Response(
                    body=image_files.recoded(picture, "webp", 80, opaque=False), content_type="image/webp"
                )
            except (OSError, ValueError):  # no picture after all
                break
    return web.Response(status=404)


@routes.get("/extensions")
async def get_extensions(request: web.Request) -> web.Response:
    """Paths of the front-end's extensions."""
    return web.json_response(request.app[SERVER].web_root.extensions())


@routes.get("/workflow_templates")
async def get_workflow_templates(request: web.Request) -> web.Response:
    """Templates of custom nodes: none."""
    return web.json_response({})


@routes.get("/i18n")
async def get_i18n(request: web.Request) -> web.Response:
    """Translations of custom nodes: none."""
    return web.json_response({})


def _model_facts(name: str, path: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "pathIndex": 0, "modified": 0.0, "created": 0.0, "size": 0}
    if path is not None and path.is_file():
        stat = path.stat()
        facts |= {"modified": stat.st_mtime, "created": stat.st_ctime, "size": stat.st_size}
    return facts
