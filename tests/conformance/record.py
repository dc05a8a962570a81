"""Records how a ComfyUI-compatible server behaves on the wire: one JSON transcript per scenario.

    record.py BASE_URL OUTDIR [--only 1,3] [--control URL] [--launcher 'CMD {port} {args}'] [--patience SECONDS]

Scenarios 1-10 and 13 talk to BASE_URL. Scenarios 11 and 12 start servers of their own with --launcher (the
process it starts must be the server itself, so that signals reach it) and are left out without it.
"""

import argparse
import asyncio
import json
import pathlib
import shlex
import signal
import socket
import struct
import time
import uuid
import zlib

import aiohttp
import wire
from normalize import normalize
from wire import Tape

CHAIN_NODES = 40
CHAIN_SIZE = 1024
SCENARIOS = {}


def scenario(number, name):
    def keep(func):
        SCENARIOS[number] = (name, func)
        return func

    return keep


def png(width=4, height=4, rgba=(255, 0, 0, 255)):
    """A small valid RGBA PNG."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    row = b"\0" + bytes(rgba) * width
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * height))
        + chunk(b"IEND", b"")
    )


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def save_graph(color, prefix="rec", size=64, batch=1):
    return {
        "1": node("EmptyImage", width=size, height=size, batch_size=batch, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def slow_graph(color, count=CHAIN_NODES):
    graph = {"1": node("EmptyImage", width=CHAIN_SIZE, height=CHAIN_SIZE, batch_size=1, color=color)}
    last = "1"
    for i in range(1, count + 1):
        graph[f"c{i}"] = node(
            "ImageScale",
            image=[last, 0],
            upscale_method="lanczos",
            width=CHAIN_SIZE + i % 2,
            height=CHAIN_SIZE,
            crop="disabled",
        )
        last = f"c{i}"
    graph["9"] = node("PreviewImage", images=[last, 0])
    return graph


def body(graph, client=None, **extra):
    out = {"prompt": graph}
    if client:
        out["client_id"] = client
    out.update(extra)
    return out


async def submit(tape, graph, client=None, label=None, **extra):
    reply = await tape.http("POST", "/prompt", json_body=body(graph, client, **extra), label=label)
    return (reply.get("json") or {}).get("prompt_id")


def sid():
    return uuid.uuid4().hex


@scenario(1, "connect")
async def connect(tape):
    a = await tape.ws("no-client-id")
    await tape.settle()
    x = sid()
    b = await tape.ws("with-client-id", x)
    await tape.settle()
    await b.send({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    await tape.settle()
    await b.send({"type": "feature_flags", "data": {"supports_preview_metadata": False}})
    await tape.settle()
    c = await tape.ws("first-message-not-flags", sid())
    await c.send({"type": "hello"})
    await c.send({"type": "feature_flags", "data": {}})
    await tape.settle()
    d = await tape.ws("first-message-not-json", sid())
    await d.send("this is not json")
    await d.send({"type": "feature_flags", "data": {}})
    await d.send("[1]")
    await tape.settle()
    await (await tape.ws("api-prefix", sid(), path="/api/ws")).close()
    await (await tape.ws("empty-client-id", query="clientId=")).close()
    await (await tape.ws("offers-compression", sid(), compress=15)).close()
    await tape.http("GET", "/ws?clientId=plain", label="plain GET on the websocket route")
    for client in (a, b, c, d):
        await client.close()

    tape.note("the same clientId twice: who gets broadcasts and own messages")
    y = sid()
    old = await tape.ws("twice-old", y)
    await tape.settle()
    new = await tape.ws("twice-new", y)
    await tape.settle()
    await submit(tape, save_graph(tape.nonce()), y, "both open")
    await tape.idle()
    await tape.settle()
    await old.close()
    await asyncio.sleep(0.2)
    await submit(tape, save_graph(tape.nonce()), y, "after the old socket closed")
    await tape.idle()
    await tape.settle()
    await new.close()

    tape.note("reconnect with the same clientId while a prompt runs")
    z = sid()
    first = await tape.ws("reconnect-1", z)
    await tape.hold("c5")
    pid = await submit(tape, slow_graph(tape.nonce()), z)
    await first.wait("executing", node="c3")
    await first.close()
    second = await tape.ws("reconnect-2", z)
    await second.answers()
    await tape.let_go("c5")
    await second.wait("executing", node=None, prompt_id=pid)
    await tape.settle()


READ_ROUTES = [
    "/queue",
    "/prompt",
    "/history",
    "/history?max_items=1",
    "/history?max_items=x",
    "/history/00000000-0000-4000-8000-000000000000",
    "/system_stats",
    "/features",
    "/object_info/SaveImage",
    "/object_info/EmptyImage",
    "/object_info/LoadImage",
    "/object_info/PrimitiveInt",
    "/object_info/KSampler",
    "/object_info/Unknown",
    "/embeddings",
    "/models",
    "/models/checkpoints",
    "/models/unknown",
    "/users",
    "/settings",
    "/settings/Comfy.Unknown",
    "/userdata",
    "/userdata?dir=",
    "/userdata?dir=workflows",
    "/userdata?dir=../..",
    "/v2/userdata",
    "/userdata/none.json",
    "/view",
    "/view?filename=",
    "/view?filename=none.png",
    "/view?filename=none.png&type=bogus",
    "/view?filename=../../etc/passwd",
    "/view?filename=/etc/passwd",
    "/view?filename=none.png&subfolder=../..",
    "/view?filename=none.png%20[input]",
    "/view_metadata/checkpoints",
    "/view_metadata/checkpoints?filename=none.safetensors",
    "/workflow_templates",
    "/i18n",
    "/jobs",
    "/jobs?status=bogus",
    "/jobs?limit=0",
    "/jobs/00000000-0000-4000-8000-000000000000",
    "/assets",
    "/global_subgraphs",
    "/node_replacements",
]


@scenario(2, "read_routes")
async def read_routes(tape):
    await tape.http("POST", "/history", json_body={"clear": True}, quiet=True)
    for path in READ_ROUTES:
        await tape.http("GET", path)
        await tape.http("GET", "/api" + path)
    for path in ("/object_info", "/api/object_info", "/extensions", "/api/extensions"):
        reply = await tape.http("GET", path, quiet=True)
        data = reply.get("json")
        shape = sorted({k for v in data.values() for k in v}) if isinstance(data, dict) else None
        tape.add(
            kind="http",
            request={"method": "GET", "path": path},
            response={
                "status": reply.get("status"),
                "headers": reply.get("headers", {}),
                "json": {
                    "count": len(data) if data is not None else None,
                    "entry_keys": shape,
                    "type": type(data).__name__,
                },
            },
        )
    for path in (
        "/",
        "/api",
        "/api/",
        "/no/such/route",
        "/api/no_such_route",
        "/index.html",
        "/internal/logs",
        "/internal/folder_paths",
        "/internal/files/output",
        "/internal/files/bogus",
        "/internal/queue",
    ):
        reply = await tape.http("GET", path, quiet=path.startswith("/internal/") and "bogus" not in path)
        if path.startswith("/internal/") and "bogus" not in path:
            tape.add(
                kind="http",
                request={"method": "GET", "path": path},
                response={"status": reply.get("status"), "type": type(reply.get("json")).__name__},
            )
    for method, path in (
        ("GET", "/interrupt"),
        ("GET", "/free"),
        ("PUT", "/prompt"),
        ("DELETE", "/queue"),
        ("POST", "/system_stats"),
        ("POST", "/no/such/route"),
        ("OPTIONS", "/prompt"),
        ("HEAD", "/queue"),
        ("HEAD", "/"),
        ("PATCH", "/history"),
        ("POST", "/ws"),
    ):
        await tape.http(method, path)


@scenario(3, "prompt_success")
async def prompt_success(tape):
    await tape.http("POST", "/history", json_body={"clear": True}, quiet=True)
    x = sid()
    own = await tape.ws("owner", x)
    await tape.ws("other", sid())
    await tape.settle()
    pid = await submit(
        tape, save_graph(tape.nonce(), "rec_save"), x, extra_data={"extra_pnginfo": {"workflow": {"id": "w1"}}}
    )
    done = await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()
    await tape.http("GET", f"/history/{pid}")
    await tape.http("GET", "/history?max_items=1")
    await tape.http("GET", f"/jobs/{pid}")
    await tape.http("GET", f"/api/jobs/{pid}")
    await tape.http("GET", "/api/jobs?limit=1")
    await tape.http("GET", "/queue")
    image = None
    for step in own.messages:
        msg = step.get("json") or {}
        if msg.get("type") == "executed":
            image = msg["data"]["output"]["images"][0]
    if image:
        q = f"/view?filename={image['filename']}&type={image['type']}&subfolder={image['subfolder']}"
        for tail in (
            "",
            "&channel=rgb",
            "&channel=a",
            "&channel=rgba",
            "&preview=webp;90",
            "&preview=webp",
            "&preview=jpeg;70",
            "&preview=png",
            "&preview=jpeg&channel=a",
            "&preview=webp;x",
        ):
            await tape.http("GET", q + tail)
        await tape.http("GET", f"/api{q}")
        await tape.http("GET", f"/view?filename={image['filename']}", label="type left out")
        await tape.http("GET", f"/view?filename={image['filename']}&type=temp", label="wrong type")
        await tape.http("GET", q, headers={"Range": "bytes=0-7"}, label="range")
        await tape.http("HEAD", q)
        first = await tape.http("GET", q, quiet=True)
        etag = {k.lower(): v for k, v in first["headers"].items()}.get("etag")
        if etag:
            await tape.http("GET", q, headers={"If-None-Match": etag}, label="if-none-match")

    tape.note("several outputs, text output, batch of two")
    graph = {
        "1": node("EmptyImage", width=32, height=16, batch_size=2, color=tape.nonce()),
        "2": node("PreviewImage", images=["1", 0]),
        "3": node("ImageInvert", image=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="sub/dir/rec"),
        "5": node("PrimitiveInt", value=7),
        "6": node("PreviewAny", source=["5", 0]),
    }
    for key in ("2", "4", "6"):
        part = {"2": ("1", "2"), "4": ("1", "3", "4"), "6": ("5", "6")}[key]
        pid = await submit(tape, {k: graph[k] for k in part}, x, label=f"output node {key}")
        await own.wait("executing", node=None, prompt_id=pid)
        await tape.http("GET", f"/history/{pid}")
    pid = await submit(tape, graph, x, label="all three, only node 6 executed", partial_execution_targets=["6"])
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.http("GET", f"/history/{pid}")
    await tape.settle()

    tape.note("no client_id: nobody owns the messages")
    await submit(tape, save_graph(tape.nonce()))
    await tape.idle()
    await tape.settle()
    tape.note("client_id of nobody connected")
    await submit(tape, save_graph(tape.nonce()), sid())
    await tape.idle()
    await tape.settle()
    tape.note("prompt_id given by the client")
    own_id = str(uuid.uuid4())
    await submit(tape, save_graph(tape.nonce()), x, prompt_id=own_id)
    await tape.idle()
    await submit(tape, save_graph(tape.nonce()), x, label="the same prompt_id again", prompt_id=own_id)
    await tape.idle()
    await submit(tape, save_graph(tape.nonce()), x, label="prompt_id is no uuid", prompt_id="job-1")
    await tape.idle()
    await submit(tape, save_graph(tape.nonce()), x, label="prompt_id is null", prompt_id=None)
    await tape.idle()
    await tape.settle()


@scenario(4, "cached")
async def cached(tape):
    x = sid()
    own = await tape.ws("owner", x)
    color = tape.nonce()
    for label in ("first", "same again"):
        pid = await submit(tape, save_graph(color, "rec_cache"), x, label)
        await own.wait("executing", node=None, prompt_id=pid)
        await tape.settle()
        await tape.http("GET", f"/history/{pid}")
    graph = save_graph(color, "rec_cache")
    graph["2"]["inputs"]["filename_prefix"] = "rec_cache_b"
    pid = await submit(tape, graph, x, "only the output node changed")
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()
    await tape.http("POST", "/free", json_body={"free_memory": True})
    await asyncio.sleep(0.5)
    pid = await submit(tape, graph, x, "same again after /free free_memory")
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()


@scenario(5, "invalid_prompts")
async def invalid_prompts(tape):
    x = sid()
    await tape.ws("owner", x)
    await tape.settle()

    async def bad(label, graph, **extra):
        reply = await tape.http("POST", "/prompt", json_body=body(graph, x, **extra), label=label)
        if reply.get("status") == 200:
            await tape.idle()

    await tape.http("POST", "/prompt", json_body={"client_id": x}, label="no prompt key")
    await tape.http("POST", "/prompt", json_body=[], label="a list")
    await tape.http("POST", "/prompt", json_body=None, raw=b"", label="empty body")
    await tape.http("POST", "/prompt", raw=b"{not json", headers={"Content-Type": "application/json"}, label="not JSON")
    await tape.http(
        "POST",
        "/prompt",
        raw=json.dumps(body({}, x)).encode(),
        label="JSON with another content type",
        headers={"Content-Type": "text/plain"},
    )
    await bad("empty prompt", {})
    await bad("prompt is a string", "x")
    await bad("prompt is null", None)
    await bad("node is a string", {"1": "x"})
    await bad("no class_type", {"1": {"inputs": {}}})
    await bad("no inputs key", {"1": {"class_type": "EmptyImage"}, "2": {"class_type": "SaveImage"}})
    await bad("unknown class_type", {"1": node("NoSuchNode")})
    good = save_graph(5)
    await bad("no outputs", {"1": good["1"]})

    def change(key, **inputs):
        graph = json.loads(json.dumps(good))
        for k, v in inputs.items():
            if v is ...:
                del graph[key]["inputs"][k]
            else:
                graph[key]["inputs"][k] = v
        return graph

    await bad("required input missing (upstream)", change("1", width=...))
    await bad("required input missing (output node)", change("2", images=...))
    await bad("two missing", change("1", width=..., height=...))
    await bad("wrong type", change("1", width="wide"))
    await bad("null value", change("1", width=None))
    await bad("too small", change("1", width=0))
    await bad("too big", change("1", width=99999999))
    await bad("link to a missing node", change("2", images=["77", 0]))
    await bad("link to a missing slot", change("2", images=["1", 5]))
    await bad("link of length 1", change("2", images=["1"]))
    await bad(
        "link of the wrong type",
        {**good, "3": node("PrimitiveInt", value=1), "2": node("SaveImage", images=["3", 0], filename_prefix="x")},
    )
    await bad("plain value where a link is needed", change("2", images="x"))
    await bad(
        "not in list",
        {
            "1": good["1"],
            "2": node("ImageScale", image=["1", 0], upscale_method="magic", width=8, height=8, crop="disabled"),
            "3": node("PreviewImage", images=["2", 0]),
        },
    )
    await bad(
        "cycle",
        {
            "1": node("ImageInvert", image=["2", 0]),
            "2": node("ImageInvert", image=["1", 0]),
            "3": node("PreviewImage", images=["2", 0]),
        },
    )
    await bad(
        "LoadImage of a missing file",
        {"1": node("LoadImage", image="no_such_file.png"), "2": node("PreviewImage", images=["1", 0])},
    )
    await bad("unknown extra input is ignored", change("2", bogus=1))
    await bad("one good output, one bad", {**good, "3": node("SaveImage", filename_prefix="y")})
    await bad("number is no number", good, number="x")
    await bad("extra_data is null", good, extra_data=None)
    await tape.idle()
    await tape.settle()


@scenario(6, "runtime_error")
async def runtime_error(tape):
    x = sid()
    own = await tape.ws("owner", x)
    await tape.ws("other", sid())
    name = f"rec_broken_{tape.nonce()}.png"
    await tape.http("POST", "/upload/image", form=[("image", b"this is not an image", name, "image/png")])
    graph = {
        "1": node("EmptyImage", width=32, height=32, batch_size=1, color=tape.nonce()),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("LoadImage", image=name),
        "4": node("ImageBlend", image1=["2", 0], image2=["3", 0], blend_factor=0.5, blend_mode="normal"),
        "5": node("SaveImage", images=["4", 0], filename_prefix="rec_err"),
    }
    for label in ("first", "same again"):
        pid = await submit(tape, graph, x, label)
        await own.wait("executing", node=None, prompt_id=pid)
        await tape.settle()
        await tape.http("GET", f"/history/{pid}")
        await tape.http("GET", f"/api/jobs/{pid}")
    tape.note("a prompt after an error runs normally")
    pid = await submit(tape, save_graph(tape.nonce()), x)
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()
    tape.note("error without a client_id")
    pid = await submit(tape, graph)
    await tape.idle()
    await tape.settle()
    await tape.http("GET", f"/history/{pid}")


@scenario(7, "interrupt_and_queue")
async def interrupt_and_queue(tape):
    await tape.http("POST", "/history", json_body={"clear": True}, quiet=True)
    x = sid()
    own = await tape.ws("owner", x)
    await tape.ws("other", sid())
    await tape.settle()
    tape.note("interrupt with an empty queue")
    await tape.http("POST", "/interrupt")
    await tape.http("POST", "/interrupt", json_body={"prompt_id": "unknown"})
    await tape.http("POST", "/interrupt", raw=b"{bad", headers={"Content-Type": "application/json"})
    await tape.settle()

    async def start(label, **extra):
        await tape.hold("c5")
        pid = await submit(tape, slow_graph(tape.nonce()), x, label, **extra)
        await own.wait("executing", node="c3", prompt_id=pid)
        return pid

    async def interrupt(**body):
        await tape.http("POST", "/interrupt", **body)
        await tape.let_go("c5")

    tape.note("global interrupt")
    pid = await start("slow")
    await interrupt(json_body={})
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()
    await tape.http("GET", f"/history/{pid}")
    await tape.http("GET", f"/api/jobs/{pid}")

    tape.note("interrupt of a prompt without a client_id")
    await tape.hold("c5")
    pid = await submit(tape, slow_graph(tape.nonce()))
    await own.wait("progress_state", prompt_id=pid, nodes=lambda nodes: "c3" in nodes)
    await interrupt()
    await tape.idle()
    await tape.settle()

    tape.note("interrupt of another prompt_id, then of the matching one")
    pid = await start("slow")
    await tape.http("POST", "/interrupt", json_body={"prompt_id": str(uuid.uuid4())})
    await tape.hold("c9")
    await tape.let_go("c5")
    await own.wait("executing", node="c7", prompt_id=pid)
    await tape.http("POST", "/interrupt", json_body={"prompt_id": pid})
    await tape.let_go("c9")
    await own.wait("executing", node=None, prompt_id=pid)
    await tape.settle()

    tape.note("queue of four while one runs: order, front, number, delete, clear")
    run = await start("running")
    small = lambda: save_graph(tape.nonce(), "rec_q")
    p1 = await submit(tape, small(), x, "plain 1")
    p2 = await submit(tape, small(), x, "plain 2")
    p3 = await submit(tape, small(), x, "front", front=True)
    p4 = await submit(tape, small(), x, "number 0.5", number=0.5)
    p5 = await submit(tape, small(), x, "front again", front=True)
    await tape.http("GET", "/queue", label="one running, five waiting", quiet=True)
    reply = await tape.http("GET", "/queue", quiet=True)
    names = {run: "running", p1: "plain 1", p2: "plain 2", p3: "front", p4: "number 0.5", p5: "front again"}
    queue = reply.get("json") or {}
    tape.note(
        "queue contents",
        running=[
            [
                i[0] if isinstance(i[0], float) and i[0] != int(i[0]) else type(i[0]).__name__,
                names.get(i[1]),
                len(i),
                sorted(i[3]),
            ]
            for i in queue.get("queue_running", [])
        ],
        pending=sorted(names.get(i[1], "?") for i in queue.get("queue_pending", [])),
    )
    await tape.http("GET", "/prompt")
    await tape.http("POST", "/queue", json_body={"delete": [p2]}, label="delete a waiting one")
    await tape.http("POST", "/queue", json_body={"delete": [run]}, label="delete the running one")
    await tape.http("POST", "/queue", json_body={"delete": ["unknown"]}, label="delete an unknown one")
    await interrupt()
    await tape.idle()
    await tape.settle()
    order = []
    for step in own.messages:
        msg = step.get("json") or {}
        if msg.get("type") == "execution_start" and msg["data"]["prompt_id"] in names:
            order.append(names[msg["data"]["prompt_id"]])
    tape.note("order of execution", order=order)

    tape.note("clear the queue while one runs")
    await start("running")
    await submit(tape, small(), x)
    await submit(tape, small(), x)
    await tape.http("POST", "/queue", json_body={"clear": True})
    await tape.http("POST", "/queue", json_body={"clear": False}, label="clear false")
    await tape.http("POST", "/queue", json_body={}, label="nothing asked")
    await tape.http("POST", "/queue", raw=b"", label="empty body")
    await interrupt()
    await tape.idle()
    await tape.settle()

    tape.note("delete the only waiting one")
    await start("running")
    only = await submit(tape, small(), x)
    await tape.http("POST", "/queue", json_body={"delete": [only]})
    await interrupt()
    await tape.idle()
    await tape.settle()

    tape.note("the same number and prompt_id twice in the queue")
    await start("running")
    twin = str(uuid.uuid4())
    await submit(tape, small(), x, "twin", number=1, prompt_id=twin)
    await submit(tape, small(), x, "twin", number=1, prompt_id=twin)
    await tape.http("POST", "/queue", json_body={"clear": True})
    await interrupt()
    await tape.idle()
    await tape.settle()

    tape.note("jobs API")
    pid = await start("running")
    waiting = await submit(tape, small(), x)
    await tape.http("GET", f"/api/jobs/{waiting}")
    await tape.http("POST", f"/api/jobs/{waiting}/cancel")
    await tape.http("POST", f"/api/jobs/{pid}/cancel")
    await tape.http("POST", "/api/jobs/cancel", json_body={"job_ids": ["x"]})
    await tape.http("POST", "/queue", json_body={"clear": True})
    await interrupt()
    await tape.idle()
    await tape.settle()

    tape.note("history deletion")
    reply = await tape.http("GET", "/history", quiet=True)
    ids = list(reply.get("json") or {})
    tape.note("history keys in order", count=len(ids))
    for query in (
        "?max_items=2",
        "?max_items=2&offset=0",
        "?max_items=2&offset=1",
        "?max_items=0",
        "?offset=3",
        "?max_items=-1",
    ):
        reply = await tape.http("GET", "/history" + query, quiet=True)
        got = list(reply.get("json") or {})
        tape.note("history" + query, status=reply.get("status"), positions=[ids.index(i) for i in got if i in ids])
    await tape.http("POST", "/history", json_body={"delete": [ids[0], "unknown"]} if ids else {"delete": []})
    reply = await tape.http("GET", "/history", quiet=True)
    tape.note("after delete", left=len(reply.get("json") or {}))
    await tape.http("POST", "/history", json_body={"clear": True})
    await tape.http("GET", "/history")
    await tape.settle()


@scenario(8, "disconnect_mid_run")
async def disconnect_mid_run(tape):
    x = sid()
    first = await tape.ws("owner-1", x)
    await tape.ws("other", sid())
    await tape.settle()
    for how in ("close", "abort"):
        tape.note(f"owner leaves by {how}")
        await tape.hold("c5")
        pid = await submit(tape, slow_graph(tape.nonce()), x)
        await first.wait("executing", node="c3", prompt_id=pid)
        await getattr(first, how)()
        await asyncio.sleep(0.3)
        again = await tape.ws(f"owner-after-{how}", x)
        await again.answers()
        await tape.let_go("c5")
        await again.wait("executing", node=None, prompt_id=pid)
        await tape.settle()
        await tape.http("GET", f"/history/{pid}", quiet=True)
        first = again
    tape.note("owner comes back when the prompt has ended")
    await tape.hold("c5")
    pid = await submit(tape, slow_graph(tape.nonce(), 10), x)
    await first.wait("executing", node="c3", prompt_id=pid)
    await first.close()
    await tape.let_go("c5")
    await tape.idle()
    await tape.ws("owner-late", x)
    await tape.settle()
    reply = await tape.http("GET", f"/history/{pid}", quiet=True)
    entry = (reply.get("json") or {}).get(pid) or {}
    tape.note(
        "history of the prompt the owner missed",
        status=(entry.get("status") or {}).get("status_str"),
        messages=[m[0] for m in (entry.get("status") or {}).get("messages", [])],
    )


@scenario(9, "binary")
async def binary(tape):
    info = (await tape.http("GET", "/object_info/SaveImageWebsocket", quiet=True)).get("json") or {}
    if "SaveImageWebsocket" in info:
        for label, flags in (
            ("old-client", None),
            ("flags-true", {"supports_preview_metadata": True}),
            ("flags-false", {"supports_preview_metadata": False}),
            ("flags-one", {"supports_preview_metadata": 1}),
        ):
            x = sid()
            own = await tape.ws(label, x, features=flags)
            other = await tape.ws(label + "-other", sid())
            await tape.settle()
            graph = {
                "1": node("EmptyImage", width=48, height=24, batch_size=2, color=tape.nonce()),
                "2": node("SaveImageWebsocket", images=["1", 0]),
            }
            pid = await submit(tape, graph, x, label)
            await own.wait("executing", node=None, prompt_id=pid)
            await tape.settle()
            if flags is None:
                await tape.http("GET", f"/history/{pid}")
                pid = await submit(tape, graph, x, "same again: it never comes from the cache")
                await own.wait("executing", node=None, prompt_id=pid)
                await tape.settle()
            await own.close()
            await other.close()
        other = await tape.ws("bystander", sid())
        tape.note("no client_id")
        await submit(tape, graph)
        await tape.idle()
        await tape.settle()
        await other.close()
    else:
        tape.note("server has no SaveImageWebsocket")

    info = (await tape.http("GET", "/object_info/RefTinyModel", quiet=True)).get("json") or {}
    if "RefTinyModel" in info:
        for label, flags in (("sampler-old", None), ("sampler-new", {"supports_preview_metadata": True})):
            x = sid()
            own = await tape.ws(label, x, features=flags)
            await tape.settle()
            graph = {
                "1": node("RefTinyModel", seed=tape.nonce()),
                "2": node("EmptyHunyuanLatentVideo", width=64, height=64, length=1, batch_size=1),
                "3": node(
                    "KSampler",
                    model=["1", 0],
                    seed=1,
                    steps=3,
                    cfg=1.0,
                    sampler_name="euler",
                    scheduler="simple",
                    positive=["1", 1],
                    negative=["1", 1],
                    latent_image=["2", 0],
                    denoise=1.0,
                ),
                "4": node("RefProgressText", value=["3", 0], text="hello"),
                "5": node("SaveLatent", samples=["4", 0], filename_prefix="rec_latent"),
            }
            pid = await submit(tape, graph, x, label)
            await own.wait("executing", node=None, prompt_id=pid)
            await tape.settle()
            await tape.http("GET", f"/history/{pid}")
            await own.close()


@scenario(10, "uploads_and_settings")
async def uploads_and_settings(tape):
    tag = tape.nonce()
    red, blue = png(), png(rgba=(0, 0, 255, 255))

    async def upload(label, data=red, filename=f"rec_{tag}.png", route="/upload/image", **fields):
        form = [("image", data, filename, "image/png")] + list(fields.items())
        await tape.http("POST", route, form=form, label=label)

    await upload("new")
    await upload("same name, same content")
    await upload("same name, other content", blue)
    await upload("same name, other content once more", png(rgba=(0, 255, 0, 255)))
    await upload("overwrite", blue, overwrite="true")
    await upload("overwrite=1", blue, overwrite="1")
    await upload("overwrite=false", red, overwrite="false")
    await upload("subfolder", subfolder="rec/deep")
    await upload("subfolder with ..", subfolder="../../up")
    await upload("absolute subfolder", subfolder="/etc")
    await upload("type temp", type="temp")
    await upload("type output", type="output")
    await upload("type bogus", type="bogus")
    await upload("filename with ..", filename="../../evil.png")
    await upload("filename with a folder", filename="rec_dir/evil.png")
    await upload("empty filename", filename="")
    await upload("no image bytes", b"")
    await upload("api prefix", route="/api/upload/image", filename=f"rec_api_{tag}.png")
    await tape.http("POST", "/upload/image", form=[("other", "x")], label="no image field")
    await tape.http("POST", "/upload/image", json_body={"image": "x"}, label="JSON instead of a form")
    await tape.http("POST", "/upload/image", raw=b"", label="empty body")
    await tape.http("GET", f"/view?filename=rec_{tag}.png&type=input")
    await tape.http("GET", f"/view?filename=rec_{tag}.png&type=input&subfolder=rec/deep")
    await tape.http("GET", f"/view?filename=rec_{tag}.png%20[input]", label="annotated name")

    async def mask(label, ref, filename=f"rec_mask_{tag}.png"):
        await tape.http(
            "POST",
            "/upload/mask",
            label=label,
            form=[("image", png(rgba=(0, 0, 0, 0)), filename, "image/png"), ("original_ref", ref)],
        )

    await mask("mask", json.dumps({"filename": f"rec_{tag}.png", "subfolder": "", "type": "input"}))
    await tape.http("GET", f"/view?filename=rec_mask_{tag}.png&type=input")
    await mask(
        "mask of an unknown image", json.dumps({"filename": "none.png", "type": "input"}), f"rec_mask2_{tag}.png"
    )
    await mask("mask with a bad original_ref", "not json", f"rec_mask3_{tag}.png")
    await tape.http(
        "POST",
        "/upload/mask",
        label="mask without original_ref",
        form=[("image", red, f"rec_mask4_{tag}.png", "image/png")],
    )

    await tape.http("POST", "/free", json_body={"unload_models": True, "free_memory": True})
    await tape.http("POST", "/free", json_body={})
    await tape.http("POST", "/free", raw=b"", label="empty body")
    await tape.http("POST", "/settings", json_body={"Rec.A": 1, "Rec.B": "x"})
    await tape.http("GET", "/settings/Rec.A")
    await tape.http("POST", "/settings/Rec.A", json_body={"deep": [1]})
    await tape.http("GET", "/settings")
    await tape.http("POST", "/settings", raw=b"{bad", label="bad JSON")
    await tape.http("POST", "/users", json_body={"username": "rec"}, label="users in single-user mode")
    await tape.http("POST", "/userdata/rec.json", raw=b'{"a": 1}', label="put")
    await tape.http("GET", "/userdata/rec.json")
    await tape.http("POST", "/userdata/rec.json?overwrite=false", raw=b"x", label="no overwrite")
    await tape.http("POST", "/userdata/rec.json?full_info=true", raw=b"xyz", label="full info")
    await tape.http("POST", "/userdata/workflows%2Frec.json", raw=b"{}", label="in a folder")
    await tape.http("POST", "/userdata/..%2F..%2Fevil.json", raw=b"{}", label="traversal")
    await tape.http("GET", "/userdata?dir=workflows")
    await tape.http("GET", "/userdata?dir=workflows&full_info=true")
    await tape.http("GET", "/userdata?dir=workflows&split=true&recurse=true")
    await tape.http("POST", "/userdata/rec.json/move/workflows%2Frec2.json", label="move")
    await tape.http("POST", "/userdata/rec.json/move/rec3.json", label="move a missing file")
    await tape.http("GET", "/v2/userdata?path=workflows")
    await tape.http("DELETE", "/userdata/workflows%2Frec2.json")
    await tape.http("DELETE", "/userdata/workflows%2Frec.json")
    await tape.http("DELETE", "/userdata/workflows%2Frec.json", label="again")
    limit = int(((await tape.http("GET", "/features", quiet=True)).get("json") or {}).get("max_upload_size", 0))
    if 0 < limit <= 128 << 20:
        await tape.http(
            "POST",
            "/prompt",
            raw=b" " * (limit + 1024),
            label="body over the limit",
            headers={"Content-Type": "application/json"},
        )


def stalled_websocket(base, client_id):
    """A websocket that is opened and then never read, with a small receive buffer."""
    host, port = base.split("//", 1)[1].split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(10)
    raw.connect((host, int(port)))
    raw.sendall(
        (
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += raw.recv(1)
    return raw


@scenario(13, "stalled_reader")
async def stalled_reader(tape):
    tape.note("the owner of a prompt never reads its websocket; what does everybody else see?")
    x = sid()
    stalled = await asyncio.to_thread(stalled_websocket, tape.base, x)
    by = await tape.ws("bystander", sid())
    await tape.settle()
    graph = {"1": node("EmptyImage", width=16, height=16, batch_size=1, color=tape.nonce())}
    for i in range(1, 301):
        graph[f"c{i}"] = node("ImageInvert", image=["1" if i == 1 else f"c{i - 1}", 0])
    graph["9"] = node("PreviewImage", images=["c300", 0])
    reply = await tape.http("POST", "/prompt", json_body=body(graph, x), show_request=False)
    pid = reply["json"]["prompt_id"]
    await tape.idle()
    entry = ((await tape.http("GET", f"/history/{pid}", quiet=True)).get("json") or {}).get(pid) or {}
    await asyncio.sleep(2)
    tape.note(
        "2 s after the prompt ended",
        history=(entry.get("status") or {}).get("status_str"),
        bystander_got_the_last_status=any(
            (m.get("json") or {}).get("type") == "status"
            and "sid" not in m["json"]["data"]
            and m["json"]["data"]["status"]["exec_info"]["queue_remaining"] == 0
            for m in by.messages
        ),
    )
    new = await tape.ws("newcomer", sid())
    await tape.settle(500)
    tape.note("the stalled websocket is closed now")
    stalled.close()
    await by.wait("status", since=len(by.messages))
    await tape.settle()
    await new.close()


def held_port():
    """A socket that is bound and never listens: a server can listen on its port, and nobody else is given it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Server:
    """A server of our own, started with the launcher."""

    launcher = None

    def __init__(self, args=""):
        self.holder, self.args = held_port(), args
        self.port = self.holder.getsockname()[1]

    async def __aenter__(self):
        command = shlex.split(self.launcher.format(port=self.port, args=self.args))
        started = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{self.port}"
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - started < 120 and self.process.returncode is None:
                try:
                    async with session.get(self.base + "/queue") as reply:
                        if reply.status < 500:
                            break
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.05)
        self.ready_ms = round((time.monotonic() - started) * 1000)
        return self

    def rss_kb(self):
        try:
            for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1])
        except OSError:
            return None

    async def stop(self, sig):
        self.process.send_signal(sig)
        began = time.monotonic()
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        except (asyncio.TimeoutError, TimeoutError):
            return None, None
        return self.process.returncode, round((time.monotonic() - began) * 1000)

    async def __aexit__(self, *exc):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.holder.close()


@scenario(11, "server_stop")
async def server_stop(tape):
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        for busy in (False, True):
            name = f"{sig.name}-{'busy' if busy else 'idle'}"
            async with Server() as server:
                tape.base = server.base
                x = sid()
                own = await tape.ws(name, x)
                await tape.settle()
                ready_ms, rss = server.ready_ms, server.rss_kb()
                if busy:
                    pid = await submit(tape, slow_graph(tape.nonce()), x)
                    await own.wait("executing", node="c3", prompt_id=pid)
                sent = tape.now()
                code, took = await server.stop(sig)
                await own.wait_closed()
                tape.note(
                    f"{name}: exit",
                    exit_code=code,
                    exit_took_ms=took,
                    signal_to_close_ms=round(tape.now() - sent),
                    start_ready_ms=ready_ms,
                    rss_kb_ms=rss,
                )
                if code is not None:
                    await tape.ws(name + "-after", x)


@scenario(12, "origin_cors_users_limits")
async def origin_cors_users_limits(tape):
    async def checks(server, tag):
        own = f"127.0.0.1:{server.port}"
        for label, headers in (
            ("other origin", {"Origin": "http://example.com"}),
            ("own origin", {"Origin": f"http://{own}"}),
            ("own host, other port", {"Origin": "http://127.0.0.1:1"}),
            ("own host, no port", {"Origin": "http://127.0.0.1"}),
            ("localhost origin", {"Origin": f"http://localhost:{server.port}"}),
            ("null origin", {"Origin": "null"}),
            ("other host, same origin", {"Host": "example.com", "Origin": "http://example.com"}),
            ("other host, no origin", {"Host": "example.com"}),
            ("other host, other origin", {"Host": "example.com", "Origin": "http://evil.org"}),
            ("localhost host, other origin", {"Host": f"localhost:{server.port}", "Origin": "http://evil.org"}),
            ("sec-fetch-site cross-site", {"Sec-Fetch-Site": "cross-site"}),
            ("sec-fetch-site same-origin", {"Sec-Fetch-Site": "same-origin"}),
            ("sec-fetch-site cross-site, own origin", {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{own}"}),
        ):
            await tape.http("GET", "/queue", headers=headers, label=f"{tag}: {label}")
        await tape.http(
            "POST", "/queue", headers={"Origin": "http://example.com"}, json_body={}, label=f"{tag}: POST other origin"
        )
        await tape.http(
            "OPTIONS",
            "/prompt",
            headers={"Origin": "http://example.com", "Access-Control-Request-Method": "POST"},
            label=f"{tag}: preflight other origin",
        )
        await tape.http("OPTIONS", "/prompt", label=f"{tag}: OPTIONS")
        await tape.http("GET", "/no/such/route", label=f"{tag}: unknown route")
        for label, headers in (("other", {"Origin": "http://example.com"}), ("own", {"Origin": f"http://{own}"})):
            ws = await tape.ws(f"{tag}-ws-{label}-origin", sid(), headers=headers)
            await tape.settle(100)
            await ws.close()

    async with Server() as server:
        tape.base = server.base
        await checks(server, "default")
    async with Server("--enable-cors-header") as server:
        tape.base = server.base
        await checks(server, "cors *")
    async with Server("--enable-cors-header http://my.site --enable-compress-response-body") as server:
        tape.base = server.base
        await checks(server, "cors site")
        await tape.http("GET", "/object_info/KSampler", headers={"Accept-Encoding": "gzip"}, label="compressed body")
    async with Server("--multi-user --max-upload-size 1") as server:
        tape.base = server.base
        await tape.http("GET", "/users", label="multi-user, nobody yet")
        for path in ("/settings", "/userdata?dir=workflows", "/v2/userdata", "/queue", "/system_stats"):
            await tape.http("GET", path, label="multi-user, no comfy-user header")
        user = (await tape.http("POST", "/users", json_body={"username": "rec"})).get("json")
        await tape.http("POST", "/users", json_body={"username": "rec"}, label="the same again")
        await tape.http("POST", "/users", json_body={"username": " "}, label="empty name")
        await tape.http("GET", "/users")
        await tape.http("GET", "/settings", headers={"comfy-user": str(user)})
        await tape.http("POST", "/settings", headers={"comfy-user": str(user)}, json_body={"a": 1})
        await tape.http("GET", "/settings", headers={"comfy-user": str(user)})
        await tape.http("GET", "/settings", headers={"comfy-user": "nobody"})
        await tape.http("GET", "/features")
        big = b"x" * (2 << 20)
        await tape.http(
            "POST", "/upload/image", form=[("image", big, "big.png", "image/png")], label="upload over the limit"
        )
        await tape.http(
            "POST", "/prompt", raw=big, label="prompt over the limit", headers={"Content-Type": "application/json"}
        )
        await tape.http(
            "POST", "/userdata/big.bin", raw=big, headers={"comfy-user": str(user)}, label="userdata over the limit"
        )
        await tape.http("POST", "/interrupt", raw=big, label="interrupt over the limit")
        ws = await tape.ws("big-message", sid())
        await tape.settle()
        try:
            await ws.ws.send_str("y" * (5 << 20))
        except (aiohttp.ClientError, ConnectionError):
            pass
        tape.note("a text message of 5 MiB was sent")
        await ws.wait_closed()


async def run(base, outdir, only, control):
    for number, (name, func) in sorted(SCENARIOS.items()):
        if only and number not in only:
            continue
        if number in (11, 12) and not Server.launcher:
            continue
        tape = Tape(name, base, control)
        failure = None
        async with tape:
            try:
                if number not in (11, 12):
                    await tape.idle()
                await func(tape)
            except Exception:  # keep what was recorded so far
                import traceback

                failure = traceback.format_exc()
                print(failure)
        raw = {
            "scenario": name,
            "number": number,
            "base": base,
            "nonces": tape.nonces,
            "failure": failure,
            "steps": tape.steps,
        }
        stem = outdir / f"{number:02d}_{name}"
        stem.with_suffix(".raw.json").write_text(json.dumps(raw, indent=1) + "\n")
        stem.with_suffix(".norm.json").write_text(json.dumps(normalize(raw), indent=1) + "\n")
        print(
            f"{number:2d} {name}: {len(tape.steps)} steps, {tape.now() / 1000:.1f} s{' FAILED' if failure else ''}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("outdir", type=pathlib.Path)
    parser.add_argument("--only", default="", help="scenario numbers, comma separated")
    parser.add_argument("--control", help="URL of a mock server's control API: its slow prompts wait for the recorder")
    parser.add_argument("--launcher", help="command with {port} and {args} that starts a server in the foreground")
    parser.add_argument(
        "--patience", type=float, default=60, help="longest wait for one message, in seconds (default 60)"
    )
    args = parser.parse_args()
    wire.PATIENCE = args.patience
    args.outdir.mkdir(parents=True, exist_ok=True)
    Server.launcher = args.launcher
    asyncio.run(run(args.base, args.outdir, {int(n) for n in args.only.split(",") if n}, args.control))


if __name__ == "__main__":
    main()
