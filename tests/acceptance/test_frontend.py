"""ComfyUI's own front-end in a real browser, served by a mock server: it cannot tell it from the real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import front_end_page
import pytest
from front_end_page import MISSING_FOR_A_NEW_USER, OUTPUT, PATIENCE, QUEUE_TAB, RUN, TEMPLATE, Page, opened_page
from mockserver_process import ask, node
from robot_run import PROJECT, run_robot

from ComfyMockLibrary import StopSignal
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VIOLET = 0x8000C0
INVERTED = [0x7F, 0xFF, 0x3F]
WORKFLOW = {
    "1": node("EmptyImage", width=64, height=48, batch_size=1, color=VIOLET),
    "2": node("ImageInvert", image=["1", 0]),
    "3": node("SaveImage", images=["2", 0], filename_prefix="inverted"),
}

SUITE = """\
*** Settings ***
Library    ComfyMockLibrary    startup_timeout=60 s
Library    front_end_page.py

*** Test Cases ***
Front End
    ${server} =    Start Mock Server    frontend=yes
    ${errors} =    Errors At Boot    ${server.url}    ${OUTPUT_DIR}
    Should Be Empty    ${errors}
"""

pytestmark = pytest.mark.skipif(
    front_end_page.browser_is_missing() is not None, reason=str(front_end_page.browser_is_missing())
)

needs_the_front_end = pytest.mark.skipif(
    front_end_page.front_end_is_missing() is not None, reason=str(front_end_page.front_end_is_missing())
)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ServerManager]:
    manager = ServerManager(tmp_path / "servers")
    yield manager
    manager.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened_page(tmp_path) as one:
        yield one


@pytest.fixture
def server(servers: ServerManager) -> MockServer:
    return servers.start(ServerOptions(frontend=True), startup_timeout=PATIENCE)


@needs_the_front_end
def test_the_front_end_boots_without_an_error(page: Page, server: MockServer) -> None:
    page.boot(server.url)

    page.screenshot("boot")
    assert page.errors() == []
    assert unanswered(server) <= MISSING_FOR_A_NEW_USER


@needs_the_front_end
def test_a_workflow_is_chosen_and_queued_and_its_output_is_shown(page: Page, server: MockServer) -> None:
    page.boot(server.url)
    page.press(TEMPLATE)
    page.press(QUEUE_TAB)
    page.wait_for("the workflow", lambda: page.run_script("return window.app.graph.nodes.length") == 3)
    page.press(RUN)

    assert page.wait_for_output() == [0x1F, 0xA8, 0xFF]
    assert page.wait_for_output_in_node() == [256, 256]
    page.screenshot("output")
    assert ends(server) == ["success"]
    assert page.errors() == []
    assert unanswered(server) <= MISSING_FOR_A_NEW_USER


@needs_the_front_end
def test_the_page_tells_of_an_outage_and_works_again_after_it(
    page: Page, server: MockServer, servers: ServerManager
) -> None:
    page.boot(server.url)
    page.load_workflow(WORKFLOW)
    page.press(QUEUE_TAB)
    page.press(RUN)
    assert page.wait_for_output() == INVERTED

    servers.kill(server, StopSignal.SIGKILL)
    page.wait_for("its message", lambda: "Reconnecting" in page.text())
    page.screenshot("reconnecting")

    servers.restart(server, startup_timeout=PATIENCE)
    page.wait_for_passing_message("Reconnected")
    page.screenshot("reconnected")
    page.wait_for("the other message's end", lambda: "Reconnecting" not in page.text())
    page.wait_for("a list without what is lost", lambda: not page.find_all(OUTPUT))
    page.console()  # full of refused connections, as it should be

    page.press(RUN)
    assert page.wait_for_output() == INVERTED
    assert page.wait_for_output_in_node() == [64, 48]
    page.screenshot("after-the-outage")
    assert ends(server) == ["success"]
    assert page.errors() == []


def test_without_it_a_page_of_our_own_says_what_this_is(page: Page, servers: ServerManager) -> None:
    server = servers.start(startup_timeout=PATIENCE)
    page.open(server.url)

    assert page.browser.title == "Mock ComfyUI"
    assert "This server speaks ComfyUI's HTTP and websocket protocol for tests." in page.text()
    page.screenshot("own-page")
    assert page.console() == []
    assert unanswered(server) == set()
    for link in ("queue", "history", "system_stats", "object_info"):
        page.open(server.url)
        page.press(f"a[href='{link}']")
        page.wait_for(f"{link} as JSON", lambda: json.loads(page.find("body > pre").text) != [])
        assert page.browser.current_url == f"{server.url}/{link}"


@needs_the_front_end
def test_a_suite_has_it_with_an_argument(tmp_path: Path) -> None:
    helpers = PROJECT / "tests" / "acceptance"
    run = run_robot(tmp_path, SUITE, "--pythonpath", str(helpers), timeout=3 * PATIENCE)

    run.should_have_passed()
    assert run.errors == ()


def unanswered(server: MockServer) -> set[str]:
    """Paths of this life's requests that were answered by an error."""
    complete, _, _ = server.journal_file.read_bytes().rpartition(b"\n")
    records = map(json.loads, complete.splitlines())
    paths = {record["request"]: record["path"] for record in records if record["kind"] == "request"}
    answers = [record for record in records if record["kind"] == "answer"]
    return {paths[answer["request"]] for answer in answers if (answer["status"] or 0) >= 400}


def ends(server: MockServer) -> list[str]:
    """How the prompts in this life's history have ended."""
    history: dict[str, Any] = ask(server.port, "GET", "/history").json
    return [entry["status"]["status_str"] for entry in history.values()]
