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


def lose_for_a_while(story: Story, *waits: float) -> float:
    """The client loses its server, and tries again after each of these times; the last attempt finds it.

    Returns when it has lost it.
    """
    story.connect()
    story.end_life()
    story.watch()
    lost_at = moment = story.at
    for wait in waits[:-1]:
        moment += wait
        story.refuse(moment)
    story.at = moment + waits[-1] - 0.02
    story.begin_life()
    story.connect()
    return lost_at


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
            "Recorded sockets: socket 1 of 'me' in life 1: ended with its life; "
            f"socket 2 of 'me' in life 2: lost without a close frame. {SERVER}"
        )


class TestReconnection:
    """Back in the life that runs now, with few attempts."""

    def test_a_client_that_is_back_is_told_of(self, story: Story) -> None:
        lose_for_a_while(story, 1, 2)
        assert len(story.verdicts.should_have_reconnected(0, max_attempts=2).attempts) == 2
        assert story.verdicts.reconnect_attempts() == 2

    def test_too_many_attempts_are_none(self, story: Story) -> None:
        lose_for_a_while(story, 1, 2)
        assert failure(story.verdicts.should_have_reconnected, 0, max_attempts=1) == (
            "Client should have reconnected with at most 1 attempt but needed 2. Attempts since it lost its websocket: "
            f"refused while the server was down (after 1.000 s); connected in life 2 (after 3.000 s). {SERVER}"
        )

    def test_a_client_that_stays_away_is_not_back(self, story: Story) -> None:
        story.lose(story.connect())
        story.connect(status=403)
        assert failure(story.verdicts.should_have_reconnected, 0) == (
            "Client should have reconnected within 0 s but has not. "
            f"Attempts since it lost its websocket: 403 in life 1 (after 0.010 s). {SERVER}"
        )

    def test_a_client_that_was_never_away_cannot_come_back(self, story: Story) -> None:
        story.connect()
        assert failure(story.verdicts.should_have_reconnected, 0).startswith(
            "Client should have reconnected within 0 s but has not lost a websocket."
        )
        assert story.verdicts.reconnect_attempts() == 0

    def test_the_second_loss_is_not_the_first(self, story: Story) -> None:
        lose_for_a_while(story, 1)
        assert story.verdicts.should_have_reconnected(0).back_at is not None
        assert failure(story.verdicts.should_have_reconnected, 0, nth=2).startswith(
            "Client should have reconnected within 0 s but has not lost its websocket 2 times but once. Recorded"
        )
        assert story.verdicts.reconnect_attempts(nth=2) == 0
        story.kill()
        assert "but has lost its websocket again. No attempt is recorded since" in failure(
            story.verdicts.should_have_reconnected, 0, nth=1
        )
        story.watch()
        assert "but has lost its websocket again. It has not made an attempt since" in failure(
            story.verdicts.should_have_reconnected, 0, nth=1
        )


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
        lose_for_a_while(story, *waits)
        story.verdicts.backoff_should_be(BackoffStrategy[strategy], 1.0, maximum, 0.2)

    def test_others_are_named(self, story: Story) -> None:
        lose_for_a_while(story, 1, 1, 1)
        assert failure(story.verdicts.backoff_should_be, BackoffStrategy.exponential, 1.0, None, 0.2) == (
            "Backoff should be exponential with delays of 1 s, 2 s, 4 s (tolerance 20%) but the delays were "
            "1 s, 1 s, 1 s. They look constant with base=1 s."
        )

    @pytest.mark.parametrize(
        ("waits", "looks"),
        [
            ((1, 3, 3, 3, 3, 3), "constant with base=3 s"),
            ((4, 1.1, 1, 0.9), "constant with base=1 s"),
            ((2, 4, 6, 8), "linear with base=2 s"),
            ((0.5, 1, 2, 4), "exponential with base=0.5 s"),
        ],
    )
    def test_one_delay_that_is_out_of_line_does_not_say_what_they_look_like(
        self, story: Story, waits: tuple[float, ...], looks: str
    ) -> None:
        lose_for_a_while(story, *waits)
        text = failure(story.verdicts.backoff_should_be, BackoffStrategy.constant, 20.0, None, 0.2)
        assert text.endswith(f"They look {looks}.")

    @pytest.mark.parametrize(
        ("begin", "end", "is_right"), [(3.0, 3.05, True), (2.5, 2.7, False), (3.3, 3.4, False), (2.0, 4.0, True)]
    )
    def test_an_attempt_may_be_unseen_while_nobody_looks(
        self, story: Story, begin: float, end: float, is_right: bool
    ) -> None:
        lost_at = lose_for_a_while(story, 1, 1, 2)
        story.stop_watching(lost_at + begin, lost_at + end)
        if is_right:
            story.verdicts.backoff_should_be(BackoffStrategy.constant, 1.0, None, 0.2)
        else:
            assert failure(story.verdicts.backoff_should_be, BackoffStrategy.constant, 1.0, None, 0.2).endswith(
                "but the delays were 1 s, 1 s, 2 s. They look constant with base=1 s."
            )

    @pytest.mark.parametrize(
        ("strategy", "delays", "end", "is_right"),
        [
            (BackoffStrategy.constant, (1, 1, 4), 5.5, True),  # a life that was slow to start
            (BackoffStrategy.constant, (1, 1, 3.5), 5.0, True),
            (BackoffStrategy.constant, (1, 1, 4), 4.5, False),
            (BackoffStrategy.linear, (1, 2 + 3 + 4, 5), 9.5, True),
            (BackoffStrategy.linear, (1, 2 + 3 + 4, 3), 9.5, False),
            (BackoffStrategy.exponential, (1, 2, 4 + 8 + 16, 32), 31.0, True),
            (BackoffStrategy.exponential, (1, 2, 4 + 8 + 16, 16), 31.0, False),
        ],
    )
    def test_several_in_a_row_may_be_unseen(
        self, story: Story, strategy: BackoffStrategy, delays: tuple[float, ...], end: float, is_right: bool
    ) -> None:
        lost_at = lose_for_a_while(story, *delays)
        story.stop_watching(lost_at + 2.5, lost_at + end)
        if is_right:
            story.verdicts.backoff_should_be(strategy, 1.0, None, 0.2)
        else:
            assert failure(story.verdicts.backoff_should_be, strategy, 1.0, None, 0.2)

    @pytest.mark.parametrize(("waits", "is_right"), [((1 + 2, 4, 8), True), ((3, 3, 3), False)])
    def test_a_server_that_was_down_unwatched_may_have_been_asked(
        self, story: Story, waits: tuple[float, ...], is_right: bool
    ) -> None:
        story.connect()
        story.kill("SIGTERM")
        for position, wait in enumerate(waits):
            story.at = round(story.at + wait - 0.01, 6)
            if position == 0:
                story.begin_life()
                story.at = round(story.at - 0.01, 6)
            story.connect(status=503)
            story.at = round(story.at - 0.01, 6)
        if is_right:
            story.verdicts.backoff_should_be(BackoffStrategy.exponential, 1.0, None, 0.2)
        else:
            assert failure(story.verdicts.backoff_should_be, BackoffStrategy.exponential, 1.0, None, 0.2)

    def test_any_delay_is_right_if_the_tolerance_says_so(self, story: Story) -> None:
        lost_at = lose_for_a_while(story, 1, 1, 4)
        story.stop_watching(lost_at + 2.5, lost_at + 5.5)
        story.verdicts.backoff_should_be(BackoffStrategy.constant, 1.0, None, 1.5)

    def test_delays_may_be_doubled_without_end(self, story: Story) -> None:
        lost_at = lose_for_a_while(story, 1, 1)
        story.stop_watching(lost_at, lost_at + 2)
        story.verdicts.backoff_should_be(BackoffStrategy.exponential, 1e-12, None, 1.0)

    def test_one_delay_tells_nothing(self, story: Story) -> None:
        lose_for_a_while(story, 1)
        text = failure(story.verdicts.backoff_should_be, BackoffStrategy.constant, 1.0, None, 0.2)
        assert text.startswith("Backoff should be constant but cannot be told from 1 delay: let the client try more")


class TestPrompts:
    """Sent once, over all lives."""

    def test_different_prompts_may_be_many(self, story: Story) -> None:
        story.queue({"1": 1}, "a")
        story.queue({"1": 2}, "b")
        story.verdicts.prompts_should_have_been_sent_once()
        story.verdicts.prompts_should_have_been_sent_once("b")

    def test_what_was_refused_may_come_again(self, story: Story) -> None:
        for status in (429, 503, 200):
            story.queue({"1": 1}, "a", status=status)
        story.verdicts.prompts_should_have_been_sent_once()

    def test_the_same_prompt_in_another_life_is_one_too_many(self, story: Story) -> None:
        story.queue({"1": 1}, "a", status=None)
        story.end_life()
        story.begin_life()
        story.queue({"1": 1}, "b")
        assert failure(story.verdicts.prompts_should_have_been_sent_once) == (
            "Each prompt should have been sent once but one was sent 2 times: "
            f"POST /prompt (no answer, life 1); POST /prompt (200, life 2). {SERVER}"
        )
        assert "sent 2 times" in failure(story.verdicts.prompts_should_have_been_sent_once, "b")

    def test_none_is_not_once(self, story: Story) -> None:
        assert failure(story.verdicts.prompts_should_have_been_sent_once) == (
            f"A prompt should have been sent once but none was sent. No requests are recorded. {SERVER}"
        )
        story.queue({"1": 1}, "x", status=429)
        assert failure(story.verdicts.prompts_should_have_been_sent_once) == (
            "A prompt should have been sent once but none was accepted. "
            f"Recorded prompts: POST /prompt (429, life 1). {SERVER}"
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
        for path in ("/promt", "/queue"):
            story.request("POST", path)
        story.request("GET", "/promt")
        assert failure(story.verdicts.should_have_received, "POST", "/prompt", 1) == (
            "Mock server should have received POST /prompt once but has never received it. "
            f"1 request came close: POST /promt (200, life 1). {SERVER}"
        )
        for _ in range(2):
            story.request("GET", "/prompt")
        assert "2 requests came close: GET /prompt (200, life 1); GET" in failure(
            story.verdicts.should_have_received, "POST", "/prompt", 1
        )

    def test_too_many_are_named(self, story: Story) -> None:
        for _ in range(7):
            story.request("GET", "/queue")
        assert failure(story.verdicts.should_have_received, "GET", "/queue", 1, 200, life=1) == (
            "Mock server should have received GET /queue answered with 200 in life 1 once but has received it 7 times: "
            f"…; {'; '.join(['GET /queue (200, life 1)'] * 5)}. {SERVER}"
        )

    def test_another_life_does_not_count(self, story: Story) -> None:
        story.request("GET", "/queue")
        story.kill()
        story.begin_life()
        assert "in life 2 but has never" in failure(story.verdicts.should_have_received, "GET", "/queue", None, life=2)
        assert story.verdicts.should_have_received("GET", "/queue", 1, life=1)


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

    def test_a_file_is_the_result_of_the_prompt_that_made_it(self, story: Story) -> None:
        story.record(
            "message_sent",
            type="executed",
            data={"prompt_id": "p", "output": {"images": [{"filename": "a.png"}]}},
            sockets=[],
        )
        story.request("GET", "/view?filename=b.png")
        failure(story.verdicts.should_have_fetched_result, 0, "p")
        story.request("GET", "/view?filename=a.png")
        story.verdicts.should_have_fetched_result(0, "p")

    def test_a_history_without_it_is_none(self, story: Story) -> None:
        story.request("GET", "/history/p", answer="{}")
        story.request("GET", "/history/q", answer='{"q": {"status": {}}}')
        assert failure(story.verdicts.should_have_fetched_result, 0, "p") == (
            "Client should have fetched the result of prompt 'p' within 0 s but has not. 2 requests came close: "
            f"GET /history/p (200, life 1); GET /history/q (200, life 1). {SERVER}"
        )


def test_attempts_may_not_come_too_fast(story: Story) -> None:
    lose_for_a_while(story, *[0.12] * 12)
    story.verdicts.should_not_flood(9)
    assert failure(story.verdicts.should_not_flood, 8).startswith(
        "Client should make at most 8 attempts to connect in a second but has made 9."
    )
    for _ in range(30):
        story.request("GET", "/queue")
    assert "requests in a second" in failure(story.verdicts.should_not_flood, 20, all_requests=True)
