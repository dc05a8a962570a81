"""The live page of a life: what it shows and does in a real browser, and who gets it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import front_end_page
import pytest
from front_end_page import Page, opened_page
from mockserver_process import node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import StartMockProcess
    from mockserver_process import MockProcess

EVIL = "<img src=x onerror=\"document.title='struck'\"><script>document.title='struck'</script>"
WORKFLOW = {
    "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
    "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
}

needs_a_browser = pytest.mark.skipif(
    front_end_page.browser_is_missing() is not None, reason=str(front_end_page.browser_is_missing())
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened_page(tmp_path) as one:
        yield one


@pytest.fixture
def server(start_mock_process: StartMockProcess) -> MockProcess:
    return start_mock_process("--status-interval", "0", "--node-duration", "0")


def url_of(server: MockProcess) -> str:
    return f"{server.ready['control_url']}/"


def press_fault(page: Page, label: str) -> None:
    """Presses one of the buttons that set a fault, as soon as it is not moved by what comes above it."""

    def click() -> bool:
        (button,) = [each for each in page.find_all("#presets button") if each.text == label]
        button.click()
        return True

    page.wait_for(f"a click on {label}", click)


def wait_for_text(page: Page, selector: str, text: str) -> None:
    page.wait_for(f"{text!r} in {selector}", lambda: text in page.find(selector).text)


@needs_a_browser
class TestInABrowser:
    """What people see and press."""

    def test_it_shows_sockets_queue_and_journal_as_they_come(self, page: Page, server: MockProcess) -> None:
        page.open(url_of(server))
        wait_for_text(page, "#state", "running")
        wait_for_text(page, "#sockets", "Nobody is connected.")
        assert f"port {server.port}, pid {server.pid}" in page.find("#life").text

        client = server.connect("somebody")
        wait_for_text(page, "#sockets", "somebody")
        press_fault(page, "Hold execution")
        wait_for_text(page, "#faults", "hold_execution")
        prompt_id = server.queue(WORKFLOW, client_id="somebody")
        wait_for_text(page, "#queue", f"{prompt_id} runs")
        wait_for_text(page, "#journal", "POST /prompt")
        wait_for_text(page, "#journal", "fault struck")
        page.screenshot("live-page")

        page.press("#faults button")
        wait_for_text(page, "#faults", "No fault is set.")
        wait_for_text(page, "#queue", "Nothing to do.")
        wait_for_text(page, "#journal", "prompt success")
        client.close()
        wait_for_text(page, "#sockets", "Nobody is connected.")
        assert page.console() == []

    def test_what_clients_send_is_text(self, page: Page, server: MockProcess) -> None:
        client = server.connect(quote(EVIL))
        client.websocket.send(EVIL)
        server.queue(WORKFLOW, client_id=EVIL, prompt_id=EVIL)
        server.ask("GET", f"/{quote(EVIL)}")
        page.open(url_of(server))
        wait_for_text(page, "#sockets", EVIL)
        wait_for_text(page, "#journal", "received")
        # All at once: a click would miss its line where a record comes above it.
        page.run_script("document.querySelectorAll('#journal details').forEach(each => { each.open = true; });")
        wait_for_text(page, "#journal pre", '"kind"')
        assert EVIL in page.find("#journal").text
        assert page.find_all("img, main script, iframe") == []
        assert "struck" not in page.browser.title
        assert page.console() == []

    def test_a_fault_that_is_none_is_explained_and_one_by_hand_is_set(self, page: Page, server: MockProcess) -> None:
        page.open(url_of(server))
        wait_for_text(page, "#state", "running")
        page.press("section details summary")
        page.run_script("document.getElementById('description').value = '{\"fault\": \"flood\"}'")
        page.press("#custom button")
        wait_for_text(page, "#problem", "There is no fault 'flood'.")
        page.run_script("document.getElementById('description').value = 'fault'")
        page.press("#custom button")
        wait_for_text(page, "#problem", "This is no JSON")
        page.run_script(
            'document.getElementById(\'description\').value = \'{"fault": "latency", "direction": "both", "delay": 0}\''
        )
        page.press("#custom button")
        wait_for_text(page, "#faults", "latency direction=both")
        assert page.find("#problem").text == ""
        page.press("#clear-all")
        wait_for_text(page, "#faults", "No fault is set.")

    def test_every_button_sets_a_fault_that_there_is(self, page: Page, server: MockProcess) -> None:
        page.open(url_of(server))
        labels = [each.text for each in page.find_all("#presets button")]
        assert len(labels) == 15
        for label in labels:
            if label not in ("Crash", "Stop", "Freeze 5 s"):
                press_fault(page, label)
        server.wait_for_record("fault_set", fault="lose_queue-1")
        wait_for_text(page, "#faults", "fail_request")
        assert page.find("#problem").text == ""
        press_fault(page, "Crash")
        wait_for_text(page, "#state", "gone: this life has ended")

    def test_a_life_that_is_frozen_is_told_from_one_that_is_gone(self, page: Page, server: MockProcess) -> None:
        page.open(url_of(server))
        wait_for_text(page, "#state", "running")
        press_fault(page, "Freeze 5 s")
        server.wait_for_record("fault_struck", fault="freeze-1")
        server.wait_for_record("fault_ended", fault="freeze-1")  # 5 s are too short for a browser that is slow to see
        server.signal(signal.SIGSTOP)
        wait_for_text(page, "#state", "does not answer: frozen?")
        server.signal(signal.SIGCONT)
        wait_for_text(page, "#state", "running")

    def test_it_keeps_the_latest_records_only_and_can_be_paused_and_filtered(
        self, page: Page, server: MockProcess
    ) -> None:
        for number in range(300):
            server.ask("GET", f"/queue?number={number}")
        page.open(url_of(server))
        wait_for_text(page, "#journal", "number=299")
        assert len(page.find_all("#journal > details")) == 300
        page.press("#pause")
        server.ask("GET", "/queue?number=paused")
        wait_for_text(page, "#journal-count", "last 500 of")
        assert "number=paused" not in page.find("#journal").text
        page.press("#pause")
        wait_for_text(page, "#journal", "number=paused")
        page.find("#filter").send_keys("number=paused")
        page.wait_for(
            "one line", lambda: len([each for each in page.find_all("#journal > details") if each.is_displayed()]) == 1
        )

    def test_it_asks_for_the_token_and_keeps_it_to_itself(
        self, page: Page, start_mock_process: StartMockProcess
    ) -> None:
        server = start_mock_process("--control-token", "open sesame")
        page.open(url_of(server))
        wait_for_text(page, "#locked", "This life asks for its token")
        assert not page.find("#open").is_displayed()
        for token in ("wrong", "open sesame"):
            page.wait_for("the form", lambda: page.find("#token").is_displayed())
            page.find("#token").send_keys(token)
            page.press("#token-form button")
        wait_for_text(page, "#state", "running")
        wait_for_text(page, "#journal", "life ready")
        press_fault(page, "No pongs")
        wait_for_text(page, "#faults", "pong")
        assert page.browser.current_url == url_of(server)
        assert page.run_script("return [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
        page.open(url_of(server))
        wait_for_text(page, "#locked", "This life asks for its token")


class TestWhoGetsIt:
    """The page has no secrets; what it shows has."""

    def test_its_policy_lets_it_run_its_own_script_and_nothing_else(self, server: MockProcess) -> None:
        answer = server.control("/")
        policy = answer.headers["Content-Security-Policy"]
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert re.fullmatch(
            r"default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'; connect-src 'self'; "
            r"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            policy,
        )
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_it_makes_no_html_of_strings(self, server: MockProcess) -> None:
        text = server.control("/").body.decode()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://", text
        )

    @pytest.mark.parametrize("path", ["/life", "/state", "/journal", "/faults", "/openapi.json", "//"])
    def test_with_a_token_only_the_page_itself_is_open(self, start_mock_process: StartMockProcess, path: str) -> None:
        server = start_mock_process("--control-token", "open sesame")
        assert server.control("/").status == 200
        assert server.control(path).status == 401
        assert server.control(path, Authorization="Bearer open sesame").status in (200, 404)

    @pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
    def test_pages_of_others_do_not_get_it(self, server: MockProcess, headers: dict[str, str]) -> None:
        assert server.control("/", **headers).status == 403

    def test_the_state_has_sockets_and_prompts_in_order(self, server: MockProcess) -> None:
        server.connect("somebody").message()
        assert server.control("/state").json == {
            "sockets": [{"socket": 1, "client_id": "somebody", "ordinal": 1, "is_mute": False}],
            "prompts": [],
        }

    def test_prompts_stand_in_the_order_in_which_they_run(self, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process("--status-interval", "0", "--node-duration", "60")
        ids = [server.queue(WORKFLOW, client_id=str(number)) for number in range(3)]
        front = server.queue(WORKFLOW, front=True)
        server.wait_for_record("prompt", state="started")
        prompts: list[dict[str, Any]] = server.control("/state").json["prompts"]
        assert [each["prompt_id"] for each in prompts] == [ids[0], front, *ids[1:]]
        assert [each["is_running"] for each in prompts] == [True, False, False, False]
        assert [each["client_id"] for each in prompts] == ["0", None, "1", "2"]
