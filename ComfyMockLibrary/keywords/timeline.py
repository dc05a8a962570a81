"""Keywords that draw what happened."""

from __future__ import annotations

from typing import Literal

from robot.api import logger

from ComfyMockLibrary.engine.deadline import now
from ComfyMockLibrary.keywords.base import Component, keyword


class TimelineKeywords(Component):
    """The timeline of servers and clients in Robot's log."""

    @keyword(tags=["Evidence"])
    def log_timeline(self, *, since: Literal["test", "start"] = "test") -> None:
        """Draws what servers and clients have done on one time axis, and puts the picture into the log.

        It has the lives of all servers and how each ended, the connection of each client (of those that are not ours as
        the server saw it), prompts, faults, requests and messages; below it is a list of everything. When a test with a
        server fails, this happens by itself; see ``timeline`` in `Importing`.

        *Args:*
          - ``since``: ``test`` draws what has happened in this test, ``start`` everything since the servers began.

        *Raises:*
          - ValueError: If there is no server and no client.

        The same picture can be made of the journals later, as a page:
        ``python -m ComfyMockLibrary timeline results/comfymock``

        Example:
        | `Restart Mock Server`    signal=SIGKILL
        | `Wait For Connection`
        | `Log Timeline`
        """
        from ComfyMockLibrary.engine.timeline.files import read_journals
        from ComfyMockLibrary.engine.timeline.page import fragment
        from ComfyMockLibrary.engine.timeline.story import tell

        files = self.session.journal_files()
        if not files:
            raise ValueError("There is nothing to draw. Start a mock server with `Start Mock Server` before.")
        timeline = tell(read_journals(files), now())
        if since == "test" and self.session.test_began_at is not None:
            timeline = timeline.since(self.session.test_began_at)
        logger.info(fragment(timeline), html=True)
