"""Subgraphs and replacements of nodes, which newer versions ask custom nodes for: there are none."""

from __future__ import annotations

from aiohttp import web

routes = web.RouteTableDef()


@routes.get("/global_subgraphs")
async def get_global_subgraphs(request: web.Request) -> web.Response:
    """All subgraphs: none."""
    return web.json_response({})


@routes.get("/global_subgraphs/{id}")
async def get_global_subgraph(request: web.Request) -> web.Response:
    """One subgraph: null for one that is not there."""
    return web.json_response(None)


@routes.get("/node_replacements")
async def get_node_replacements(request: web.Request) -> web.Response:
    """Classes that stand in for others: none."""
    return web.json_response({})
