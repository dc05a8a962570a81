"""The report card for continuous integration: a test case for each outage, in JUnit's form."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ComfyMockLibrary.engine.pages import harmless

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.report.card import Card


def junit(card: Card) -> str:
    """An XML document."""
    suite = ElementTree.Element(
        "testsuite",
        name=harmless(f"ComfyUI client: {card.client}"),
        tests=str(len(card.entries)),
        failures=str(card.count("not survived")),
        skipped=str(card.count("not applicable")),
        errors="0",
        time=f"{sum(entry.seconds for entry in card.entries):.3f}",
        timestamp=card.made_at,
    )
    for entry in card.entries:
        case = ElementTree.SubElement(
            suite, "testcase", classname="report_card", name=entry.name, time=f"{entry.seconds:.3f}"
        )
        if entry.is_failure:
            failure = ElementTree.SubElement(case, "failure", message=harmless(entry.did))
            failure.text = harmless(f"{entry.outage.title}. {entry.outage.expectation.words}\n{entry.judgement.advice}")
        elif entry.verdict == "not applicable":
            ElementTree.SubElement(case, "skipped", message=harmless(entry.did))
        if entry.course is not None and entry.course.words:
            ElementTree.SubElement(case, "system-out").text = harmless("\n".join(entry.course.words))
    ElementTree.indent(suite)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suite, encoding="unicode")}\n'
