"""Proxies between clients and any server that are steered over Toxiproxy's HTTP API: our own, or a real Toxiproxy."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal

from ComfyMockLibrary.engine import launchers
from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import Deadline
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.fault_records import FaultInLife
from ComfyMockLibrary.engine.faults import HOLDING, Fault
from ComfyMockLibrary.engine.http import HttpError, ask
from ComfyMockLibrary.engine.launcher import LaunchedLife, NotReady, discard
from ComfyMockLibrary.engine.records import file_name, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ComfyMockLibrary.engine.faults import Held

Json = dict[str, Any]

TIMEOUT = 30.0
"""Seconds after which an answer of the API counts as none."""

OWN_NAME = "comfyui"
"""Name of the proxy in a process of ours."""

_STREAMS = {"to_client": ("downstream",), "to_server": ("upstream",), "both": ("downstream", "upstream")}

_NOT_THERE = {
    "when": "when=",
    "after": "after=",
    "seconds": "lasting=",
    "times": "times=",
    "who": "client= and connection=",
}
"""Fields of faults that no toxic has, and the arguments that they come from."""

_numbers = itertools.count(1)


def toxics_of(description: Mapping[str, Any]) -> list[Json]:
    """The toxics that do what a fault does, each with types to try one after another. Raises ValueError."""
    name = description["fault"]
    for field, argument in _NOT_THERE.items():
        if field in description:
            raise ValueError(
                f"Through a proxy a fault is there for everybody until it is cleared: leave out {argument}."
            )
    make = _TOXICS.get(name)
    if make is None:
        raise ValueError(
            f"A Toxiproxy has no such toxic as {name}. Give the fault to a mock server, or use one of "
            f"{', '.join(_TOXICS)}."
        )
    types, attributes = make(description)
    streams = _STREAMS[description.get("direction", "to_client")]
    return [{"types": types, "stream": stream, "attributes": attributes} for stream in streams]


def _check_fields(description: Mapping[str, Any]) -> None:
    for field, argument in _NOT_THERE.items():
        if field in description:
            raise ValueError(
                f"Through a proxy a fault is there for everybody until it is cleared: leave out {argument}."
            )


def _latency(fault: Mapping[str, Any]) -> tuple[tuple[str, ...], Json]:
    if fault.get("jitter") and fault.get("distribution", "uniform") != "uniform":
        raise ValueError("A Toxiproxy has jitter of one kind only: leave out distribution=.")
    return ("latency",), {"latency": _milliseconds(fault["delay"]), "jitter": _milliseconds(fault.get("jitter", 0.0))}


def _bandwidth(fault: Mapping[str, Any]) -> tuple[tuple[str, ...], Json]:
    kilobytes = round(fault["rate"] / 1000)
    if kilobytes < 1:
        raise ValueError("A Toxiproxy counts in whole kB/s: give a rate of 1 kB/s at least.")
    return ("bandwidth",), {"rate": kilobytes}


def _slicer(fault: Mapping[str, Any]) -> tuple[tuple[str, ...], Json]:
    return ("slicer",), {
        "average_size": fault["size"],
        "size_variation": fault.get("variation", 0),
        "delay": round(fault.get("delay", 0.0) * 1_000_000),
    }


def _cut(fault: Mapping[str, Any]) -> tuple[tuple[str, ...], Json]:
    if fault.get("ending", "reset") != "fin":
        raise ValueError("A Toxiproxy cuts connections with FIN only: give ending=fin.")
    return ("limit_data",), {"bytes": fault["after_bytes"]}


def _slow_close(fault: Mapping[str, Any]) -> tuple[tuple[str, ...], Json]:
    if fault.get("what", "fin") != "fin":
        raise ValueError("A Toxiproxy knows nothing of websockets: leave out what=.")
    return ("slow_close",), {"delay": _milliseconds(fault["delay"])}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


_TOXICS: dict[str, Any] = {
    "latency": _latency,
    "bandwidth": _bandwidth,
    "slice": _slicer,
    "stall": lambda fault: (("stall",), {"loss": fault["loss"]}),
    "hold_network": lambda _: (("hold",), {}),
    "silence": lambda _: (("silence", "timeout"), {}),  # a timeout of 0 never ends the connection
    "stop_reading": lambda _: (("stop_reading",), {}),
    "cut": _cut,
    "slow_close": _slow_close,
    "reset_connections": lambda _: (("reset_peer",), {}),
}
"""By kind of fault: types of toxics, the truest first, and their attributes."""

_DOWN = "refuse_connections"
"""The fault that is no toxic: the whole proxy is disabled."""


class ProxyFaults:
    """Sets and clears faults of one proxy, and knows all that were set here."""

    is_closed = False

    def __init__(self, proxy: NetworkProxy) -> None:
        self._proxy = proxy
        self._faults: dict[str, Fault] = {}
        self._toxics: dict[str, list[str]] = {}

    @property
    def alias(self) -> str:
        """Alias of the proxy."""
        return self._proxy.alias

    def all(self) -> list[Fault]:
        """All faults that were set here, oldest first, also those that have ended."""
        return list(self._faults.values())

    def get(self, fault_id: str) -> Fault:
        """A fault by its id. Raises ValueError."""
        if fault_id not in self._faults:
            raise ValueError(
                f"The proxy {self.alias!r} has no fault {fault_id!r}. Known: {', '.join(self._faults) or 'none'}."
            )
        return self._faults[fault_id]

    def set(self, description: Mapping[str, Any]) -> Fault:
        """Sets a fault; ``description`` is what a mock server takes. Raises ValueError, RuntimeError."""
        fault = Fault(self, f"{description['fault']}-{next(_numbers)}", description)
        if fault.name == _DOWN and description.get("established") == "drop":
            _check_fields(description)
            self._proxy.enable(False)
        else:
            self._toxics[fault.id] = []
            try:
                for toxic in toxics_of(description):
                    self._toxics[fault.id].append(self._add(fault, toxic))
            except BaseException:
                self._remove_toxics(fault)
                raise
        self._faults[fault.id] = fault
        return fault

    def clear(self, *faults: Fault) -> None:
        """Ends faults, the latest first; those that have ended stay as they are."""
        for fault in reversed(faults):
            if fault.has_ended:
                continue
            if fault.name == _DOWN:
                self._proxy.enable(True)
            else:
                self._remove_toxics(fault)
            fault.is_cleared = True

    def clear_all(self) -> None:
        """Ends all faults that were set here."""
        self.clear(*self.all())

    def release(self, what: Held) -> list[str]:
        """Ends the faults that hold something. Returns their ids."""
        held = [each for each in self.all() if each.name == HOLDING[what] and not each.has_ended]
        self.clear(*held)
        return [each.id for each in held]

    def close(self) -> None:
        """Ends with the proxy."""
        self.is_closed = True

    def in_lives(self, fault: Fault) -> list[FaultInLife]:
        """A proxy has one life, and does not tell how often a fault strikes."""
        return [FaultInLife(fault.set_at, begun_at=fault.set_at)]

    def is_in_force(self, _fault: Fault) -> bool:
        """A fault is in force at once."""
        return True

    def _add(self, fault: Fault, toxic: Mapping[str, Any]) -> str:
        types: tuple[str, ...] = toxic["types"]
        name = f"{fault.id}-{toxic['stream']}"
        for kind in types:
            body = {"name": name, "type": kind, "stream": toxic["stream"], "attributes": toxic["attributes"]}
            status, answer = self._proxy.order("POST", "/toxics", body)
            if status == 200:
                return name
            if "invalid toxic type" not in str(answer):
                raise ValueError(f"The proxy {self.alias!r} does not take {fault}: {_error(answer)}.")
        raise ValueError(
            f"The Toxiproxy at {self._proxy.api_url} has no toxic {types[0]!r}. "
            "A proxy of `Start Network Proxy` has it."
        )

    def _remove_toxics(self, fault: Fault) -> None:
        for name in self._toxics.pop(fault.id, []):
            self._proxy.order("DELETE", f"/toxics/{name}")


class NetworkProxy:
    """A proxy: clients connect to its ``url`` and reach the server behind it."""

    def __init__(self, alias: str, api_url: str, name: str, process: LaunchedLife | None = None) -> None:
        """Raises RuntimeError if there is none, ValueError if the Toxiproxy has none of this name."""
        self.alias = alias
        self.api_url = api_url.rstrip("/")
        self.name = name
        self.faults = ProxyFaults(self)
        self._process = process
        status, known = self.order("GET")
        if status != 200:
            raise ValueError(f"The Toxiproxy at {self.api_url} has no proxy {name!r}: {_error(known)}.")
        host, _, port = known["listen"].rpartition(":")
        self.endpoint = Endpoint({"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host), int(port))
        self.upstream: str = known["upstream"]
        """Address of the server behind it."""

    is_running = True

    @property
    def url(self) -> str:
        """Base URL for HTTP, through the proxy."""
        return self.endpoint.url

    @property
    def ws_url(self) -> str:
        """URL of the websocket, through the proxy."""
        return self.endpoint.ws_url()

    def enable(self, enabled: bool) -> None:
        """Lets it listen, or not: then it drops all connections too."""
        self.order("POST", "", {"enabled": enabled})

    def order(
        self, method: Literal["GET", "POST", "DELETE"], path: str = "", body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Status and answer of the API. Raises RuntimeError when there is none."""
        try:
            answer = ask(
                Endpoint.of_url(self.api_url), method, f"/proxies/{self.name}{path}", Patience(TIMEOUT), body=body
            )
            return answer.status, answer.json() if answer.body else None
        except HttpError as failure:
            raise RuntimeError(f"The proxy {self.alias!r} cannot be steered: {failure}.") from failure

    def close(self) -> None:
        """Ends it, if it is ours; a foreign one is as it was."""
        if self._process is None:
            with suppress(RuntimeError):  # it may have ended before
                self.faults.clear_all()
        else:
            discard(self._process)
        self.faults.close()

    def __repr__(self) -> str:
        return f"<NetworkProxy {self.alias!r} at {self.url} for {self.upstream}>"


class ProxyManager:
    """The proxies of one library instance."""

    def __init__(self) -> None:
        self._proxies: dict[str, NetworkProxy] = {}
        self._alias_numbers = itertools.count(1)

    @property
    def proxies(self) -> list[NetworkProxy]:
        """All proxies, oldest first."""
        return list(self._proxies.values())

    def find(self, proxy: object) -> NetworkProxy | None:
        """A proxy by handle or alias, if it is one."""
        if isinstance(proxy, NetworkProxy):
            if proxy not in self.proxies:
                raise ValueError(f"The proxy {proxy.alias!r} is closed. Start a new one with `Start Network Proxy`.")
            return proxy
        return self._proxies.get(proxy) if isinstance(proxy, str) else None

    def connect(self, api_url: str, name: str, alias: str | None) -> NetworkProxy:
        """Takes a proxy of a Toxiproxy that runs. Raises RuntimeError, ValueError."""
        return self._keep(NetworkProxy(self._free(alias), api_url, name))

    def start(
        self, upstream: Endpoint, alias: str | None, directory: Path, *, seed: int | None, startup_timeout: float
    ) -> NetworkProxy:
        """Starts a proxy as a process of its own. Raises RuntimeError when it does not start."""
        alias = self._free(alias)
        directory.mkdir(parents=True, exist_ok=True)
        log_file = directory.absolute() / f"{file_name(alias)}.log"
        log_file.unlink(missing_ok=True)
        arguments = ["--listen", "127.0.0.1:0", "--upstream", upstream.authority, "--api", "127.0.0.1:0"]
        if seed is not None:
            arguments += ["--seed", str(seed)]
        process = launchers.of_programs().launch_module("mockserver.proxy", arguments, log_file)
        try:
            ready = process.wait_until_ready(Deadline(startup_timeout))
            return self._keep(NetworkProxy(alias, ready["api_url"], OWN_NAME, process))
        except BaseException as failure:
            discard(process)
            if isinstance(failure, NotReady):
                raise RuntimeError(f"The proxy {alias!r} {failure}. Log: {shown(log_file)}.") from None
            raise

    def close_proxy(self, proxy: NetworkProxy) -> None:
        """Ends a proxy and forgets it."""
        self._proxies.pop(proxy.alias, None)
        proxy.close()

    def close(self) -> None:
        """Ends all proxies, the latest first, whatever becomes of the others."""
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.callback(self.close_proxy, proxy)

    def _keep(self, proxy: NetworkProxy) -> NetworkProxy:
        self._proxies[proxy.alias] = proxy
        return proxy

    def _free(self, alias: str | None) -> str:
        if alias is not None and alias in self._proxies:
            raise ValueError(f"There is a proxy {alias!r} already. Choose another alias.")
        return alias or next(name for name in map("proxy-{}".format, self._alias_numbers) if name not in self._proxies)


def _error(answer: Any) -> str:
    return str(answer.get("error", answer)) if isinstance(answer, dict) else str(answer)
