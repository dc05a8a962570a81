"""``POST /prompt`` and the queue's routes where a request is odd: statuses, numbers and ids of ComfyUI 0.3.64."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

GOOD = {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}
BAD = {"1": {"class_type": "PreviewAny", "inputs": {}}}
UUID = "00000000-0000-4000-8000-00000000000a"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{bad",
        b"null",
        b"5",
        b'"prompt"',
        b'["prompt"]',
        b"\xff",
        b'{"prompt": null}',
        b'{"prompt": "x"}',
        b'{"prompt": {}, "number": "x"}',
        b'{"prompt": {}, "number": null}',
        b'{"prompt": {}, "client_id": "x", "extra_data": null}',
        b'{"prompt": {}, "client_id": "x", "extra_data": []}',
        b'{"prompt": {"1": {"class_type": []}}}',
        b'{"prompt": {"1": null}}',
        b'{"prompt": {"1": {"class_type": "PreviewAny"}}, "partial_execution_targets": 5}',
    ],
)
def test_what_the_real_server_falls_over_is_a_500_that_closes(site: Site, body: bytes) -> None:
    answer = site.post("/prompt", body)
    assert answer.status == 500
    assert answer.text == "500 Internal Server Error\n\nServer got itself in trouble"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'"x"', b'{"client_id": "x"}'])
def test_what_names_no_prompt_is_refused(site: Site, body: bytes) -> None:
    answer = site.post("/prompt", body, Content_Type="text/plain")
    assert answer.status == 400
    error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided", "extra_info": {}}
    assert answer.json == {"error": error, "node_errors": {}}


def test_numbers_count_rejected_prompts_too(site: Site) -> None:
    numbers = []
    for body in ({"front": True}, {}, {"front": True}, {"number": "1", "front": True}, {"number": True}, {}):
        site.post("/prompt", {"prompt": BAD})
        numbers.append(site.post("/prompt", {"prompt": GOOD, **body}).json["number"])
    assert repr(numbers) == "[-1, 3, -5, 1.0, 1.0, 9]"


@pytest.mark.parametrize(("given", "kept"), [("job-1", "job-1"), (None, "None"), (5, "5"), (["a"], "['a']")])
def test_any_prompt_id_is_taken_as_text(site: Site, given: Any, kept: str) -> None:
    assert site.post("/prompt", {"prompt": GOOD, "prompt_id": given}).json["prompt_id"] == kept


def test_a_prompt_without_an_id_gets_one(site: Site) -> None:
    answer = site.post("/prompt", {"prompt": GOOD}).json
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer["prompt_id"])
    assert list(answer) == ["prompt_id", "number", "node_errors"]


@pytest.mark.parametrize("given", ["job-1", UUID.upper(), UUID.replace("-", ""), 5])
def test_newer_versions_want_canonical_uuids(serve: Callable[..., Site], given: Any) -> None:
    site = serve(profile="0.38")
    answer = site.post("/prompt", {"prompt": GOOD, "prompt_id": given})
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_prompt_id")
    assert site.post("/prompt", {"prompt": GOOD, "prompt_id": UUID}).json["prompt_id"] == UUID
    assert site.post("/prompt", {"prompt": GOOD, "prompt_id": None}).status == 200


@pytest.mark.parametrize("extra", [{"extra_data": None}, {"extra_data": [1]}, {"client_id": [1]}, {"client_id": {}}])
def test_what_ends_the_real_server_does_not_end_this_one(site: Site, extra: Any) -> None:
    assert site.post("/prompt", {"prompt": GOOD, **extra}).status == 200
    assert site.post("/prompt", {"prompt": GOOD}).status == 200
    assert site.get("/queue").status == 200


@pytest.mark.parametrize("path", ["/queue", "/history", "/free"])
def test_orders_without_json_are_a_500(site: Site, path: str) -> None:
    assert site.post(path).status == 500
    assert site.post(path, b"{bad").status == 500
    assert site.post(path, {}).is_bare


@pytest.mark.parametrize("path", ["/queue", "/history"])
def test_deleting_takes_what_can_be_walked_through(site: Site, path: str) -> None:
    assert site.post(path, []).is_bare
    assert site.post(path, {"delete": "abc"}).is_bare
    assert site.post(path, {"delete": ["none"], "clear": "no"}).is_bare
    assert site.post(path, {"delete": None}).status == 500


def test_an_interrupt_is_nearly_always_fine(site: Site) -> None:
    for body in (None, b"", b"{bad", b"{}", b'{"prompt_id": "none"}', b'{"prompt_id": ""}'):
        answer = site.post("/interrupt", body)
        assert (answer.status, answer.is_bare) == (200, True)
    for body in (b"[]", b"null", b"\xff"):
        assert site.post("/interrupt", body).status == 500


def test_history_takes_only_numbers(site: Site) -> None:
    assert site.get("/history?max_items=x").status == 500
    assert site.get("/history?max_items=0&offset=-1").json == {}
    assert site.get("/history/none").json == {}
