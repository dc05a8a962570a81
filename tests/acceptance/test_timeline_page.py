"""The timeline in a real browser: as a page, and in Robot's log."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import front_end_page
import pytest
from front_end_page import Page, opened_page
from robot_run import run_robot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robot_run import FinishedRun

EVIL = "<img src=x onerror=\"document.title='struck'\">"
SUITE = f"""\
*** Settings ***
Library    ComfyMockLibrary    timeline=always

*** Test Cases ***
Story
    Start Mock Server    alias=main
    Connect Client    alias=editor
    Connect Client    alias={EVIL}
    FOR    ${{number}}    IN RANGE    12
        Queue Prompt    client=editor
    END
    Restart Mock Server    signal=SIGKILL    downtime=100 ms
    Wait For Connection    client=editor
    FOR    ${{number}}    IN RANGE    12
        ${{prompt}} =    Queue Prompt    client=editor
    END
    Wait For Prompt    ${{prompt}}    client=editor
"""

OVERLAPS = """
const found = [];
let count = 0;
for (const svg of document.querySelectorAll(".tl-cell > svg")) {
    const end = svg.getBoundingClientRect().right;
    const texts = [...svg.querySelectorAll("text:not(.tl-count)")];
    const boxes = texts.map(each => each.getBoundingClientRect()).filter(box => box.width);
    count += boxes.length;
    boxes.forEach((one, position) => {
        if (one.right > end + 16) found.push(["beyond the end", one.right, end]);
        for (const other of boxes.slice(position + 1)) {
            const beside = one.left >= other.right - 1 || other.left >= one.right - 1;
            const above = one.top >= other.bottom - 3 || other.top >= one.bottom - 3;
            if (!beside && !above) found.push(["on each other", one.left, other.left]);
        }
    });
}
return [count, found];
"""
"""How many texts are seen, and which of them cannot be read."""

pytestmark = pytest.mark.skipif(
    front_end_page.browser_is_missing() is not None, reason=str(front_end_page.browser_is_missing())
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    run = run_robot(tmp_path_factory.mktemp("story"), SUITE)
    run.should_have_passed()
    return run


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened_page(tmp_path) as one:
        yield one


def made(run: FinishedRun, directory: Path) -> str:
    """The page of a run's journals."""
    file = directory / "timeline.html"
    command = ["timeline", str(run.directory / "comfymock"), "-o", str(file)]
    subprocess.run([sys.executable, "-m", "ComfyMockLibrary", *command], check=True, stderr=subprocess.DEVNULL)
    return file.as_uri()


def look(page: Page, url: str, width: int, scheme: str) -> None:
    """Opens a page in a window of some width, light or dark."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.open(url)


def color(page: Page, selector: str, name: str) -> tuple[int, ...]:
    value: str = page.find(selector).value_of_css_property(name)
    return tuple(int(float(each)) for each in value.partition("(")[2].rstrip(")").split(",")[:3])


@pytest.mark.parametrize("width", [400, 700, 1000, 1600])
def test_at_any_width_it_fits_and_its_texts_can_be_read(
    page: Page, story: FinishedRun, tmp_path: Path, width: int
) -> None:
    look(page, made(story, tmp_path), width, "light")
    page.screenshot(f"timeline-{width}")
    texts, overlaps = page.run_script(OVERLAPS)
    assert texts > 5
    assert overlaps == []
    assert page.run_script("return document.documentElement.scrollWidth") <= width
    assert page.console() == []
    assert "struck" not in page.browser.title
    assert page.find_all("img") == []


@pytest.mark.parametrize(("scheme", "is_light"), [("light", True), ("dark", False)])
def test_it_is_light_or_dark_as_people_want_it(
    page: Page, story: FinishedRun, tmp_path: Path, scheme: str, is_light: bool
) -> None:
    look(page, made(story, tmp_path), 1000, scheme)
    page.screenshot(f"timeline-{scheme}")
    paper = color(page, ".comfy-timeline", "background-color")
    ink = color(page, ".comfy-timeline", "color")
    assert (sum(paper) > sum(ink)) is is_light
    assert abs(sum(paper) - sum(ink)) > 400


def test_its_list_can_be_searched_and_its_axis_stretched(page: Page, story: FinishedRun, tmp_path: Path) -> None:
    look(page, made(story, tmp_path), 1000, "light")
    page.press("summary")
    rows: list[Any] = page.find_all("tbody tr")
    page.find("input").send_keys("SIGKILL")
    page.wait_for("fewer lines", lambda: sum(each.is_displayed() for each in rows) == 1)

    before = page.find(".tl-plot").size["width"]
    page.press("option[value='4']")
    page.wait_for("a longer axis", lambda: page.find(".tl-plot").size["width"] == 4 * before)
    assert page.run_script("return document.documentElement.scrollWidth") <= 1000
    assert page.run_script(OVERLAPS)[1] == []
    assert page.console() == []


def test_the_moment_under_the_pointer_is_told(page: Page, story: FinishedRun, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    look(page, made(story, tmp_path), 1000, "light")
    assert not page.find(".tl-now").is_displayed()
    ActionChains(page.browser).move_to_element(page.find(".tl-cell > svg")).perform()
    shown = page.wait_for("a moment", lambda: page.find(".tl-now").get_attribute("data-at"))
    duration = float(page.find(".tl-plot").get_attribute("data-seconds"))
    assert float(shown.strip("+ s")) == pytest.approx(duration / 2, rel=0.05)


def test_in_robots_log_it_is_as_wide_as_the_log_and_changes_nothing_else(
    page: Page, story: FinishedRun, tmp_path: Path
) -> None:
    log = tmp_path / "log.html"
    rebot = [sys.executable, "-m", "robot.rebot", "--log", str(log), "--report", "NONE", "--output", "NONE"]
    subprocess.run([*rebot, str(story.directory / "output.xml")], check=True, stdout=subprocess.DEVNULL)
    keywords = 9
    look(page, f"{log.as_uri()}#s1-t1-k{keywords}", 1200, "light")
    page.wait_for("the timeline", lambda: page.find(".comfy-timeline").is_displayed())
    page.find(".comfy-timeline").location_once_scrolled_into_view  # noqa: B018 (it scrolls)
    page.screenshot("timeline-log")
    assert page.find(".comfy-timeline").size["width"] > 700
    assert page.run_script(OVERLAPS)[1] == []
    assert page.find(".comfy-timeline .tl-row").is_displayed()
    assert page.console() == []
