"""Proxies, ours and Toxiproxies, as places to set faults of the network in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from engine_helpers import PATIENCE, Peer, ScriptedServer
from robot_run import BEFORE_IT_LISTENS, servers_held_at

from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.engine.http import HttpError, ask
from ComfyMockLibrary.engine.proxies import NetworkProxy, ProxyManager, toxics_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine_helpers import Script

    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.servers import MockServer, ServerManager


@pytest.fixture
def proxies() -> Iterator[ProxyManager]:
    manager = ProxyManager()
    yield manager
    manager.close()


@pytest.fixture
def server(manager: ServerManager) -> MockServer:
    return manager.start()


@pytest.fixture
def proxy(proxies: ProxyManager, server: MockServer, tmp_path: Path) -> NetworkProxy:
    return proxies.start(server.endpoint, None, tmp_path, seed=7, startup_timeout=60.0)


def answer_of(endpoint: Endpoint, timeout: float = PATIENCE) -> int:
    return ask(endpoint, "GET", "/queue", Patience(timeout)).status


class Toxiproxy:
    """A real one, as far as its answers go."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str, Any]] = []

    def __call__(self, peer: Peer) -> None:
        request = peer.request
        body = json.loads(request.body) if request.body else None
        self.orders.append((request.method, request.path, body))
        if not request.path.startswith("/proxies/comfyui"):
            peer.answer(404, {"error": "proxy not found", "status": 404})
        elif request.path.endswith("/toxics") and body["type"] not in ("latency", "timeout", "reset_peer"):
            peer.answer(400, {"error": "invalid toxic type", "status": 400})
        elif request.path.endswith("/toxics") and body["attributes"].get("latency") == 13:
            peer.answer(409, {"error": "toxic already exists", "status": 409})
        elif request.method == "DELETE":
            peer.answer(204)
        else:
            peer.answer(200, {"name": "comfyui", "listen": "[::]:9188", "upstream": "gpu:8188", **(body or {})})


class TestOurOwn:
    def test_carries_to_the_server_and_ends_with_its_manager(
        self, proxies: ProxyManager, proxy: NetworkProxy, server: MockServer
    ) -> None:
        assert proxy.alias == "proxy-1"
        assert proxy.upstream == server.endpoint.authority
        assert proxy.url == f"http://127.0.0.1:{proxy.endpoint.port}"
        assert answer_of(proxy.endpoint) == 200
        assert proxies.find("proxy-1") is proxies.find(proxy) is proxy
        (process,) = (each for each in psutil.Process().children() if "mockserver.proxy" in each.cmdline())
        proxies.close()
        assert not process.is_running()
        assert proxies.find("proxy-1") is None
        with pytest.raises(ValueError, match=r"'proxy-1' is closed\. Start a new one with `Start Network Proxy`"):
            proxies.find(proxy)

    @pytest.mark.parametrize(
        ("fault", "least"),
        [
            ({"fault": "latency", "delay": 0.1, "direction": "both"}, 0.2),
            ({"fault": "bandwidth", "rate": 2000.0, "direction": "to_client"}, 0.05),
            ({"fault": "slice", "size": 50, "delay": 0.02, "direction": "to_client"}, 0.04),
        ],
    )
    def test_makes_late(self, proxy: NetworkProxy, fault: dict[str, Any], least: float) -> None:
        proxy.faults.set(fault)
        began = now()
        assert answer_of(proxy.endpoint) == 200
        assert now() - began >= least

    @pytest.mark.parametrize("name", ["hold_network", "silence"])
    @pytest.mark.parametrize("direction", ["to_client", "to_server"])
    def test_lets_nothing_pass(self, proxy: NetworkProxy, name: str, direction: str) -> None:
        fault = proxy.faults.set({"fault": name, "direction": direction})
        with pytest.raises(HttpError, match="no answer within"):
            answer_of(proxy.endpoint, 0.2)
        proxy.faults.clear(fault)
        proxy.faults.clear(fault)
        assert (fault.state, fault.server) == ("ended", proxy.alias)
        assert answer_of(proxy.endpoint) == 200

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"fault": "cut", "after_bytes": 10, "direction": "to_client", "ending": "fin"}, "."),
            ({"fault": "reset_connections"}, "reset"),
            ({"fault": "refuse_connections", "established": "drop"}, "refused"),
        ],
    )
    def test_ends_connections(self, proxy: NetworkProxy, fault: dict[str, Any], words: str) -> None:
        proxy.faults.set(fault)
        with pytest.raises(HttpError, match=words):
            answer_of(proxy.endpoint)
        proxy.faults.clear_all()
        assert answer_of(proxy.endpoint) == 200

    def test_releases_what_it_holds(self, proxy: NetworkProxy) -> None:
        held = proxy.faults.set({"fault": "hold_network", "direction": "both"})
        other = proxy.faults.set({"fault": "stall", "loss": 0.01, "direction": "both"})
        assert proxy.faults.release("execution") == []
        assert proxy.faults.release("network") == [held.id]
        assert (held.state, other.state) == ("ended", "active")
        assert proxy.faults.get(held.id) is held
        with pytest.raises(ValueError, match=r"'proxy-1' has no fault 'x'\. Known: hold_network-\d+, stall-\d+"):
            proxy.faults.get("x")

    def test_that_does_not_start_says_why(
        self, proxies: ProxyManager, server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in servers_held_at(tmp_path, BEFORE_IT_LISTENS).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(RuntimeError, match=r"The proxy 'net' was not ready within 0 s\. Log: .*net\.log"):
            proxies.start(server.endpoint, "net", tmp_path, seed=None, startup_timeout=0.0)
        assert proxies.proxies == []


class TestAToxiproxy:
    @pytest.fixture
    def toxiproxy(self) -> Toxiproxy:
        return Toxiproxy()

    @pytest.fixture
    def api(self, script: Script, toxiproxy: Toxiproxy) -> ScriptedServer:
        return script(http=toxiproxy)

    @pytest.fixture
    def proxy(self, proxies: ProxyManager, api: ScriptedServer) -> NetworkProxy:
        return proxies.connect(api.endpoint.url, "comfyui", "net")

    def test_says_where_its_proxy_is(self, proxy: NetworkProxy) -> None:
        assert (proxy.url, proxy.upstream, proxy.alias) == ("http://[::1]:9188", "gpu:8188", "net")

    def test_gets_a_toxic_for_each_direction(self, proxy: NetworkProxy, toxiproxy: Toxiproxy) -> None:
        fault = proxy.faults.set({"fault": "latency", "delay": 0.2, "jitter": 0.05, "direction": "both"})
        proxy.faults.clear(fault)
        attributes = {"latency": 200, "jitter": 50}
        toxics = [
            {"name": f"{fault.id}-{stream}", "type": "latency", "stream": stream, "attributes": attributes}
            for stream in ("downstream", "upstream")
        ]
        assert toxiproxy.orders[1:] == [
            *(("POST", "/proxies/comfyui/toxics", toxic) for toxic in toxics),
            *(("DELETE", f"/proxies/comfyui/toxics/{toxic['name']}", None) for toxic in toxics),
        ]

    def test_is_silent_by_a_timeout_that_never_comes(self, proxy: NetworkProxy, toxiproxy: Toxiproxy) -> None:
        proxy.faults.set({"fault": "silence", "direction": "to_client"})
        assert [order[2]["type"] for order in toxiproxy.orders[1:]] == ["silence", "timeout"]

    def test_is_disabled_and_enabled(self, proxy: NetworkProxy, toxiproxy: Toxiproxy) -> None:
        proxy.faults.clear(proxy.faults.set({"fault": "refuse_connections", "established": "drop"}))
        assert [order[2] for order in toxiproxy.orders[1:]] == [{"enabled": False}, {"enabled": True}]

    def test_has_not_all_toxics(self, proxy: NetworkProxy, api: ScriptedServer) -> None:
        with pytest.raises(ValueError, match=rf"The Toxiproxy at {api.endpoint.url} has no toxic 'stall'\. A proxy of"):
            proxy.faults.set({"fault": "stall", "loss": 0.1, "direction": "both"})
        assert proxy.faults.all() == []

    def test_that_refuses_is_quoted(self, proxy: NetworkProxy) -> None:
        with pytest.raises(ValueError, match=r"'net' does not take latency delay=0.013 .*: toxic already exists\."):
            proxy.faults.set({"fault": "latency", "delay": 0.013, "direction": "to_client"})

    def test_is_left_as_it_was(self, proxies: ProxyManager, proxy: NetworkProxy, toxiproxy: Toxiproxy) -> None:
        fault = proxy.faults.set({"fault": "reset_connections"})
        proxies.close_proxy(proxy)
        assert toxiproxy.orders[-1][0] == "DELETE"
        assert fault.state == "ended"

    def test_without_the_proxy_or_not_there_at_all_is_said(self, proxies: ProxyManager, api: ScriptedServer) -> None:
        with pytest.raises(ValueError, match=r"has no proxy 'other': proxy not found\."):
            proxies.connect(api.endpoint.url, "other", None)
        with pytest.raises(RuntimeError, match=r"cannot be steered: .*refused"):
            proxies.connect("http://127.0.0.1:1", "comfyui", None)
        assert proxies.proxies == []

    def test_has_an_alias_of_its_own(self, proxies: ProxyManager, proxy: NetworkProxy, api: ScriptedServer) -> None:
        with pytest.raises(ValueError, match=r"There is a proxy 'net' already\. Choose another alias"):
            proxies.connect(api.endpoint.url, "comfyui", proxy.alias)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fault": "drop_message", "message": "progress"}, "no such toxic as drop_message. Give the fault to a mock"),
        ({"fault": "refuse_connections", "established": "keep"}, "no such toxic as refuse_connections"),
        ({"fault": "hold_network", "direction": "both", "when": {"event": "executing"}}, "leave out when="),
        ({"fault": "hold_network", "direction": "both", "seconds": 1.0}, "leave out lasting="),
        (
            {"fault": "hold_network", "direction": "both", "who": {"client_id": "x"}},
            "leave out client= and connection=",
        ),
        ({"fault": "cut", "after_bytes": 1, "direction": "both"}, "with FIN only: give ending=fin"),
        ({"fault": "slow_close", "delay": 1.0, "what": "close_reply"}, "knows nothing of websockets: leave out what="),
        ({"fault": "bandwidth", "rate": 10.0, "direction": "both"}, "give a rate of 1 kB/s at least"),
        (
            {"fault": "latency", "delay": 1.0, "jitter": 0.1, "distribution": "normal", "direction": "both"},
            "leave out distribution=",
        ),
    ],
)
def test_what_no_toxic_does_is_said(fault: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        toxics_of(fault)
