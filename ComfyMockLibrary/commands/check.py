"""``python -m ComfyMockLibrary check``: leads a client through outages, and prints its report card."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.records import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ComfyMockLibrary.engine.report.card import Card, Entry
    from ComfyMockLibrary.engine.report.check import Check
    from mockserver.outages.outage import Outage

NOT_SURVIVED = 1
WRONG_USE = 2
INTERRUPTED = 130

_EPILOG = """\
In COMMAND, {url}, {ws_url}, {host} and {port} stand for the address of the server, which is also in the environment:
COMFYUI_URL, COMFYUI_WS_URL, COMFYUI_HOST, COMFYUI_PORT. A client that queues jobs by itself shows most.

Exit status: 0 if no outage was failed, 1 if one was not survived, 2 for wrong use, or for a client that does not work
even when nothing goes wrong, 130 if it was interrupted.

Examples:
  python -m ComfyMockLibrary check -- node my_client.js {url}
  python -m ComfyMockLibrary check --only restart --only half-open -- python my_client.py --host {host} --port {port}
  python -m ComfyMockLibrary check --format html --output card.html -- dotnet run
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "check",
        help="lead a client of any language through outages, and print its report card",
        description="Starts your client against a mock server, leads both through one outage after the other, and "
        "tells from the server's side which of them the client has survived.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="the client and its arguments, behind --")
    parser.add_argument("--list", action="store_true", help="list the outages, and end")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only this outage (may be repeated)"
    )
    parser.add_argument(
        "--timeout",
        type=_positive,
        metavar="SECONDS",
        help="how long the client may take to notice an outage, and to be back (default: what the outage says)",
    )
    parser.add_argument("--format", choices=_FORMATS, default="text", help="form of the card (default: text)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where it goes (default: stdout)")
    parser.add_argument("--name", help="what the card calls the client (default: its command)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="OPTIONS",
        help='further options of the mock server, for example --server="--nodes object_info.json" (may be repeated)',
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep the servers' journals and the client's output there"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carries it out, and returns the exit status."""
    from ComfyMockLibrary.engine.report.check import Check, outages_for_one_client

    try:
        outages = _chosen(outages_for_one_client(), arguments.only)
        if arguments.list:
            sys.stdout.write("".join(f"{each.name:<22} {each.title}\n" for each in outages))
            return 0
        if not arguments.command:
            raise ValueError("Say which client: python -m ComfyMockLibrary check -- node my_client.js {url}")
        _make_sure_of(arguments.output)
        check = Check(
            arguments.command,
            timeout=arguments.timeout,
            server=[option for options in arguments.server for option in shlex.split(options)],
            directory=arguments.keep,
        )
        try:
            card = _made(check, outages, arguments)
        except RuntimeError:
            check.keep_directory()
            raise
        finally:
            check.close()
        _write(_FORMATS[arguments.format](card), arguments.output)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError) as failure:
        sys.stderr.write(f"{failure}\n")
        return WRONG_USE
    return 0 if card.is_good else NOT_SURVIVED


def _made(check: Check, outages: Sequence[Outage], arguments: argparse.Namespace) -> Card:
    import platform
    from datetime import datetime

    from ComfyMockLibrary import __version__
    from ComfyMockLibrary.engine.report.card import Card
    from ComfyMockLibrary.engine.report.text import line_of

    def say(line: str) -> None:
        if not arguments.quiet:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    say("Watching the client while nothing goes wrong ...")
    habits = check.habits
    say(f"It {habits}.")
    entries: list[Entry] = []
    for number, outage in enumerate(outages, start=1):
        entry = check.run(outage)
        entries.append(entry)
        say(f"[{number}/{len(outages)}] {outage.name}: {line_of(entry)} ({entry.seconds:.1f} s)")
    return Card(
        client=arguments.name or shlex.join(arguments.command),
        habits=habits,
        entries=entries,
        made_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        made_with=f"ComfyMockLibrary {__version__}, Python {platform.python_version()}, {platform.system()}",
    )


def _chosen(outages: Sequence[Outage], names: Sequence[str]) -> list[Outage]:
    known = {each.name: each for each in outages}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ValueError(f"There is no outage {wrong[0]!r} for one client. Known: {', '.join(known)}.")
    return [each for each in outages if not names or each.name in names]


def _write(content: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content.encode("utf-8", "replace"))
        sys.stdout.flush()
        return
    try:
        output.write_text(content, encoding="utf-8")
    except OSError as failure:
        raise _unwritable(output, failure) from failure


def _make_sure_of(output: Path | None) -> None:
    """Raises ValueError where a file cannot be written, before the minutes that a card takes. Changes nothing."""
    if output is None:
        return
    is_new = not output.exists()
    try:
        output.open("ab").close()
    except OSError as failure:
        raise _unwritable(output, failure) from failure
    if is_new:
        output.unlink()


def _unwritable(output: Path, failure: OSError) -> ValueError:
    return ValueError(f"{shown(output)} cannot be written: {failure.strerror}. Name another file with -o FILE.")


def _as_text(card: Card) -> str:
    from ComfyMockLibrary.engine.report.text import text

    return text(card)


def _as_json(card: Card) -> str:
    return json.dumps(card.as_json(), indent=1) + "\n"


def _as_html(card: Card) -> str:
    from ComfyMockLibrary.engine.report.html import html

    return html(card)


def _as_junit(card: Card) -> str:
    from ComfyMockLibrary.engine.report.junit import junit

    return junit(card)


_FORMATS: dict[str, Callable[[Card], str]] = {
    "text": _as_text,
    "json": _as_json,
    "html": _as_html,
    "junit": _as_junit,
}


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time; give seconds, for example 20")
    return seconds
