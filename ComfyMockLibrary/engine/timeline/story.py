"""Makes one story of the journals of all parties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.timeline.clients import (
    client_happenings,
    client_lane,
    foreign_clients,
    foreign_lanes,
    lives_seen,
)
from ComfyMockLibrary.engine.timeline.lives import ServerStory, server_stories
from ComfyMockLibrary.engine.timeline.model import Timeline
from ComfyMockLibrary.engine.timeline.servers import server_happenings, server_lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ComfyMockLibrary.engine.timeline.files import JournalFile


def tell(journals: Sequence[JournalFile], until: float | None = None) -> Timeline:
    """The story of journals on one clock, of which there must be some. It ends with the last record, or ``until`` then.

    Each server comes with the clients that were connected to it; clients of other servers come last.
    """
    end = max(each.last_at for each in journals) if until is None else until
    clients = sorted((each for each in journals if each.party == "client"), key=lambda each: each.begun_at)
    servers = server_stories(journals, end)
    ours = {str(each.anchor["client_id"]) for each in clients}
    lanes, happenings, left = [], [], list(clients)
    for server in servers:
        lanes += server_lanes(server, end)
        mine = [each for each in left if lives_seen(each) & {life.life_id for life in server.lives}]
        left = [each for each in left if each not in mine]
        lanes += [client_lane(each, end) for each in mine]
        others = foreign_clients(server, ours, end)
        lanes += foreign_lanes(others)
        happenings += [*server_happenings(server), *(each for client in others for each in client.happenings)]
    lanes += [client_lane(each, end) for each in left]
    happenings += [each for client in clients for each in client_happenings(client)]
    first = min(journals, key=lambda each: _start(each, servers))
    start = min(_start(first, servers), end)
    happenings.sort(key=lambda each: each.at)
    return Timeline(start, end, first.wall_at(start), tuple(lanes), tuple(happenings))


def _start(journal: JournalFile, servers: Sequence[ServerStory]) -> float:
    """When a journal begins. That of the library is begun a little before the first life, of which it tells."""
    return journal.begun_at if journal.party != "library" or not servers else journal.last_at
