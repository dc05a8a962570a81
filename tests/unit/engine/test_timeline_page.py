"""The page: it shows what it was given, whatever that is, and loads nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from timeline_journals import (
    answer,
    begun,
    client,
    event,
    fault_set,
    handshake,
    life,
    opened,
    outside,
    prompt,
    request,
    sent,
)

from ComfyMockLibrary.engine.timeline.page import MOST_LISTED, fragment, page
from ComfyMockLibrary.engine.timeline.story import tell

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.timeline.model import Timeline

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`&{{ 7 * 7 }}{% raw %}</svg></style>"
HANDLERS = {"onpointermove", "onpointerleave", "onchange", "oninput"}
"""What of ours reacts to people."""


class Seen(HTMLParser):
    """Elements and texts as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "input", "path", "circle", "rect", "line"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "circle", "rect", "line"):
            return
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["style"]:
            self.texts.append(data)


def evil_timeline(text: str = EVIL) -> Timeline:
    struck = {"at": 2.0, "kind": "fault_struck", "fault": text, "strike": 1, "client_id": text}
    return tell(
        [
            outside(0, begun(0.5, 1, "life-a"), alias=text),
            life(
                0.5,
                prompt(1, text, "queued"),
                prompt(1.2, text, "started"),
                handshake(1, 1, "x"),
                opened(1, 1, text),
                sent(1.5, text, 1, text=text),
                request(2, 2, text, f"/{text}"),
                answer(2, 2, 500),
                fault_set(2, text, "close_sockets", reason=text),
                struck,
            ),
            client(0.7, event(1, "connected"), event(2, text, "server", data=text), alias=text, client_id="other"),
        ]
    )


@pytest.mark.parametrize("make", [page, fragment])
def test_what_clients_send_stays_text(make: object) -> None:
    html = make(evil_timeline(), EVIL)  # type: ignore[operator]
    seen = Seen(html)
    assert {tag for tag, _ in seen.elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "div", "b", "span", "small", "label", "select"),
        *("option", "svg", "g", "text", "line", "rect", "path", "circle", "details", "summary", "input", "table"),
        *("thead", "tbody", "tr", "th", "td"),
    }
    assert {name for _, attributes in seen.elements for name in attributes if name.startswith("on")} == HANDLERS
    assert "49" not in "".join(seen.texts)  # what looks like a template is none
    assert any(EVIL in text for text in seen.texts)
    assert seen.stack == []


def test_what_cannot_be_seen_or_written_is_replaced() -> None:
    html = page(evil_timeline("a\x00b\x1bc\ud800d\u202ee\u2066f"))
    html.encode()
    assert "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf" in html
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\u202e\u2066]", html)


def test_a_very_long_text_is_cut() -> None:
    assert len(page(evil_timeline("x" * 100_000))) < 200_000


def test_it_loads_nothing() -> None:
    html = page(evil_timeline("plain"))
    assert not re.search(r"https?://|//[a-z]|@import|url\(|\bsrc=", html)
    assert "default-src 'none'" in html


def test_a_fragment_touches_nothing_but_itself() -> None:
    (css,) = re.findall(r"<style>(.*?)</style>", fragment(evil_timeline("plain")), re.DOTALL)
    css = re.sub(r"@(media|container)[^{]*\{", "", css)
    selectors = [each.strip() for rule in re.findall(r"([^{}]+)\{[^{}]*\}", css) for each in rule.split(",")]
    assert selectors
    assert [each for each in selectors if ".comfy-timeline" not in each] == []


def test_a_fragment_is_one_line_and_says_the_same() -> None:
    """Allure's listener for Robot Framework writes ``<br>`` for each line break, also into a style and a drawing."""
    for text in ("plain", "two\nlines", EVIL):
        line = fragment(evil_timeline(text))
        assert "\n" not in line
        whole, part = Seen(page(evil_timeline(text))), Seen(line)
        assert part.elements == whole.elements[len(whole.elements) - len(part.elements) :]
        assert "".join("".join(whole.texts).split()).endswith("".join("".join(part.texts).split()))


def test_the_list_of_very_many_events_leaves_some_out_and_says_so() -> None:
    events = [event(1 + number / 1000, f"event-{number}", "server") for number in range(3 * MOST_LISTED)]
    html = page(tell([client(0.5, *events)]))
    assert html.count("<tr class=") == MOST_LISTED
    assert f"<td>{2 * MOST_LISTED} more</td>" in html
    assert "<td>event-0</td>" in html
    assert f"<td>event-{3 * MOST_LISTED - 1}</td>" in html
    assert len(html) < 600_000


def test_the_template_library_is_imported_when_it_is_needed_and_not_before() -> None:
    script = "import sys, ComfyMockLibrary, ComfyMockLibrary.__main__; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
