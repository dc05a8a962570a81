"""What holds of the validation of any prompt, however odd."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mockserver.comfyui.catalog import Catalog
from mockserver.comfyui.profile import LATEST, RECORDED
from mockserver.comfyui.validation import validate

Json = dict[str, Any]

IDS = "1234"

scalars = (
    st.none() | st.booleans() | st.integers(-5, 20_000) | st.floats() | st.sampled_from(["64", "x", "lanczos", ""])
)
links = st.tuples(st.sampled_from([*IDS, "77", 1]), st.sampled_from([0, 1, -1, 5, 0.5, "0", None, True])).map(list)
values = scalars | links | st.lists(scalars, max_size=3) | st.fixed_dictionaries({"__value__": scalars})
names = (
    "images",
    "image",
    "image1",
    "image2",
    "width",
    "height",
    "batch_size",
    "color",
    "source",
    "value",
    "odd",
    "crop",
)
inputs = st.dictionaries(st.sampled_from([*names, "upscale_method", "filename_prefix"]), values) | scalars
classes = st.sampled_from(
    [
        "EmptyImage",
        "ImageBatch",
        "ImageInvert",
        "ImageScale",
        "LoadImage",
        "PreviewAny",
        "PreviewImage",
        "PrimitiveBoolean",
        "PrimitiveInt",
        "SaveImage",
    ]
)
nodes = st.fixed_dictionaries({"class_type": classes}, optional={"inputs": inputs})
prompts = st.dictionaries(st.sampled_from(IDS), nodes, max_size=4)


def exists(name: Any) -> bool:
    return bool(name.startswith("x"))


@settings(deadline=None, max_examples=300)
@given(prompts)
def test_any_prompt_is_either_refused_or_has_outputs_that_run(prompt: Json) -> None:
    catalog = Catalog.load()
    outputs = {name for name, node in prompt.items() if catalog[node["class_type"]].is_output}
    for profile in (RECORDED, LATEST):
        validation = validate(copy.deepcopy(prompt), catalog, file_exists=exists, profile=profile)
        assert (validation.refusal is None) is bool(validation.outputs)
        assert set(validation.outputs) <= outputs
        for name, entry in validation.node_errors.items():
            assert entry["errors"]
            assert entry["class_type"] == prompt[name]["class_type"]
            assert name not in validation.outputs
            assert set(entry["dependent_outputs"]) <= outputs - set(validation.outputs)
        json.dumps([validation.refusal, validation.node_errors])


@settings(deadline=None, max_examples=200)
@given(prompts)
def test_what_has_been_converted_is_accepted_as_it_is(prompt: Json) -> None:
    catalog = Catalog.load()
    first = validate(prompt, catalog, file_exists=exists)
    if first.refusal is None:
        converted = repr(prompt)  # not ==: NaN is unlike itself
        second = validate(prompt, catalog, file_exists=exists)
        assert second.outputs == first.outputs
        assert repr(prompt) == converted


@settings(deadline=None, max_examples=200)
@given(prompts, st.lists(st.sampled_from(IDS)))
def test_targets_only_ever_take_outputs_away(prompt: Json, targets: list[str]) -> None:
    catalog = Catalog.load()
    everything = validate(copy.deepcopy(prompt), catalog, file_exists=exists).outputs
    limited = validate(copy.deepcopy(prompt), catalog, targets, file_exists=exists).outputs
    assert limited == [output for output in everything if output in targets]
