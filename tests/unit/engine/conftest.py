"""What the tests of the engine share: scripted servers, clients, managers, and a look for what is left over."""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))

from engine_helpers import LAUNCHERS, PATIENCE, PatientManager, ScriptedServer, claim_port, eventually, finished

from ComfyMockLibrary.engine import client_process, launchers
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.client.wire import Wakeup
from ComfyMockLibrary.engine.servers import ServerManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_helpers import MakeClient, Peer, Script

    from ComfyMockLibrary.engine.endpoint import Endpoint


@pytest.fixture(scope="session")
def warmed_up() -> None:
    """Starts once what lives as long as this process, such as the fork server behind a launcher."""
    client_process._starter.call(lambda: None, print)
    with pytest.MonkeyPatch.context() as patch:
        for kind in LAUNCHERS:
            patch.setenv(launchers.SWITCH, kind)
            manager = ServerManager()
            manager.start(startup_timeout=60.0)
            manager.close()


@pytest.fixture(autouse=True)
def nothing_is_left(warmed_up: None) -> Iterator[None]:
    """Fails a test that leaves threads, open files or sockets, or processes."""
    threads, files, processes = _running()

    def left() -> list[object]:
        threads_now, files_now, processes_now = _running()
        more = files_now - files
        # Another one in place of the fork server's spare is no more than there was.
        more_processes = processes_now - processes if len(processes_now) > len(processes) else ()
        return [*(threads_now - threads), *more_processes, *([f"{more} files"] if more > 0 else [])]

    yield
    if left():
        gc.collect()
        eventually(lambda: not left(), 10.0), left()


def _running() -> tuple[set[threading.Thread], int, set[psutil.Process]]:
    me = psutil.Process()
    return set(threading.enumerate()), me.num_fds(), set(me.children(recursive=True))


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    """Wakes what waits for a socket."""
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Gives ports that nobody takes by chance, neither before the test does nor between two times."""
    with ExitStack() as stack:

        def claim() -> int:
            claim, port = claim_port()
            stack.enter_context(claim)
            return port

        yield claim


@pytest.fixture
def script() -> Iterator[Script]:
    """Makes scripted servers."""
    servers: list[ScriptedServer] = []

    def make(*websockets: Callable[[Peer], object], **more: Any) -> ScriptedServer:
        servers.append(ScriptedServer(*websockets, **more))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
    assert not [failure for server in servers for failure in server.failures]


@pytest.fixture
def new_client(script: Script) -> Iterator[MakeClient]:
    """Makes clients, not connected yet; keywords go into their options, but for those that ``ComfyClient`` takes.

    Servers may take their time to answer them, unless the test says how long.
    """
    own = ("server", "alias", "client_id", "journal_file")

    with ExitStack() as stack:

        def make(endpoint: Endpoint, **options: Any) -> ComfyClient:
            given = {name: options.pop(name) for name in own if name in options}
            patience = {"connect_timeout": PATIENCE, "pong_timeout": PATIENCE}
            client = ComfyClient(endpoint, ClientOptions(**{**patience, **options}), **given)
            stack.callback(finished, client.close)
            return client

        yield make


@pytest.fixture
def launcher_kind() -> str:
    """How mock servers are started; tests of what depends on it take all kinds."""
    return LAUNCHERS[0]


@pytest.fixture
def new_manager(launcher_kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServerManager]]:
    """Makes server managers."""
    monkeypatch.setenv(launchers.SWITCH, launcher_kind)
    with ExitStack() as stack:

        def make(*arguments: Any) -> ServerManager:
            manager = PatientManager(*arguments)
            stack.callback(manager.close)
            return manager

        yield make


@pytest.fixture
def manager(new_manager: Callable[..., ServerManager]) -> ServerManager:
    """Starts mock servers, with their files in a temporary directory."""
    return new_manager()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS for a scripted server, with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusts the certificate of ``tls``."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
