"""Keywords that start, end, freeze and look at mock servers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from robot.api import logger

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.records import shown
from ComfyMockLibrary.engine.servers import MockServer, ServerOptions
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.types import Profile, StopSignal


class ServerKeywords(Component):
    """Servers as processes."""

    @keyword(tags=["Server"])
    def start_mock_server(
        self,
        *options: str,
        port: int = 0,
        alias: str | None = None,
        node_duration: timedelta | None = None,
        status_interval: timedelta | None = None,
        strict: bool = False,
        profile: Profile | None = None,
        nodes: Path | None = None,
        frontend: bool = False,
        seed: int | None = None,
        faults: Path | None = None,
        startup_timeout: timedelta | None = None,
    ) -> MockServer:
        """Starts a mock server as a process of its own and returns when it is ready.

        The server becomes the current one, which the other keywords mean when no ``server`` is given. With the alias
        or port of a stopped server, its next life begins on the same port.

        *Args:*
          - ``options``: Further options of ``python -m mockserver``, as on its command line. A number is the port.
          - ``port``: TCP port; ``0`` for any free one. It is held until the server is closed, also while it is down.
          - ``alias``: Name for the other keywords. ``server-1`` and so on if left out.
          - ``node_duration``: Time that each node of a prompt takes, for example ``50 ms``.
          - ``status_interval``: Time between periodic status messages; ``0`` for silence when idle.
          - ``strict``: Do nothing that the real ComfyUI does not do.
          - ``profile``: Version of ComfyUI to behave as. ``0.3`` if left out.
          - ``nodes``: File with further node classes, for example a saved ``/object_info`` of your own server.
          - ``frontend``: Serve ComfyUI's real web page; needs the package ``comfyui-frontend-package``.
          - ``seed``: Seed of the draws of all faults, one more in each later life. Drawn and logged if left out.
          - ``faults``: File with faults that each life begins with: a JSON list as the server's control API takes it.
          - ``startup_timeout``: Longest time until it is ready. Library default if left out.

        *Returns:* The server, with the attributes ``alias``, ``port``, ``url``, ``ws_url``, ``seed``, ``pid``,
          ``life_id``, ``lives``, ``log_file`` and ``journal_file``, always up to date.

        *Raises:*
          - ValueError: If a server with this alias or port runs already.
          - RuntimeError: If it does not start; no process is left then.

        Examples:
        | `Start Mock Server`
        | `Start Mock Server`    port=8188    alias=main    node_duration=0.5 s
        | ${server} =    `Start Mock Server`    --close-code    1012    --close-reason    service restart
        | Log    ${server.url}
        | `Start Mock Server`    profile=0.38    nodes=${CURDIR}/object_info.json
        """
        raw = list(options)
        if raw and raw[0].isdecimal():
            port = int(raw.pop(0))
        server = self.session.servers.start(
            ServerOptions(
                status_interval=None if status_interval is None else status_interval.total_seconds(),
                node_duration=None if node_duration is None else node_duration.total_seconds(),
                strict=strict,
                profile=profile,
                nodes=nodes,
                frontend=frontend,
                seed=seed,
                faults=faults,
                raw=tuple(raw),
            ),
            port=port,
            alias=alias,
            startup_timeout=self.session.startup_timeout_or(startup_timeout),
        )
        self.session.opened(server)
        self._log_life(server)
        return server

    @keyword(tags=["Server"])
    def kill_mock_server(
        self,
        server: MockServer | None = None,
        *,
        signal: StopSignal = StopSignal.SIGTERM,
        shutdown_timeout: timedelta | None = None,
        watch_attempts: bool = False,
    ) -> int:
        """Ends the server's process, gracefully unless ``signal`` says otherwise, and returns when it has ended.

        The port stays held: clients are refused, and `Restart Mock Server` begins the next life on it. Waits of the
        server's clients look at what comes from now on.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.
          - ``signal``: ``SIGTERM`` stops it with close frames to its clients; ``SIGKILL`` is a crash.
          - ``shutdown_timeout``: Longest time of a graceful stop; after it comes SIGKILL. Library default if left out.
            A frozen server gets SIGKILL at once.
          - ``watch_attempts``: Record every attempt to connect while the server is down, or still stops and listens no
            more, for `Get Reconnect Attempts` and `Backoff Should Be`. Clients then see a reset instead of a refusal.

        *Returns:* The exit status; a negative number is the signal that ended it. Killing a server that has ended
          already is no error.

        Examples:
        | `Kill Mock Server`
        | `Kill Mock Server`    signal=SIGKILL
        | `Kill Mock Server`    main    shutdown_timeout=2 s
        """
        target = self.session.servers.get(server)
        self.session.set_cursors(target)
        status = self.session.servers.kill(
            target, signal, self.session.shutdown_timeout_or(shutdown_timeout), watch_attempts=watch_attempts
        )
        logger.info(f"{target.alias}: life {len(target.lives)} ended with {platform.describe_exit(status)}.")
        return status

    @keyword(tags=["Server"])
    def restart_mock_server(
        self,
        server: MockServer | None = None,
        *,
        signal: StopSignal = StopSignal.SIGTERM,
        downtime: timedelta = timedelta(),
        startup_timeout: timedelta | None = None,
        shutdown_timeout: timedelta | None = None,
        watch_attempts: bool = False,
    ) -> MockServer:
        """Ends the server's life and begins its next one on the same port; a stopped server is only started.

        As with the real ComfyUI, queue and history are lost. Waits of the server's clients look at what comes from the
        order to end on.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.
          - ``signal``: How the old life ends; ``SIGKILL`` for a crash.
          - ``downtime``: How long the server stays down, for example ``500 ms``.
          - ``startup_timeout``: Longest time until it is ready. Library default if left out.
          - ``shutdown_timeout``: Longest time of a graceful stop. Library default if left out.
          - ``watch_attempts``: Record attempts to connect during the downtime, as `Kill Mock Server` does.

        *Returns:* The server.

        *Raises:*
          - RuntimeError: If it does not start.

        Examples:
        | `Restart Mock Server`
        | `Restart Mock Server`    signal=SIGKILL    downtime=300 ms
        """
        target = self.session.servers.get(server)
        self.session.set_cursors(target)
        self.session.servers.restart(
            target,
            signal,
            downtime=downtime.total_seconds(),
            startup_timeout=self.session.startup_timeout_or(startup_timeout),
            shutdown_timeout=self.session.shutdown_timeout_or(shutdown_timeout),
            watch_attempts=watch_attempts,
        )
        self._log_life(target)
        return target

    @keyword(tags=["Server"])
    def freeze_mock_server(self, server: MockServer | None = None) -> None:
        """Freezes the server's process: sockets stay open, new connections succeed, nothing is answered.

        Only a client that watches for answers notices it. `Thaw Mock Server` lets the server go on; it then answers
        everything that has been sent to it meanwhile.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - RuntimeError: If it does not run.

        Example:
        | `Freeze Mock Server`
        | `Wait For Disconnection`    timeout=20 s
        | `Thaw Mock Server`
        """
        target = self.session.servers.get(server)
        self.session.set_cursors(target)
        self.session.servers.freeze(target)

    @keyword(tags=["Server"])
    def thaw_mock_server(self, server: MockServer | None = None) -> None:
        """Lets a frozen server go on.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - RuntimeError: If it does not run.
        """
        self.session.servers.thaw(self.session.servers.get(server))

    @keyword(tags=["Server"])
    def kill_all_mock_servers(self, *, shutdown_timeout: timedelta | None = None) -> None:
        """Ends the processes of all servers gracefully.

        Without servers it does nothing. The servers stay known and their ports held, as with `Kill Mock Server`, until
        the test or suite ends.

        *Args:*
          - ``shutdown_timeout``: Longest time of each graceful stop. Library default if left out.
        """
        for server in reversed(self.session.known_servers):
            self.kill_mock_server(server, shutdown_timeout=shutdown_timeout)

    @keyword(tags=["Server", "Getter"])
    def is_mock_server_running(self, server: MockServer | None = None) -> bool:
        """Returns whether the server's process is there, frozen or not.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.
        """
        return self.session.servers.get(server).is_running

    @keyword(tags=["Server", "Assertion"])
    def mock_server_should_be_running(self, server: MockServer | None = None) -> None:
        """Fails unless the server's process is there, frozen or not.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If it has ended; says how, and where its log is.
        """
        target = self.session.servers.get(server)
        if not target.is_running:
            raise ExpectationFailed(
                f"Mock server '{target.alias}' should be running but {target.life.describe()}. "
                f"Log: {shown(target.log_file)}. Start its next life with `Restart Mock Server`."
            )

    @keyword(tags=["Server", "Assertion"])
    def mock_server_should_not_be_running(self, server: MockServer | None = None) -> None:
        """Fails if the server's process is there, frozen or not.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - AssertionError: If it is there.
        """
        target = self.session.servers.get(server)
        if target.is_running:
            raise ExpectationFailed(
                f"Mock server '{target.alias}' should not be running but is {target.life.describe()}. "
                f"Log: {shown(target.log_file)}. End it with `Kill Mock Server`, or wait for its end with "
                "`Wait For Mock Server To Stop`."
            )

    @keyword(tags=["Server", "Getter"])
    def get_mock_server(self, server: MockServer | None = None) -> MockServer:
        """Returns a server, with the attributes that `Start Mock Server` describes.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Raises:*
          - ValueError: If there is no such server; names those that there are.

        Example:
        | ${server} =    `Get Mock Server`    main
        | Length Should Be    ${server.lives}    2
        """
        return self.session.servers.get(server)

    @keyword(tags=["Server"])
    def switch_mock_server(self, server: MockServer) -> MockServer:
        """Makes a server the current one, and returns the one that was current before.

        *Args:*
          - ``server``: Alias, port or handle.

        Example:
        | ${previous} =    `Switch Mock Server`    backup
        | `Kill Mock Server`
        | `Switch Mock Server`    ${previous}
        """
        return self.session.servers.switch(server)

    @keyword(tags=["Server", "Wait"])
    def wait_for_mock_server_to_stop(
        self, timeout: timedelta | None = None, *, server: MockServer | None = None
    ) -> int:
        """Waits until the server has ended by itself, and returns its exit status.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The exit status; a negative number is the signal that ended it.

        *Raises:*
          - AssertionError: If it still runs then.
        """
        target = self.session.servers.get(server)
        limit = self.session.timeout_or(timeout)
        status = self.session.servers.wait_for_stop(target, limit)
        if status is None:
            raise ExpectationFailed(
                f"Mock server '{target.alias}' did not stop within {limit:g} s: it is {target.life.describe()}. "
                f"Log: {shown(target.log_file)}. End it with `Kill Mock Server`."
            )
        return status

    @keyword(tags=["Server"])
    def log_mock_server_output(self, server: MockServer | None = None) -> None:
        """Writes the whole output of all the server's lives into the log.

        Output is logged as it comes anyway, each line with the prefix ``[Server PORT]``; this shows it once more in one
        piece, for example in a teardown.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.
        """
        target = self.session.servers.get(server)
        for life in target.lives:
            output = life.log_file.read_text(encoding="utf-8", errors="replace")
            lines = [f"[Server {target.port}] {line}" for line in output.splitlines()]
            logger.info("\n".join([f"Life {life.number} ({life.life_id}) {life.describe()}:", *lines]))

    @staticmethod
    def _log_life(server: MockServer) -> None:
        logger.info(
            f"{server.alias}: life {len(server.lives)} ({server.life_id}) at {server.url}, pid {server.pid}, "
            f"seed {server.life.seed}. Live page: {server.control_url}/ Log: {shown(server.log_file)}"
        )
