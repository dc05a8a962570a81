"""What differs between the versions of ComfyUI that the server can behave as. The one place that states it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Profile:
    """One version of ComfyUI. The defaults are what 0.3.64 does (recorded)."""

    name: str = "0.3"
    comfyui_version: str = "0.3.64"
    needs_uuid_prompt_ids: bool = False
    """``prompt_id`` must be a canonical UUID; null counts as absent."""
    names_missing_node_types: bool = False
    """Unknown classes are refused as ``missing_node_type``, with what the prompt says of the node."""
    names_cycles: bool = False
    """A cycle is refused as ``dependency_cycle``, with the nodes on it."""
    checks_combos: bool = False
    """Values of inputs of type COMBO must be among the options, not only those of list-typed inputs."""
    refuses_cross_site: bool = False
    """A request with ``Sec-Fetch-Site: cross-site`` is refused."""
    stamps_prompts: bool = False
    """``extra_data`` gets ``create_time``, and ``comfy_usage_source`` from the request's header."""
    throttles_progress: bool = False
    """A progress bar is told at most every 100 ms and every 0.5 %, but for its first and last update and previews."""
    takes_preview_method: bool = False
    """``preview_method`` in ``extra_data`` says how a prompt's samplers preview."""
    keeps_visited_outputs_only: bool = False
    """The history shows outputs of nodes that were run or replayed, and not of all that are in the cache."""
    has_jobs: bool = False
    """The jobs API exists."""
    has_assets: bool = False
    """The asset API exists, and is switched off."""
    has_replacements: bool = False
    """Subgraphs and replacements of nodes can be asked for. There are none."""
    counts_file_times_in_ms: bool = False
    """Times in ``/userdata`` are whole milliseconds instead of seconds with fractions."""
    explains_bad_usernames: bool = False
    """A blank username is a 400 with an error instead of a 500."""
    allows_patch: bool = False
    """CORS answers allow PATCH too."""
    names_platform: bool = False
    """``/system_stats`` names ``sys.platform`` instead of ``os.name``, and packages and environment as well."""
    never_stores_index: bool = False
    """The index page forbids caches to store it."""
    more_features: dict[str, Any] = field(default_factory=dict)
    """Feature flags of the server beside the two that 0.3.64 has."""


RECORDED = Profile()
"""ComfyUI 0.3.64, recorded from a running server."""

LATEST = Profile(
    name="0.38",
    comfyui_version="0.38.1",
    needs_uuid_prompt_ids=True,
    names_missing_node_types=True,
    names_cycles=True,
    checks_combos=True,
    refuses_cross_site=True,
    stamps_prompts=True,
    throttles_progress=True,
    takes_preview_method=True,
    keeps_visited_outputs_only=True,
    has_jobs=True,
    has_assets=True,
    has_replacements=True,
    counts_file_times_in_ms=True,
    explains_bad_usernames=True,
    allows_patch=True,
    names_platform=True,
    never_stores_index=True,
    more_features={
        "supports_model_type_tags": True,
        "extension": {"manager": {"supports_v4": True}},
        "node_replacements": True,
        "assets": False,
    },
)
"""ComfyUI 0.38.1, read in its source and not recorded."""

PROFILES = {profile.name: profile for profile in (RECORDED, LATEST)}
