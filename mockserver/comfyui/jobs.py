"""Prompts as jobs: one view of queue and history (ComfyUI 0.38.1, read and not recorded). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockserver.comfyui.queue import QueueItem

Json = dict[str, Any]
JobStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
SortKey = Literal["created_at", "execution_duration"]

JOB_STATUSES: tuple[JobStatus, ...] = get_args(JobStatus)
SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)

_PREVIEWABLE = ("images", "video", "audio", "3d", "text")
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


def queued_job(item: QueueItem, status: JobStatus) -> Json:
    """A prompt that waits or runs."""
    return _without_nulls({"id": item.prompt_id, "status": status, "priority": item.number, **_origin(item.extra_data)})


def finished_job(prompt_id: str, entry: Json, *, in_full: bool = False) -> Json:
    """A prompt of the history; in full with its outputs, its status and what was asked for."""
    number, _, prompt, extra_data, *_ = entry["prompt"]
    times: dict[str, Any] = dict(entry["status"]["messages"])
    ends = [times[name]["timestamp"] for name in _ENDS if name in times]
    files = list(_files(entry["outputs"]))
    previewable = [file for file in files if file["mediaType"] in _PREVIEWABLE]
    lasting = [file for file in previewable if file.get("type") == "output"]
    job = _without_nulls(
        {
            "id": prompt_id,
            "status": _status(entry["status"]["status_str"], times),
            "priority": number,
            **_origin(extra_data),
            "execution_start_time": times.get("execution_start", {}).get("timestamp"),
            "execution_end_time": ends[0] if ends else None,
            "execution_error": times.get("execution_error"),
            "outputs_count": len(files),
            "previewable_outputs_count": len(previewable),
            "preview_output": next(iter([*lasting, *previewable]), None),
        }
    )
    if in_full:
        job |= {
            "outputs": entry["outputs"],
            "execution_status": entry["status"],
            "workflow": {"prompt": prompt, "extra_data": extra_data},
        }
    return job


def sorted_jobs(jobs: list[Json], key: SortKey, *, descending: bool) -> list[Json]:
    """Jobs by the time they were made or by how long they ran; unknown times count as 0."""

    def value(job: Json) -> float:
        if key == "created_at":
            return float(job.get("create_time", 0))
        return float(job.get("execution_end_time", 0)) - float(job.get("execution_start_time", 0))

    return sorted(jobs, key=value, reverse=descending)


def _status(status_str: str, times: Json) -> JobStatus:
    if status_str == "success":
        return "completed"
    return "cancelled" if "execution_interrupted" in times else "failed"


def _origin(extra_data: Any) -> Json:
    """When a prompt was made and from which workflow, as far as it says."""
    found: Any = extra_data if isinstance(extra_data, dict) else {}
    create_time = found.get("create_time")
    for key in ("extra_pnginfo", "workflow"):
        found = found.get(key)
        found = found if isinstance(found, dict) else {}
    return {"create_time": create_time, "outputs_count": 0, "workflow_id": found.get("id")}


def _files(outputs: Json) -> Iterator[Json]:
    for node, output in outputs.items():
        for media_type, files in output.items():
            for file in files if isinstance(files, list) else ():
                if isinstance(file, dict):
                    yield {**file, "nodeId": node, "mediaType": media_type}


def _without_nulls(job: Json) -> Json:
    return {key: value for key, value in job.items() if value is not None}
