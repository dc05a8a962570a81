"""Files of outages: what is read of them, what their errors say, and their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mockserver.faults import kinds
from mockserver.outages import schema
from mockserver.outages.outage import Outage
from mockserver.outages.quantities import duration, share
from mockserver.outages.reading import OutageError, parse_outage, read_outage
from mockserver.outages.yaml_text import MAX_DEPTH, MAX_SIZE, YamlError, read_yaml

SHIPPED = Path(__file__).parents[3] / "ComfyMockLibrary" / "outages"
FILES = sorted(SHIPPED.glob("*.yaml"))
SCHEMA: dict[str, Any] = json.loads((SHIPPED / "outage.schema.json").read_text(encoding="utf-8"))

GOOD = """\
name: good
title: All is well
documentation: Nothing happens.
server: {node_duration: 200 ms, durations: {3: 1 min 2 s}}
script:
  - fault: {fault: latency, delay: 20 ms, direction: both, id: slow}
  - wait_for: {event: fault_struck, fault: slow}
  - after: 1 s
    clear: slow
  - fault: {fault: stall, loss: 5%, direction: both}
expectation:
  words: It notices nothing.
"""

ERRORS = {
    "unknown field": ("title: All", "titel: All", "2:1: There is no field 'titel' here. Did you mean 'title'?"),
    "missing field": ("title: All is well\n", "", "1:1: title must be given."),
    "missing field of a fault": (", loss: 5%", "", "10:12: loss must be given for stall."),
    "kind of fault": ("fault: stall", "fault: stal", "10:20: There is no fault 'stal'. Did you mean 'stall'?"),
    "no kind of fault": (
        "fault: stall, ",
        "",
        "10:12: fault must be given: the name of the kind, for example fault: crash.",
    ),
    "field of another fault": (
        "loss: 5%",
        "loss: 5%, rate: 3",
        "10:37: There is no field 'rate' here. Known: id, when, after, seed, seconds, direction, who, loss.",
    ),
    "duration": (
        "20 ms",
        "20 parsecs",
        "6:36: '20 parsecs' is no duration. Write for example 200 ms, 2 s, 1 min 30 s, or plain seconds.",
    ),
    "duration out of range": ("1 min 2 s", "-3", "4:44: Expected a number >= 0.0."),
    "share": ("5%", "many", "10:33: 'many' is no share. Write for example 5%, or 0.05."),
    "share out of range": ("5%", "150%", "10:33: Expected a number < 1.0."),
    "word": (
        "5%, direction: both",
        "5%, direction: up",
        "10:48: 'up' is none of the words that may stand here. Known: both, to_client, to_server.",
    ),
    "name of another form": (
        "name: ",
        "name: My ",
        "1:7: Expected 1 to 64 small letters of ASCII, digits, hyphens.",
    ),
    "number for a text": (
        "words: It notices nothing.",
        "words: 3",
        "12:10: Expected a text, got a whole number. Put it in quotes.",
    ),
    "text for a truth value": (
        "{node_duration",
        "{strict: yes, node_duration",
        "4:18: Expected true or false, got a text. Write true or false.",
    ),
    "list for a mapping": (
        "  words: It notices nothing.",
        "  - words: It notices nothing.",
        "12:3: Expected a mapping, got a list.",
    ),
    "unknown id": (
        "clear: slow",
        "clear: slwo",
        "9:12: No fault before this has the id 'slwo'. Give that fault an id, or clear all.",
    ),
    "unknown id in a wait": ("fault: slow}", "fault: fast}", "7:44: No fault before this has the id 'fast'."),
    "two things in a step": (
        "clear: slow",
        "clear: slow\n    restart: {}",
        "8:5: A step does one thing; this one has clear and restart. Write two steps.",
    ),
    "nothing in a step": (
        "after: 1 s\n    clear: slow",
        "{}",
        "8:5: A step says what happens, or how much time passes.",
    ),
    "two times": (
        "after: 1 s",
        "after: 1 s\n    at: 3 s",
        "8:5: Give either at, from the beginning of the script, or after, from the step before.",
    ),
    "what a fault itself does not allow": (
        "fault: stall, loss: 5%, direction: both",
        "fault: crash, times: 2",
        "10:12: crash: times needs an event under when, at which it happens again.",
    ),
    "wait for nothing": (
        "{event: fault_struck, fault: slow}",
        "{timeout: 1 s}",
        "7:15: Give either an event or a number of clients to wait for.",
    ),
    "option of others": (
        "{node_duration",
        "{options: [--port=3], node_duration",
        "4:20: --port belongs to whoever starts the server.",
    ),
    "key given twice": (
        "title: All is well",
        "name: again",
        "2:1: The key 'name' is given twice; the first is in line 1.",
    ),
    "tag": ("words: It", "words: !!python/name:os.system It", "12:10: A tag stands here; values have none."),
    "alias": (
        "title: All is well\ndocumentation: Nothing happens.",
        "title: &a All\ndocumentation: *a",
        "3:16: An alias stands here; write out what it stands for.",
    ),
    "merge key": (
        "{node_duration",
        "{<<: {strict: true}, node_duration",
        (
            "4:10: There is no field '<<' here. Known: node_duration, step_duration, durations, status_interval, "
            "strict, realtime, profile, seed, options."
        ),
    ),
    "second document": ("expectation:", "---\nexpectation:", "11:1: A second document begins here; a file holds one."),
    "no YAML": (
        "words: It notices nothing.",
        "words: [It",
        "13:1: This is no YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'.",
    ),
    "tab": (
        "  words: It notices nothing.",
        "\twords: It",
        "12:1: This is no YAML: while scanning for the next token found character '\\t' that cannot start any token.",
    ),
    "control character": ("words: It", "words: \x01It", "12:10: The character U+0001 may not be in YAML."),
}


def is_read_or_refused(text: str) -> bool:
    """Whether it is an outage, or is refused with a place that is in it or right behind it."""
    try:
        parse_outage(text, "any.yaml")
    except OutageError as failure:
        return 1 <= failure.place.line <= len(text.splitlines()) + 1
    return True


class TestErrors:
    """Each says where, what, and what may stand there instead."""

    @pytest.mark.parametrize("case", ERRORS)
    def test_an_error_has_line_and_column(self, case: str) -> None:
        old, new, expected = ERRORS[case]
        assert GOOD.count(old) >= 1
        with pytest.raises(OutageError) as caught:
            parse_outage(GOOD.replace(old, new, 1), "good.yaml")
        assert str(caught.value) == f"good.yaml:{expected}"

    def test_an_empty_file_is_none(self) -> None:
        with pytest.raises(OutageError, match=r"^empty\.yaml:1:1: The text is empty\.$"):
            parse_outage("# nothing\n", "empty.yaml")

    def test_a_file_that_is_no_text_is_none(self, tmp_path: Path) -> None:
        file = tmp_path / "bytes.yaml"
        file.write_bytes(b"name: x\ntitle: \xff")
        with pytest.raises(OutageError, match=r"^bytes\.yaml:2:1: This is no text in UTF-8\.$"):
            read_outage(file)

    def test_a_repetition_has_no_time_from_the_beginning(self) -> None:
        text = GOOD.replace("- after: 1 s\n    clear: slow", "- repeat: {times: 2, steps: [{at: 1 s, thaw: {}}]}")
        with pytest.raises(OutageError, match=r"^good\.yaml:8:37: In a repetition a time is given with after"):
            parse_outage(text, "good.yaml")


class TestValues:
    """What files say, as Python has it."""

    def test_times_and_shares_are_numbers(self) -> None:
        outage = parse_outage(GOOD, "good.yaml")
        assert outage.server.node_duration == 0.2
        assert outage.server.durations == {"3": 62.0}
        latency, stall = outage.script[0].fault, outage.script[3].fault
        assert isinstance(latency, kinds.Latency)
        assert latency.delay == 0.02
        assert isinstance(stall, kinds.StallNetwork)
        assert stall.loss == 0.05

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("null", None), ("~", None), ("", None), ("true", True), ("False", False),
            ("yes", "yes"), ("on", "on"), ("12", 12), ("-3", -3), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0),
            ("1:30", "1:30"), ("0755", 755), ("0x10", "0x10"), ("1_000", "1_000"), (".inf", ".inf"), ("1e999", "1e999"),
            ("2024-01-01", "2024-01-01"), ("'12'", "12"), ('"true"', "true"), ("5%", "5%"),
            ("[1, [], {}]", [1, [], {}]), ("{3: x}", {"3": "x"}), ("<<", "<<"), ("=", "="), ("9" * 19, float("9" * 19)),
        ],
    )  # fmt: skip
    def test_a_plain_text_means_what_it_means_in_yaml_1_2(self, text: str, value: object) -> None:
        assert read_yaml(f"key: {text}").value == {"key": value}

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("200 ms", 0.2), ("2s", 2.0), ("1 min 30 s", 90.0), ("1.5 minutes", 90.0), ("2 h", 7200.0), ("3", 3.0),
            ("10 milliseconds", 0.01), ("1m 1s 1ms", 61.001), (" 0.5 ", 0.5), ("1 sec", 1.0), ("2 mins", 120.0),
        ],
    )  # fmt: skip
    def test_a_duration(self, text: str, seconds: float) -> None:
        assert duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "text", ["", "s", "1 parsec", "1.2.3 s", "1..2", "-1 s", "1 s 2", "inf", "nan", "1 s" * 99]
    )
    def test_no_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no duration"):
            duration(text)

    @pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("12.5 %", 0.125), ("0.3", 0.3), ("0", 0.0)])
    def test_a_share(self, text: str, value: float) -> None:
        assert share(text) == pytest.approx(value)

    @pytest.mark.parametrize("text", ["", "%", "5 % %", "many", "1.2.3%", "-5%"])
    def test_no_share(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no share"):
            share(text)

    def test_settings_are_arguments_of_the_server(self) -> None:
        text = GOOD.replace(
            "{node_duration: 200 ms, durations: {3: 1 min 2 s}}",
            "{node_duration: 200 ms, durations: {3: 1 s}, strict: true, profile: '0.38', seed: 7, "
            "options: [--any-model]}",
        )
        server = parse_outage(text, "good.yaml").server
        expected = "--node-duration 0.2 --profile 0.38 --seed 7 --duration 3=1.0 --strict --any-model"
        assert server.arguments() == expected.split()
        assert "--seed" not in server.arguments(with_seed=False)

    def test_repetitions_are_written_out(self) -> None:
        text = GOOD.replace(
            "- after: 1 s\n    clear: slow",
            "- {after: 1 s, repeat: {times: 2, steps: [{thaw: {}}, {repeat: {times: 1, steps: [{kill: {}}]}}]}}",
        )
        assert [str(each) for each in parse_outage(text, "good.yaml").steps()] == [
            "step 1: fault latency id=slow direction=both delay=0.02",
            "step 2: wait for event=fault_struck fault=slow",
            "step 3: after 1 s time passes",
            "step 3.1 (round 1): thaw",
            "step 3.2.1 (round 1) (round 1): kill",
            "step 3.1 (round 2): thaw",
            "step 3.2.1 (round 2) (round 1): kill",
            "step 4: fault stall direction=both loss=0.05",
        ]


class TestLimits:
    """A text from anywhere can do no harm."""

    def test_a_long_text_is_not_read(self) -> None:
        with pytest.raises(YamlError, match="at most 262144 are read"):
            read_yaml("#" * (MAX_SIZE + 1))

    @pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 60_000, "? " * 100_000])
    def test_a_deep_text_is_not_read_to_its_end(self, text: str) -> None:
        with pytest.raises(YamlError):
            read_yaml(text)

    def test_a_text_may_be_as_deep_as_it_needs(self) -> None:
        assert read_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH).value is not None
        with pytest.raises(YamlError, match="deeper than 40 levels"):
            read_yaml("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))

    def test_a_bomb_of_aliases_does_not_go_off(self) -> None:
        lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
        with pytest.raises(YamlError, match="An alias stands here"):
            read_yaml("\n".join(lines))

    @given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        assert is_read_or_refused(text)

    @given(st.data())
    def test_a_good_text_with_a_part_replaced_is_read_or_refused(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(GOOD)))
        end = data.draw(st.integers(start, min(start + 12, len(GOOD))))
        piece = data.draw(st.text(alphabet=" \n-:{}[],'\"#&*!|>%@?.0123456789abcdefghinosty_", max_size=8))
        assert is_read_or_refused(GOOD[:start] + piece + GOOD[end:])

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(alphabet=st.characters(codec="ascii", min_codepoint=32), max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc _:3", max_size=6), inner, max_size=4),
        max_leaves=12,
    )  # fmt: skip

    @given(json_values)
    def test_json_is_yaml(self, value: object) -> None:
        assert read_yaml(json.dumps(value)).value == value


class TestTheSchema:
    """It is published beside the files, for editors."""

    def test_it_is_up_to_date(self) -> None:
        assert (SHIPPED / "outage.schema.json").read_text(encoding="utf-8") == schema.text(), (
            "Write it anew: python -m mockserver.outages.schema > ComfyMockLibrary/outages/outage.schema.json"
        )

    def test_it_is_a_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_it_takes_what_the_reader_takes(self, file: Path) -> None:
        jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), SCHEMA)

    @pytest.mark.parametrize(
        "case",
        [
            "unknown field",
            "missing field",
            "kind of fault",
            "duration",
            "word",
            "number for a text",
        ],
    )
    def test_it_refuses_what_the_reader_refuses(self, case: str) -> None:
        old, new, _ = ERRORS[case]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(GOOD.replace("{3:", "{'3':").replace(old, new, 1)), SCHEMA)

    def test_it_knows_every_fault(self) -> None:
        assert {kind.__name__ for kind in kinds.KINDS} <= SCHEMA["$defs"].keys()

    def test_each_field_of_an_outage_is_explained(self) -> None:
        outage = SCHEMA["$defs"]["Outage"]["properties"]
        assert {name for name, field in outage.items() if "description" not in field and name != "needs"} == set()


class TestTheFilesOfTheLibrary:
    """Outages that really happened, and those of the report card."""

    def test_there_are_some(self) -> None:
        assert len(FILES) >= 27

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_each_is_read(self, file: Path) -> None:
        outage = read_outage(file)
        assert outage.name == file.stem
        assert outage.expectation.words.endswith(".")
        assert outage.documentation.strip().endswith(".")
        asked = msgspec.to_builtins(outage.expectation).keys() - {"words"}
        assert asked, "A program has to be told what a good client does"
        assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=outage.schema.json\n")
        if outage.needs == "connection":
            assert not asked & {"finds_result", "says_lost", "no_duplicate_prompts"}

    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_each_comes_back_as_it_was_from_json(self, file: Path) -> None:
        outage = read_outage(file)
        assert msgspec.json.decode(msgspec.json.encode(outage), type=Outage) == outage
