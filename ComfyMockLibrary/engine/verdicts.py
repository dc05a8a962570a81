"""Expectations of a client, held against a server's evidence. Each raises ExpectationFailed with the nearest miss."""

from __future__ import annotations

from collections import defaultdict
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from itertools import pairwise
from math import log
from statistics import median
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.evidence import route_of, sent_prompts, workflow_of
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.types import BackoffStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ComfyMockLibrary.engine.evidence import ConnectionLoss, Evidence, RecordedRequest, RecordedSocket
    from ComfyMockLibrary.engine.servers import MockServer

_SHOWN = 5
"""How many near misses a failure names."""

_ALIKE = 0.6
"""How much of two paths must be the same for one to be taken for a slip of the other."""

_MOST_UNSEEN = 1000
"""How many attempts may have been made in a row that nobody has seen."""

_MAX_DOUBLINGS = 1000
"""Any delay is longer than a run lasts then; the next power is soon too large for a float."""

_ONLY_WATCHED = "While the server is down attempts are seen only with `Kill Mock Server    watch_attempts=yes`."

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
                _recorded("sockets", self._evidence.sockets()),
            )
        return found

    def should_have_reconnected(
        self, timeout: float, max_attempts: int | None = None, client_id: str | None = None, nth: int | None = None
    ) -> ConnectionLoss:
        """Waits until a client has its websocket again, in the life that runs now, after the latest loss or the n-th.

        One that has lost it once more in the meantime must be back again from that, too.
        """

        def look() -> ConnectionLoss | None:
            loss = self._loss(client_id, nth)
            if loss is None or loss.back_at is None:
                return None
            opened = self._evidence.sockets(client_id)[-1]
            return loss if opened.is_open and opened.life == len(self._server.lives) else None

        found = self._evidence.wait_for(look, timeout)
        if found is None:
            raise self._not_reconnected(timeout, client_id, nth)
        if max_attempts is not None and len(found.attempts) > max_attempts:
            raise self._failure(
                f"Client should have reconnected with at most {_counted(max_attempts, 'attempt')} but needed "
                f"{len(found.attempts)}.",
                _described(found),
            )
        return found

    def _not_reconnected(self, timeout: float, client_id: str | None, nth: int | None) -> ExpectationFailed:
        losses = self._evidence.losses(client_id)
        if len(losses) < (nth or 1):
            often = "a websocket" if not losses else f"its websocket {_times(nth or 1)} but {_times(len(losses))}"
            return self._failure(
                f"Client should have reconnected within {timeout:g} s but has not lost {often}.",
                _recorded("sockets", self._evidence.sockets(client_id)),
            )
        loss = losses[-1 if nth is None else nth - 1]
        back = "has not" if loss.back_at is None else "has lost its websocket again"
        return self._failure(
            f"Client should have reconnected within {timeout:g} s but {back}.",
            _described(loss if loss.back_at is None else losses[-1]),
        )

    def reconnect_attempts(self, client_id: str | None = None, nth: int | None = None) -> int:
        """How many attempts the client has made since it lost its websocket last, or for the n-th time."""
        loss = self._loss(client_id, nth)
        return 0 if loss is None else len(loss.attempts)

    def backoff_should_be(
        self,
        strategy: BackoffStrategy,
        base: float,
        maximum: float | None,
        tolerance: float,
        client_id: str | None = None,
        nth: int | None = None,
    ) -> None:
        """Compares the delays before the attempts after the latest loss, or the n-th. One at once has no delay."""
        loss = self._loss(client_id, nth)
        moments = [] if loss is None else loss.moments
        if len(moments) > 1 and moments[1] - moments[0] < min(_ALMOST_AT_ONCE, base / 2):
            moments = moments[1:]
        delays = _between(moments)
        if len(delays) < 2:
            raise ExpectationFailed(
                f"Backoff should be {strategy.value} but cannot be told from {_counted(len(delays), 'delay')}: let the "
                f"client try more often. {_ONLY_WATCHED}"
            )

        def expected(number: int) -> float:
            return min(_delay(strategy, base, number), maximum or float("inf"))

        if _may_be_delays_of(moments, expected, tolerance, () if loss is None else loss.blind_spans):
            return
        wanted = [expected(number) for number in range(1, len(delays) + 1)]
        raise ExpectationFailed(
            f"Backoff should be {strategy.value} with delays of {_seconds(wanted)} (tolerance {tolerance:.0%}) "
            f"but the delays were {_seconds(delays)}. {_nearest_strategy(delays)}"
        )

    def _loss(self, client_id: str | None, nth: int | None) -> ConnectionLoss | None:
        """The n-th loss, or the latest; None if there is none."""
        losses = self._evidence.losses(client_id)
        if nth is None:
            return losses[-1] if losses else None
        return losses[nth - 1] if len(losses) >= nth else None

    def prompts_should_have_been_sent_once(self, prompt_id: str | None = None) -> None:
        """No workflow was queued twice, over all lives; or the one with this id was queued, and once.

        What was refused was not queued. What was not answered may have been.
        """
        sent = sent_prompts(self._evidence.requests())
        queued = [each for each in sent if each.status is None or each.status < 400]
        seen = _recorded("prompts", sent) if sent else _recorded("requests", self._evidence.requests())
        by_workflow: defaultdict[object, list[RecordedRequest]] = defaultdict(list)
        for each in queued:
            by_workflow[workflow_of(each) or (each.life, each.number)].append(each)
        same = list(by_workflow.values())
        if prompt_id is not None:
            same = [all_ for all_ in same if any(prompt_id in _ids_of(each) for each in all_)]
            if not same:
                raise self._failure(f"Prompt {prompt_id!r} should have been sent once but was not sent.", seen)
        if not same:
            was = "none was accepted" if sent else "none was sent"
            raise self._failure(f"A prompt should have been sent once but {was}.", seen)
        worst = max(same, key=len)
        if len(worst) > 1:
            raise self._failure(
                f"Each prompt should have been sent once but one was sent {_times(len(worst))}: {_listed(worst)}."
            )

    def should_have_received(
        self,
        method: str,
        path: str,
        times: int | None,
        status: int | None = None,
        timeout: float = 0.0,
        life: int | None = None,
    ) -> list[RecordedRequest]:
        """Waits until such requests have come: ``times`` of them, or at least one."""

        def recorded() -> list[RecordedRequest]:
            return [each for each in self._evidence.requests() if life in (None, each.life)]

        def look() -> list[RecordedRequest] | None:
            found = [each for each in recorded() if _fits(each, method, path, status)]
            return found if len(found) == times or (times is None and found) else None

        found = self._evidence.wait_for(look, timeout)
        if found is not None:
            return found
        all_ = recorded()
        seen = [each for each in all_ if _fits(each, method, path, status)]
        answered = "" if status is None else f" answered with {status}"
        lived = "" if life is None else f" in life {life}"
        often = "" if times is None else f" {_times(times)}"
        within = f" within {timeout:g} s" if timeout else ""
        near = [] if seen else _nearest(all_, method, path)
        raise self._failure(
            f"Mock server should have received {method.upper()} {path}{answered}{lived}{often}{within} but "
            f"{f'has received it {_times(len(seen))}: {_listed(seen)}' if seen else 'has never received it'}.",
            "" if seen else _came_close(near) if near else _recorded("requests", all_),
        )

    def client_id_should_be_kept(self) -> None:
        """All websockets gave one clientId."""
        sockets = self._evidence.sockets()
        ids = list(dict.fromkeys(each.client_id for each in sockets))
        if not sockets:
            raise self._failure(
                "The client id should be kept but no websocket was opened.",
                _recorded("requests", self._evidence.requests()),
            )
        if len(ids) > 1:
            raise self._failure(
                f"The client id should be kept but {len(ids)} were given: {', '.join(map(repr, ids[:_SHOWN]))}"
                f"{', …' if len(ids) > _SHOWN else ''}.",
                _recorded("sockets", sockets),
            )

    def should_have_fetched_result(self, timeout: float, prompt_id: str | None = None) -> RecordedRequest:
        """Waits until the client has got the history of a prompt that has ended, or one of its files."""

        def look() -> RecordedRequest | None:
            return next((each for each in self._evidence.requests() if self._fetches(each, prompt_id)), None)

        found = self._evidence.wait_for(look, timeout)
        if found is None:
            near = [each for each in self._evidence.requests() if each.route.startswith(("/history", "/view", "/jobs"))]
            what = "a prompt" if prompt_id is None else f"prompt {prompt_id!r}"
            raise self._failure(
                f"Client should have fetched the result of {what} within {timeout:g} s but has not.",
                _came_close(near) if near else _recorded("requests", self._evidence.requests()),
            )
        return found

    def _fetches(self, request: RecordedRequest, prompt_id: str | None) -> bool:
        if request.status not in (200, 206) or request.method != "GET":
            return False
        if request.route == "/view":
            return prompt_id is None or request.query.get("filename") in self._files_of(prompt_id)
        if request.route == "/history" or request.route.startswith(("/history/", "/jobs/")):
            answer = request.answer_body
            if answer is None:  # too long to be recorded
                return prompt_id is None or prompt_id in request.path
            return '"status"' in answer and (prompt_id is None or prompt_id in answer)
        return False

    def _files_of(self, prompt_id: str) -> set[Any]:
        """Names of the files that a prompt has made, as its messages have told them."""
        outputs = [
            each.data.get("output")
            for each in self._evidence.messages()
            if each.type == "executed" and isinstance(each.data, dict) and each.data.get("prompt_id") == prompt_id
        ]
        lists = [files for output in outputs if isinstance(output, dict) for files in output.values()]
        return {
            file.get("filename") for files in lists if isinstance(files, list) for file in files if _is_object(file)
        }

    def should_not_flood(self, max_rate: float, client_id: str | None = None, *, all_requests: bool = False) -> None:
        """At no time were there more attempts than so many in a second; or requests, if all of them count."""
        moments = (
            [each.at for each in self._evidence.requests() if client_id in (None, each.client_id)]
            if all_requests
            else [each.at for each in self._evidence.attempts(client_id)]
        )
        worst = _most_within_a_second(moments)
        if worst > max_rate:
            what = "requests" if all_requests else "attempts to connect"
            raise ExpectationFailed(
                f"Client should make at most {max_rate:g} {what} in a second but has made {worst}. "
                "A client without a growing delay between attempts hinders a server that comes back."
            )

    def _failure(self, what: str, seen: str = "") -> ExpectationFailed:
        """A failed expectation with what was seen instead, and how the server is."""
        parts = [what, seen, *describe_server(self._server), next_step(self._server)]
        return ExpectationFailed(" ".join(part for part in parts if part))


def _recorded(things: str, recorded: Sequence[Any]) -> str:
    return f"Recorded {things}: {_listed(recorded)}." if recorded else f"No {things} are recorded."


def _came_close(near: Sequence[RecordedRequest]) -> str:
    return f"{_counted(len(near), 'request')} came close: {_listed(near)}."


def _described(loss: ConnectionLoss) -> str:
    """The attempts after a loss, each with the time since then."""
    if not loss.attempts and loss.was_unwatched:
        return f"No attempt is recorded since it lost its websocket. {_ONLY_WATCHED}"
    if not loss.attempts:
        return "It has not made an attempt since it lost its websocket."
    told = [f"{each} (after {each.at - loss.lost_at:.3f} s)" for each in loss.attempts]
    return f"Attempts since it lost its websocket: {_listed(told)}."


def _listed(things: Sequence[object]) -> str:
    """The latest of them."""
    dots = "…; " if len(things) > _SHOWN else ""
    return dots + "; ".join(str(each) for each in things[-_SHOWN:])


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _fits(request: RecordedRequest, method: str, path: str, status: int | None) -> bool:
    return (
        method.upper() in ("*", request.method)
        and fnmatchcase(request.route, route_of(path))
        and status in (None, request.status)
    )


def _nearest(requests: Sequence[RecordedRequest], method: str, path: str) -> list[RecordedRequest]:
    """Those whose path is right; or else, whose method is right and whose path looks like a slip."""
    right_path = [each for each in requests if fnmatchcase(each.route, route_of(path))]
    if right_path:
        return right_path
    routes = {each.route for each in requests}
    alike = {each for each in routes if SequenceMatcher(None, each, route_of(path)).ratio() >= _ALIKE}
    return [each for each in requests if each.route in alike and method.upper() in ("*", each.method)]


def _ids_of(request: RecordedRequest) -> list[Any]:
    """The prompt ids that it has, in what was asked and in the answer."""
    return [
        each["prompt_id"] for each in (request.json, request.answer_json) if _is_object(each) and "prompt_id" in each
    ]


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _delay(strategy: BackoffStrategy, base: float, number: int) -> float:
    if strategy is BackoffStrategy.exponential:
        return base * 2.0 ** min(number - 1, _MAX_DOUBLINGS)
    return base * number if strategy is BackoffStrategy.linear else base


def _between(moments: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(moments)]


def _may_be_delays_of(
    moments: Sequence[float],
    expected: Callable[[int], float],
    tolerance: float,
    blind_spans: Sequence[tuple[float, float]],
) -> bool:
    """Whether all delays are as expected: the first, the second and so on. Some may have ended unseen."""
    over = {0}
    """How many delays may be over at a moment."""
    for earlier, later in pairwise(moments):
        over = {
            number for before in over for number in _over_at(later, earlier, before, expected, tolerance, blind_spans)
        }
    return bool(over)


def _over_at(
    later: float,
    earlier: float,
    before: int,
    expected: Callable[[int], float],
    tolerance: float,
    blind_spans: Sequence[tuple[float, float]],
) -> Iterator[int]:
    """How many delays may be over at a moment, if so many were before: one more, or several, with unseen attempts."""

    def end_of(number: int, first: float, last: float) -> tuple[float, float]:
        """Between which moments a delay ends that has begun between two."""
        return first + expected(number) * (1 - tolerance), last + expected(number) * (1 + tolerance)

    first, last = end_of(before + 1, earlier, earlier)
    if first <= later <= last:
        yield before + 1
    for begin, end in blind_spans:
        first = last = earlier
        for number in range(before + 1, before + 1 + _MOST_UNSEEN):
            first, last = end_of(number, first, last)
            first, last = max(begin, first), min(end, later, last)
            if first > last:
                break
            earliest, latest = end_of(number + 1, first, last)
            if earliest <= later <= latest:
                yield number + 1


def _nearest_strategy(delays: Sequence[float]) -> str:
    """Which strategy the delays look like."""

    numbered = [(number, max(seen, 1e-9)) for number, seen in enumerate(delays, start=1)]

    def base_of(strategy: BackoffStrategy) -> float:
        return median(seen / _delay(strategy, 1.0, number) for number, seen in numbered)

    def distance(strategy: BackoffStrategy) -> float:
        base = base_of(strategy)
        return round(sum(abs(log(seen / _delay(strategy, base, number))) for number, seen in numbered), 6)

    nearest = min((BackoffStrategy.constant, BackoffStrategy.linear, BackoffStrategy.exponential), key=distance)
    return f"They look {nearest.value} with base={base_of(nearest):.2g} s."


def _most_within_a_second(moments: Sequence[float]) -> int:
    """How many there are at most in any second. They are in order."""
    most = start = 0
    for end, moment in enumerate(moments):
        while moment >= moments[start] + 1:
            start += 1
        most = max(most, end - start + 1)
    return most


def _seconds(delays: Sequence[float]) -> str:
    return ", ".join(f"{delay:.3g} s" for delay in delays)


def _ordinal(number: int) -> str:
    return {1: "A", 2: "A second", 3: "A third"}.get(number, f"A {number}th")
