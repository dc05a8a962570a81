"""The errors of one node: their kinds, texts and facts, as ComfyUI 0.3.64 gives them (scenario 5 and its source)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.models import Models
from mockserver.comfyui.node_checks import types_match
from mockserver.comfyui.option_lists import OptionLists
from mockserver.comfyui.profile import LATEST
from mockserver.comfyui.validation import validate

if TYPE_CHECKING:
    from mockserver.comfyui.validation import Validation

Json = dict[str, Any]

INT_CONFIG = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load()


def node(class_type: str, **inputs: Any) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def empty_image(**changed: Any) -> Json:
    return node("EmptyImage", **{"width": 8, "height": 8, "batch_size": 1, "color": 0, **changed})


def preview(upstream: str = "1", slot: Any = 0) -> Json:
    return node("PreviewImage", images=[upstream, slot])


def scale(method: Any) -> Json:
    return node("ImageScale", image=["1", 0], upscale_method=method, width=8, height=8, crop="disabled")


def only_error(validation: Validation, name: str) -> Json:
    assert list(validation.node_errors) == [name]
    (error,) = validation.node_errors[name]["errors"]
    assert list(error) == ["type", "message", "details", "extra_info"]
    return dict(error)


@pytest.mark.parametrize(
    ("value", "exception"),
    [
        ("wide", "invalid literal for int() with base 10: 'wide'"),
        (None, "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"),
        ({"a": 1}, "int() argument must be a string, a bytes-like object or a real number, not 'dict'"),
        (float("inf"), "cannot convert float infinity to integer"),
        ({"__value__": "wide"}, "invalid literal for int() with base 10: 'wide'"),
    ],
)
def test_a_value_that_is_no_number_is_shown_with_the_reason(catalog: Catalog, value: Any, exception: str) -> None:
    validation = validate({"1": empty_image(width=value), "2": preview()}, catalog)
    received = value["__value__"] if isinstance(value, dict) and "__value__" in value else value
    assert only_error(validation, "1") == {
        "type": "invalid_input_type",
        "message": "Failed to convert an input value to a INT value",
        "details": f"width, {received}, {exception}",
        "extra_info": {
            "input_name": "width",
            "input_config": INT_CONFIG,
            "received_value": received,
            "exception_message": exception,
        },
    }


@pytest.mark.parametrize(
    ("value", "type_", "message"),
    [
        (0, "value_smaller_than_min", "Value 0 smaller than min of 1"),
        ("0", "value_smaller_than_min", "Value 0 smaller than min of 1"),
        (99999999, "value_bigger_than_max", "Value 99999999 bigger than max of 16384"),
    ],
)
def test_numbers_have_limits(catalog: Catalog, value: Any, type_: str, message: str) -> None:
    validation = validate({"1": empty_image(width=value), "2": preview()}, catalog)
    assert only_error(validation, "1") == {
        "type": type_,
        "message": message,
        "details": "width",
        "extra_info": {"input_name": "width", "input_config": INT_CONFIG, "received_value": int(value)},
    }


def test_accepted_values_are_converted_in_the_prompt(catalog: Catalog) -> None:
    prompt = {
        "1": empty_image(width="64", height=True, batch_size=1.9, color={"__value__": 5}),
        "2": node("SaveImage", images=["1", 0], filename_prefix=None, extra="7"),
        "unused": empty_image(width="64"),
    }
    assert validate(prompt, catalog).refusal is None
    assert prompt["1"]["inputs"] == {"width": 64, "height": 1, "batch_size": 1, "color": 5}
    assert prompt["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": "None", "extra": "7"}
    assert prompt["unused"]["inputs"]["width"] == "64"


def test_booleans_are_converted_by_truth(catalog: Catalog) -> None:
    prompt = {"1": node("PrimitiveBoolean", value="false"), "2": node("PreviewAny", source=["1", 0])}
    assert validate(prompt, catalog).refusal is None
    assert prompt["1"]["inputs"]["value"] is True


def test_an_option_that_there_is_not_is_shown_with_those_that_there_are(catalog: Catalog) -> None:
    validation = validate({"1": empty_image(), "2": scale("magic"), "3": preview("2")}, catalog)
    options = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
    assert only_error(validation, "2") == {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"upscale_method: 'magic' not in {options}",
        "extra_info": {"input_name": "upscale_method", "input_config": [options, {}], "received_value": "magic"},
    }


@pytest.mark.parametrize(("count", "is_shown"), [(20, True), (21, False)])
def test_long_lists_of_options_are_only_counted(count: int, is_shown: bool) -> None:
    options = [f"o{number}" for number in range(count)]
    info = {"input": {"required": {"choice": [options]}}, "output": [], "output_node": True}
    validation = validate({"1": node("Choice", choice="x")}, Catalog({"Choice": info}))
    error = only_error(validation, "1")
    shown = str(options) if is_shown else f"(list of length {count})"
    assert error["details"] == f"choice: 'x' not in {shown}"
    assert error["extra_info"]["input_config"] == ([options, {}] if is_shown else None)


@pytest.mark.parametrize(
    ("link", "details", "exception"),
    [
        (["77", 0], "'77'", "KeyError"),
        ([77, 0], "77", "KeyError"),
        ([["1"], 0], "unhashable type: 'list'", "TypeError"),
        (["1", 5], "tuple index out of range", "IndexError"),
        (["1", "0"], "tuple indices must be integers or slices, not str", "TypeError"),
        (["1", 0.5], "tuple indices must be integers or slices, not float", "TypeError"),
        (["3", 5], "list index out of range", "IndexError"),
    ],
)
def test_a_link_to_nothing_is_an_exception(catalog: Catalog, link: Json, details: str, exception: str) -> None:
    prompt = {"1": empty_image(), "2": node("PreviewImage", images=link), "3": node("PrimitiveInt", value=1)}
    error = only_error(validate(prompt, catalog), "2")
    assert (error["type"], error["details"]) == ("exception_during_validation", details)
    assert error["extra_info"]["exception_type"] == exception


def test_slots_count_from_the_end_too(catalog: Catalog) -> None:
    assert validate({"1": empty_image(), "2": preview(slot=-1)}, catalog).refusal is None


def test_a_link_of_another_type_is_refused_before_what_is_behind_it(catalog: Catalog) -> None:
    prompt = {"1": node("PrimitiveInt"), "2": preview()}
    assert only_error(validate(prompt, catalog), "2") == {
        "type": "return_type_mismatch",
        "message": "Return type mismatch between linked nodes",
        "details": "images, received_type(INT) mismatch input_type(IMAGE)",
        "extra_info": {
            "input_name": "images",
            "input_config": ["IMAGE", {}],
            "received_type": "INT",
            "linked_node": ["1", 0],
        },
    }


@pytest.mark.parametrize(
    ("received", "expected", "match"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("IMAGE", "*", True),
        ("*", "MASK", True),
        ("A,B", "B, C", True),
        ("A,B", "C", False),
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        ("COMBO", ["a"], False),
        (["a"], "*", True),
    ],
)
def test_types_match_as_unions(received: Any, expected: Any, match: bool) -> None:
    assert types_match(received, expected) is match


def test_an_exception_upstream_names_the_link_that_led_there(catalog: Catalog) -> None:
    prompt = {"1": {"class_type": "EmptyImage"}, "2": preview()}
    error = only_error(validate(prompt, catalog), "1")
    assert error["type"] == "exception_during_inner_validation"
    assert error["message"] == "Exception when validating inner node"
    assert error["details"] == "'inputs'"
    info = error["extra_info"]
    assert info.pop("traceback")
    assert info == {
        "input_name": "images",
        "input_config": ["IMAGE", {}],
        "exception_message": "'inputs'",
        "exception_type": "KeyError",
        "linked_node": ["1", 0],
    }


def test_a_faulty_node_takes_later_faulty_outputs_for_its_own(catalog: Catalog) -> None:
    validation = validate({"a": node("PreviewImage"), "b": node("PreviewImage")}, catalog)
    assert validation.node_errors["a"]["dependent_outputs"] == ["a", "b"]
    assert validation.node_errors["b"]["dependent_outputs"] == ["b"]


def test_a_node_beside_a_cycle_keeps_its_errors(catalog: Catalog) -> None:
    prompt = {
        "1": node("ImageBatch", image1=["2", 0], image2=["3", 0]),
        "2": node("ImageInvert", image=["1", 0]),
        "3": empty_image(width=0),
        "4": preview("1"),
    }
    validation = validate(prompt, catalog)
    assert validation.refusal is not None
    assert only_error(validation, "3")["type"] == "value_smaller_than_min"


@pytest.mark.parametrize("prompt", ["x", 5, None, True, {"1": None}, {"1": 5}, {"1": ["class_type"]}, ["1"]])
def test_what_is_no_prompt_at_all_raises(catalog: Catalog, prompt: Any) -> None:
    with pytest.raises(TypeError):
        validate(prompt, catalog)


@pytest.mark.parametrize("prompt", [{}, [], ""])
def test_what_has_no_nodes_has_no_outputs(catalog: Catalog, prompt: Any) -> None:
    refusal = validate(prompt, catalog).refusal
    assert refusal is not None
    assert refusal["type"] == "prompt_no_outputs"


class TestFiles:
    """Classes that check the file that they are given."""

    def check(self, catalog: Catalog, **inputs: Any) -> Validation:
        def exists(name: Any) -> bool:
            return str(name.rstrip()) in ("here.png", "")

        return validate({"1": node("LoadImage", **inputs), "2": preview()}, catalog, file_exists=exists)

    @pytest.mark.parametrize("name", ["here.png", ""])
    def test_a_file_that_is_there_is_taken_whatever_the_list_says(self, catalog: Catalog, name: str) -> None:
        assert self.check(catalog, image=name).refusal is None

    def test_a_missing_one_is_named(self, catalog: Catalog) -> None:
        assert only_error(self.check(catalog, image="none.png"), "1") == {
            "type": "custom_validation_failed",
            "message": "Custom validation failed for node",
            "details": "image - Invalid image file: none.png",
            "extra_info": {"input_name": "image"},
        }

    @pytest.mark.parametrize(
        ("inputs", "details"),
        [
            ({"image": 5}, "'int' object has no attribute 'rstrip'"),
            ({"image": None}, "'NoneType' object has no attribute 'rstrip'"),
            ({"image": ["x"]}, "'list' object has no attribute 'rstrip'"),
            ({}, "LoadImage.VALIDATE_INPUTS() missing 1 required positional argument: 'image'"),
        ],
    )
    def test_what_is_no_name_makes_the_check_itself_fail(self, catalog: Catalog, inputs: Json, details: str) -> None:
        error = only_error(self.check(catalog, **inputs), "1")
        assert (error["type"], error["details"]) == ("exception_during_inner_validation", details)


class TestModels:
    """Options that are names of model files."""

    def catalog(self, *, any_model: bool = False) -> Catalog:
        lists = OptionLists(Models({"vae": ["b.pt", "a.pt"]}), lambda: ["x.png", "x.txt"], any_model=any_model)
        return Catalog.assemble((), with_api_nodes=True, option_lists=lists)

    def test_lists_are_filled_before_what_they_have_already(self) -> None:
        catalog = self.catalog()
        assert catalog["VAELoader"].input_config("vae_name") == [["a.pt", "b.pt", "pixel_space"]]
        assert catalog["LoadImage"].input_config("image")[0] == ["x.png"]
        assert catalog["LoadImageMask"].input_config("image")[0] == ["x.png", "x.txt"]
        assert Catalog.load()["VAELoader"].input_config("vae_name") == [["pixel_space"]]

    @pytest.mark.parametrize(
        ("any_model", "name", "is_good"), [(False, "a.pt", True), (False, "c.pt", False), (True, "c.pt", True)]
    )
    def test_names_must_be_known_unless_any_will_do(self, any_model: bool, name: str, is_good: bool) -> None:
        prompt = {"1": node("VAELoader", vae_name=name), "2": node("PreviewAny", source=["1", 0])}
        assert (validate(prompt, self.catalog(any_model=any_model)).refusal is None) is is_good


class TestLatest:
    """What newer versions say instead (read, not recorded)."""

    def refusal(self, catalog: Catalog, prompt: Json) -> Json:
        refusal = validate(prompt, catalog, profile=LATEST).refusal
        assert refusal is not None
        return refusal

    def test_a_missing_class_is_named_with_the_title_of_its_node(self, catalog: Catalog) -> None:
        prompt = {"1": {**node("None"), "_meta": {"title": "Mine"}}}
        assert self.refusal(catalog, prompt) == {
            "type": "missing_node_type",
            "message": "Node 'Mine' not found. The custom node may not be installed.",
            "details": "Node ID '#1'",
            "extra_info": {"node_id": "1", "class_type": "None", "node_title": "Mine"},
        }
        refusal = self.refusal(catalog, {"1": {"inputs": {}}})
        assert refusal["message"].startswith("Node 'ID #1' has no class_type.")

    def test_a_cycle_is_named(self, catalog: Catalog) -> None:
        prompt = {"1": node("ImageInvert", image=["2", 0]), "2": node("ImageInvert", image=["1", 0]), "3": preview()}
        refusal = self.refusal(catalog, prompt)
        assert refusal["type"] == "dependency_cycle"
        assert refusal["details"] == "1 (ImageInvert) -> 2 (ImageInvert) -> 1 (ImageInvert)"
        assert refusal["extra_info"]["cycle_nodes"] == ["1", "2"]

    def test_options_of_newer_nodes_are_checked_too(self, catalog: Catalog) -> None:
        prompt = {"1": node("UpscaleModelLoader", model_name="x"), "2": node("PreviewAny", source=["1", 0])}
        assert validate(prompt, catalog).refusal is None
        error = only_error(validate(prompt, catalog, profile=LATEST), "1")
        assert error["details"] == "model_name: 'x' not in []"
