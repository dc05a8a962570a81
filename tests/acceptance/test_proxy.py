"""``python -m mockserver.proxy``: what it does to connections, and the API of Toxiproxy."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mockserver_process import DEADLINE, ROOT, Client, ask, eventually, has_ended, read_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mockserver_process import Answer, MockProcess

    StartMockProcess = Callable[..., MockProcess]

Json = dict[str, Any]


class Upstream:
    """Sends everything back, in a thread for each connection; keeps how each ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accepts no more."""
        if self._listening.fileno() >= 0:
            self._listening.shutdown(socket.SHUT_RDWR)  # which ends the other thread's accept
            self._listening.close()

    def _accept(self) -> None:
        try:
            while True:
                threading.Thread(target=self._echo, args=self._listening.accept()[:1], daemon=True).start()
        except OSError:
            return

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
                self.ends.append("fin")
            except ConnectionResetError:
                self.ends.append("reset")
            except OSError as failure:
                self.ends.append(str(failure))


class Proxy:
    """A proxy, started and ready."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._log = (directory / "proxy.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mockserver.proxy", "--api", "127.0.0.1:0", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.first_line = read_line(self.process)
        self.ready: Json = json.loads(self.first_line) if "--supervised" in arguments else {}

    @property
    def api_port(self) -> int:
        """Where it takes orders."""
        return int(self.ready["api_url"].rpartition(":")[2])

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request to the API."""
        return ask(self.api_port, method, path, body, {name.replace("_", "-"): each for name, each in headers.items()})

    def toxic(self, kind: str, stream: str = "downstream", **attributes: float) -> Json:
        """Adds a toxic."""
        answer = self.api("POST", "/proxies/comfyui/toxics", {"type": kind, "stream": stream, "attributes": attributes})
        assert answer.status == 200, answer
        found: Json = answer.json
        return found

    def connect(self) -> socket.socket:
        """A connection through it."""
        return socket.create_connection(("127.0.0.1", self.ready["port"]), DEADLINE)

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self._log.close()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server that sends everything back."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Starts proxies, which end with the test."""
    started: list[Proxy] = []

    def start(*arguments: str) -> Proxy:
        started.append(Proxy(tmp_path, *arguments))
        return started[-1]

    yield start
    for proxy in started:
        proxy.end()


@pytest.fixture
def proxy(start_proxy: Callable[..., Proxy], upstream: Upstream) -> Proxy:
    """A proxy in front of the upstream."""
    return start_proxy("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream.port}", "--supervised")


def read(connection: socket.socket, length: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < length:
        piece = connection.recv(length - len(data))
        assert piece, f"The end after {data[:100]!r}"
        data += piece
    return data


def rest(connection: socket.socket) -> tuple[bytes, str]:
    """What comes until the end, and what that is."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        return data, "reset"
    return data, "fin"


def is_silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing comes for so long."""
    connection.settimeout(seconds)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(DEADLINE)
    return False


def echoes(connection: socket.socket, data: bytes = b"echo") -> float:
    """Seconds that an echo takes."""
    began = time.monotonic()
    connection.sendall(data)
    assert read(connection, len(data)) == data
    return time.monotonic() - began


# What goes through


def test_bytes_and_ends_go_through_as_they_come(proxy: Proxy, upstream: Upstream) -> None:
    data = bytes(range(256)) * 20_000
    with proxy.connect() as connection:
        sending = threading.Thread(target=connection.sendall, args=(data,))
        sending.start()
        assert read(connection, len(data)) == data
        sending.join()
        connection.shutdown(socket.SHUT_WR)  # a half-close: the answer to it still comes
        assert rest(connection) == (b"", "fin")
    assert upstream.ends == ["fin"]


def test_a_reset_goes_through(proxy: Proxy, upstream: Upstream) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    eventually("The upstream's end", lambda: upstream.ends)
    assert upstream.ends == ["reset"]


def test_without_an_upstream_clients_are_closed(start_proxy: Callable[..., Proxy]) -> None:
    with socket.socket() as held:  # bound and never listening: nobody else is given the port meanwhile
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        proxy = start_proxy("--listen", "127.0.0.1:0", "--upstream", address, "--supervised")
        with proxy.connect() as connection:
            assert rest(connection) == (b"", "fin")


def test_it_stands_in_front_of_a_comfyui(start_proxy: Callable[..., Proxy], mock_process: MockProcess) -> None:
    proxy = start_proxy("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{mock_process.port}", "--supervised")
    assert ask(proxy.ready["port"], "GET", "/queue").status == 200
    client = Client(proxy.ready["port"], "/ws?clientId=me")
    assert client.message()["type"] == "status"
    proxy.toxic("hold")
    assert client.is_silent(0.1)
    proxy.toxic("reset_peer")
    assert client.meets_the_end()
    client.close()


# Toxics


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency(proxy: Proxy, stream: str) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        proxy.toxic("latency", stream, latency=50)
        assert echoes(connection) >= 0.05


def test_bandwidth(proxy: Proxy) -> None:
    proxy.toxic("bandwidth", rate=500)
    with proxy.connect() as connection:
        assert echoes(connection, b"x" * 100_000) >= 0.2


def test_slicer(proxy: Proxy) -> None:
    proxy.toxic("slicer", average_size=1, delay=20_000)
    with proxy.connect() as connection:
        assert echoes(connection) >= 0.06


def test_slow_close(proxy: Proxy) -> None:
    proxy.toxic("slow_close", delay=100)
    with proxy.connect() as connection:
        echoes(connection)
        began = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == (b"", "fin")
        assert time.monotonic() - began >= 0.1


def test_timeout_drops_and_closes(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        proxy.toxic("timeout", timeout=100)
        connection.sendall(b"lost")
        assert rest(connection) == (b"", "fin")


def test_timeout_0_closes_when_it_is_removed(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        proxy.toxic("timeout")
        connection.sendall(b"lost")
        assert is_silent(connection)
        assert proxy.api("DELETE", "/proxies/comfyui/toxics/timeout_downstream").status == 204
        assert rest(connection) == (b"", "fin")


@pytest.mark.parametrize("timeout", [0, 50])
def test_reset_peer_resets_connections_that_are_open_and_idle(proxy: Proxy, upstream: Upstream, timeout: float) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        began = time.monotonic()
        proxy.toxic("reset_peer", timeout=timeout)
        assert rest(connection) == (b"", "reset")
        assert time.monotonic() - began >= timeout / 1000
    eventually("The upstream's end", lambda: upstream.ends)
    assert upstream.ends == ["reset"]


def test_limit_data_is_exact(proxy: Proxy) -> None:
    proxy.toxic("limit_data", bytes=7)
    with proxy.connect() as connection:
        connection.sendall(b"0123456789")
        assert rest(connection) == (b"0123456", "fin")


def test_hold_loses_nothing(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        proxy.toxic("hold")
        connection.sendall(b"held")
        connection.shutdown(socket.SHUT_WR)
        assert is_silent(connection)
        proxy.api("POST", "/reset")
        assert rest(connection) == (b"held", "fin")


def test_silence_loses_bytes_alone(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        proxy.toxic("silence", "upstream")
        connection.sendall(b"lost")
        assert is_silent(connection)
        proxy.api("POST", "/reset")
        echoes(connection, b"more")


def test_stop_reading_stops_the_sender(proxy: Proxy) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        proxy.toxic("stop_reading", "upstream")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sendall(b"x" * 50_000_000)


def test_stall_deletes_nothing(proxy: Proxy) -> None:
    proxy.toxic("stall", loss=0.01)
    with proxy.connect() as connection:
        echoes(connection, bytes(range(256)) * 1000)


def test_toxicity_is_drawn_once_for_each_connection_and_repeats_with_the_seed(
    start_proxy: Callable[..., Proxy], upstream: Upstream
) -> None:
    struck = []
    for seed in ("1", "1", "2"):
        proxy = start_proxy(
            "--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream.port}", "--supervised", "--seed", seed
        )
        proxy.api(
            "POST", "/proxies/comfyui/toxics", {"type": "limit_data", "toxicity": 0.5, "attributes": {"bytes": 1}}
        )
        ends = []
        for _ in range(20):
            with proxy.connect() as connection:
                connection.sendall(b"ab")
                connection.shutdown(socket.SHUT_WR)
                ends.append(rest(connection)[0])
        struck.append(ends)
    assert struck[0] == struck[1] != struck[2]
    assert {b"a", b"ab"} == set(struck[0])


# The API


def test_proxies_and_toxics_are_shown_as_toxiproxy_shows_them(proxy: Proxy, upstream: Upstream) -> None:
    proxy.toxic("latency", latency=5)
    listen = f"127.0.0.1:{proxy.ready['port']}"
    toxic = {
        "attributes": {"latency": 5, "jitter": 0},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
    }
    shown = {
        "name": "comfyui",
        "listen": listen,
        "upstream": f"127.0.0.1:{upstream.port}",
        "enabled": True,
        "toxics": [toxic],
    }
    assert proxy.api("GET", "/proxies").json == {"comfyui": shown}
    assert proxy.api("GET", "/proxies/comfyui").json == shown
    assert proxy.api("GET", "/proxies/comfyui/toxics").json == [toxic]
    assert proxy.api("GET", "/proxies/comfyui/toxics/latency_downstream").json == toxic


ERRORS = [
    ("GET", "/proxies/none", None, 404, "proxy not found"),
    ("DELETE", "/proxies/none", None, 404, "proxy not found"),
    ("POST", "/proxies", {"listen": "127.0.0.1:0"}, 400, "missing required field: name"),
    ("POST", "/proxies", {"name": "a"}, 400, "missing required field: upstream"),
    ("POST", "/proxies", {"name": "comfyui", "upstream": "a:1"}, 409, "proxy already exists"),
    ("POST", "/proxies", b"{", 400, "bad request body: "),
    ("POST", "/proxies", {"name": 1}, 400, "bad request body: "),
    ("POST", "/proxies", {"name": "a", "upstream": "a"}, 500, ""),
    ("POST", "/populate", {}, 400, "bad request body: "),
    ("POST", "/populate", [{"name": "a"}], 400, "missing required field: upstream at proxy 1"),
    ("POST", "/proxies/comfyui/toxics", {"type": "none"}, 400, "invalid toxic type"),
    ("POST", "/proxies/comfyui/toxics", {"type": "packet_loss"}, 400, "invalid toxic type"),
    (
        "POST",
        "/proxies/comfyui/toxics",
        {"type": "latency", "stream": "both"},
        400,
        "stream was invalid, can be either upstream or downstream",
    ),
    ("POST", "/proxies/comfyui/toxics", {"type": "latency", "name": "taken"}, 409, "toxic already exists"),
    ("POST", "/proxies/comfyui/toxics", {"type": "stall", "attributes": {"loss": 2}}, 400, "bad request body: "),
    ("POST", "/proxies/comfyui/toxics", {"type": "latency", "attributes": {"latency": "1"}}, 400, "bad request body: "),
    ("GET", "/proxies/comfyui/toxics/none", None, 404, "toxic not found"),
    ("PATCH", "/proxies/comfyui/toxics/none", {}, 404, "toxic not found"),
    ("DELETE", "/proxies/comfyui/toxics/none", None, 404, "toxic not found"),
]


def test_errors_have_the_texts_and_statuses_of_toxiproxy(proxy: Proxy) -> None:
    proxy.api("POST", "/proxies/comfyui/toxics", {"type": "silence", "name": "taken"})
    for method, path, body, status, text in ERRORS:
        answer = proxy.api(method, path, body)
        assert (answer.status, answer.json["status"]) == (status, status), (method, path, body)
        assert answer.json["error"].startswith(text), (method, path, body)
        assert answer.json["error"] == text or text.endswith(": ") or not text


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_toxic_can_be_changed(proxy: Proxy, method: str) -> None:
    proxy.toxic("latency", latency=3_600_000, jitter=1)
    with proxy.connect() as connection:
        changed = proxy.api(method, "/proxies/comfyui/toxics/latency_downstream", {"attributes": {"latency": 1}})
        assert changed.json["attributes"] == {"latency": 1, "jitter": 1}
        echoes(connection)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_proxy_can_be_disabled_and_moved(proxy: Proxy, upstream: Upstream, method: str) -> None:
    with proxy.connect() as connection:
        echoes(connection)
        assert proxy.api(method, "/proxies/comfyui", {"enabled": False}).json["enabled"] is False
        assert rest(connection) == (b"", "fin")
    with pytest.raises(ConnectionRefusedError):
        proxy.connect()
    assert proxy.api(method, "/proxies/comfyui", {"enabled": True}).json["listen"].endswith(str(proxy.ready["port"]))
    other = Upstream()
    with proxy.connect() as connection:
        echoes(connection)
        proxy.api(method, "/proxies/comfyui", {"upstream": f"127.0.0.1:{other.port}"})
        assert rest(connection) == (b"", "fin")
    with proxy.connect() as connection:
        echoes(connection)
    eventually("The other's end", lambda: other.ends)
    other.close()


def test_nobody_else_is_given_the_port_of_a_proxy_that_is_disabled_or_changed(proxy: Proxy) -> None:
    address = "127.0.0.1", proxy.ready["port"]
    for change in ({"enabled": False}, {"upstream": "127.0.0.1:9"}):
        assert proxy.api("POST", "/proxies/comfyui", change).status == 200
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(address)
    assert proxy.api("DELETE", "/proxies/comfyui").status == 204
    with socket.socket() as other:
        other.bind(address)


def test_populate_replaces_what_differs_and_keeps_the_rest(proxy: Proxy, upstream: Upstream) -> None:
    kept = {"name": "comfyui", "listen": f"127.0.0.1:{proxy.ready['port']}", "upstream": f"127.0.0.1:{upstream.port}"}
    proxy.toxic("hold")
    new = {"name": "new", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False}
    answer = proxy.api("POST", "/populate", [kept, new])
    assert answer.status == 201
    assert [(each["name"], each["enabled"], len(each["toxics"])) for each in answer.json["proxies"]] == [
        ("comfyui", True, 1),
        ("new", False, 0),
    ]
    answer = proxy.api("POST", "/populate", [{**new, "upstream": "127.0.0.1:10", "enabled": True}])
    assert answer.json["proxies"][0]["enabled"] is True
    assert proxy.api("DELETE", "/proxies/new").status == 204
    assert list(proxy.api("GET", "/proxies").json) == ["comfyui"]


def test_browsers_are_refused(proxy: Proxy) -> None:
    assert proxy.api("GET", "/version", User_Agent="Mozilla/5.0").status == 403
    assert proxy.api("GET", "/version").json == {"version": "2.12.0"}


# The published clients


def install(*command: str, **options: Any) -> None:
    """Installs a client, or skips the test with the reason."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300, **options)
    except (OSError, subprocess.SubprocessError) as failure:
        pytest.skip(f"{command[0]} cannot install it: {failure}: {(getattr(failure, 'stderr', b'') or b'')[-300:]!r}")


PYTHON_CLIENT = """
import socket, sys
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import NotFound, ProxyExists, InvalidToxic
api, upstream = sys.argv[1:]
server = Toxiproxy()
server.update_api_consumer("127.0.0.1", int(api))
assert b"2.12" in server.version()
proxy = server.create(name="mine", upstream="127.0.0.1:" + upstream)
port = int(proxy.listen.rpartition(":")[2])
try:
    server.create(name="mine", upstream="127.0.0.1:1")
    raise SystemExit("created twice")
except ProxyExists:
    pass
try:
    proxy.add_toxic(type="no such toxic")
    raise SystemExit("added")
except InvalidToxic:
    pass
proxy.add_toxic(type="limit_data", attributes={"bytes": 3})
assert proxy.get_toxic("limit_data_downstream").attributes["bytes"] == 3
with socket.create_connection(("127.0.0.1", port), 30) as connection:
    connection.sendall(b"hello")
    data = b""
    while piece := connection.recv(10):
        data += piece
    assert data == b"hel", data
proxy.destroy_toxic("limit_data_downstream")
assert proxy.toxics() == {}
with proxy.down():
    try:
        socket.create_connection(("127.0.0.1", port), 30)
        raise SystemExit("connected")
    except ConnectionRefusedError:
        pass
socket.create_connection(("127.0.0.1", port), 30).close()
server.populate([{"name": "other", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:" + upstream}])
assert set(server.proxies()) == {"comfyui", "mine", "other"}
server.reset()
server.destroy_all()
assert server.proxies() == {}
"""


def test_the_python_client_steers_it(proxy: Proxy, upstream: Upstream, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    install(
        sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(packages),
        "toxiproxy-python==0.1.1", "requests", "future", "setuptools<80",
    )  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", PYTHON_CLIENT, str(proxy.api_port), str(upstream.port)]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(packages), "NO_PROXY": "*"}, timeout=DEADLINE)


NODE_CLIENT = """
const { Toxiproxy } = require("toxiproxy-node-client");
const net = require("net");
const assert = require("assert");
const [api, upstream] = process.argv.slice(2);
const receive = (port) => new Promise((resolve) => {
  const socket = net.connect(port, "127.0.0.1", () => socket.write("hello"));
  let data = "";
  socket.on("data", (piece) => { data += piece; });
  socket.on("error", (error) => resolve(error.code));
  socket.on("close", () => resolve(data));
});
(async () => {
  const server = new Toxiproxy(`http://127.0.0.1:${api}`);
  assert.match(await server.getVersion(), /2\\.12/);
  const proxy = await server.createProxy({ name: "mine", listen: "127.0.0.1:0", upstream: `127.0.0.1:${upstream}` });
  const port = Number(proxy.listen.split(":").pop());
  const cut = { name: "cut", type: "limit_data", stream: "downstream", toxicity: 1, attributes: { bytes: 3 } };
  const toxic = await proxy.addToxic(cut);
  assert.strictEqual(await receive(port), "hel");
  assert.strictEqual((await proxy.getToxic("cut")).attributes.bytes, 3);
  await toxic.update({ attributes: { bytes: 2 }, toxicity: 1 });
  assert.strictEqual(await receive(port), "he");
  await toxic.remove();
  await proxy.addToxic({ ...cut, name: "reset", type: "reset_peer", attributes: { timeout: 0 } });
  assert.strictEqual(await receive(port), "ECONNRESET");
  await server.reset();
  await proxy.update({ enabled: false, listen: proxy.listen, upstream: proxy.upstream });
  assert.strictEqual(await receive(port), "ECONNREFUSED");
  const more = await server.populate([{ name: "other", listen: "127.0.0.1:0", upstream: "127.0.0.1:9" }]);
  assert.deepStrictEqual(Object.keys(more), ["other"]);
  await assert.rejects(server.get("none"));
  await proxy.remove();
  assert.deepStrictEqual(Object.keys(await server.getAll()).sort(), ["comfyui", "other"]);
})().catch((error) => { console.error(error); process.exit(1); });
"""


def test_the_node_client_steers_it(proxy: Proxy, upstream: Upstream, tmp_path: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    install("npm", "install", "--silent", "--no-audit", "--no-fund", "toxiproxy-node-client@4.1.0", cwd=tmp_path)
    (tmp_path / "client.js").write_text(NODE_CLIENT)
    command = ["node", "client.js", str(proxy.api_port), str(upstream.port)]
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr


# The process


def test_by_hand_it_says_what_it_does(start_proxy: Callable[..., Proxy], upstream: Upstream) -> None:
    proxy = start_proxy("--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream.port}")
    assert proxy.first_line.startswith("Proxy listens on 127.0.0.1:")
    assert "takes orders at http://127.0.0.1:" in proxy.first_line
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(DEADLINE) == 0


def test_without_an_address_it_waits_for_orders(start_proxy: Callable[..., Proxy]) -> None:
    proxy = start_proxy("--supervised")
    assert proxy.ready == {"port": None, "pid": proxy.process.pid, "api_url": proxy.ready["api_url"]}
    assert proxy.api("GET", "/proxies").json == {}


def test_it_stops_on_order_and_ends_with_who_started_it(start_proxy: Callable[..., Proxy]) -> None:
    stopped, orphan = start_proxy("--supervised"), start_proxy("--supervised")
    assert stopped.process.stdin is not None
    assert orphan.process.stdin is not None
    stopped.process.stdin.write(b"stop\n")
    stopped.process.stdin.flush()
    orphan.process.stdin.close()
    assert stopped.process.wait(DEADLINE) == 0
    assert orphan.process.wait(DEADLINE) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills with the parent")
def test_a_frozen_one_is_killed_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys;"
        "p = subprocess.Popen([sys.executable, '-m', 'mockserver.proxy', '--api', '127.0.0.1:0', '--supervised',"
        " '--kill-with-parent'], stdin=subprocess.PIPE, stdout=subprocess.PIPE);"
        "print(p.stdout.readline().decode(), end='', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with parent:
        proxy = psutil.Process(json.loads(read_line(parent))["pid"])
        proxy.suspend()
        parent.kill()
        parent.wait()
    eventually("The proxy's end", lambda: has_ended(proxy))


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--listen", "127.0.0.1:0"], "--listen and --upstream belong together"),
        (["--listen", "nowhere", "--upstream", "a:1"], "give HOST:PORT"),
        (["--api", "127.0.0.1:99999"], "give HOST:PORT"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: list[str], advice: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "mockserver.proxy", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (ran.returncode, advice in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize("option", ["--api", "--listen"])
def test_a_taken_port_is_named(upstream: Upstream, option: str) -> None:
    taken = f"127.0.0.1:{upstream.port}"
    addresses = {"--api": "127.0.0.1:0", "--listen": "127.0.0.1:0", "--upstream": taken} | {option: taken}
    command = [sys.executable, "-m", "mockserver.proxy", *(word for pair in addresses.items() for word in pair)]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 1
    assert "The proxy cannot start: " in ran.stderr
    assert str(upstream.port) in ran.stderr


def test_help_names_all_toxics() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "mockserver.proxy", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    from mockserver.toxiproxy.toxics import KINDS

    assert all(kind in ran.stdout for kind in KINDS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot freeze a process")
def test_what_came_while_it_was_frozen_is_delivered(proxy: Proxy) -> None:
    process = psutil.Process(proxy.process.pid)
    with proxy.connect() as connection:
        echoes(connection)
        process.suspend()
        numbers = b"".join(b"%04d" % number for number in range(1000))
        connection.sendall(numbers)
        with proxy.connect() as other:  # a frozen process still accepts, by its kernel
            other.sendall(b"other")
            assert is_silent(connection)
            process.resume()
            assert read(connection, len(numbers)) == numbers
            assert read(other, 5) == b"other"
