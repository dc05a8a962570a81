"""Expectations of a client, held against a server's evidence. Each raises ExpectationFailed with the nearest miss."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.evidence import Attempt, is_same_prompt, sent_prompts
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.types import BackoffStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ComfyMockLibrary.engine.evidence import Evidence, Outage, RecordedRequest, RecordedSocket
    from ComfyMockLibrary.engine.servers import MockServer

_SHOWN = 5
"""How many near misses a failure names."""

_ALMOST_AT_ONCE = 0.05
"""Seconds within which a first attempt counts as made at once, without a delay."""


class Verdicts:
    """What one server can say of its clients. ``client_id`` means one of them; left out, all together."""

    def __init__(self, server: MockServer, evidence: Evidence) -> None:
        self._server = server
        self._evidence = evidence

    def for_client(
        self, timeout: float, nth: int = 1, client_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> RecordedSocket:
        """Waits for the n-th websocket of the life that runs now that is such a client's and still open."""
        wanted = {name.lower(): value for name, value in (headers or {}).items()}

        def look() -> RecordedSocket | None:
            life = len(self._server.lives)
            fitting = [
                each
                for each in self._evidence.sockets(client_id)
                if each.life == life and all(fnmatchcase(each.headers.get(n, ""), v) for n, v in wanted.items())
            ]
            return fitting[nth - 1] if len(fitting) >= nth and fitting[nth - 1].is_open else None

        found = self._evidence.wait_for(look, timeout)
        if found is None:
            who = "a client" if client_id is None else f"the client {client_id!r}"
            with_headers = f" with {', '.join(f'{name}: {value}' for name, value in wanted.items())}" if wanted else ""
            raise self._failure(
                f"{_ordinal(nth)} websocket of {who}{with_headers} did not open within {timeout:g} s.",
                "sockets",
                self._evidence.sockets(),
            )
        return found

    def should_have_reconnected(
        self, timeout: float, max_attempts: int | None = None, client_id: str | None = None
    ) -> Outage:
        """Waits until the client that has lost its websocket last has one again, in the life that runs now."""

        def look() -> Outage | None:
            outages = self._evidence.outages(client_id)
            if not outages or outages[-1].back_at is None:
                return None
            opened = self._evidence.sockets(client_id)[-1]
            return outages[-1] if opened.is_open and opened.life == len(self._server.lives) else None

        outage = self._evidence.wait_for(look, timeout)
        if outage is None:
            outages = self._evidence.outages(client_id)
            if not outages:
                raise self._failure(
                    "Client should have reconnected but has not lost a websocket.",
                    "sockets",
                    self._evidence.sockets(client_id),
                )
            raise self._failure(
                f"Client should have reconnected within {timeout:g} s but has not.", "attempts", outages[-1].attempts
            )
        if max_attempts is not None and len(outage.attempts) > max_attempts:
            raise self._failure(
                f"Client should have reconnected with at most {max_attempts} attempts but needed "
                f"{len(outage.attempts)}.",
                "attempts",
                outage.attempts,
            )
        return outage

    def reconnect_attempts(self, client_id: str | None = None) -> int:
        """How many attempts the client has made since it lost its websocket last."""
        outages = self._evidence.outages(client_id)
        return len(outages[-1].attempts) if outages else 0

    def backoff_should_be(
        self,
        strategy: BackoffStrategy,
        base: float,
        maximum: float | None,
        tolerance: float,
        client_id: str | None = None,
    ) -> None:
        """Compares the delays before the attempts of the latest outage. A first attempt at once is no delay."""
        outages = self._evidence.outages(client_id)
        delays = outages[-1].delays if outages else []
        if delays and delays[0] < min(_ALMOST_AT_ONCE, base / 2):
            delays = delays[1:]
        if len(delays) < 2:
            raise ExpectationFailed(
                f"The backoff cannot be told from {len(delays)} delay{'' if len(delays) == 1 else 's'}: let the "
                "client try more often. While the server is down attempts are seen only with "
                "`Kill Mock Server    watch_attempts=yes`."
            )
        expected = [
            min(_delay(strategy, base, number), maximum or float("inf")) for number in range(1, len(delays) + 1)
        ]
        if all(abs(seen - wanted) <= tolerance * wanted for seen, wanted in zip(delays, expected, strict=True)):
            return
        raise ExpectationFailed(
            f"Backoff should be {strategy.value} with delays of {_seconds(expected)} (tolerance {tolerance:.0%}) "
            f"but the delays were {_seconds(delays)}. {_nearest_strategy(delays)}"
        )

    def prompts_should_have_been_sent_once(self, prompt_id: str | None = None) -> None:
        """No workflow was queued twice, over all lives; or the one with this id was queued, and once."""
        sent = sent_prompts(self._evidence.requests())
        if prompt_id is not None:
            chosen = next((each for each in sent if prompt_id in (_id_sent(each), _id_given(each))), None)
            if chosen is None:
                raise self._failure(
                    f"Prompt {prompt_id!r} should have been sent once but was not sent.", "prompts", sent
                )
            sent = [each for each in sent if is_same_prompt(each, chosen)]
        if not sent:
            raise self._failure(
                "A prompt should have been sent once but none was sent.", "requests", self._evidence.requests()
            )
        for position, request in enumerate(sent):
            again = [each for each in sent[position + 1 :] if is_same_prompt(request, each)]
            if again:
                raise self._failure(
                    f"Each prompt should have been sent once but one was sent {len(again) + 1} times.",
                    "the same prompt",
                    [request, *again],
                )

    def should_have_received(
        self,
        method: str,
        path: str,
        times: int | None,
        status: int | None = None,
        timeout: float = 0.0,
    ) -> list[RecordedRequest]:
        """Waits until such requests have come: ``times`` of them, or at least one."""

        def fitting() -> list[RecordedRequest]:
            return [each for each in self._evidence.requests() if _fits(each, method, path, status)]

        def look() -> list[RecordedRequest] | None:
            found = fitting()
            return found if len(found) == times or (times is None and found) else None

        found = self._evidence.wait_for(look, timeout)
        if found is not None:
            return found
        seen = fitting()
        often = "" if times is None else f" {_times(times)}"
        near = [each for each in self._evidence.requests() if each not in seen and _is_near(each, method, path)]
        answered = "" if status is None else f" answered with {status}"
        raise self._failure(
            f"Mock server should have received {method.upper()} {path}{answered}{often} but "
            f"{'has never received it' if not seen else f'has received it {_times(len(seen))}'}.",
            "requests",
            near or self._evidence.requests(),
            came_close=bool(near),
        )

    def client_id_should_be_kept(self) -> None:
        """All websockets gave one clientId."""
        sockets = self._evidence.sockets()
        ids = list(dict.fromkeys(each.client_id for each in sockets))
        if not sockets:
            raise self._failure("The client id should be kept but no websocket was opened.", "sockets", [])
        if len(ids) > 1:
            raise self._failure(
                f"The client id should be kept but {len(ids)} were given: {', '.join(map(repr, ids[:_SHOWN]))}.",
                "sockets",
                sockets,
            )

    def should_have_fetched_result(self, timeout: float, prompt_id: str | None = None) -> RecordedRequest:
        """Waits until the client has got the history of a prompt that has ended, or one of its files."""

        def look() -> RecordedRequest | None:
            return next((each for each in self._evidence.requests() if _fetches_result(each, prompt_id)), None)

        found = self._evidence.wait_for(look, timeout)
        if found is None:
            near = [each for each in self._evidence.requests() if each.route.startswith(("/history", "/view", "/jobs"))]
            what = "a prompt" if prompt_id is None else f"prompt {prompt_id!r}"
            raise self._failure(
                f"Client should have fetched the result of {what} within {timeout:g} s but has not.",
                "requests",
                near or self._evidence.requests(),
                came_close=bool(near),
            )
        return found

    def should_not_flood(self, max_rate: float, client_id: str | None = None, *, all_requests: bool = False) -> None:
        """At no time were there more attempts than so many in a second; or requests, if all of them count."""
        moments = (
            [each.at for each in self._evidence.requests() if client_id in (None, each.client_id)]
            if all_requests
            else [each.at for each in self._evidence.attempts(client_id)]
        )
        worst = max((_within_a_second(moments, start) for start in range(len(moments))), default=0)
        if worst > max_rate:
            what = "requests" if all_requests else "attempts to connect"
            raise ExpectationFailed(
                f"Client should make at most {max_rate:g} {what} in a second but has made {worst}. "
                "A client without a growing delay between attempts hinders a server that comes back."
            )

    def _failure(self, what: str, things: str, near: Sequence[Any], *, came_close: bool = False) -> ExpectationFailed:
        """A failed expectation with the nearest misses, the latest last, and how the server is."""
        if not near:
            seen = f"No {things} are recorded."
        else:
            latest = "; ".join(_shown(each) for each in near[-_SHOWN:])
            dots = "…; " if len(near) > _SHOWN else ""
            counted = f"1 {things.removesuffix('s')}" if len(near) == 1 else f"{len(near)} {things}"
            seen = f"{counted} came close: {dots}{latest}." if came_close else f"Recorded {things}: {dots}{latest}."
        parts = [what, seen, *describe_server(self._server), next_step(self._server)]
        return ExpectationFailed(" ".join(part for part in parts if part))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shown(thing: Any) -> str:
    if isinstance(thing, Attempt):
        return thing.outcome if thing.outcome == "connected" else f"{thing.outcome} (life {thing.life or 'none'})"
    return str(thing)


def _fits(request: RecordedRequest, method: str, path: str, status: int | None) -> bool:
    return (
        method.upper() in ("*", request.method)
        and fnmatchcase(request.route, _route(path))
        and status in (None, request.status)
    )


def _is_near(request: RecordedRequest, method: str, path: str) -> bool:
    """Whether only one of method, path and status is another."""
    return method.upper() == request.method or fnmatchcase(request.route, _route(path))


def _route(path: str) -> str:
    return path.removeprefix("/api") if path.startswith("/api/") else path


def _id_sent(request: RecordedRequest) -> Any:
    body = request.json
    return body.get("prompt_id") if isinstance(body, dict) else None


def _id_given(request: RecordedRequest) -> str | None:
    """The prompt id in the answer."""
    body = request.answer_body or ""
    _, found, rest = body.partition('"prompt_id": "')
    return rest.partition('"')[0] if found else None


def _fetches_result(request: RecordedRequest, prompt_id: str | None) -> bool:
    if request.status not in (200, 206) or request.method != "GET":
        return False
    if request.route == "/view":
        return prompt_id is None
    if request.route == "/history" or request.route.startswith(("/history/", "/jobs/")):
        answer = request.answer_body
        if answer is None:  # too long to be recorded
            return prompt_id is None or prompt_id in request.path
        return '"status"' in answer and (prompt_id is None or prompt_id in answer)
    return False


def _delay(strategy: BackoffStrategy, base: float, number: int) -> float:
    if strategy is BackoffStrategy.exponential:
        return base * 2.0 ** (number - 1)
    return base * number if strategy is BackoffStrategy.linear else base


def _nearest_strategy(delays: Sequence[float]) -> str:
    """Which strategy the delays look like."""

    def distance(strategy: BackoffStrategy) -> float:
        return sum(
            abs(seen - _delay(strategy, delays[0], number)) / max(seen, 1e-9)
            for number, seen in enumerate(delays, start=1)
        )

    nearest = min(BackoffStrategy, key=distance)
    return f"They look {nearest.value} with base={delays[0]:.2g} s."


def _within_a_second(moments: Sequence[float], start: int) -> int:
    return sum(1 for moment in moments[start:] if moment < moments[start] + 1)


def _seconds(delays: Sequence[float]) -> str:
    return ", ".join(f"{delay:.3g} s" for delay in delays)


def _ordinal(number: int) -> str:
    return {1: "A", 2: "A second", 3: "A third"}.get(number, f"A {number}th")
