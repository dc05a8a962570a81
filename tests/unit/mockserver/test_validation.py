"""What ``POST /prompt`` accepts and refuses, by the errors that ComfyUI 0.3.64 was recorded with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.validation import validate

if TYPE_CHECKING:
    from mockserver.comfyui.validation import Validation

Json = dict[str, Any]

EMPTY_IMAGE: Json = {
    "class_type": "EmptyImage",
    "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
}


def node(class_type: str, **inputs: Any) -> Json:
    """A node with these inputs."""
    return {"class_type": class_type, "inputs": inputs}


def invert(upstream: str) -> Json:
    return node("ImageInvert", image=[upstream, 0])


def preview(upstream: str) -> Json:
    return node("PreviewImage", images=[upstream, 0])


def error_types(validation: Validation) -> dict[str, list[str]]:
    """Types of the errors of each node."""
    return {name: [error["type"] for error in found["errors"]] for name, found in validation.node_errors.items()}


def test_a_good_prompt_runs_its_outputs(catalog: Catalog) -> None:
    validation = validate({"1": EMPTY_IMAGE, "2": preview("1"), "3": preview("1")}, catalog)
    assert validation.refusal is None
    assert validation.outputs == ["2", "3"]
    assert validation.node_errors == {}


@pytest.mark.parametrize(
    ("prompt", "type_", "message", "details"),
    [
        ({"1": EMPTY_IMAGE}, "prompt_no_outputs", "Prompt has no outputs", ""),
        (
            {"1": {"inputs": {}}},
            "invalid_prompt",
            "Cannot execute because a node is missing the class_type property.",
            "Node ID '#1'",
        ),
        (
            {"1": "text"},
            "invalid_prompt",
            "Cannot execute because a node is missing the class_type property.",
            "Node ID '#1'",
        ),
        (
            {"1": node("NoSuchNode")},
            "invalid_prompt",
            "Cannot execute because node NoSuchNode does not exist.",
            "Node ID '#1'",
        ),
    ],
    ids=["no output node", "no class_type", "no object", "unknown class"],
)
def test_a_prompt_is_refused_as_a_whole(catalog: Catalog, prompt: Json, type_: str, message: str, details: str) -> None:
    validation = validate(prompt, catalog)
    assert validation.refusal == {"type": type_, "message": message, "details": details, "extra_info": {}}
    assert validation.node_errors == {}


def test_a_missing_input_is_named(catalog: Catalog) -> None:
    validation = validate({"1": node("PreviewImage")}, catalog)
    assert validation.refusal == {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "Required input is missing: images",
        "extra_info": {},
    }
    assert validation.node_errors == {
        "1": {
            "errors": [
                {
                    "type": "required_input_missing",
                    "message": "Required input is missing",
                    "details": "images",
                    "extra_info": {"input_name": "images"},
                }
            ],
            "dependent_outputs": ["1"],
            "class_type": "PreviewImage",
        }
    }


def test_a_list_that_is_no_link_is_shown(catalog: Catalog) -> None:
    validation = validate({"1": node("PreviewImage", images=["2", 0, 0])}, catalog)
    (error,) = validation.node_errors["1"]["errors"]
    assert error["type"] == "bad_linked_input"
    assert error["message"] == "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    assert error["details"] == "images"
    assert error["extra_info"]["received_value"] == ["2", 0, 0]
    assert error["extra_info"]["input_config"][0] == "IMAGE"


@pytest.mark.parametrize(
    ("definition", "details"),
    [
        ({"class_type": "PreviewImage"}, "'inputs'"),
        ({"class_type": "PreviewImage", "inputs": None}, "argument of type 'NoneType' is not "),
    ],
    ids=["no inputs key", "inputs null"],
)
def test_what_cannot_be_checked_is_an_exception_of_the_node(catalog: Catalog, definition: Json, details: str) -> None:
    validation = validate({"1": definition}, catalog)
    (error,) = validation.node_errors["1"]["errors"]
    assert error["type"] == "exception_during_validation"
    assert error["message"] == "Exception when validating node"
    assert error["details"].startswith(details)
    assert error["extra_info"]["exception_type"]
    assert error["extra_info"]["traceback"]


@pytest.mark.parametrize("inputs", [None, [], ["images"], "images", 5, True])
def test_inputs_that_are_no_object_refuse_the_prompt(catalog: Catalog, inputs: Any) -> None:
    validation = validate({"1": {"class_type": "PreviewImage", "inputs": inputs}}, catalog)
    assert validation.refusal is not None
    assert list(validation.node_errors) == ["1"]


def test_an_upstream_error_is_listed_there_only_and_leaves_the_details_empty(catalog: Catalog) -> None:
    prompt = {"1": node("ImageInvert"), "2": invert("1"), "3": preview("2")}
    validation = validate(prompt, catalog)
    assert validation.refusal is not None
    assert validation.refusal["details"] == ""
    assert error_types(validation) == {"1": ["required_input_missing"]}
    assert validation.node_errors["1"]["dependent_outputs"] == ["3"]


def test_a_good_output_runs_beside_a_bad_one(catalog: Catalog) -> None:
    prompt = {"1": EMPTY_IMAGE, "good": preview("1"), "bad": node("PreviewImage")}
    validation = validate(prompt, catalog)
    assert validation.refusal is None
    assert validation.outputs == ["good"]
    assert error_types(validation) == {"bad": ["required_input_missing"]}


def test_a_cycle_is_refused_without_details(catalog: Catalog) -> None:
    validation = validate({"1": invert("2"), "2": invert("1"), "3": preview("2")}, catalog)
    assert validation.refusal is not None
    assert validation.refusal["type"] == "prompt_outputs_failed_validation"
    assert validation.refusal["details"] == ""
    assert validation.node_errors == {}


@pytest.mark.parametrize(
    "prompt",
    [
        {"1": node("PreviewImage", images="no link")},
        {"1": node("PreviewAny", source=1, unknown="x")},
        {"1": node("PreviewAny", source=1, unknown=["77", 0])},
        {"1": node("PreviewAny", source=1), "2": node("ImageInvert")},
        {"1": node("PreviewAny", source=1, unknown=["2", 0]), "2": {"class_type": "ImageInvert"}},
    ],
    ids=[
        "a plain value where a link belongs",
        "an unknown input",
        "an unknown input linked to a missing node",
        "a bad node that no output needs",
        "a bad node behind an unknown input",
    ],
)
def test_what_the_real_server_overlooks_is_overlooked(catalog: Catalog, prompt: Json) -> None:
    validation = validate(prompt, catalog)
    assert (validation.refusal, validation.outputs, validation.node_errors) == (None, ["1"], {})


def test_a_chain_of_thousands_of_nodes_is_checked_to_its_start(catalog: Catalog) -> None:
    length = 5000
    prompt = {"0": EMPTY_IMAGE, **{str(number): invert(str(number - 1)) for number in range(1, length)}}
    prompt["out"] = preview(str(length - 1))
    assert validate(prompt, catalog).outputs == ["out"]
    prompt["0"] = node("EmptyImage")
    assert list(validate(prompt, catalog).node_errors) == ["0"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Json, dict[str, set[str]], set[str]]:
    """A prompt without cycles, what each node needs (itself included), and the nodes that are bad by themselves."""
    prompt: Json = {}
    needed: dict[str, set[str]] = {}
    bad: set[str] = set()
    for number in range(draw(st.integers(1, 12))):
        name = str(number)
        sources = sorted(each for each in prompt if prompt[each]["class_type"] != "PreviewImage")
        upstream = draw(st.lists(st.sampled_from(sources), min_size=2, max_size=2)) if sources else []
        if not upstream:
            prompt[name] = dict(EMPTY_IMAGE)
        elif draw(st.booleans()):
            prompt[name] = node("ImageBatch", image1=[upstream[0], 0], image2=[upstream[1], 0])
        else:
            prompt[name] = preview(upstream[0])
            upstream = upstream[:1]
        if draw(st.integers(0, 5)) == 0:
            prompt[name] = node(prompt[name]["class_type"])
            upstream = []
            bad.add(name)
        needed[name] = {name}.union(*(needed[each] for each in upstream))
    return prompt, needed, bad


@given(graphs())
def test_an_output_runs_if_all_that_it_needs_is_good(graph: tuple[Json, dict[str, set[str]], set[str]]) -> None:
    prompt, needed, bad = graph
    validation = validate(prompt, Catalog.load())
    outputs = [name for name in prompt if prompt[name]["class_type"] == "PreviewImage"]
    assert validation.outputs == [output for output in outputs if not needed[output] & bad]
    assert (validation.refusal is None) is bool(validation.outputs)
    reached = set().union(*(needed[output] for output in outputs)) & bad
    assert set(validation.node_errors) == reached
