"""Many plain clients in one process: ``python -m ComfyMockLibrary.herd URL COUNT``.

Each holds a websocket open, and comes back whenever it is lost. Their attempts are spread at random, with growing
delays. The process ends when its stdin has ended and all are connected, or 30 seconds later, and says in its last line
how they fared, as JSON: ``clients``, ``connected`` at the end, ``attempts`` that were made, ``lost`` connections.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

import aiohttp

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0
LONGEST_GATHERING = 30.0
"""Seconds that they are given at the end to be all connected."""


class Herd:
    """The clients, and what they count."""

    def __init__(self, url: str, count: int) -> None:
        self._url = f"{url.rstrip('/')}/ws"
        self._count = count
        self.connected = 0
        self.attempts = 0
        self.lost = 0

    async def run(self) -> None:
        """Keeps all clients connected until it is cancelled."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._keep_connected(session, number) for number in range(self._count)))

    async def _keep_connected(self, session: aiohttp.ClientSession, number: int) -> None:
        failures = 0
        while True:
            self.attempts += 1
            try:
                async with session.ws_connect(f"{self._url}?clientId=herd-{number}") as websocket:
                    failures = 0
                    self.connected += 1
                    try:
                        async for _ in websocket:
                            continue
                    finally:
                        self.connected -= 1
                    self.lost += 1
            except (aiohttp.ClientError, OSError):
                failures += 1
            longest = min(FIRST_DELAY * 2**failures, LONGEST_DELAY)
            await asyncio.sleep(random.uniform(longest / 2, longest))

    async def wait_until_connected(self, timeout: float) -> None:
        """Waits until all are connected at once, or the time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self.connected < self._count and loop.time() < end:
            await asyncio.sleep(0.02)

    def report(self) -> str:
        """How they fare, as JSON."""
        counts = {"connected": self.connected, "attempts": self.attempts, "lost": self.lost}
        return json.dumps({"clients": self._count, **counts})


async def _main(url: str, count: int) -> None:
    herd = Herd(url, count)
    work = asyncio.ensure_future(herd.run())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await herd.wait_until_connected(LONGEST_GATHERING)
    sys.stdout.write(f"{herd.report()}\n")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
