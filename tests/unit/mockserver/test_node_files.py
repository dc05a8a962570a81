"""Node classes of a user's own file, and the blocks that say how to act them out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from acting import Theatre, empty_image, node

from mockserver.comfyui.catalog import Catalog, NodesFileError
from mockserver.comfyui.execution import Send, To
from mockserver.comfyui.messages import BinaryMessage

if TYPE_CHECKING:
    from pathlib import Path


def catalog_of(tmp_path: Path, **classes: Any) -> Catalog:
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps(classes))
    return Catalog.assemble([file], with_api_nodes=True)


def entry(mock: Any, output: list[str] | None = None, **required: Any) -> dict[str, Any]:
    info: dict[str, Any] = {"input": {"required": required}, "output": output or [], "output_node": output is None}
    return {**info, "mock": mock}


def test_classes_are_added_and_blocks_are_not_shown(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, Mine=entry({"duration": 1}, ["IMAGE"]))
    assert "mock" not in catalog.object_info["Mine"]
    assert catalog.object_info["Mine"]["output_is_list"] == [False]
    assert catalog.mock_blocks["Mine"].duration == 1
    assert "SaveImage" in catalog.object_info


def test_an_entry_replaces_a_class_that_comes_with_the_server(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, EmptyImage=entry({}, ["IMAGE"], size=["INT", {}]))
    assert catalog["EmptyImage"].required_inputs == ["size"]
    assert Catalog.load()["EmptyImage"].required_inputs != ["size"]


def test_a_later_file_replaces_a_class_with_its_block(tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    files[0].write_text(json.dumps({"Mine": entry({"fails": "x"})}))
    files[1].write_text("\ufeff" + json.dumps({"Mine": {"output": []}}), encoding="utf-8")  # as some editors write it
    assert Catalog.assemble(files, with_api_nodes=True).mock_blocks == {}
    assert Catalog.assemble(files[::-1], with_api_nodes=True).mock_blocks["Mine"].fails == "x"


def test_api_nodes_can_be_left_out() -> None:
    with_them = Catalog.assemble([], with_api_nodes=True).object_info
    without = Catalog.assemble([], with_api_nodes=False).object_info
    assert len(with_them) - len(without) == 113


def test_progress_texts_outputs_and_duration(tmp_path: Path) -> None:
    mock = {
        "duration": 6,
        "steps": "count",
        "previews": True,
        "texts": [{"text": "<{count}>", "to": "all"}, {"text": "own"}],
        "outputs": [{"input": "count"}, "made up"],
    }
    theatre = Theatre(tmp_path, catalog_of(tmp_path, Mine=entry(mock, ["INT", "STRING"], count=["INT", {}])))
    prompt = {
        "1": node("Mine", count=3),
        "2": node("PreviewAny", source=["1", 0]),
        "3": node("PreviewAny", source=["1", 1]),
    }
    run = theatre.run(prompt, "2", "3")
    assert [run.outcome.outputs[output]["text"] for output in ("2", "3")] == [["3"], ["made up"]]
    assert [work.seconds for work in theatre.work if work.node == "1"] == [2.0, 2.0, 2.0]
    assert theatre.names.count("binary 1") == 3
    texts = [step for step in theatre.steps if isinstance(step, Send) and isinstance(step.message, BinaryMessage)][:2]
    assert [(text.message.content[5:], text.to) for text in texts] == [
        (b"<3>", To.ALL),
        (b"own", To.OWNER_OR_ALL),
    ]


def test_an_output_without_a_value_is_the_input_of_its_type(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, catalog_of(tmp_path, Mine=entry({}, ["IMAGE"], image=["IMAGE"])))
    prompt = {
        "1": empty_image(5, 7),
        "2": node("Mine", image=["1", 0]),
        "3": node("GetImageSize", image=["2", 0]),
        "4": node("PreviewAny", source=["3", 0]),
    }
    assert theatre.run(prompt, "4").outcome.outputs["4"] == {"text": ["5"]}


def test_an_output_node_writes_images_and_reports_what_it_is_told(tmp_path: Path) -> None:
    mock = {"images": 2, "ui": {"note": ["done"]}}
    theatre = Theatre(tmp_path, catalog_of(tmp_path, Mine=entry(mock)))
    run = theatre.run({"1": node("Mine")}, "1")
    assert run.outcome.outputs["1"]["note"] == ["done"]
    assert all(path.is_file() for path in theatre.files(run, "1"))


def test_a_class_can_be_made_to_fail(tmp_path: Path) -> None:
    theatre = Theatre(tmp_path, catalog_of(tmp_path, Mine=entry({"fails": "out of memory"})))
    error = theatre.run({"1": node("Mine")}, "1").outcome.messages[-1][1]
    assert (error["exception_type"], error["exception_message"]) == ("Exception", "out of memory\n")


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("[]", "an /object_info is a JSON object of classes by name"),
        ("{", "Expecting property name"),
        ('{"A": 1}', "class A: its entry is no JSON object"),
        ('{"A": {"input": {"required": {"x": "INT"}}}}', "class A: input 'x' is no list of a type and options"),
        ('{"A": {"output": "IMAGE"}}', 'class A: "output" is a list of types'),
        ('{"A": {"mock": {"speed": 1}}}', "class A: its mock block has an unknown key 'speed'"),
        ('{"A": {"mock": {"duration": "1 s"}}}', "duration of its mock block is no number of seconds"),
        ('{"A": {"mock": {"steps": -1}}}', "steps of its mock block is neither a number nor the name of an input"),
        ('{"A": {"mock": {"texts": [{"text": 1}]}}}', "a text of its mock block"),
        ('{"A": {"mock": {"images": true}}}', "images of its mock block is no number from 0 up: True"),
        ('{"A": {"mock": {"images": -1}}}', "images of its mock block is no number from 0 up: -1"),
        ('{"A": {"mock": {"ui": 7}}}', "ui of its mock block is no JSON object: 7"),
        ('{"A": {"mock": {"duration": NaN}}}', "duration of its mock block is no number of seconds: nan"),
        ('{"A": {"mock": {"duration": 1e999}}}', "duration of its mock block is no number of seconds: inf"),
        ('{"A": {"mock": {"steps": "x"}}}', "steps of its mock block names an input 'x'; there are none"),
        ('{"A": {"output": ["INT"], "mock": {"outputs": []}}}', "outputs of its mock block are 0, and the class has 1"),
        (
            '{"A": {"input": {"optional": {"y": ["INT"]}}, "output": ["INT"], "mock": {"outputs": [{"input": "x"}]}}}',
            "class A: outputs of its mock block names an input 'x'; there are y",
        ),
        ('{"A": {"output": [7]}}', 'class A: "output" is a list of types, as ["IMAGE", "MASK"]'),
        ('{"A": {"output_node": "no"}}', 'class A: "output_node" is true or false'),
        ('{\n"A": {}\n"B": {}}', "Expecting ',' delimiter: line 3 column 1"),
        pytest.param("[" * 100_000, "recursion", id="deep"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, content: str, wrong: str) -> None:
    file = tmp_path / "nodes.json"
    file.write_text(content)
    with pytest.raises(NodesFileError) as failure:
        Catalog.assemble([file], with_api_nodes=True)
    assert wrong in str(failure.value)
    assert str(failure.value).startswith("nodes.json: ")
