"""``python -m ComfyMockLibrary timeline``: makes a page of journals."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ComfyMockLibrary.engine.records import shown

_EXAMPLES = """\
Examples:
  python -m ComfyMockLibrary timeline results/comfymock
  python -m ComfyMockLibrary timeline results/comfymock -o outage.html --title "Second outage"
  python -m ComfyMockLibrary timeline 'results/comfymock/main-*.jsonl' client.journal.jsonl -o - > outage.html
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "timeline",
        help="draw journals of servers and clients on one time axis, as an HTML page",
        description="Draws the journals of servers and clients on one time axis, as one HTML page that needs nothing "
        "else. Journals are the files *.journal.jsonl in the directory comfymock beside Robot's log, or what "
        "python -m mockserver --journal FILE has written.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "journals", nargs="+", metavar="JOURNAL", help="a file, a directory with all below it, or a pattern"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="timeline.html", help="the page; - for stdout (%(default)s)"
    )
    parser.add_argument("--title", default="Timeline", help="heading of the page (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carries it out, and returns the exit status."""
    from ComfyMockLibrary.engine.timeline.files import JournalError, find_journals, read_journals
    from ComfyMockLibrary.engine.timeline.page import page
    from ComfyMockLibrary.engine.timeline.story import tell

    try:
        journals = read_journals(find_journals(arguments.journals))
    except JournalError as failure:
        sys.stderr.write(f"{failure}\n")
        return 2
    timeline = tell(journals)
    html = page(timeline, arguments.title)
    if arguments.output == "-":
        sys.stdout.buffer.write(html.encode())
        return 0
    output = Path(arguments.output)
    try:
        output.write_text(html, encoding="utf-8")
    except OSError as failure:
        sys.stderr.write(f"{shown(output)} cannot be written: {failure.strerror}. Name another file with -o FILE.\n")
        return 2
    sys.stderr.write(f"{shown(output)}: {len(journals)} journals, {len(timeline.happenings)} events.\n")
    return 0
