"""The HTTP API, as Toxiproxy 2.12 answers it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.toxiproxy import errors
from mockserver.toxiproxy.proxies import Proxy
from mockserver.toxiproxy.toxics import Toxic

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

Json = dict[str, Any]

VERSION = "2.12.0"
"""Of the API that is spoken here."""


class Proxies:
    """All proxies, by name."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._proxies: dict[str, Proxy] = {}

    def __iter__(self) -> Any:
        """All of them."""
        return iter(self._proxies.values())

    def __getitem__(self, name: str) -> Proxy:
        """The one of a name. Raises ApiError."""
        if name not in self._proxies:
            raise errors.proxy_not_found()
        return self._proxies[name]

    async def create(self, given: Json) -> Proxy:
        """A new proxy. Raises ApiError."""
        proxy = self._new(given)
        if proxy.name in self._proxies:
            raise errors.proxy_exists()
        await self._put(proxy, given)
        return proxy

    async def populate(self, given: Any) -> list[Proxy]:
        """Creates proxies, and replaces those that are to listen or connect elsewhere. Raises ApiError."""
        if not isinstance(given, list):
            raise errors.bad_request("a list of proxies is needed")
        wanted = [self._new(each, f" at proxy {number}") for number, each in enumerate(given, 1)]
        names = [proxy.name for proxy in wanted]
        for name in names:
            if names.count(name) > 1:
                raise errors.ApiError(f'duplicate proxy name "{name}"', 500)
        for proxy, fields in zip(wanted, given, strict=True):
            present = self._proxies.get(proxy.name)
            if present is not None:
                if (present.listen, present.upstream) == (proxy.listen, proxy.upstream):
                    continue
                await proxy.replace_other(present)
            await self._put(proxy, fields)
        return [self._proxies[name] for name in names]

    def delete(self, name: str) -> None:
        """Removes a proxy. Raises ApiError."""
        self[name].stop()
        del self._proxies[name]

    def stop(self) -> None:
        """Stops all of them."""
        for proxy in self:
            proxy.stop()

    def _new(self, given: Any, where: str = "") -> Proxy:
        fields = proxy_fields(given, {"name": "", "listen": "", "upstream": "", "enabled": True})
        for name in ("name", "upstream"):
            if not fields[name]:
                raise errors.missing(f"{name}{where}")
        return Proxy(fields["name"], fields["listen"] or "127.0.0.1:0", fields["upstream"], self.seed)

    async def _put(self, proxy: Proxy, given: Json) -> None:
        if given.get("enabled") is not False:
            await proxy.start()
        self._proxies[proxy.name] = proxy


def proxy_fields(given: Any, otherwise: Json) -> Json:
    """The fields of a proxy that were posted, with what they are otherwise. Raises ApiError."""
    if not isinstance(given, dict):
        raise errors.bad_request("an object is needed")
    fields = {}
    for name, default in otherwise.items():
        value = given.get(name)
        if value is not None and not isinstance(value, type(default)):
            raise errors.bad_request(f"{name} is no {'boolean' if isinstance(default, bool) else 'string'}")
        fields[name] = default if value is None else value
    return fields


routes = web.RouteTableDef()
PROXIES = web.AppKey("PROXIES", Proxies)


def make_api(proxies: Proxies) -> web.Application:
    """The application behind the API's address."""
    app = web.Application(middlewares=[_refuse_browsers, _answer_errors])
    app[PROXIES] = proxies
    app.add_routes(routes)
    return app


@routes.get("/version")
async def _version(_: web.Request) -> web.Response:
    return web.json_response({"version": VERSION})


@routes.post("/reset")
async def _reset(request: web.Request) -> web.Response:
    for proxy in request.app[PROXIES]:
        await proxy.start()
        proxy.remove(*proxy.toxics)
    return web.Response(status=204)


@routes.post("/populate")
async def _populate(request: web.Request) -> web.Response:
    proxies = await request.app[PROXIES].populate(await _body(request))
    return web.json_response({"proxies": [proxy.as_json() for proxy in proxies]}, status=201)


@routes.get("/proxies")
async def _proxies(request: web.Request) -> web.Response:
    return web.json_response({proxy.name: proxy.as_json() for proxy in request.app[PROXIES]})


@routes.post("/proxies")
async def _create_proxy(request: web.Request) -> web.Response:
    proxy = await request.app[PROXIES].create(await _body(request))
    return web.json_response(proxy.as_json(), status=201)


@routes.get("/proxies/{proxy}")
async def _show_proxy(request: web.Request) -> web.Response:
    return web.json_response(_proxy(request).as_json())


@routes.post("/proxies/{proxy}")
@routes.patch("/proxies/{proxy}")
async def _update_proxy(request: web.Request) -> web.Response:
    proxy = _proxy(request)
    present = {"listen": proxy.listen, "upstream": proxy.upstream, "enabled": proxy.is_enabled}
    await proxy.update(**proxy_fields(await _body(request), present))
    if proxy not in request.app[PROXIES]:  # deleted meanwhile: it must not listen again
        proxy.stop()
        raise errors.proxy_not_found()
    return web.json_response(proxy.as_json())


@routes.delete("/proxies/{proxy}")
async def _delete_proxy(request: web.Request) -> web.Response:
    request.app[PROXIES].delete(request.match_info["proxy"])
    return web.Response(status=204)


@routes.get("/proxies/{proxy}/toxics")
async def _toxics(request: web.Request) -> web.Response:
    return web.json_response(_proxy(request).toxics_as_json())


@routes.post("/proxies/{proxy}/toxics")
async def _create_toxic(request: web.Request) -> web.Response:
    proxy = _proxy(request)
    toxic = Toxic.of(await _body(request))
    proxy.add(toxic)
    return web.json_response(toxic.as_json())


@routes.get("/proxies/{proxy}/toxics/{toxic}")
async def _show_toxic(request: web.Request) -> web.Response:
    return web.json_response(_proxy(request).toxic(request.match_info["toxic"]).as_json())


@routes.post("/proxies/{proxy}/toxics/{toxic}")
@routes.patch("/proxies/{proxy}/toxics/{toxic}")
async def _update_toxic(request: web.Request) -> web.Response:
    proxy = _proxy(request)
    toxic = proxy.toxic(request.match_info["toxic"]).updated(await _body(request))
    proxy.replace(toxic)
    return web.json_response(toxic.as_json())


@routes.delete("/proxies/{proxy}/toxics/{toxic}")
async def _delete_toxic(request: web.Request) -> web.Response:
    proxy = _proxy(request)
    proxy.remove(proxy.toxic(request.match_info["toxic"]).name)
    return web.Response(status=204)


def _proxy(request: web.Request) -> Proxy:
    return request.app[PROXIES][request.match_info["proxy"]]


async def _body(request: web.Request) -> Any:
    """The JSON, whatever its declared type; clients send several, or none."""
    try:
        return json.loads(await request.read())
    except ValueError as failure:
        raise errors.bad_request(failure) from None


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.ApiError as error:
        return web.json_response({"error": error.message, "status": error.status}, status=error.status)


@web.middleware
async def _refuse_browsers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As there: otherwise any page could steer it."""
    if request.headers.get("User-Agent", "").startswith("Mozilla/"):
        return web.Response(status=403, text="User agent not allowed\n")
    return await handler(request)
