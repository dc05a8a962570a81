"""Journals for tests of the timeline, written by hand: their moments are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ComfyMockLibrary.engine.timeline.files import JournalFile

Json = dict[str, Any]

BOOT = "11111111-2222-3333-4444-555555555555"
BEGIN = 1000.0


def journal(at: float, *records: Json, boot: str = BOOT, **party: Any) -> JournalFile:
    """A journal whose anchor is at a moment; moments of all records count from the same beginning."""
    wall = f"2026-01-02T03:04:{at:09.6f}+00:00"
    anchor = {"at": BEGIN + at, "kind": "journal", "format": 1, "boot_id": boot, "monotonic": BEGIN + at, "wall": wall}
    name = str(party.get("client") or party.get("server") or party.get("life_id"))
    return JournalFile(Path(name), {**anchor, **party}, [{**each, "at": BEGIN + each["at"]} for each in records])


def life(at: float, *records: Json, life_id: str = "life-a", pid: int = 101, port: int = 8188) -> JournalFile:
    """A life that is ready at once."""
    ready = {"at": at, "kind": "life", "state": "ready", "port": port, "control_url": "http://127.0.0.1:1"}
    return journal(at, ready, *records, party="server", life_id=life_id, pid=pid)


def client(at: float, *records: Json, alias: str = "one", client_id: str = "id-1") -> JournalFile:
    """A client of this library."""
    return journal(at, *records, party="client", client=alias, client_id=client_id)


def outside(at: float, *records: Json, alias: str = "main", port: int = 8188) -> JournalFile:
    """What the library has seen of a server."""
    return journal(at, *records, party="library", server=alias, port=port)


def begun(at: float, number: int, life_id: str, pid: int = 101) -> Json:
    return {"at": at, "kind": "life_begun", "life_id": life_id, "number": number, "pid": pid}


def over(at: float, life_id: str, status: int) -> Json:
    return {"at": at, "kind": "life_over", "life_id": life_id, "status": status}


def order(at: float, life_id: str, what: str) -> Json:
    return {"at": at, "kind": "order", "life_id": life_id, "order": what}


def event(at: float, name: str, source: str = "client", life_id: str | None = "life-a", **data: Any) -> Json:
    return {"at": at, "kind": "event", "index": 0, "name": name, "source": source, "data": data, "life_id": life_id}


def prompt(at: float, prompt_id: str, state: str) -> Json:
    return {"at": at, "kind": "prompt", "prompt_id": prompt_id, "state": state, "client_id": "id-1"}


def fault_set(at: float, fault: str, kind: str, **more: Any) -> Json:
    return {"at": at, "kind": "fault_set", "fault": fault, "seed": 1, "description": {"fault": kind, **more}}


def opened(at: float, socket: int, client_id: str, port: int = 5000) -> Json:
    remote = f"127.0.0.1:{port}"
    return {
        "at": at,
        "kind": "socket_opened",
        "socket": socket,
        "client_id": client_id,
        "ordinal": 1,
        "remote": remote,
    }


def closed(at: float, socket: int, client_id: str, by: str = "client", code: int | None = 1000) -> Json:
    return {"at": at, "kind": "socket_closed", "socket": socket, "client_id": client_id, "code": code, "closed_by": by}


def handshake(at: float, number: int, client_id: str | None, port: int = 5000) -> Json:
    query = "" if client_id is None else f"?clientId={client_id}"
    return request(at, number, "GET", f"/ws{query}", {"Upgrade": "websocket"}, port)


def request(at: float, number: int, method: str, path: str, headers: Json | None = None, port: int = 5000) -> Json:
    return {
        "at": at,
        "kind": "request",
        "request": number,
        "method": method,
        "path": path,
        "headers": headers or {},
        "remote": f"127.0.0.1:{port}",
        "length": None,
        "body": None,
    }


def answer(at: float, number: int, status: int | None) -> Json:
    return {"at": at, "kind": "answer", "request": number, "status": status, "seconds": 0.01, "headers": {}, "body": ""}


def sent(at: float, kind: str, *sockets: int, **data: Any) -> Json:
    return {"at": at, "kind": "message_sent", "type": kind, "data": data, "sockets": list(sockets)}


def written(directory: Path, *journals: JournalFile) -> list[Path]:
    """The journals as files."""
    paths = []
    for number, each in enumerate(journals):
        path = directory / f"{number}.journal.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in (each.anchor, *each.records)), "utf-8")
        paths.append(path)
    return paths
