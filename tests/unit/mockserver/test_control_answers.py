"""When the control API answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mockserver.control.api import ControlApi


@pytest.mark.parametrize("name", ["get_fault", "get_faults"])
def test_it_says_how_faults_stand_when_the_network_has_settled(name: str) -> None:
    async def ask() -> None:
        settled = asyncio.Event()
        standing: Any = SimpleNamespace(as_json=lambda: {"state": "ended"})
        registry = SimpleNamespace(get=lambda _: standing, all=lambda: [standing])
        faults: Any = SimpleNamespace(settled=settled.wait, registry=registry)
        server: Any = SimpleNamespace()
        request: Any = SimpleNamespace(match_info={"fault_id": "f"})
        answer = asyncio.ensure_future(getattr(ControlApi(server, 0, lambda: faults), name)(request))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not answer.done()
        settled.set()
        assert '"ended"' in (await answer).text

    asyncio.run(ask())
