// A ComfyUI client as people write them, with nothing but node: node evidence_client.mjs http://127.0.0.1:8188
// It queues one prompt, fetches its result, and comes back after each loss of its websocket.

import { randomBytes, randomUUID } from "node:crypto";
import { connect } from "node:net";

const url = new URL(process.argv[2]);
const clientId = randomUUID();
const DELAY = 300; // milliseconds before each attempt
const WORKFLOW = {
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 48, batch_size: 1, color: 8388800 } },
  2: { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  3: { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "evidence" } },
};
let promptId;
let hasResult = false;

function open() {
  const socket = connect(Number(url.port), url.hostname);
  let received = Buffer.alloc(0);
  let upgraded = false;
  socket.on("connect", () => {
    socket.write(
      `GET /ws?clientId=${clientId} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n` +
        "User-Agent: node-evidence/1.0\r\n\r\n",
    );
  });
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    if (!upgraded) {
      const end = received.indexOf("\r\n\r\n");
      if (end < 0) return;
      if (!received.toString("latin1").startsWith("HTTP/1.1 101 ")) return socket.destroy();
      received = received.subarray(end + 4);
      upgraded = true;
      console.log("connected");
      begin().catch((failure) => console.log(`no answer: ${failure.message}`));
    }
    received = takeFrames(received, socket);
  });
  socket.on("error", (failure) => console.log(`no connection: ${failure.message}`));
  socket.on("close", () => setTimeout(open, DELAY));
}

function takeFrames(bytes, socket) {
  while (bytes.length >= 2) {
    const short = bytes[1] & 127; // frames of servers have no mask
    const start = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (bytes.length < start) break;
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
    if (bytes.length < start + length) break;
    const payload = bytes.subarray(start, start + length);
    if ((bytes[0] & 15) === 1) take(JSON.parse(payload.toString()));
    if ((bytes[0] & 15) === 8) socket.end();
    bytes = bytes.subarray(start + length);
  }
  return bytes;
}

async function begin() {
  if (promptId === undefined) {
    promptId = (await ask("/prompt", { prompt: WORKFLOW, client_id: clientId })).prompt_id;
  }
  if (!hasResult) await fetchResult(); // a quick job may have ended before its id was known
}

function take({ type, data }) {
  if (type === "executing" && data.node === null && data.prompt_id === promptId && !hasResult) {
    fetchResult().catch((failure) => console.log(`no answer: ${failure.message}`));
  }
}

async function fetchResult() {
  hasResult = promptId in (await ask(`/history/${promptId}`));
  if (hasResult) console.log("result fetched");
}

async function ask(path, body) {
  const method = body === undefined ? "GET" : "POST";
  const answer = await fetch(new URL(path, url), { method, body: body && JSON.stringify(body) });
  return answer.json();
}

open();
