"""Low level pieces of the recorder: HTTP and websocket capture into one ordered list of steps."""

import asyncio
import json
import struct
import time
import uuid

import aiohttp

BODY_LIMIT = 200_000
PATIENCE = 60  # seconds that a wait lasts at most; lower it for a server that is not finished


def image_info(data: bytes):
    """Format, size and PNG text keys of an encoded image, or None."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 26:
        width, height = struct.unpack(">II", data[16:24])
        info = {"format": "png", "width": width, "height": height, "bit_depth": data[24], "color_type": data[25]}
        keys, pos = [], 8
        while pos + 8 <= len(data):
            size, kind = struct.unpack(">I4s", data[pos : pos + 8])
            if kind in (b"tEXt", b"iTXt", b"zTXt"):
                keys.append(data[pos + 8 : pos + 8 + size].split(b"\0", 1)[0].decode("latin-1"))
            pos += 12 + size
        info["text_keys"] = keys
        return info
    if data[:3] == b"\xff\xd8\xff":
        pos = 2
        while pos + 9 < len(data):
            if data[pos] != 0xFF:
                break
            marker, size = data[pos + 1], struct.unpack(">H", data[pos + 2 : pos + 4])[0]
            if marker in (0xC0, 0xC1, 0xC2):
                height, width = struct.unpack(">HH", data[pos + 5 : pos + 9])
                return {"format": "jpeg", "width": width, "height": height}
            pos += 2 + size
        return {"format": "jpeg"}
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        kind = data[12:16]
        if kind == b"VP8 ":
            width, height = (x & 0x3FFF for x in struct.unpack("<HH", data[26:30]))
        elif kind == b"VP8L":
            bits = struct.unpack("<I", data[21:25])[0]
            width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        else:
            width = int.from_bytes(data[24:27], "little") + 1
            height = int.from_bytes(data[27:30], "little") + 1
        return {"format": "webp", "chunk": kind.decode().strip(), "width": width, "height": height}
    return None


def describe_bytes(data: bytes):
    out = {"bytes": len(data), "head_hex": data[:16].hex()}
    info = image_info(data)
    if info:
        out["image"] = info
    return out


def describe_frame(data: bytes):
    """A binary websocket message, decoded by its 4-byte big-endian event type."""
    out = {"bytes": len(data), "head_hex": data[:16].hex()}
    if len(data) < 4:
        return out
    event = struct.unpack(">I", data[:4])[0]
    out["event"] = event
    rest = data[4:]
    if event == 1 and len(rest) >= 4:
        out["image_type"] = struct.unpack(">I", rest[:4])[0]
        out["payload"] = describe_bytes(rest[4:])
    elif event == 3 and len(rest) >= 4:
        size = struct.unpack(">I", rest[:4])[0]
        out["node_id"] = rest[4 : 4 + size].decode("utf-8", "replace")
        out["text"] = rest[4 + size :].decode("utf-8", "replace")
    elif event == 4 and len(rest) >= 4:
        size = struct.unpack(">I", rest[:4])[0]
        out["metadata_length"] = size
        try:
            out["metadata"] = json.loads(rest[4 : 4 + size])
        except ValueError:
            out["metadata"] = None
        out["payload"] = describe_bytes(rest[4 + size :])
    else:
        out["payload"] = describe_bytes(rest)
    return out


class Tape:
    """The ordered transcript of one scenario."""

    def __init__(self, name, base, control=None):
        self.name, self.base, self.control = name, base.rstrip("/"), control
        self.t0 = time.monotonic()
        self.steps = []
        self.nonces = []
        self.clients = []
        self.session = None

    def now(self):
        return round((time.monotonic() - self.t0) * 1000, 1)

    def add(self, **step):
        self.steps.append({"t_ms": self.now(), **step})
        return self.steps[-1]

    def note(self, text, **data):
        return self.add(kind="note", note=text, **data)

    def nonce(self):
        """An INT that differs between runs, so that nothing is served from the server's cache."""
        value = 1_000_000 + uuid.uuid4().int % 15_000_000
        self.nonces.append(value)
        return value

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=120), connector=aiohttp.TCPConnector(limit=0, force_close=True)
        )
        return self

    async def __aexit__(self, *exc):
        for client in self.clients:
            await client.close()
        await self.session.close()

    async def http(
        self,
        method,
        path,
        *,
        json_body=None,
        raw=None,
        form=None,
        headers=None,
        label=None,
        show_request=True,
        quiet=False,
    ):
        """One HTTP exchange; `path` is sent exactly as given (no re-quoting)."""
        from yarl import URL

        kwargs, shown = {}, None
        if json_body is not None:
            kwargs["json"], shown = json_body, {"json": json_body}
        elif raw is not None:
            kwargs["data"] = raw
            shown = {"raw": raw.decode("latin-1")} if len(raw) < 400 else {"raw_bytes": len(raw)}
        elif form is not None:
            data = aiohttp.FormData(quote_fields=False)
            shown = {"form": []}
            for field, value, *file in form:
                if file:
                    data.add_field(field, value, filename=file[0], content_type=file[1])
                    shown["form"].append(
                        {"name": field, "filename": file[0], "content_type": file[1], "bytes": len(value)}
                    )
                else:
                    data.add_field(field, value)
                    shown["form"].append({"name": field, "value": value})
            kwargs["data"] = data
        sent = self.now()
        request = {"method": method, "path": path}
        if headers:
            request["headers"] = dict(headers)
        if shown is not None and show_request:
            request["body"] = shown
        try:
            async with self.session.request(
                method, URL(self.base + path, encoded=True), headers=headers, allow_redirects=False, **kwargs
            ) as reply:
                data = await reply.read()
                response = {
                    "status": reply.status,
                    "reason": reply.reason,
                    "headers": {k: v for k, v in reply.headers.items()},
                }
                response.update(self._body(reply.headers.get("Content-Type", ""), data))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as err:
            data, response = b"", {"error": type(err).__name__, "detail": str(err)}
        step = dict(kind="http", request=request, response=response, took_ms=round(self.now() - sent, 1))
        if label:
            step["label"] = label
        if not quiet:
            self.add(**step)
        return response

    @staticmethod
    def _body(content_type, data):
        if not data:
            return {"body": None}
        if content_type.startswith("application/json"):
            try:
                return {"json": json.loads(data)}
            except ValueError:
                pass
        if content_type.startswith("text/") and len(data) < BODY_LIMIT:
            text = data.decode("utf-8", "replace")
            return {"text": text if len(text) < 600 else text[:200] + "...", "bytes": len(data)}
        return {"binary": describe_bytes(data)}

    async def ws(self, name, client_id=None, path="/ws", headers=None, features=None, compress=0, query=None):
        client = Socket(self, name)
        await client.open(path, client_id, headers, features, compress, query)
        return client

    async def settle(self, quiet_ms=250):
        """Wait until no websocket message has arrived for `quiet_ms`, nor before the answer to a ping after that."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            before = len(self.steps)
            await asyncio.sleep(quiet_ms / 1000)
            for client in self.clients:
                await client.answers()
            if len(self.steps) == before:
                return

    async def hold(self, node):
        """Let prompts of a mock server stand still at a node; those of a real one are slow enough by themselves."""
        if self.control:
            await self._order("POST", "/faults", {"fault": "hold_execution", "node": node, "id": node})

    async def let_go(self, node):
        """Let the prompt go on that stands still there."""
        if self.control:
            await self._order("DELETE", f"/faults/{node}")

    async def _order(self, method, path, order=None):
        async with self.session.request(method, self.control + path, json=order) as reply:
            assert reply.status < 300, await reply.text()

    async def idle(self, limit=None):
        """Wait until the server's queue is empty (polls are not recorded)."""
        end = time.monotonic() + (limit or PATIENCE)
        while time.monotonic() < end:
            reply = await self.http("GET", "/queue", quiet=True)
            queue = reply.get("json") or {}
            if not queue.get("queue_running") and not queue.get("queue_pending"):
                return True
            await asyncio.sleep(0.05)
        self.note("queue did not become idle")
        return False


class Socket:
    def __init__(self, tape, name):
        self.tape, self.name = tape, name
        self.ws = self.task = None
        self.messages = []
        self.arrived = asyncio.Event()
        self.last_ping = b""
        tape.clients.append(self)

    async def open(self, path, client_id, headers, features, compress, query):
        full = path
        if client_id is not None:
            full += f"?clientId={client_id}"
        elif query:
            full += f"?{query}"
        request = {"method": "GET", "path": full}
        if headers:
            request["headers"] = dict(headers)
        try:
            self.ws = await self.tape.session.ws_connect(
                self.tape.base.replace("http", "ws", 1) + full,
                headers=headers,
                autoping=False,
                autoclose=False,
                compress=compress,
                max_msg_size=0,
            )
        except aiohttp.WSServerHandshakeError as err:
            self.tape.add(kind="ws_refused", client=self.name, request=request, status=err.status)
            return
        except (aiohttp.ClientError, OSError) as err:
            self.tape.add(kind="ws_refused", client=self.name, request=request, error=type(err).__name__)
            return
        reply = {
            k: v
            for k, v in self.ws._response.headers.items()
            if k.lower() in ("sec-websocket-extensions", "sec-websocket-protocol", "server", "upgrade")
        }
        self.tape.add(kind="ws_open", client=self.name, request=request, headers=reply)
        self.task = asyncio.create_task(self._read())
        if features is not None:
            await self.send({"type": "feature_flags", "data": features})

    async def send(self, data):
        text = data if isinstance(data, str) else json.dumps(data)
        self.tape.add(kind="ws_send", client=self.name, text=data)
        await self.ws.send_str(text)

    async def _read(self):
        while True:
            msg = await self.ws.receive()
            if msg.type == aiohttp.WSMsgType.TEXT:
                try:
                    body = {"json": json.loads(msg.data)}
                except ValueError:
                    body = {"text": msg.data}
            elif msg.type == aiohttp.WSMsgType.BINARY:
                body = {"binary": describe_frame(msg.data)}
            elif msg.type == aiohttp.WSMsgType.PING:
                await self.ws.pong(msg.data)
                body = {"ping": msg.data.hex()}
            elif msg.type == aiohttp.WSMsgType.PONG and msg.data == self.last_ping:
                self.last_ping = b""
                self.arrived.set()
                continue
            elif msg.type == aiohttp.WSMsgType.PONG:
                body = {"pong": msg.data.hex()}
            elif msg.type == aiohttp.WSMsgType.CLOSE:
                self.tape.add(kind="ws_close", client=self.name, close_frame=True, code=msg.data, reason=msg.extra)
                self.arrived.set()
                return
            elif msg.type == aiohttp.WSMsgType.CLOSING:  # our own close() is under way
                return
            else:
                self.tape.add(
                    kind="ws_close",
                    client=self.name,
                    close_frame=False,
                    code=self.ws.close_code,
                    how=msg.type.name,
                    error=type(msg.data).__name__ if msg.type == aiohttp.WSMsgType.ERROR else None,
                )
                self.arrived.set()
                return
            step = self.tape.add(kind="ws", client=self.name, **body)
            self.messages.append(step)
            self.arrived.set()

    def matches(self, kind, since=0, **fields):
        for step in self.messages[since:]:
            msg = step.get("json")
            if isinstance(msg, dict) and msg.get("type") == kind:
                data = msg.get("data") or {}
                if all(v(data.get(k)) if callable(v) else data.get(k, "<absent>") == v for k, v in fields.items()):
                    return step
        return None

    async def answers(self):
        """Wait for the answer to a ping: what the server has sent before it has arrived then. Not recorded."""
        if self.ws is None or self.ws.closed or self.task.done():
            return
        self.last_ping = uuid.uuid4().bytes
        try:
            await self.ws.ping(self.last_ping)
        except ConnectionError:  # the end of the connection is being read
            pass
        end = time.monotonic() + PATIENCE
        while self.last_ping and not self.task.done() and time.monotonic() < end:
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), 0.5)
            except (asyncio.TimeoutError, TimeoutError):
                pass

    async def wait(self, kind, timeout=None, since=0, **fields):
        """Wait for a JSON message of this type whose data has these fields, or such as a function takes."""
        end = time.monotonic() + (timeout or PATIENCE)
        while time.monotonic() < end:
            step = self.matches(kind, since, **fields)
            if step:
                return step
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), min(0.5, end - time.monotonic()))
            except (asyncio.TimeoutError, TimeoutError):
                pass
        self.tape.note(f"timeout waiting for {kind} {fields} on {self.name}")
        return None

    async def wait_closed(self):
        if self.task:
            await asyncio.wait([self.task], timeout=PATIENCE)

    async def close(self):
        if self.ws is not None and not self.ws.closed:
            if self.task and not self.task.done():
                await self.ws.close()
                self.tape.add(kind="ws_closed_by_client", client=self.name, reply_code=self.ws.close_code)

    async def abort(self):
        """Drop the TCP connection with no close frame."""
        self.task.cancel()
        transport = (
            self.ws._conn.transport if getattr(self.ws, "_conn", None) else self.ws._response.connection.transport
        )
        transport.abort()
        self.ws._closed = True
        self.tape.add(kind="ws_aborted_by_client", client=self.name)
