"""Keywords that run any program as a client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from robot.api import logger

from ComfyMockLibrary.engine.client_process import ClientProcess
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.records import shown
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.types import StopSignal


class ClientProcessKeywords(Component):
    """Clients of anybody's, in any language."""

    @keyword(tags=["Client"])
    def start_client_process(
        self,
        *command: str,
        server: MockServer | None = None,
        url: str | None = None,
        alias: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wait: bool = True,
        timeout: timedelta | None = None,
    ) -> ClientProcess:
        """Starts any program as a client and returns when it has sent its first request to the mock server.

        The program learns the server's address from its arguments, where ``{url}``, ``{ws_url}``, ``{host}`` and
        ``{port}`` are filled in, or from the environment variables ``COMFYUI_URL``, ``COMFYUI_WS_URL``,
        ``COMFYUI_HOST`` and ``COMFYUI_PORT``. What it prints is in a file, and in the log with the prefix
        ``[Client NAME]``. Its stdin stays open and silent. However the run ends, nothing that it has started is left.

        *Args:*
          - ``command``: The program and its arguments, each on its own. An argument that looks like one of this
            keyword's, such as ``timeout=5``, is written ``timeout\\=5``.
          - ``server``: Mock server by alias, port or handle. The current server if left out.
          - ``url``: Any other server instead; then there is nothing to wait for.
          - ``alias``: Name for the other keywords. ``process-1`` and so on if left out. That of a process that has
            ended can be used again.
          - ``env``: Environment variables, added to those of this run.
          - ``cwd``: Working directory. That of this run if left out.
          - ``wait``: ``no`` returns as soon as the program runs, as it does without being told when the server is down
            or frozen.
          - ``timeout``: Longest time until the first request. Library default if left out.

        *Returns:* The client process, with the attributes ``alias``, ``command``, ``pid``, ``is_running``,
          ``exit_status`` and ``log_file``, always up to date.

        *Raises:*
          - ValueError: If a client process with this alias runs already.
          - RuntimeError: If the program cannot be started, or ends before its first request; shows the end of its
            output.
          - AssertionError: If the first request has not come in time; the process is stopped then.

        Examples:
        | `Start Client Process`    node    my_client.js    {url}
        | `Start Client Process`    python    -m    my_client    --host    {host}    --port    {port}    alias=mine
        | `Start Client Process`    dotnet    run    cwd=${CURDIR}/game    env={"LOG_LEVEL": "debug"}
        """
        if url is not None and server is not None:
            raise ValueError("Give either a mock server or a url, not both.")
        target = self.session.servers.get(server) if url is None else None
        process = self.session.processes.start(
            command,
            Endpoint.of_url(url) if target is None else target.endpoint,  # type: ignore[arg-type]
            self.session.servers.directory,
            server=target,
            alias=alias,
            env=env,
            cwd=cwd,
        )
        self.session.opened(process)
        logger.info(f"{process.alias}: {' '.join(process.command)}, pid {process.pid}. Log: {shown(process.log_file)}")
        if wait and target is not None and target.is_running and not target.is_frozen:
            self._wait_until_it_asks(process, target, self.session.timeout_or(timeout))
        return process

    @keyword(tags=["Client"])
    def stop_client_process(
        self,
        process: ClientProcess | None = None,
        *,
        signal: StopSignal = StopSignal.SIGTERM,
        shutdown_timeout: timedelta | None = None,
    ) -> int:
        """Ends a client process and all that it has started, and returns its exit status.

        The signal goes to its whole process group; what has not ended then gets SIGKILL. One that has ended already
        stays as it is.

        *Args:*
          - ``process``: Alias or handle. The current client process if left out.
          - ``signal``: ``SIGTERM`` or ``SIGINT`` asks it to end, ``SIGKILL`` does not ask.
          - ``shutdown_timeout``: Longest time until it has ended by itself. Library default if left out.

        *Returns:* The exit status; a negative number is the signal that ended it.

        Example:
        | ${status} =    `Stop Client Process`    mine    shutdown_timeout=2 s
        """
        target = self.session.processes.get(process)
        status = target.stop(signal, self.session.shutdown_timeout_or(shutdown_timeout))
        logger.info(f"{target.alias} {target.describe()}.")
        return status

    @keyword(tags=["Client", "Assertion"])
    def client_process_should_be_running(self, process: ClientProcess | None = None) -> None:
        """Fails unless the client process runs.

        *Args:*
          - ``process``: Alias or handle. The current client process if left out.

        *Raises:*
          - AssertionError: If it has ended; says how, and shows the end of its output.

        Example:
        | `Restart Mock Server`
        | `Client Process Should Be Running`
        """
        target = self.session.processes.get(process)
        if not target.is_running:
            raise ExpectationFailed(
                f"Client process '{target.alias}' should be running but {target.describe()}.{target.last_words()}"
            )

    @keyword(tags=["Client", "Wait"])
    def wait_for_client_process_to_end(
        self, timeout: timedelta | None = None, *, process: ClientProcess | None = None
    ) -> int:
        """Waits until the client process has ended by itself, and returns its exit status.

        *Args:*
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``process``: Alias or handle. The current client process if left out.

        *Returns:* The exit status; a negative number is the signal that ended it.

        *Raises:*
          - AssertionError: If it still runs then; shows the end of its output.

        Example:
        | `Start Client Process`    python    one_job.py    {url}
        | ${status} =    `Wait For Client Process To End`    timeout=30 s
        | Should Be Equal As Integers    ${status}    0
        """
        target = self.session.processes.get(process)
        limit = self.session.timeout_or(timeout)
        status = target.wait(limit)
        if status is None:
            raise ExpectationFailed(
                f"Client process '{target.alias}' did not end within {limit:g} s: it is {target.describe()}. "
                f"End it with `Stop Client Process`.{target.last_words()}"
            )
        return status

    @keyword(tags=["Client"])
    def log_client_process_output(self, process: ClientProcess | None = None) -> None:
        """Writes the whole output of the client process into the log.

        Output is logged as it comes anyway, each line with the prefix ``[Client NAME]``; this shows it once more in one
        piece, for example in a teardown.

        *Args:*
          - ``process``: Alias or handle. The current client process if left out.
        """
        target = self.session.processes.get(process)
        lines = [f"[Client {target.alias}] {line}" for line in target.output().splitlines()]
        logger.info("\n".join([f"{target.alias} {target.describe()}:", *lines]))

    def _wait_until_it_asks(self, process: ClientProcess, server: MockServer, timeout: float) -> None:
        asked = process.wait_until_it_asks(server, timeout)
        if asked is None:
            raise RuntimeError(
                f"Client process '{process.alias}' ended with {process.describe_end()} before it had sent a request to "
                f"{server.url}.{process.last_words()}"
            )
        if not asked:
            process.stop(StopSignal.SIGKILL)
            sentences = [
                f"Client process '{process.alias}' did not send a request to {server.url} within {timeout:g} s.",
                *describe_server(server),
                next_step(server) or "Does it take the address from its arguments or its environment? wait=no goes on.",
            ]
            raise ExpectationFailed(f"{' '.join(sentences)}{process.last_words()}")
