"""What handlers read of a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web


async def json_body(request: web.Request) -> Any:
    """The body as JSON, whatever its Content-Type says. What is no JSON is a 500, as with the real server."""
    return json.loads(await request.text())
