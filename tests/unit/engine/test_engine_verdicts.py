"""Verdicts on a client, both ways, and the words of those that are not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from story import Story

from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.types import BackoffStrategy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER = "Server: running, pid 7. Log: server.log."


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A server in its first life."""
    told = Story(tmp_path)
    told.begin_life()
    return told


def failure(verdict: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """The text with which a verdict fails."""
    with pytest.raises(ExpectationFailed) as raised:
        verdict(*arguments, **options)
    return str(raised.value)


def outage(story: Story, *waits: float) -> None:
    """The client loses its server, and tries again after each of these times; the last attempt finds it."""
    story.connect()
    story.end_life()
    moment = story.at
    for wait in waits[:-1]:
        moment += wait
        story.refused_attempts.append(moment)
    story.at = moment + waits[-1] - 0.02
    story.begin_life()
    story.connect()


class TestClientOnServer:
    """A websocket to the life that runs now."""

    def test_the_nth_of_such_a_client_is_found(self, story: Story) -> None:
        story.connect("other", User_Agent="browser")
        for _ in range(2):
            story.connect("me", User_Agent="node 20")
        found = story.verdicts.for_client(0, nth=2, client_id="me", headers={"User-Agent": "node*"})
        assert (found.client_id, found.number) == ("me", 3)

    def test_neither_an_earlier_life_nor_a_closed_socket_counts(self, story: Story) -> None:
        story.connect()
        story.end_life()
        story.begin_life()
        story.lose(story.connect())
        assert failure(story.verdicts.for_client, 0, client_id="me", headers={"A": "b"}) == (
            "A websocket of the client 'me' with a: b did not open within 0 s. "
            "Recorded sockets: socket 1 of 'me' in life 1: closed by life with None; "
            f"socket 2 of 'me' in life 2: closed by lost with 1006. {SERVER}"
        )


class TestReconnection:
    """Back in the life that runs now, with few attempts."""

    def test_a_client_that_is_back_is_told_of(self, story: Story) -> None:
        outage(story, 1, 2)
        assert len(story.verdicts.should_have_reconnected(0, max_attempts=2).attempts) == 2
        assert story.verdicts.reconnect_attempts() == 2

    def test_too_many_attempts_are_none(self, story: Story) -> None:
        outage(story, 1, 2)
        assert failure(story.verdicts.should_have_reconnected, 0, max_attempts=1) == (
            "Client should have reconnected with at most 1 attempts but needed 2. "
            f"Recorded attempts: refused (life none); connected. {SERVER}"
        )

    def test_a_client_that_stays_away_is_not_back(self, story: Story) -> None:
        story.lose(story.connect())
        story.connect(status=403)
        assert failure(story.verdicts.should_have_reconnected, 0) == (
            f"Client should have reconnected within 0 s but has not. Recorded attempts: 403 (life 1). {SERVER}"
        )

    def test_a_client_that_was_never_away_cannot_come_back(self, story: Story) -> None:
        story.connect()
        assert failure(story.verdicts.should_have_reconnected, 0).startswith(
            "Client should have reconnected but has not lost a websocket."
        )
        assert story.verdicts.reconnect_attempts() == 0


class TestBackoff:
    """Delays between attempts."""

    @pytest.mark.parametrize(
        ("strategy", "maximum", "waits"),
        [
            ("exponential", None, [1, 2, 4, 8]),
            ("exponential", 3, [1, 2, 3, 3]),
            ("exponential", None, [0.01, 1, 2, 4]),
            ("linear", None, [1, 2, 3]),
            ("constant", None, [1, 0.9, 1.1]),
        ],
    )
    def test_the_right_delays_are_right(
        self, story: Story, strategy: str, maximum: float | None, waits: list[float]
    ) -> None:
        outage(story, *waits)
        story.verdicts.backoff_should_be(BackoffStrategy[strategy], 1.0, maximum, 0.2)

    def test_others_are_named(self, story: Story) -> None:
        outage(story, 1, 1, 1)
        assert failure(story.verdicts.backoff_should_be, BackoffStrategy.exponential, 1.0, None, 0.2) == (
            "Backoff should be exponential with delays of 1 s, 2 s, 4 s (tolerance 20%) but the delays were "
            "1 s, 1 s, 1 s. They look constant with base=1 s."
        )

    def test_one_delay_tells_nothing(self, story: Story) -> None:
        outage(story, 1)
        text = failure(story.verdicts.backoff_should_be, BackoffStrategy.constant, 1.0, None, 0.2)
        assert text.startswith("The backoff cannot be told from 1 delay: let the client try more often.")


class TestPrompts:
    """Sent once, over all lives."""

    def test_different_prompts_may_be_many(self, story: Story) -> None:
        story.queue({"1": 1}, "a")
        story.queue({"1": 2}, "b")
        story.verdicts.prompts_should_have_been_sent_once()
        story.verdicts.prompts_should_have_been_sent_once("b")

    def test_the_same_prompt_in_another_life_is_one_too_many(self, story: Story) -> None:
        story.queue({"1": 1}, "a", status=None)
        story.end_life()
        story.begin_life()
        story.queue({"1": 1}, "b")
        assert failure(story.verdicts.prompts_should_have_been_sent_once) == (
            "Each prompt should have been sent once but one was sent 2 times. Recorded the same prompt: "
            f"POST /prompt (no answer, life 1); POST /prompt (200, life 2). {SERVER}"
        )
        assert "sent 2 times" in failure(story.verdicts.prompts_should_have_been_sent_once, "b")

    def test_none_is_not_once(self, story: Story) -> None:
        assert failure(story.verdicts.prompts_should_have_been_sent_once) == (
            f"A prompt should have been sent once but none was sent. No requests are recorded. {SERVER}"
        )
        assert failure(story.verdicts.prompts_should_have_been_sent_once, "x").startswith(
            "Prompt 'x' should have been sent once but was not sent."
        )


class TestReceived:
    """Requests by method, path, status and number."""

    def test_what_fits_counts(self, story: Story) -> None:
        story.request("GET", "/api/history/a")
        story.request("GET", "/history/b", 500)
        assert len(story.verdicts.should_have_received("get", "/history/*", 2)) == 2
        assert len(story.verdicts.should_have_received("*", "/api/history/a", None)) == 1
        assert len(story.verdicts.should_have_received("GET", "/history/*", 1, status=500)) == 1

    def test_what_comes_close_is_named(self, story: Story) -> None:
        for path in ("/prompt", "/promt", "/queue"):
            story.request("GET", path)
        story.request("POST", "/queue")
        assert failure(story.verdicts.should_have_received, "POST", "/prompt", 1) == (
            "Mock server should have received POST /prompt once but has never received it. 2 requests came close: "
            f"GET /prompt (200, life 1); POST /queue (200, life 1). {SERVER}"
        )

    def test_only_the_latest_are_named(self, story: Story) -> None:
        for number in range(7):
            story.request("GET", f"/{number}")
        text = failure(story.verdicts.should_have_received, "GET", "/x", None, 200)
        assert "7 requests came close: …; GET /2 (200, life 1);" in text
        assert "answered with 200" in text


def test_one_client_id_is_kept(story: Story) -> None:
    assert "no websocket was opened" in failure(story.verdicts.client_id_should_be_kept)
    for _ in range(2):
        story.connect("me")
    story.verdicts.client_id_should_be_kept()
    story.connect("you")
    assert failure(story.verdicts.client_id_should_be_kept).startswith(
        "The client id should be kept but 2 were given: 'me', 'you'."
    )


class TestResult:
    """History and files that the client has got."""

    @pytest.mark.parametrize(
        ("path", "answer"),
        [("/history/p", '{"p": {"status": {}}}'), ("/api/history", '{"p": {"status": {}}}'), ("/jobs/p", '{"status"}')],
    )
    def test_history_with_the_prompt_is_the_result(self, story: Story, path: str, answer: str) -> None:
        story.request("GET", path, answer=answer)
        assert story.verdicts.should_have_fetched_result(0).path == path

    def test_a_file_is_one_too(self, story: Story) -> None:
        story.request("GET", "/view?filename=a.png", 206)
        story.verdicts.should_have_fetched_result(0)

    def test_a_history_without_it_is_none(self, story: Story) -> None:
        story.request("GET", "/history/p", answer="{}")
        story.request("GET", "/history/q", answer='{"q": {"status": {}}}')
        assert failure(story.verdicts.should_have_fetched_result, 0, "p") == (
            "Client should have fetched the result of prompt 'p' within 0 s but has not. 2 requests came close: "
            f"GET /history/p (200, life 1); GET /history/q (200, life 1). {SERVER}"
        )


def test_attempts_may_not_come_too_fast(story: Story) -> None:
    outage(story, *[0.12] * 12)
    story.verdicts.should_not_flood(9)
    assert failure(story.verdicts.should_not_flood, 8).startswith(
        "Client should make at most 8 attempts to connect in a second but has made 9."
    )
    for _ in range(30):
        story.request("GET", "/queue")
    assert "requests in a second" in failure(story.verdicts.should_not_flood, 20, all_requests=True)
