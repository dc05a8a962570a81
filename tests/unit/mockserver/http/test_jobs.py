"""The jobs API of newer versions (read, not recorded)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mockserver.comfyui.jobs import finished_job, queued_job, sorted_jobs
from mockserver.comfyui.queue import QueueItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

Json = dict[str, Any]

UUID = "00000000-0000-4000-8000-00000000000a"
EXTRA = {"create_time": 5, "extra_pnginfo": {"workflow": {"id": "w"}}}
IMAGE = {"filename": "a.png", "subfolder": "", "type": "output"}
PREVIEW = {"filename": "b.png", "subfolder": "", "type": "temp"}


def entry(*ends: str, status: str = "error", outputs: Json | None = None) -> Json:
    messages = [["execution_start", {"timestamp": 10}], *([end, {"timestamp": 30}] for end in ends)]
    return {
        "prompt": [1, UUID, {"1": {}}, EXTRA, ["1"]],
        "outputs": outputs or {},
        "status": {"status_str": status, "completed": status == "success", "messages": messages},
        "meta": {},
    }


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve(profile="0.38")


def test_a_waiting_prompt_is_a_job_without_nulls() -> None:
    item = QueueItem(2, UUID, {}, {}, [])
    assert queued_job(item, "pending") == {"id": UUID, "status": "pending", "priority": 2, "outputs_count": 0}
    told = queued_job(item._replace(extra_data=EXTRA), "in_progress")
    assert (told["create_time"], told["workflow_id"]) == (5, "w")
    assert queued_job(item._replace(extra_data=None), "pending")["id"] == UUID  # type: ignore[arg-type]


def test_a_finished_prompt_shows_what_lasts_of_it_first() -> None:
    outputs = {"2": {"images": [PREVIEW]}, "3": {"images": [IMAGE, IMAGE], "animated": [False], "text": ["x"]}}
    job = finished_job(UUID, entry("execution_success", status="success", outputs=outputs))
    assert job == {
        "id": UUID,
        "status": "completed",
        "priority": 1,
        "create_time": 5,
        "execution_start_time": 10,
        "execution_end_time": 30,
        "outputs_count": 3,
        "previewable_outputs_count": 3,
        "preview_output": {**IMAGE, "nodeId": "3", "mediaType": "images"},
        "workflow_id": "w",
    }
    in_full = finished_job(UUID, entry("execution_success", status="success"), in_full=True)
    assert in_full["workflow"] == {"prompt": {"1": {}}, "extra_data": EXTRA}
    assert {"outputs", "execution_status"} <= in_full.keys()


@pytest.mark.parametrize(
    ("end", "status", "has_error"),
    [("execution_error", "failed", True), ("execution_interrupted", "cancelled", False)],
)
def test_failed_and_interrupted_prompts_differ(end: str, status: str, has_error: bool) -> None:
    job = finished_job(UUID, entry(end))
    assert (job["status"], "execution_error" in job) == (status, has_error)


def test_jobs_are_sorted_by_age_or_by_duration() -> None:
    jobs = [
        {"id": "a", "create_time": 2, "execution_start_time": 0, "execution_end_time": 1},
        {"id": "b"},
        {"id": "c", "create_time": 1, "execution_start_time": 0, "execution_end_time": 2},
    ]
    assert [job["id"] for job in sorted_jobs(jobs, "created_at", descending=True)] == ["a", "c", "b"]
    assert [job["id"] for job in sorted_jobs(jobs, "execution_duration", descending=False)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "status=x",
            "Invalid status value(s): x. Valid values: pending, in_progress, completed, failed, cancelled",
        ),
        ("sort_by=x", "sort_by must be 'created_at' or 'execution_duration'"),
        ("sort_order=x", "sort_order must be 'asc' or 'desc'"),
        ("limit=0", "limit must be a positive integer"),
        ("limit=x", "limit must be an integer"),
        ("offset=x", "offset must be an integer"),
    ],
)
def test_wrong_queries_are_explained(site: Site, query: str, text: str) -> None:
    answer = site.get(f"/api/jobs?{query}")
    assert (answer.status, answer.json) == (400, {"error": text})


def test_pages_of_jobs(site: Site) -> None:
    assert site.get("/api/jobs").json == {
        "jobs": [],
        "pagination": {"offset": 0, "limit": None, "total": 0, "has_more": False},
    }
    site.server.history.add("a", entry("execution_success", status="success"))
    site.server.history.add("b", entry("execution_error"))
    page = site.get("/api/api/jobs?limit=1&offset=-1").json
    assert page["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}
    assert [job["id"] for job in site.get("/api/jobs?status=failed").json["jobs"]] == ["b"]
    assert site.get("/api/jobs?workflow_id=none").json["jobs"] == []
    assert site.get("/api/jobs/b").json["status"] == "failed"


def test_unknown_jobs(site: Site) -> None:
    answer = site.get("/api/jobs/none")
    assert (answer.status, answer.json) == (404, {"error": "Job not found"})
    assert site.post("/api/jobs/none/cancel").json == {"cancelled": False}
    assert site.post("/api/jobs/cancel", {"job_ids": [UUID]}).json == {"cancelled": False}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"{bad", {"error": "Request body must be valid JSON"}),
        (b"[]", {"error": "job_ids must be a list"}),
        (b'{"job_ids": "x"}', {"error": "job_ids must be a list"}),
        (b'{"job_ids": ["x", 5]}', {"error": "job_ids contains invalid id(s)", "invalid_ids": ["x", 5]}),
    ],
)
def test_wrong_orders_to_cancel_are_explained(site: Site, body: bytes, answer: Json) -> None:
    given = site.post("/api/jobs/cancel", body)
    assert (given.status, given.json) == (400, answer)


def test_the_api_is_only_under_api_and_only_in_newer_versions(serve: Callable[..., Site]) -> None:
    assert serve(profile="0.38").get("/jobs").status == 404
    assert serve().get("/api/jobs").status == 404
    assert serve().post("/api/jobs/cancel").status == 405
