"""Keywords that judge a client of anybody's as the report card does."""

from __future__ import annotations

import shlex
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from robot.api import SkipExecution, logger

from ComfyMockLibrary.engine import outages
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.keywords.base import Component, keyword

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.report.card import Entry
    from ComfyMockLibrary.engine.report.habits import Habits
    from ComfyMockLibrary.keywords.session import Session


class ReportCardKeywords(Component):
    """The report card in suites."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._habits: dict[tuple[str, ...], Habits] = {}

    @keyword(tags=["Outage", "Assertion"])
    def client_should_survive_outage(self, outage: str, *command: str, timeout: timedelta | None = None) -> None:
        """Leads a client of any language through an outage, on a server of its own, and fails unless it survives.

        The client is a program, as for `Start Client Process`. Server and client are started for this outage and ended
        with it. What counts is what the server has seen; ``docs/report_card.md`` has the rules. An outage that says
        nothing about the client, for example as it queues no jobs, skips the test with the reason. How the client
        behaves when nothing goes wrong is watched before the first outage.

        *Args:*
          - ``outage``: Name of an outage that comes with the library, see `Get Outages`, or a file in the same form.
          - ``command``: The program and its arguments, each on its own, or all of them in one text.
          - ``timeout``: How long the client may take to notice the outage, and to be back. As the outage says if left
            out.

        *Raises:*
          - AssertionError: If it does not survive; says what it did, and what to do about it.
          - RuntimeError: If it does not even work when nothing goes wrong.

        Examples:
        | `Client Should Survive Outage`    restart    node    my_client.js    {url}
        | `Client Should Survive Outage`    half-open    python my_client.py {url}    timeout=30 s
        """
        from ComfyMockLibrary.engine.report.check import Check

        program = tuple(shlex.split(command[0])) if len(command) == 1 else command
        if not program:
            raise ValueError("Give the program that is the client, and its arguments: node my_client.js {url}.")
        directory = self.session.directory
        check = Check(
            program,
            timeout=None if timeout is None else timeout.total_seconds(),
            directory=None if directory is None else directory / "report-card",
            habits=self._habits.get(program),
        )
        with closing(check):
            self._habits[program] = check.habits
            logger.info(f"When nothing goes wrong the client {check.habits}.")
            entry = check.run(outages.load(outage))
        self._tell(entry)

    @staticmethod
    def _tell(entry: Entry) -> None:
        from ComfyMockLibrary.engine.report.text import facts

        logger.info(f"{entry.outage.title}. {entry.verdict.capitalize()}: {entry.did}\n{facts(entry)}")
        words = entry.course.words if entry.course is not None else ()
        output = "\n    ".join(["\nEnd of its output:", *words]) if words else ""
        if entry.is_failure:
            raise ExpectationFailed(
                f"Client should survive the outage '{entry.name}' but did not: {entry.did}. "
                f"Expected: {entry.outage.expectation.words} {entry.judgement.advice}".rstrip()
                + output
            )
        if entry.verdict == "not applicable":
            raise SkipExecution(f"Not applicable: {entry.did}.")
