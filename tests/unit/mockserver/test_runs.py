"""Rules of execution that need nodes which really compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from acting import Theatre, empty_image, node

from mockserver.comfyui.execution import Cache, Compute, Interrupted, Kept, Run, Work
from mockserver.comfyui.profile import LATEST, RECORDED
from mockserver.comfyui.queue import QueueItem

if TYPE_CHECKING:
    from pathlib import Path

    from mockserver.comfyui.profile import Profile


@pytest.fixture
def theatre(tmp_path: Path) -> Theatre:
    return Theatre(tmp_path)


def test_other_ids_and_other_metadata_come_from_the_cache(theatre: Theatre) -> None:
    theatre.run({"1": empty_image(), "2": node("PreviewImage", images=["1", 0])}, "2")
    renamed = {"a": empty_image() | {"_meta": {"title": "t"}}, "b": node("PreviewImage", images=["a", 0])}
    assert theatre.run(renamed, "b").outcome.messages[1][1]["nodes"] == ["a", "b"]
    assert theatre.names.count("executing") == 0


def test_nodes_that_know_their_id_are_cached_by_it(theatre: Theatre) -> None:
    prompt = {"1": empty_image(), "2": node("GetImageSize", image=["1", 0]), "3": node("PreviewAny", source=["2", 0])}
    theatre.run(prompt, "3")
    renamed = {"1": prompt["1"], "7": prompt["2"], "3": node("PreviewAny", source=["7", 0])}
    assert theatre.run(renamed, "3").outcome.messages[1][1]["nodes"] == ["1"]


def test_equal_nodes_of_one_prompt_run_once(theatre: Theatre) -> None:
    prompt = {"1": node("PreviewAny", source=1), "2": node("PreviewAny", source=1)}
    run = theatre.run(prompt, "1", "2")
    assert theatre.names.count("executing") == 1
    assert run.outcome.outputs["1"] == run.outcome.outputs["2"]


def test_cached_output_without_a_result_is_reported_as_null(theatre: Theatre) -> None:
    prompt = {"1": node("VAELoader", vae_name="v"), "2": node("VAESave", vae=["1", 0], filename_prefix="v")}
    run = theatre.run(prompt, "2")
    assert "executed" not in theatre.names
    run = theatre.run(prompt, "2")
    assert ("executed", {"node": "2", "display_node": "2", "output": None, "prompt_id": "id"}) in theatre.messages
    assert run.outcome.outputs == {}


@pytest.mark.parametrize(("profile", "shown"), [(RECORDED, ["2", "3"]), (LATEST, ["3"])])
def test_history_shows_cached_outputs_that_were_no_target(theatre: Theatre, profile: Profile, shown: list[str]) -> None:
    theatre.profile = profile
    prompt = {
        "1": empty_image(),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("PreviewImage", images=["1", 0]),
    }
    theatre.run(prompt, "2", "3")
    assert list(theatre.run(prompt, "3").outcome.outputs) == shown


def test_a_prefix_that_leads_out_fails_with_the_paths_that_it_leads_to(theatre: Theatre) -> None:
    prompt = {"1": empty_image(), "2": node("SaveImage", images=["1", 0], filename_prefix="../../x/a")}
    error = theatre.run(prompt, "2").outcome.messages[-1][1]
    out = theatre.stage.folders["output"]
    assert error["exception_message"].splitlines() == [
        "**** ERROR: Saving image outside the output folder is not allowed.",
        f" full_output_folder: {out.parent.parent / 'x'}",
        f"         output_dir: {out}",
        f"         commonpath: {out.parent.parent}",
    ]


def test_earlier_outputs_stay_when_a_later_node_fails(theatre: Theatre) -> None:
    prompt = {
        "1": empty_image(),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("ImageBatch", image1=["1", 0], image2=5),
        "4": node("PreviewImage", images=["3", 0]),
    }
    run = theatre.run(prompt, "2", "4")
    error = run.outcome.messages[-1][1]
    assert (error["node_id"], error["executed"]) == ("3", ["1", "2"])
    assert error["exception_message"] == "'int' object has no attribute 'shape'\n"
    assert list(run.outcome.outputs) == ["2"]


def test_a_cycle_through_an_unknown_input_ends_as_an_error_that_history_calls_a_success(theatre: Theatre) -> None:
    prompt = {
        "1": empty_image() | {"inputs": {**empty_image()["inputs"], "bogus": ["2", 0]}},
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("PreviewImage", images=["2", 0]),
    }
    run = theatre.run(prompt, "3")
    name, error = run.outcome.messages[-1]
    assert (name, error["exception_message"]) == ("execution_error", "Dependency cycle detected")
    assert run.outcome.completed


def test_an_unknown_link_to_nowhere_only_fails_its_node(theatre: Theatre) -> None:
    prompt = {"1": node("PreviewAny", source=1, bogus=["99", 0])}
    assert theatre.run(prompt, "1").outcome.messages[-1][1]["exception_type"] == "KeyError"


@pytest.mark.parametrize("extra_data", [[], "x", 5, None], ids=repr)
def test_extra_data_that_is_no_object_fails_the_node_that_wants_it(theatre: Theatre, extra_data: Any) -> None:
    prompt = {"1": empty_image(), "2": node("PreviewImage", images=["1", 0])}
    item = QueueItem(0, "id", prompt, extra_data, ["2"])
    run = Run(item, theatre.catalog, Cache(), theatre.stage, lambda: 0)
    list(run.steps())
    error = run.outcome.messages[-1][1]
    assert (error["node_id"], error["exception_type"], error["current_inputs"]) == ("2", "AttributeError", {})


def test_nodes_are_mapped_over_lists(theatre: Theatre) -> None:
    prompt = {
        "1": empty_image(batch_size=5),
        "2": node("RebatchImages", images=["1", 0], batch_size=2),
        "3": node("GetImageSize", image=["2", 0]),
        "4": node("PreviewAny", source=["3", 2]),
    }
    assert theatre.run(prompt, "4").outcome.outputs["4"] == {"text": ["2", "2", "1"]}


def test_interrupt_strikes_after_the_work_of_an_update_too(theatre: Theatre) -> None:
    prompt = {"1": empty_image(batch_size=2), "2": node("SaveImageWebsocket", images=["1", 0])}
    run = Run(QueueItem(0, "id", prompt, {}, ["2"]), theatre.catalog, Cache(), theatre.stage, lambda: 0)
    steps = run.steps()
    step = next(steps)
    while not (isinstance(step, Work) and step.node == "2"):
        step = next(steps)
    assert step.then_updates
    steps.throw(Interrupted)
    assert list(steps) == []
    assert run.outcome.messages[-1][0] == "execution_interrupted"


def test_what_is_computed_elsewhere_is_not_computed_again() -> None:
    seen: list[int] = []
    task = Compute(lambda: seen.append(1))
    task.run()
    task.result()
    assert seen == [1]


def test_what_a_computation_raises_is_raised_where_its_result_is_wanted() -> None:
    task = Compute(lambda: 1 // 0)
    task.run()
    with pytest.raises(ZeroDivisionError):
        task.result()


@pytest.mark.parametrize(("keep", "kept"), [(None, ["b"]), (0, []), (1, ["b"]), (2, ["c", "b"]), (9, ["a", "c", "b"])])
def test_cache_keeps_what_it_is_told_to(keep: int | None, kept: list[str]) -> None:
    cache = Cache(keep)
    for key in ("a", "b", "c"):
        cache[key] = Kept([])
    cache.begin({"b"})
    assert sorted(key for key in "abc" if key in cache) == sorted(kept)
