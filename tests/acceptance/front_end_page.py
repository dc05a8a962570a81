"""The page at ``/`` in a real browser: headless Chromium, which reaches nothing but this machine.

Also a library for a child ``robot``: its keyword is `Errors At Boot`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome

__all__ = ["errors_at_boot"]

PATIENCE = 60.0
"""Longest time in seconds that anything in a page is waited for."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"

SCREENSHOTS = "COMFY_TEST_SCREENSHOTS"
"""Environment variable with the directory for screenshots; without it they are among the test's own files."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # containers have little of it
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--lang=en-US",
    "--window-size=1600,1000",
)

MISSING_FOR_A_NEW_USER = {
    "/favicon.ico",  # the package has it in another place, which the page names later
    "/user.css",
    "/api/userdata/user.css",
    "/api/userdata/comfy.templates.json",
    "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true",
    "/api/userdata?dir=subgraphs%2F&recurse=true&split=false&full_info=true",
}
"""What the front-end asks for and a real server does not have either, for a user who has not saved anything."""

NO_FAULT_OF_THE_SERVER = (
    # News of ComfyUI, which are asked for outside of this machine.
    r"^https://api\.comfy\.org/releases\S* - Failed to load resource: net::ERR_NAME_NOT_RESOLVED",
    # A setting of the front-end sets another one that is not there yet, with a real server too:
    # https://github.com/Comfy-Org/ComfyUI_frontend/issues/6747
    r"^\S+/assets/index-\S+ \S+ Uncaught TypeError: Cannot read properties of undefined \(reading 'id'\)$",
)

TEMPLATE = "[data-testid='template-workflow-invert_image']"
RUN = "[data-testid='queue-button'] button"
QUEUE_TAB = ".queue-tab-button"
DIALOG = ".p-dialog-mask"
OUTPUT = "img[src*='/view?']"
MOVING = "[class*='-enter-active'], [class*='-leave-active']"

NOTE_TEXTS = """
window.shownTexts = [];
new MutationObserver(changes => {
    for (const change of changes)
        for (const node of change.addedNodes) window.shownTexts.push(node.textContent);
}).observe(document.body, {childList: true, subtree: true});
"""
"""Remembers what the page has shown: a message that goes by itself cannot be missed."""

COLOR = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d");
canvas.drawImage(arguments[0], 0, 0);
return Array.from(canvas.getImageData(0, 0, 1, 1).data.slice(0, 3));
"""


def browser_is_missing() -> str | None:
    """Why there is no browser, if so."""
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed; pip install -e .[browser]"
    if _browser() is None:
        return f"there is no browser, none of {', '.join(BROWSERS)}; on Debian: apt-get install chromium"
    if shutil.which(DRIVER) is None:
        return f"there is no {DRIVER}; on Debian: apt-get install chromium-driver"
    return None


def front_end_is_missing() -> str | None:
    """Why there is no front-end, if so."""
    if importlib.util.find_spec("comfyui_frontend_package") is None:
        return "comfyui-frontend-package is not installed; pip install -e .[frontend]"
    return None


@contextmanager
def opened_page(directory: Path) -> Iterator[Page]:
    """A page in a browser of its own, which ends with it. The directory takes its profile and screenshots."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _browser()
    for flag in (*FLAGS, f"--user-data-dir={directory / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With its path given selenium looks for no driver, and so downloads none.
    browser = webdriver.Chrome(options, Service(executable_path=shutil.which(DRIVER)))
    try:
        yield Page(browser, Path(os.environ.get(SCREENSHOTS) or directory))
    finally:
        browser.quit()


def errors_at_boot(url: str, directory: str) -> list[str]:
    """Opens the front-end and gives the errors in its console."""
    with opened_page(Path(directory)) as page:
        page.boot(url)
        page.screenshot("keyword")
        return page.errors()


class Page:
    """What a user does in the page and sees there. Everything is waited for."""

    def __init__(self, browser: Chrome, screenshots: Path) -> None:
        self.browser = browser
        self._screenshots = screenshots

    def open(self, url: str) -> None:
        """Loads a page."""
        self.browser.get(url)

    def boot(self, url: str) -> None:
        """Loads the front-end as a new user, up to the workflows that it offers to one."""
        self.open(url)
        self.browser.execute_script(NOTE_TEXTS)
        self.wait_for("a first workflow on offer", lambda: self.is_loaded(self.find(f"{TEMPLATE} img")))
        self.wait_for("a connection", lambda: self.run_script("return window.comfyAPI.api.api.socket.readyState") == 1)

    def press(self, selector: str) -> None:
        """Clicks on something as soon as nothing is in front of it."""

        def click() -> bool:
            self.find(selector).click()
            return True

        self.wait_for(f"a click on {selector}", click)

    def load_workflow(self, workflow: dict[str, Any]) -> None:
        """Gives the front-end a workflow in API format, as a file that is dropped on it does."""
        from selenium.webdriver.common.keys import Keys

        self.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.wait_for("the dialog's end", lambda: not self.find_all(DIALOG))
        self.run_script("return window.app.loadApiJson(arguments[0], 'inverted')", workflow)

    def text(self) -> str:
        """What can be read in the page."""
        text: str = self.find("body").text
        return text

    def wait_for_passing_message(self, text: str) -> None:
        """Waits until the page has shown a text since the last of these waits, also if it is gone again."""
        script = """
            const found = window.shownTexts.findIndex(text => text.includes(arguments[0]));
            window.shownTexts.splice(0, found + 1);
            return found >= 0;
        """
        self.wait_for(f"the message {text!r}", lambda: self.run_script(script, text))

    def wait_for_output(self) -> list[int]:
        """Waits until the list of tasks shows an image. The color of its first pixel."""
        self.wait_for("an output image", lambda: self.is_loaded(self.find(OUTPUT)))
        color: list[int] = self.run_script(COLOR, self.find(OUTPUT))
        return color

    def wait_for_output_in_node(self) -> list[int]:
        """Waits until the node that saves shows its image. The width and height of it."""
        script = """
            const image = window.app.graph.nodes.find(node => node.type === "SaveImage").imgs?.[0];
            return image?.complete && image.naturalWidth > 0 && [image.naturalWidth, image.naturalHeight];
        """
        size: list[int] = self.wait_for("an image in the node", lambda: self.run_script(script))
        return size

    def wait_for(self, what: str, look: Callable[[], Any]) -> Any:
        """Waits until something is found that is neither false nor empty."""
        from selenium.common.exceptions import TimeoutException, WebDriverException
        from selenium.webdriver.support.wait import WebDriverWait

        # What is not there yet, not clickable yet or just being replaced is looked for again.
        wait = WebDriverWait(self.browser, PATIENCE, poll_frequency=0.1, ignored_exceptions=[WebDriverException])
        try:
            return wait.until(lambda _: look())
        except TimeoutException:
            self._save("timeout")
            console = "\n".join(self.console())
            raise AssertionError(f"The page did not show {what} within {PATIENCE:g} s. Console:\n{console}") from None

    def find(self, selector: str) -> Any:
        """The first element."""
        return self.browser.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        """All elements."""
        return self.browser.find_elements("css selector", selector)

    @staticmethod
    def is_loaded(image: Any) -> bool:
        """Whether an image is there to be seen."""
        return image.is_displayed() and image.get_property("naturalWidth") > 0

    def run_script(self, script: str, *arguments: Any) -> Any:
        """Runs a script in the page; waits for what it promises."""
        return self.browser.execute_script(script, *arguments)

    def console(self) -> list[str]:
        """Errors in the console since the last look at it."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def errors(self) -> list[str]:
        """Those errors in the console since the last look at it that a real server would not have brought too."""
        return [message for message in self.console() if not _is_explained(message)]

    def screenshot(self, name: str) -> None:
        """Saves what is seen when nothing fades in or out any more."""
        self.wait_for("the end of all movement", lambda: not self.find_all(MOVING))
        self._save(name)

    def _save(self, name: str) -> None:
        self._screenshots.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(self._screenshots / f"{name}.png")


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _is_explained(message: str) -> bool:
    missing = re.fullmatch(r"(\S+) - Failed to load resource: the server responded with a status of 404 .*", message)
    if missing is not None:
        return _path_of(missing[1]) in MISSING_FOR_A_NEW_USER
    return any(re.search(pattern, message) for pattern in NO_FAULT_OF_THE_SERVER)


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
