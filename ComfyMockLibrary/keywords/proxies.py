"""Keywords for proxies: the network between clients and any server, a real ComfyUI too."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.proxies import NetworkProxy
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.keywords.base import Component, keyword


class ProxyKeywords(Component):
    """Proxies that keywords for faults of the network take as ``server``."""

    @keyword(tags=["Server", "Network"])
    def start_network_proxy(
        self,
        upstream: MockServer | str | None = None,
        *,
        alias: str | None = None,
        seed: int | None = None,
        startup_timeout: timedelta | None = None,
    ) -> NetworkProxy:
        """Starts a proxy in front of any server, a real ComfyUI for instance, and returns when it is ready.

        Clients connect to its ``url``. Keywords for faults of the network take it as ``server``: `Add Latency`,
        `Limit Bandwidth`, `Slice Traffic`, `Stall Network`, `Hold Network`, `Silence Network`, `Stop Reading`,
        `Cut Connections` with ``ending=fin``, `Slow Down Closing`, `Reset Connections`, `Drop And Refuse Connections`.
        They concern all connections, begin at once and last until they are cleared, or until the test ends.

        *Args:*
          - ``upstream``: The server: alias, port or handle of a mock server, or ``host:port`` or the URL of any other.
            The current mock server if left out.
          - ``alias``: Name for the other keywords. ``proxy-1`` and so on if left out.
          - ``seed``: Seed of the draws of its faults. Drawn and logged if left out.
          - ``startup_timeout``: Longest time until it is ready. Library default if left out.

        *Returns:* The proxy, with the attributes ``alias``, ``url``, ``ws_url``, ``upstream`` and ``api_url``.

        *Raises:*
          - RuntimeError: If it does not start.

        Example:
        | ${proxy} =    `Start Network Proxy`    upstream=gpu-server:8188
        | `Connect Client`    url=${proxy.url}
        | `Hold Network`    direction=both    server=${proxy}
        """
        proxy = self.session.proxies.start(
            self._endpoint_of(upstream),
            alias,
            self.session.servers.directory,
            seed=seed,
            startup_timeout=self.session.startup_timeout_or(startup_timeout),
        )
        self.session.opened(proxy)
        logger.info(f"{proxy.alias}: {proxy.url} for {proxy.upstream}, steered at {proxy.api_url}")
        return proxy

    @keyword(tags=["Server", "Network"])
    def connect_to_toxiproxy(self, toxiproxy_url: str, *, proxy: str, alias: str | None = None) -> NetworkProxy:
        """Takes a proxy of a Toxiproxy that runs, so that keywords for faults of the network can take it as ``server``.

        They become toxics there: `Add Latency` (latency), `Limit Bandwidth` (bandwidth), `Slice Traffic` (slicer),
        `Silence Network` (timeout), `Cut Connections` with ``ending=fin`` (limit_data), `Slow Down Closing`
        (slow_close), `Reset Connections` (reset_peer); `Drop And Refuse Connections` disables the proxy. Others fail:
        a Toxiproxy has no such toxic.

        *Args:*
          - ``toxiproxy_url``: Where its HTTP API is, for example ``http://127.0.0.1:8474``.
          - ``proxy``: Name of the proxy there.
          - ``alias``: Name for the other keywords. ``proxy-1`` and so on if left out.

        *Returns:* The proxy, with the attributes ``alias``, ``name``, ``url``, ``ws_url``, ``upstream`` and
          ``api_url``.

        *Raises:*
          - ValueError: If it has no such proxy.
          - RuntimeError: If there is no Toxiproxy.

        Example:
        | ${proxy} =    `Connect To Toxiproxy`    http://127.0.0.1:8474    proxy=comfyui
        | `Connect Client`    url=${proxy.url}
        | `Add Latency`    300 ms    direction=to_client    server=${proxy}
        """
        known = self.session.proxies.connect(toxiproxy_url, proxy, alias)
        self.session.opened(known)
        logger.info(f"{known.alias}: {known.url} for {known.upstream}, steered at {known.api_url}")
        return known

    def _endpoint_of(self, upstream: MockServer | str | None) -> Endpoint:
        if isinstance(upstream, str):
            names = {str(name) for server in self.session.known_servers for name in (server.alias, server.port)}
            if upstream not in names and (":" in upstream or "/" in upstream):
                return Endpoint.of_url(upstream)
        return self.session.servers.get(upstream).endpoint
