"""Paths and methods, with and without routes, and what the routes without a file of their own answer."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import websocket

from mockserver.comfyui.models import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Site


@pytest.mark.parametrize("path", ["/no/such/route", "/api", "/api/api/queue", "/queue/", "/Queue", "/free"])
def test_unknown_paths_are_missing_files(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/prompt", "GET,HEAD,POST"),
        ("PATCH", "/history", "GET,HEAD,POST"),
        ("POST", "/system_stats", "GET,HEAD"),
        ("POST", "/ws", "GET,HEAD"),
        ("POST", "/no/such/route", "GET,HEAD"),
        ("DELETE", "/queue/", "GET,HEAD"),
        ("POST", "/jobs", "GET,HEAD"),
    ],
)
def test_wrong_methods_name_the_right_ones(site: Site, method: str, path: str, allowed: str) -> None:
    answer = site.ask(method, path)
    assert (answer.status, answer.text) == (405, "405: Method Not Allowed")
    assert answer.headers["Allow"] == allowed


def test_a_folder_of_the_web_root_is_forbidden(site: Site) -> None:
    answer = site.get("/assets")
    assert (answer.status, answer.text) == (403, "403: Forbidden")


def test_each_template_on_offer_is_there_with_its_picture(site: Site) -> None:
    groups = json.loads(site.get("/templates/index.json").body)
    offered = [template for group in groups for template in group["templates"]]
    assert offered
    for template in offered:
        workflow = json.loads(site.get(f"/templates/{template['name']}.json").body)
        assert {node["type"] for node in workflow["nodes"]} <= site.get("/object_info").json.keys()
        picture = site.get(f"/templates/{template['name']}-1.{template['mediaSubtype']}")
        assert (picture.status, picture.headers["Content-Type"]) == (200, f"image/{template['mediaSubtype']}")


@pytest.mark.parametrize("path", ["/", "/api/"])
def test_the_page_for_people_is_not_kept(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
    assert [answer.headers[name] for name in ("Cache-Control", "Pragma", "Expires")] == ["no-cache", "no-cache", "0"]
    assert b"Mock ComfyUI" in answer.body


def test_another_web_root_can_be_served(serve: Callable[..., Site], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "extensions" / "core").mkdir(parents=True)
    (root / "index.html").write_text("mine")
    (root / "extensions" / "core" / "a.js").write_text("")
    (root / "outside").symlink_to("/etc")
    site = serve(front_end_root=root)
    assert site.get("/").text == "mine"
    assert site.get("/extensions").json == ["/extensions/core/a.js"]
    assert site.get("/outside/passwd").status in (403, 404)


def test_percent_encoded_letters_match(site: Site) -> None:
    assert site.get("/%71ueue").json == {"queue_running": [], "queue_pending": []}


def test_get_routes_answer_head(site: Site) -> None:
    answer = site.ask("HEAD", "/queue")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_node_classes_are_given_one_and_all(serve: Callable[..., Site]) -> None:
    site = serve(disable_api_nodes=True)
    everything = site.get("/object_info").json
    assert len(everything) == 383
    assert site.get("/api/object_info/KSampler").json == {"KSampler": everything["KSampler"]}
    assert site.get("/object_info/None").json == {}
    assert len(serve().get("/object_info").json) == 496


def test_a_strict_server_has_no_models(site: Site) -> None:
    assert site.get("/models").json == list(FOLDERS)
    assert site.get("/models/checkpoints").json == []
    assert site.get("/embeddings").json == []
    missing = site.get("/models/none")
    assert (missing.status, missing.is_bare) == (404, True)


def test_a_friendly_server_has_familiar_ones(serve: Callable[..., Site]) -> None:
    site = serve(strict=False)
    assert "v1-5-pruned-emaonly.safetensors" in site.get("/models/checkpoints").json
    options = site.get("/object_info/CheckpointLoaderSimple").json["CheckpointLoaderSimple"]["input"]["required"]
    assert options["ckpt_name"][0] == site.get("/models/checkpoints").json


def test_models_come_from_a_file_and_from_the_base_directory(serve: Callable[..., Site], tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"loras": ["b.safetensors"], "mine": ["x"], "embeddings": ["e.pt"]}))
    folder = tmp_path / "base" / "models" / "loras" / "sub"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"12")
    (folder / "notes.txt").write_text("")
    site = serve(models=file, strict=False)
    assert site.get("/models/loras").json == ["b.safetensors", "sub/a.safetensors"]
    assert site.get("/models").json == [*FOLDERS, "mine"]
    assert site.get("/embeddings").json == ["e"]
    facts = {each["name"]: each["size"] for each in site.get("/experiment/models/loras").json}
    assert facts == {"b.safetensors": 0, "sub/a.safetensors": 2}
    named = {each["name"]: each["folders"] for each in site.get("/experiment/models").json}
    assert named["loras"] == [str((tmp_path / "base" / "models" / "loras").resolve())]
    assert "configs" not in named
    assert site.get("/experiment/models/none").status == 404
    assert site.get("/experiment/models/preview/loras/0/sub/a.safetensors").status == 404


def test_extensions_templates_and_translations(site: Site) -> None:
    assert len(site.get("/extensions").json) == 19
    assert site.get("/workflow_templates").json == {}
    assert site.get("/i18n").json == {}


def test_internal_routes_are_not_doubled(site: Site, tmp_path: Path) -> None:
    assert site.get("/internal/files/output").json == []
    (tmp_path / "base" / "output" / "a.png").write_text("")
    (tmp_path / "base" / "output" / ".b.png").write_text("")
    assert site.get("/internal/files/output").json == ["a.png"]
    bogus = site.get("/internal/files/bogus")
    assert (bogus.status, bogus.json) == (400, {"error": "Invalid directory type"})
    assert set(site.get("/internal/folder_paths").json) == set(FOLDERS)
    assert site.get("/api/internal/logs").status == 404


def test_log_lines_can_be_read(site: Site) -> None:
    logging.getLogger("mockserver.test").warning("a line of the log")
    assert "a line of the log\n" in site.get("/internal/logs").json
    raw = site.get("/internal/logs/raw").json
    assert raw["entries"][-1]["m"] == "a line of the log\n"
    assert list(raw["size"]) == ["cols", "rows"]


def test_subscriptions_need_a_client_and_a_wish(site: Site) -> None:
    for enabled in (True, False):
        answer = site.ask("PATCH", "/internal/logs/subscribe", {"clientId": "a", "enabled": enabled})
        assert (answer.status, answer.is_bare) == (200, True)
    assert site.ask("PATCH", "/internal/logs/subscribe", {}).status == 500
    assert site.ask("PATCH", "/internal/logs/subscribe", {"clientId": [], "enabled": True}).status == 500


def test_log_lines_reach_those_who_asked_for_them(site: Site) -> None:
    asked, other = (
        websocket.create_connection(f"ws://127.0.0.1:{site.port}/ws?clientId={name}", timeout=30)
        for name in ("asked", "other")
    )
    for each in (asked, other):
        assert json.loads(each.recv())["type"] == "status"
    site.ask("PATCH", "/internal/logs/subscribe", {"clientId": "asked", "enabled": True})
    for line in ("one", "two"):
        logging.getLogger("mockserver.test").warning(line)
    first, second = (json.loads(asked.recv()) for _ in range(2))
    assert (first["type"], list(first["data"])) == ("logs", ["entries", "size"])
    assert [list(entry) for entry in first["data"]["entries"]] == [["t", "m"]]
    assert first["data"]["entries"][0]["m"] == "one\n"
    assert list(first["data"]["size"]) == ["cols", "rows"]
    assert second["data"]["size"] is None
    site.post("/queue", {"clear": True})
    assert json.loads(other.recv())["type"] == "status"
    for each in (asked, other):
        each.close()


def test_system_stats_name_the_version(serve: Callable[..., Site]) -> None:
    stats = serve().get("/system_stats").json
    assert stats["system"]["comfyui_version"] == "0.3.64"
    assert [device["type"] for device in stats["devices"]] == ["cpu"]
    assert serve(profile="0.38").get("/system_stats").json["system"]["comfyui_version"] == "0.38.1"
