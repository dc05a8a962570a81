"""``/userdata`` and ``/v2/userdata``: files that the front-end keeps for a user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from mockserver.comfyui.paths import stays_inside
from mockserver.comfyui.server import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

routes = web.RouteTableDef()

_BAD_NAME = 'Invalid filename. Please avoid special characters like :\\/*?"<>|'


@routes.get("/userdata")
async def get_userdata(request: web.Request) -> web.Response:
    """Files of a folder: ``?dir=``, with ``recurse``, ``full_info`` and ``split`` as ``true``."""
    name = request.query.get("dir", "")
    if not name:
        return web.Response(status=400, text="Directory not provided")
    folder = request.app[SERVER].users.file(request.headers, name)
    if folder is None:
        return web.Response(status=403, text="Invalid directory")
    if not _exists(folder):
        return web.Response(status=404, text="Directory not found")
    files = _files(folder, recurse=_is_true(request, "recurse"))
    if _is_true(request, "full_info"):
        return web.json_response([_info(request, file, folder) for file in files])
    paths = [file.relative_to(folder).as_posix() for file in files]
    if _is_true(request, "split"):
        return web.json_response([[path, *path.split("/")] for path in paths])
    return web.json_response(paths)


@routes.get("/v2/userdata")
async def get_userdata_v2(request: web.Request) -> web.Response:
    """Everything below a folder: ``?path=``; folders first, then by name."""
    users = request.app[SERVER].users
    name = unquote(request.query.get("path", ""))
    try:
        root = users.folder(request.headers)
        folder = users.file(request.headers, name, make_parents=False) if name else root
    except KeyError:
        return web.Response(status=403, text="Invalid user specified in request")
    if root is None or folder is None:
        return web.Response(status=403, text="Invalid path requested")
    if not _exists(folder):
        if folder == root:
            return web.json_response([])
        return web.Response(status=404, text="Requested path not found")
    if not folder.is_dir():
        return web.Response(status=400, text="Requested path is not a directory")
    entries = list(_entries(request, root, folder))
    return web.json_response(sorted(entries, key=lambda entry: (entry["type"] != "directory", entry["name"].lower())))


@routes.get("/userdata/{file}")
async def get_file(request: web.Request) -> web.StreamResponse:
    """A file's content."""
    path = _path(request, must_exist=True)
    return path if isinstance(path, web.Response) else web.FileResponse(path)


@routes.post("/userdata/{file}")
async def post_file(request: web.Request) -> web.Response:
    """Writes a file, also over one that exists unless ``overwrite=false``."""
    path = _path(request)
    if isinstance(path, web.Response):
        return path
    if _keeps(request, path):
        return web.Response(status=409, text="File already exists")
    body = await request.read()
    try:
        path.write_bytes(body)
    except OSError:
        return web.Response(status=400, reason=_BAD_NAME)
    return _written(request, path)


@routes.delete("/userdata/{file}")
async def delete_file(request: web.Request) -> web.Response:
    """Deletes a file."""
    path = _path(request, must_exist=True)
    if isinstance(path, web.Response):
        return path
    path.unlink()
    return web.Response(status=204)


@routes.post("/userdata/{file}/move/{dest}")
async def move_file(request: web.Request) -> web.Response:
    """Moves a file or a folder."""
    source = _path(request, must_exist=True)
    if isinstance(source, web.Response):
        return source
    destination = request.app[SERVER].users.file(request.headers, request.match_info["dest"])
    if destination is None:
        raise ValueError("the destination lies outside of the user's folder")
    if _keeps(request, destination):
        return web.Response(status=409, text="File already exists")
    shutil.move(source, destination)
    return _written(request, destination)


def _path(request: web.Request, *, must_exist: bool = False) -> Path | web.Response:
    """Where the file of the request lies, or the answer if it may not lie there or, where it must, does not."""
    path = request.app[SERVER].users.file(request.headers, request.match_info["file"])
    if path is None:
        return web.Response(status=403)
    if must_exist and not _exists(path):
        return web.Response(status=404)
    return path


def _keeps(request: web.Request, path: Path) -> bool:
    """Whether a file that exists must stay as it is."""
    return request.query.get("overwrite", "true") == "false" and _exists(path)


def _written(request: web.Request, path: Path) -> web.Response:
    root = request.app[SERVER].users.folder(request.headers)
    assert root is not None
    if _is_true(request, "full_info"):
        return web.json_response(_info(request, path, root))
    return web.json_response(path.relative_to(root).as_posix())


def _is_true(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name of a file, before Python 3.12
        return False


def _files(folder: Path, *, recurse: bool) -> list[Path]:
    """Files of a folder without those whose names, or whose folders' names, begin with a dot."""
    found: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if recurse and not name.startswith("."))
        paths = (Path(where, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.is_file() and stays_inside(folder, path)]
    return found


def _entries(request: web.Request, root: Path, folder: Path) -> Iterator[Json]:
    for where, folders, names in os.walk(folder):
        for name in folders:
            yield {"name": name, "path": Path(where, name).relative_to(root).as_posix(), "type": "directory"}
        for name in names:
            path = Path(where, name)
            entry: Json = {"name": name, "path": path.relative_to(root).as_posix(), "type": "file"}
            if path.is_file() and stays_inside(root, path):
                stat = path.stat()
                entry |= {"size": stat.st_size, "modified": _time(request, stat.st_mtime)}
            yield entry


def _info(request: web.Request, path: Path, folder: Path) -> Json:
    stat = path.stat()
    return {
        "path": path.relative_to(folder).as_posix(),
        "size": stat.st_size,
        "modified": _time(request, stat.st_mtime),
        "created": _time(request, stat.st_ctime),
    }


def _time(request: web.Request, seconds: float) -> float:
    return int(seconds * 1000) if request.app[SERVER].profile.counts_file_times_in_ms else seconds
