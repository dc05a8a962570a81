"""Keywords that lead a server and its clients through outages as data."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger
from robot.utils import DotDict

from ComfyMockLibrary.engine import outages
from ComfyMockLibrary.engine.outages import OutageResult, OutageRun
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword


class OutageKeywords(Component):
    """Outages that come with the library, or from the user's own files."""

    @keyword(tags=["Outage"])
    def run_outage(
        self, outage: str, *, server: MockServer | None = None, patience: timedelta | None = None
    ) -> OutageResult:
        """Leads a server, and whoever is its client, through an outage and returns when that is over.

        Afterwards the server runs and has none of the outage's faults, however the outage ended. Waits of the server's
        clients look at what comes from the beginning of the outage on. The section *Outages* says more.

        *Args:*
          - ``outage``: Name of an outage that comes with the library, see `Get Outages`, or a file in the same form.
          - ``server``: Alias, port or handle. The current server if left out. It keeps the settings that it has.
          - ``patience``: Longest time that each step waits for what the client has to do. As the outage says if left
            out.

        *Returns:* What became of it, with the attributes ``name``, ``outage``, ``steps`` and ``seconds``.

        *Raises:*
          - ValueError: If there is no such outage, or its file is wrong; says in which line and column.
          - AssertionError: If a step has waited in vain; says for what.

        Example:
        | `Start Mock Server`
        | `Connect Client`
        | `Run Outage`    crash
        | `Wait For Connection`
        """
        run = self._start(outage, self.session.servers.get(server), patience)
        try:
            return self._end_of(run, None)
        finally:
            run.abort()

    @keyword(tags=["Outage"])
    def start_outage(
        self, outage: str, *, server: MockServer | None = None, patience: timedelta | None = None
    ) -> OutageRun:
        """Begins to lead a server through an outage and returns, so that the test can act meanwhile.

        The faults that the outage begins with are set by then. What comes after its first time or wait may happen at
        any moment from now on, also before the next keyword: `Get Events` knows all that a client has ever seen,
        `Track Event` only what comes later.

        Without any server one is started with the settings that the outage asks for; it becomes the current one.
        `Wait For Outage To End` waits for the end; with the test it ends in any case.

        *Args:*
          - ``outage``: Name of an outage that comes with the library, see `Get Outages`, or a file in the same form.
          - ``server``: Alias, port or handle. The current server if left out. It keeps the settings that it has.
          - ``patience``: Longest time that each step waits for what the client has to do. As the outage says if left
            out.

        *Returns:* The outage that is under way, for `Wait For Outage To End`.

        *Raises:*
          - ValueError: If there is no such outage, its file is wrong, or another one is under way on this server.

        Example:
        | `Start Outage`    job-lost
        | `Connect Client`
        | ${prompt} =    `Queue Prompt`
        | `Wait For Prompt`    ${prompt}    lost
        | `Wait For Outage To End`
        """
        if server is None and not self.session.known_servers:
            target = self.session.servers.start(
                outages.server_options(outages.load(outage)), startup_timeout=self.session.startup_timeout_or(None)
            )
            self.session.opened(target)
            logger.info(f"{target.alias}: started at {target.url} with the settings of the outage.")
        else:
            target = self.session.servers.get(server)
        return self._start(outage, target, patience)

    @keyword(tags=["Outage", "Wait"])
    def wait_for_outage_to_end(self, outage: OutageRun | None = None, timeout: timedelta | None = None) -> OutageResult:
        """Waits until an outage is over and the server healed, and returns what became of it.

        *Args:*
          - ``outage``: What `Start Outage` returned. The latest outage if left out.
          - ``timeout``: Longest time to wait. If left out, it ends by its own limits.

        *Returns:* What became of it, with the attributes ``name``, ``outage``, ``steps`` and ``seconds``.

        *Raises:*
          - AssertionError: If it is not over in time, or a step has waited in vain; says for what.

        Example:
        | `Wait For Outage To End`    timeout=30 s
        """
        run = self.session.outages.latest if outage is None else outage
        return self._end_of(run, None if timeout is None else timeout.total_seconds())

    @keyword(tags=["Outage", "Getter"])
    def get_outages(self) -> list[DotDict]:
        """Returns the outages that come with the library.

        *Returns:* A list in the order of their names, each with the attributes ``name``, ``title``,
          ``documentation``, ``reports`` (where it was reported), ``needs`` (``connection`` or ``job``), ``clients``
          (how many it takes), ``expectation`` (what a good client does, in words) and ``file``.

        Example:
        | @{outages} =    `Get Outages`
        | Log Many    @{outages}
        """
        return [
            DotDict(
                name=outage.name,
                title=outage.title,
                documentation=outage.documentation,
                reports=outage.reports,
                needs=outage.needs,
                clients=outage.clients,
                expectation=outage.expectation.words,
                file=str(file),
            )
            for file in outages.shipped()
            for outage in [outages.load(file)]
        ]

    def _start(self, name: str, server: MockServer, patience: timedelta | None) -> OutageRun:
        outage = outages.load(name)
        self.session.set_cursors(server)
        run = self.session.outages.start(
            outage,
            self.session.servers,
            server,
            patience=None if patience is None else patience.total_seconds(),
        )
        self.session.opened(run)
        logger.info(f"{server.alias} is led through the outage {outage.name}: {outage.title}\n{outage.documentation}")
        return run

    def _end_of(self, run: OutageRun, timeout: float | None) -> OutageResult:
        result = run.wait(timeout)
        if result is None:
            raise ExpectationFailed(
                f"{run.describe()}, and was not over within {timeout:g} s. Give it a longer timeout."
            )
        if not result.is_complete:
            raise ExpectationFailed(outages.failure_of(result, run.server))
        return result
