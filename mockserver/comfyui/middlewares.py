"""What the real server does around every request: cache headers, compression, who may ask from where."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlparse, urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from mockserver.comfyui.profile import Profile
    from mockserver.settings import Settings

log = logging.getLogger(__name__)

_IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_FOR_A_DAY = "public, max-age=86400"
_FOR_AN_HOUR = "public, max-age=3600"
_COMPRESSED_TYPES = ("application/json", "text/plain")


def middlewares_of(settings: Settings, profile: Profile) -> list[Middleware]:
    """The middlewares in their order, outermost first. As few as there may be: each takes its time of every request."""
    chosen: list[Middleware] = []
    if settings.enable_compress_response_body:
        chosen.append(_compression)
    if settings.enable_cors_header is not None:
        chosen.append(_cors(settings.enable_cors_header, profile))
    else:
        chosen.append(_same_origin(profile))
    return chosen


def _say_how_long_to_keep(request: web.Request, response: web.StreamResponse) -> None:
    """Says how long scripts and images may be kept, by the request's path."""
    path = request.path
    if "." not in path:
        return
    if path.endswith((".js", ".css", "index.json")):
        response.headers.setdefault("Cache-Control", "no-cache")
    elif path.lower().endswith(_IMAGES):
        if response.status == 404:
            response.headers.setdefault("Cache-Control", _FOR_AN_HOUR)
        elif 200 <= response.status <= 206 or response.status in (301, 308):
            response.headers.setdefault("Cache-Control", _FOR_A_DAY)
        elif response.status in (302, 303, 307):
            response.headers.setdefault("Cache-Control", "no-cache")


@web.middleware
async def _compression(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compresses JSON and text for clients that take gzip. Aiohttp prefers deflate if they take that too."""
    response = await handler(request)
    is_text = isinstance(response, web.Response) and response.content_type in _COMPRESSED_TYPES and response.body
    if is_text and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression()
    return response


def _cors(allowed_origin: str, profile: Profile) -> Middleware:
    methods = "POST, GET, DELETE, PUT, OPTIONS" + (", PATCH" if profile.allows_patch else "")

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets pages of other origins in, and answers OPTIONS for every path."""
        response = web.Response() if request.method == "OPTIONS" else await handler(request)
        response.headers["Access-Control-Allow-Origin"] = allowed_origin
        response.headers["Access-Control-Allow-Methods"] = methods
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
        response.headers["Access-Control-Allow-Credentials"] = "true"
        _say_how_long_to_keep(request, response)
        return response

    return cors


def _same_origin(profile: Profile) -> Middleware:
    @web.middleware
    async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses pages of other origins on this machine, and answers OPTIONS for every path."""
        headers = request.headers
        if profile.refuses_cross_site and headers.get("Sec-Fetch-Site") == "cross-site":
            response: web.StreamResponse = web.Response(status=403)
        elif (
            "Origin" in headers and "Host" in headers and await _is_foreign(headers["Host"].lower(), headers["Origin"])
        ):
            log.warning(
                "request with non matching host and origin: %s and %s, refused", headers["Host"], headers["Origin"]
            )
            response = web.Response(status=403)
        else:
            response = web.Response() if request.method == "OPTIONS" else await handler(request)
        _say_how_long_to_keep(request, response)
        return response

    return same_origin


async def _is_foreign(host: str, origin: str) -> bool:
    """Whether the origin is another one than the host, if that is this machine. Ports count if both name one."""
    asked, asking = urlsplit(f"//{host}"), urlparse(origin)
    mine: str | None = host if asking.port is not None else asked.hostname
    theirs = asking.netloc.lower() if asked.port is not None else asking.hostname
    if not mine or not theirs or mine == theirs:
        return False
    return await _is_loopback(asked.hostname)


async def _is_loopback(host: str | None) -> bool:
    """Whether a name or an address means this machine and nothing else."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    addresses: list[str] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
        except socket.gaierror:
            continue
        addresses += [str(address[0]) for *_, address in found]
    return bool(addresses) and all(ipaddress.ip_address(address).is_loopback for address in addresses)
