"""What must stay true of the project as a whole, since tools and users depend on it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from robot.api import get_tokens
from robot_run import PROJECT, run_robot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUITES = PROJECT / "robot"
LIBRARY = PROJECT / "ComfyMockLibrary"
SERVER = PROJECT / "mockserver"

KEYWORDS = {
    "Abort Reconnect",
    "Backoff Should Be",
    "Clear All Faults",
    "Clear Fault",
    "Client Id Should Be Kept",
    "Client Process Should Be Running",
    "Client Should Have Fetched Result",
    "Client Should Have Reconnected",
    "Client Should Not Flood",
    "Close All Clients",
    "Close Client",
    "Connect Client",
    "Connection Should Be Valid",
    "Connection Should Not Be Valid",
    "Connection State Should Be",
    "Connection States Should Be",
    "Event Should Have Fired",
    "Event Should Not Fire",
    "Event Should Not Have Fired",
    "Fault Should Have Struck",
    "Freeze Mock Server",
    "Get Connection State",
    "Get Events",
    "Get Fault",
    "Get Faults",
    "Get History",
    "Get Mock Server",
    "Get Outages",
    "Get Queue",
    "Get Reconnect Attempts",
    "Get Recorded Messages",
    "Get Recorded Requests",
    "Get Recorded Sockets",
    "Interrupt Prompt",
    "Is Connected",
    "Is Mock Server Running",
    "Kill All Mock Servers",
    "Kill Mock Server",
    "Log Client Process Output",
    "Log Mock Server Output",
    "Log Timeline",
    "Mock Server Should Be Running",
    "Mock Server Should Have Received",
    "Mock Server Should Not Be Running",
    "Prompt Should Have Been Sent Once",
    "Queue Prompt",
    "Reconnect Client",
    "Release Execution",
    "Release Network",
    "Restart Mock Server",
    "Run In Lossy Network",
    "Run Outage",
    "Set Timeout",
    "Start Client Process",
    "Start Mock Server",
    "Start Outage",
    "Stop Client Process",
    "Switch Client",
    "Switch Mock Server",
    "Thaw Mock Server",
    "Track Event",
    "Validate Connection",
    "Wait For Client On Server",
    "Wait For Client Process To End",
    "Wait For Connection",
    "Wait For Connection State",
    "Wait For Disconnection",
    "Wait For Event",
    "Wait For Fault",
    "Wait For Mock Server To Stop",
    "Wait For Outage To End",
    "Wait For Prompt",
}

README_SUITES = [
    block
    for block in re.findall(
        r"^```robot(?:framework)?\n(.*?)^```",
        (PROJECT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    if "*** Test Cases ***" in block
]
README_PROGRAMS = re.findall(
    r"^```python\n(.*?)^```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)

IMPORT = """
import json, sys, threading
import psutil

def owned():
    this = psutil.Process()
    return {
        "threads": [thread.name for thread in threading.enumerate()],
        "system threads": this.num_threads(),
        "descriptors": sorted(str(file) for file in this.open_files()) + [this.num_fds()],
        "sockets": len(this.net_connections("all")),
        "processes": len(this.children(recursive=True)),
    }

before = owned()
from ComfyMockLibrary import ComfyMockLibrary
texts = {"timeout": "1s", "startup_timeout": "soon", "auto_close": "NEVER", "run_on_failure": "No Such Keyword"}
libraries = [ComfyMockLibrary(), ComfyMockLibrary(**texts)]
names = [library.get_keyword_names() for library in libraries]
print(json.dumps([before, owned()]))
"""


class TestTheFolderNamedLikeRobotFramework:
    """``robot/`` shadows the package ``robot`` as soon as it holds a package or a module."""

    def test_it_holds_suites_and_resources_and_nothing_else(self) -> None:
        names = {path.name for path in SUITES.rglob("*") if path.is_file()}
        assert names
        assert {name for name in names if not name.endswith((".robot", ".resource"))} == set()

    def test_nothing_else_in_the_project_takes_the_name(self) -> None:
        assert not (PROJECT / "robot.py").exists()
        assert not [path for path in PROJECT.glob("*/robot.py") if path.parent.name != ".venv"]

    def test_no_suite_sleeps(self) -> None:
        sleeping = [f"{suite.name}:{line}" for suite in suite_files() for line, name in cells(suite) if name == "sleep"]
        assert sleeping == []


class TestTheLayers:
    """Who may use what."""

    def test_time_passes_in_one_module_only(self) -> None:
        using = {
            str(file.relative_to(PROJECT))
            for file in [*LIBRARY.rglob("*.py"), *SERVER.rglob("*.py")]
            if any(is_sleep_or_wall_clock(node) for node in ast.walk(parsed(file)))
        }
        assert using == {"ComfyMockLibrary/engine/deadline.py"}

    def test_the_server_does_not_know_the_library(self) -> None:
        assert importers_of({"ComfyMockLibrary", "robot", "robotlibcore"}, SERVER) == []

    def test_the_engine_does_not_know_robot_framework(self) -> None:
        assert importers_of({"robot", "robotlibcore"}, LIBRARY / "engine") == []

    def test_the_engine_does_not_know_the_keywords(self) -> None:
        above = {f"ComfyMockLibrary.{name}" for name in ("keywords", "library", "listener", "robotlog", "references")}
        assert importers_of(above, LIBRARY / "engine") == []

    def test_the_engine_uses_nothing_of_the_server_but_what_both_need(self) -> None:
        found = importers_of({"mockserver"}, LIBRARY / "engine")
        report = (str(file.relative_to(LIBRARY)) for file in (LIBRARY / "engine" / "report").glob("*.py"))
        allowed = {
            "engine/platform.py": ("mockserver.port_owner.owner_of",),
            "engine/popen_launcher.py": ("mockserver.ready_line.read_ready_line",),
            "engine/record_form.py": ("mockserver",),  # for the file with the format of records
            "engine/outages.py": ("mockserver.outages.", "mockserver.faults.kinds.as_json"),
        } | dict.fromkeys(report, ("mockserver.outages.",))
        used = [re.fullmatch(r"ComfyMockLibrary/(.*):\d+ imports (.*)", place) for place in found]
        assert [each[0] for each in used if each and not each[2].startswith(allowed.get(each[1], ("nothing",)))] == []
        assert all(used)


class TestTheImport:
    """Editors import the library and make instances of it, with every argument as text."""

    def test_it_has_no_side_effect(self, tmp_path: Path) -> None:
        before, after = json.loads(output_of(sys.executable, "-c", IMPORT, directory=tmp_path))
        assert after == before
        assert list(tmp_path.iterdir()) == []


def test_no_run_has_left_its_files_among_the_sources() -> None:
    left = [each.name for each in (*SERVER.rglob("*"), *LIBRARY.rglob("*")) if each.suffix in (".jsonl", ".log")]
    assert left == []


class TestTheWheel:
    """What users install."""

    def test_it_has_the_two_packages_and_their_data(self, tmp_path: Path) -> None:
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
        output_of(*wheel, str(PROJECT), directory=tmp_path)
        (built,) = tmp_path.glob("robotframework_comfymock-*.whl")
        files = zipfile.ZipFile(built).namelist()

        tops = {name.partition("/")[0] for name in files}
        (metadata,) = (top for top in tops if top.endswith(".dist-info"))
        assert tops == {"ComfyMockLibrary", "mockserver", metadata}
        assert {
            "ComfyMockLibrary/py.typed",
            "mockserver/py.typed",
            "ComfyMockLibrary/engine/timeline/templates/page.html",
            "ComfyMockLibrary/engine/timeline/templates/timeline.css",
            "ComfyMockLibrary/engine/timeline/templates/timeline.html",
            "mockserver/data/live.html",
            "mockserver/journal.schema.json",
            "mockserver/data/object_info.json",
            "ComfyMockLibrary/outages/outage.schema.json",
            *(f"ComfyMockLibrary/outages/{file.name}" for file in (LIBRARY / "outages").glob("*.yaml")),
            f"{metadata}/licenses/LICENSE",
        } <= set(files)
        sources = {str(file.relative_to(PROJECT)) for package in (LIBRARY, SERVER) for file in package.rglob("*.py")}
        assert {name for name in files if name.endswith(".py")} == sources


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Libdoc's, before it is made HTML of."""
    directory = tmp_path_factory.mktemp("libdoc")
    libdoc(directory, "keywords.json", "--specdocformat", "RAW")
    spec: dict[str, Any] = json.loads((directory / "keywords.json").read_text(encoding="utf-8"))
    return spec


class TestTheKeywordDocumentation:
    """What editors and libdoc show."""

    def test_it_has_all_keywords(self, documentation: dict[str, Any]) -> None:
        names = {keyword["name"] for keyword in documentation["keywords"]}
        assert names >= KEYWORDS
        assert len(names) >= 41

    def test_the_first_line_of_each_keyword_is_one_whole_sentence(self, documentation: dict[str, Any]) -> None:
        first_lines = {each["name"]: each["doc"].split("\n\n")[0] for each in callables(documentation)}
        assert {
            name: line
            for name, line in first_lines.items()
            if not re.fullmatch(r"[A-Z][^\n]{10,115}\.", line) or re.search(r"\. [A-Z]", line)
        } == {}

    def test_each_argument_is_explained(self, documentation: dict[str, Any]) -> None:
        assert {
            f"{each['name']}: {argument['name']}"
            for each in callables(documentation)
            for argument in each["args"]
            if argument["name"] and not explanation(argument, each["doc"])
        } == set()

    def test_each_argument_has_a_type(self, documentation: dict[str, Any]) -> None:
        assert {
            f"{each['name']}: {argument['name']}"
            for each in callables(documentation)
            for argument in each["args"]
            if argument["name"] and not argument["type"]
        } == set()

    def test_each_keyword_has_tags(self, documentation: dict[str, Any]) -> None:
        assert {keyword["name"] for keyword in documentation["keywords"] if not keyword["tags"]} == set()

    def test_each_type_of_the_library_is_explained(self, documentation: dict[str, Any]) -> None:
        types = {each["name"]: each["doc"] for each in documentation["typedocs"]}
        assert {"AutoClose", "BackoffStrategy", "ConnectionState", "PromptResult", "StopSignal"} <= types.keys()
        assert {"MockServer", "ComfyClient", "Event", "QueuedPrompt", "PromptOutcome"} <= types.keys()
        assert {name for name, text in types.items() if not text.strip()} == set()

    def test_each_link_leads_somewhere(self, documentation: dict[str, Any]) -> None:
        sections = {title.lower() for title in re.findall(r"^= (.+) =$", documentation["doc"], re.MULTILINE)}
        automatic = {"introduction", "library introduction", "importing", "library importing", "keywords", "data types"}
        targets = sections | automatic | {keyword["name"].lower() for keyword in documentation["keywords"]}
        broken = {
            link
            for text in texts_of(documentation)
            for link in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
            if link.lower() not in targets
        }
        assert broken == set()

    def test_each_section_is_in_one_piece(self, documentation: dict[str, Any]) -> None:
        # Libdoc ends a section of several lines where one is not indented.
        torn = {
            each["name"]: match[0]
            for each in callables(documentation)
            if (match := re.search(r"^\*(Args|Returns|Raises):\*.*\n(\s+\S.*\n)*\S.*", each["doc"], re.MULTILINE))
        }
        assert torn == {}

    def test_attributes_in_examples_are_asked_for_inside_the_braces(self, documentation: dict[str, Any]) -> None:
        suites = [path.read_text(encoding="utf-8") for path in SUITES.rglob("*.ro*")]
        # Robot takes what comes after an item in brackets for text.
        assert [
            found
            for text in [*texts_of(documentation), *suites]
            for found in re.findall(r"\$\{[^{}]+\}\[[^]\n]+\]\.\w+", text)
        ] == []

    def test_each_outage_in_an_example_is_there(self, documentation: dict[str, Any]) -> None:
        named = {
            name
            for text in texts_of(documentation)
            for name in re.findall(r"`(?:Start|Run) Outage`    ([a-z0-9-]+)$", text, re.MULTILINE)
        }
        assert named
        assert named <= {path.stem for path in (LIBRARY / "outages").glob("*.yaml")}

    @pytest.mark.parametrize("file", ["keywords.html", "keywords.xml", "keywords.libspec"])
    def test_libdoc_writes_it_without_a_warning(self, tmp_path: Path, file: str) -> None:
        libdoc(tmp_path, file)
        assert "Wait For Event" in (tmp_path / file).read_text(encoding="utf-8")


class TestTheReadme:
    """Its samples work."""

    def test_it_has_samples(self) -> None:
        assert README_SUITES

    @pytest.mark.parametrize("text", README_SUITES)
    def test_a_suite_passes(self, tmp_path: Path, text: str) -> None:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        run_robot(tmp_path, text, working_directory=PROJECT, environment={"PATH": path}).should_have_passed()

    @pytest.mark.parametrize("text", README_PROGRAMS)
    def test_a_program_runs(self, tmp_path: Path, text: str) -> None:
        output_of(sys.executable, "-W", "error", "-c", text, directory=tmp_path)


def suite_files() -> list[Path]:
    return [path for path in SUITES.rglob("*") if path.suffix in (".robot", ".resource")]


def cells(suite: Path) -> Iterator[tuple[int, str]]:
    """All cells with their lines, the way Robot compares the names of keywords."""
    for token in get_tokens(suite):
        yield token.lineno, re.sub(r"[ _]", "", (token.value or "").lower()).removeprefix("builtin.")


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def is_sleep_or_wall_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id == "time" and node.attr in ("sleep", "time")
    return isinstance(node, ast.ImportFrom) and node.module == "time"


def importers_of(forbidden: set[str], package: Path) -> list[str]:
    """Where any of some modules, or what is in them, is imported."""
    return [
        f"{file.relative_to(PROJECT)}:{node.lineno} imports {name}"
        for file in package.rglob("*.py")
        for node in ast.walk(parsed(file))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported(node)
        if any(f"{name}.".startswith(f"{each}.") for each in forbidden)
    ]


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "relative imports would slip through"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def libdoc(directory: Path, file: str, *options: str) -> None:
    """Writes the keyword documentation; complaints are failures."""
    printed = output_of(sys.executable, "-m", "robot.libdoc", *options, "ComfyMockLibrary", file, directory=directory)
    assert printed.splitlines() == [str(directory / file)]


def callables(documentation: dict[str, Any]) -> list[dict[str, Any]]:
    """Keywords, and the import with its arguments."""
    return [*documentation["keywords"], *documentation["inits"]]


def explanation(argument: dict[str, Any], documentation: str) -> str | None:
    """From Robot Framework 7.5 on it is the argument's own; before, it stands in a list."""
    if argument.get("doc"):
        return str(argument["doc"])
    found = re.search(rf"^ *- ``{argument['name']}``: (\S.*)$", documentation, re.MULTILINE)
    return found and found[1]


def texts_of(part: Any) -> Iterator[str]:
    """All texts of the documentation, whatever field they are in."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict) and part.get("name") != "AssertionOperator":  # the words of AssertionEngine
        for each in part.values():
            yield from texts_of(each)
    elif isinstance(part, list):
        for each in part:
            yield from texts_of(each)


def output_of(*command: str, directory: Path) -> str:
    """What a program prints that must succeed."""
    finished = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout
