"""Writes what servers printed and clients saw into Robot's log, in one story. From the main thread only.

Threads never log: Robot drops messages of other threads in silence. So after each keyword everything that is new is
fetched, put in order of time, and written as one message for the story and one for the details.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from robot.api import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ComfyMockLibrary.engine.client.client import Client
    from ComfyMockLibrary.engine.client_process import ClientProcess
    from ComfyMockLibrary.engine.outages import OutageRun
    from ComfyMockLibrary.engine.servers import Life, MockServer
    from ComfyMockLibrary.keywords.session import Session

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (.*)")
_STAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True)
class _Line:
    stamp: str
    party: str
    text: str
    is_detail: bool = False

    has_stamp: bool = True
    """Whether its party has said when it was; otherwise it is only known when it was read."""

    def __str__(self) -> str:
        return f"[{self.party}] {self.stamp[11:]} {self.text}" if self.has_stamp else f"[{self.party}] {self.text}"


class RobotLog:
    """What of one session has been logged already."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bytes_read: dict[str, int] = {}
        self._events_written: WeakKeyDictionary[Client, int] = WeakKeyDictionary()
        self._output_written: WeakKeyDictionary[ClientProcess, int] = WeakKeyDictionary()
        self._steps_written: WeakKeyDictionary[OutageRun, int] = WeakKeyDictionary()
        self._warned_of: WeakSet[MockServer | Client] = WeakSet()

    def write_news(self) -> None:
        """Logs what has come since the last time."""
        news = sorted(self._news(), key=lambda line: line.stamp)
        story = [str(line) for line in news if not line.is_detail]
        details = [str(line) for line in news if line.is_detail]
        if story:
            logger.info("\n".join(story))
        if details:
            logger.debug("\n".join(details))
        for owner, why in self._lost_journals():
            if owner not in self._warned_of:
                self._warned_of.add(owner)
                logger.warn(f"The journal of {owner.alias!r} has ended early: {why}. Its timeline is not complete.")

    def _lost_journals(self) -> Iterator[tuple[MockServer | Client, str]]:
        for server in self._session.known_servers:
            if server.journal_lost is not None:
                yield server, server.journal_lost
        for client in self._session.clients.clients:
            if client.journal.lost is not None:
                yield client, client.journal.lost

    def _news(self) -> Iterator[_Line]:
        for server in self._session.known_servers:
            for life in server.lives:
                yield from self._news_of_life(server, life)
        for client in self._session.clients.clients:
            yield from self._news_of_client(client)
        for process in self._session.processes.processes:
            yield from self._news_of_process(process)
        for run in self._session.outages.all:
            yield from self._news_of_outage(run)

    def _news_of_life(self, server: MockServer, life: Life) -> Iterator[_Line]:
        stamp = ""
        position = self._bytes_read.get(life.life_id, 0)
        output = _new_output(life.log_file, position, is_complete=not life.is_running)
        self._bytes_read[life.life_id] = position + len(output)
        for text in _lines(output):
            stamped = _STAMP.match(text)
            if stamped:
                stamp = stamped[1]
            yield _Line(stamp, f"Server {server.port}", stamped[2] if stamped else text)

    def _news_of_client(self, client: Client) -> Iterator[_Line]:
        written = self._events_written.get(client, 0)
        events = client.journal.since(written)
        self._events_written[client] = written + len(events)
        for event in events:
            stamp = event.wall.astimezone().strftime(_STAMP_FORMAT)[:-3]
            yield _Line(stamp, f"Client {client.alias}", str(event), is_detail=event.source == "server")

    def _news_of_process(self, process: ClientProcess) -> Iterator[_Line]:
        position = self._output_written.get(process, 0)
        output = _new_output(process.log_file, position, is_complete=not process.is_running)
        self._output_written[process] = position + len(output)
        stamp = datetime.now(timezone.utc).astimezone().strftime(_STAMP_FORMAT)[:-3]
        for text in _lines(output):
            yield _Line(stamp, f"Client {process.alias}", text, has_stamp=False)

    def _news_of_outage(self, run: OutageRun) -> Iterator[_Line]:
        written = self._steps_written.get(run, 0)
        steps = run.taken[written:]
        self._steps_written[run] = written + len(steps)
        for step in steps:
            yield _Line(step.wall, f"Outage {run.outage.name}", str(step))


def _new_output(file: Path, position: int, *, is_complete: bool) -> bytes:
    """Whole lines only: the rest of a line comes with its end, or with the end of the process that writes it."""
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            output = opened.read()
    except OSError:
        return b""
    return output if is_complete else output[: output.rfind(b"\n") + 1]


def _lines(output: bytes) -> list[str]:
    return output.decode(errors="replace").splitlines()
