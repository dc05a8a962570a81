"""How a request is awaited whose record waits for its answer; what is recorded is in the acceptance tests."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from mockserver.requests_journal import _awaited

if TYPE_CHECKING:
    from collections.abc import Coroutine


def run(handled: Coroutine[Any, Any, Any]) -> tuple[Any, list[str]]:
    """What comes of it, and what has happened meanwhile."""
    happened: list[str] = []

    async def others() -> None:
        happened.append("others")

    async def await_it() -> Any:
        their_turn = asyncio.ensure_future(others())
        result = await _awaited(handled, lambda: happened.append("before it waits"))
        happened.append("done")
        await their_turn
        return result

    return asyncio.run(await_it()), happened


async def answer_at_once() -> str:
    return "answer"


async def answer_later() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    return "answer"


async def answer_after_a_failure() -> str:
    try:
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.001)
    except asyncio.TimeoutError:
        return "answer"
    return "nothing has failed"


async def fail() -> str:
    raise LookupError


async def fail_later() -> str:
    failing = asyncio.ensure_future(fail())
    await failing
    return "nothing has failed"


def test_what_is_there_at_once_has_not_waited() -> None:
    assert run(answer_at_once()) == ("answer", ["done", "others"])


def test_others_get_their_turn_only_after_that_is_known() -> None:
    assert run(answer_later()) == ("answer", ["before it waits", "others", "done"])


def test_a_failure_that_is_awaited_can_be_handled() -> None:
    assert run(answer_after_a_failure()) == ("answer", ["before it waits", "others", "done"])


@pytest.mark.parametrize("handle", [fail, fail_later])
def test_a_failure_comes_out_and_says_where_it_comes_from(handle: Any) -> None:
    with pytest.raises(LookupError) as failure:
        run(handle())
    functions = [frame.name for frame in traceback.extract_tb(failure.value.__traceback__)]
    assert functions[functions.index("_awaited") + 1 :] == list(dict.fromkeys([handle.__name__, "fail"]))


def test_a_cancellation_arrives_where_it_waits() -> None:
    async def cancel() -> list[str]:
        happened: list[str] = []

        async def wait() -> str:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                happened.append("cancelled")
                raise
            return "never"

        async def await_it() -> None:
            await _awaited(wait(), lambda: None)

        task = asyncio.ensure_future(await_it())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return happened

    assert asyncio.run(cancel()) == ["cancelled"]


def test_one_that_nobody_awaits_any_more_is_closed() -> None:
    closed = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append("closed")

    awaiting = _awaited(wait(), lambda: None)
    next(awaiting)
    awaiting.close()
    assert closed == ["closed"]
