"""The live page: what goes on in a life, in a browser, with buttons for faults. It is one file, and uses this API."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from aiohttp import web

_PAGE = Path(__file__).parents[1] / "data" / "live.html"

PATH = "/"
"""Where it is. Whoever has no token gets it too: it has no secrets, and asks for the token itself."""


async def get_live_page(_request: web.Request) -> web.Response:
    """The page."""
    text, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return web.Response(text=text, content_type="text/html", headers=headers)


@functools.cache
def _page() -> tuple[str, str]:
    """The page, and what a browser may do with it: run its own script and style, and talk to this API."""
    text = _PAGE.read_text(encoding="utf-8")
    sources = {tag: _hashes(tag, text) for tag in ("script", "style")}
    return text, "; ".join(
        [
            "default-src 'none'",
            f"script-src {sources['script']}",
            f"style-src {sources['style']}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hashes(tag: str, text: str) -> str:
    blocks = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
