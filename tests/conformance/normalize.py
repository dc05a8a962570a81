"""Turns a raw transcript into one that two servers (or two runs) can be diffed by.

Left out or replaced: ids, times, memory figures, versions, byte counts of images, tracebacks, the run's
nonces, the order of sets, texts meant for people (descriptions, tooltips, pages). Kept: statuses, field names and
types, message order per client, image sizes. HTTP exchanges and every websocket client become separate lists,
because the order between two connections is not defined.
"""

import argparse
import json
import pathlib
import re

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
PORT = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):\d+")
CHAIN = re.compile(r"^c\d+$")
TIME_KEYS = {"timestamp", "created", "modified", "create_time", "execution_start_time", "execution_end_time"}
MEMORY_KEYS = {"ram_total", "ram_free", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
VERSION_KEYS = {
    "comfyui_version",
    "required_frontend_version",
    "installed_templates_version",
    "required_templates_version",
    "python_version",
    "pytorch_version",
    "argv",
    "os",
    "embedded_python",
    "name_of_device",
}
PROSE_KEYS = {"description", "tooltip", "output_tooltips"}  # texts for people: a mock has none or its own
SET_KEYS = {"executed", "current_outputs", "dependent_outputs", "text_keys"}
DROP_HEADERS = {"date", "content-length", "connection", "keep-alive", "transfer-encoding"}
MASK_HEADERS = {"server", "etag", "last-modified"}


class Normalizer:
    def __init__(self, raw):
        self.raw, self.ids = raw, {}
        self.nonces = set(raw.get("nonces", []))
        self.first_number = None
        for step in raw["steps"]:
            number = (
                (step.get("response", {}).get("json") or {})
                if isinstance(step.get("response", {}).get("json"), dict)
                else {}
            )
            number = number.get("number")
            if self.first_number is None and isinstance(number, int):
                self.first_number = abs(number)

    def text(self, value):
        def name(match):
            return self.ids.setdefault(match.group(0), f"<id:{len(self.ids) + 1}>")

        value = UUID.sub(name, value)
        value = PORT.sub(r"\1:<port>", value)
        for nonce in self.nonces:
            value = value.replace(str(nonce), "<nonce>")
        value = re.sub(r"/tmp/[^\s'\",]+", "<path>", value)
        value = re.sub(r"0x[0-9a-f]{6,}", "<addr>", value)
        value = re.sub(r"ComfyUI_temp_[a-z]{5}_", "ComfyUI_temp_<random>_", value)
        value = re.sub(r"_\d{5}_\.", "_<counter>_.", value)
        value = re.sub(r"Python/\S+ aiohttp/\S+", "<server>", value)
        if "\n" in value and ": " in value:
            value = "\n".join(sorted(value.split("\n")))
        return value

    def number(self, item):
        """A queue position, counted from the first one of the scenario (the counter belongs to the server)."""
        if isinstance(item, bool) or not isinstance(item, int) or self.first_number is None:
            return item
        return f"{'-' if item < 0 else ''}<number+{abs(item) - self.first_number}>"

    def value(self, item, key=None):
        if key == "number":
            return self.number(item)
        if key in TIME_KEYS and isinstance(item, (int, float)):
            return f"<{key}>"
        if key in MEMORY_KEYS and isinstance(item, int):
            return "<memory>"
        if key in VERSION_KEYS:
            return f"<{key}>"
        if key == "traceback" and isinstance(item, list):
            return "<traceback>" if item else []
        if isinstance(item, bool) or item is None:
            return item
        if isinstance(item, int):
            return "<nonce>" if item in self.nonces else item
        if isinstance(item, str):
            return "c#" if CHAIN.match(item) else self.text(item)
        if isinstance(item, list):
            out = [self.value(x) for x in item]
            if key in SET_KEYS:
                out = sorted({json.dumps(x, sort_keys=True): x for x in out}.values(), key=json.dumps)
            if key == "errors":
                out = sorted(out, key=lambda x: json.dumps(x, sort_keys=True))
            if len(item) == 5 and isinstance(item[4], list) and isinstance(item[2], dict):  # a queue item
                out[0] = self.number(item[0])
                out[4] = sorted(out[4], key=json.dumps)
            return out
        if isinstance(item, dict):
            out = {}
            for k, v in item.items():
                if k in PROSE_KEYS:
                    continue
                name = "c#" if CHAIN.match(str(k)) else self.text(str(k))
                new = self.value(v, str(k))
                if name == "c#" and name in out and isinstance(new, dict):
                    if new.get("state") != "running":
                        continue
                out[name] = new
            return out
        return item

    def binary(self, info):
        out = {k: v for k, v in info.items() if k not in ("bytes", "head_hex", "metadata_length")}
        if isinstance(out.get("payload"), dict):
            out["payload"] = out["payload"].get("image") or {"not_an_image": True}
        if "image" in info:
            return {"image": self.value(info["image"])}
        return self.value(out)

    def headers(self, headers):
        out = {}
        for k, v in headers.items():
            low = k.lower()
            if low in DROP_HEADERS:
                continue
            v = re.sub(r"^(bytes \d+-\d+)/\d+$", r"\1/<length>", v)
            out[low] = f"<{low}>" if low in MASK_HEADERS else self.text(v)
        return dict(sorted(out.items()))

    def http(self, step):
        response = dict(step["response"])
        if "headers" in response:
            response["headers"] = self.headers(response["headers"])
        if "text/html" in response.get("headers", {}).get("content-type", "") and "text" in response:
            response["text"] = "<html>"
        for key in ("json", "text", "detail"):
            if key in response:
                response[key] = self.value(response[key])
        response.pop("bytes", None)
        if "binary" in response:
            response["binary"] = self.binary(response["binary"])
        request = self.value(step["request"])
        if "headers" in request:
            request["headers"] = {
                k: "<etag>" if k.lower() == "if-none-match" else v for k, v in request["headers"].items()
            }
        out = {"request": request, "response": response}
        if "label" in step:
            out = {"label": step["label"], **out}
        return out

    def run(self):
        http, sockets, notes = [], {}, []
        seen = {}
        for step in self.raw["steps"]:
            kind = step["kind"]
            if kind == "http":
                http.append(self.http(step))
        for step in self.raw["steps"]:
            kind = step["kind"]
            if kind == "note":
                notes.append(
                    {k: self.value(v) for k, v in step.items() if k not in ("t_ms", "kind") and not k.endswith("_ms")}
                )
            elif kind != "http":
                out = {}
                for k, v in step.items():
                    if k in ("t_ms", "client"):
                        continue
                    if k == "binary":
                        out[k] = self.binary(v)
                    elif k == "headers":
                        out[k] = self.headers(v)
                    else:
                        out[k] = self.value(v)
                line = sockets.setdefault(step["client"], [])
                form = json.dumps(out, sort_keys=True)
                if '"c#"' in form:  # steps of a long chain: each kind of message once
                    known = seen.setdefault(step["client"], set())
                    if form in known:
                        continue
                    known.add(form)
                line.append(out)
        return {"scenario": self.raw["scenario"], "http": http, "ws": sockets, "notes": notes}


def normalize(raw):
    return Normalizer(raw).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", nargs="+", type=pathlib.Path, help="raw transcripts (*.raw.json)")
    args = parser.parse_args()
    for path in args.raw:
        target = path.with_name(path.name.replace(".raw.json", ".norm.json"))
        target.write_text(json.dumps(normalize(json.loads(path.read_text())), indent=1) + "\n")


if __name__ == "__main__":
    main()
