"""Where a ComfyUI server is: taken from a URL, and turned into the URLs of HTTP and websocket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_TLS = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True)
class Endpoint:
    """Address of a server."""

    host: str
    port: int
    tls: bool = False
    path: str = ""
    """Path before the routes, without a slash at its end; empty for most servers."""

    @classmethod
    def of_url(cls, url: str) -> Endpoint:
        """Reads ``http://``, ``https://``, ``ws://`` and ``wss://`` URLs, and ``host:port``. Raises ValueError."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            parts, port = None, None
        if parts is None or parts.scheme not in _TLS or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a server; give one such as http://127.0.0.1:8188.")
        tls = _TLS[parts.scheme]
        path = parts.path.rstrip("/").removesuffix("/ws")
        return cls(parts.hostname, (443 if tls else 80) if port is None else port, tls, path)

    @property
    def url(self) -> str:
        """Base URL for HTTP."""
        return f"http{'s' if self.tls else ''}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def ws_url(self, client_id: str | None = None) -> str:
        """URL of the websocket."""
        query = "" if client_id is None else f"?clientId={quote(client_id, safe='')}"
        return f"ws{'s' if self.tls else ''}://{self.authority}{self.path}/ws{query}"


def split_target(target: str) -> tuple[str, str]:
    """Path and query of what a request asks for, whatever a client has sent as that."""
    try:
        parts = urlsplit(target)
    except ValueError:  # no URL, such as ``//[``
        path, _, query = target.partition("?")
        return path, query
    return parts.path, parts.query
