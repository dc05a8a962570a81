// What the node drivers share; driving.py says what a driver does and prints.
//
//     cd FOLDER_WITH_node_modules && node .../drive_NAME.mjs http://127.0.0.1:8188 [--stay] [--every MS] [--graph sampler]

import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { inflateSync } from "node:zlib";

const [WIDTH, HEIGHT] = [64, 48];

/** The id of the node that saves the picture. */
export const OUTPUT = "9";

/** A package of the current folder's node_modules: import looks beside this file instead. */
export const installed = createRequire(join(process.cwd(), "driver.cjs"));

/** The host and port of a URL, for clients that want no URL. */
export const host = (url) => new URL(url).host;

const node = (title, class_type, inputs) => ({ class_type, inputs, _meta: { title } });

const GRAPHS = {
  colour: (colour) => ({
    1: node("Empty Image", "EmptyImage", { width: WIDTH, height: HEIGHT, batch_size: 1, color: colour }),
    2: node("Invert Image", "ImageInvert", { image: ["1", 0] }),
    [OUTPUT]: node("Save Image", "SaveImage", { images: ["2", 0], filename_prefix: "client" }),
  }),
  sampler: (seed) => ({
    3: node("KSampler", "KSampler", {
      seed,
      steps: 4,
      cfg: 7,
      denoise: 1,
      sampler_name: "euler",
      scheduler: "normal",
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: ["5", 0],
    }),
    4: node("Load Checkpoint", "CheckpointLoaderSimple", { ckpt_name: "v1-5-pruned-emaonly.safetensors" }),
    5: node("Empty Latent Image", "EmptyLatentImage", { width: WIDTH, height: HEIGHT, batch_size: 1 }),
    6: node("positive", "CLIPTextEncode", { text: "a lighthouse", clip: ["4", 1] }),
    7: node("negative", "CLIPTextEncode", { text: "fog", clip: ["4", 1] }),
    8: node("VAE Decode", "VAEDecode", { samples: ["3", 0], vae: ["4", 2] }),
    [OUTPUT]: node("Save Image", "SaveImage", { images: ["8", 0], filename_prefix: "client" }),
  }),
};

/** A workflow to run, and the picture that it makes. No two are the same, so that none comes from the cache. */
function newTask(number, graph) {
  const colour = Math.floor(Math.random() * 2 ** 24);
  const wanted = { width: WIDTH, height: HEIGHT };
  if (graph === "colour") {
    const inverted = 0xffffff - colour;
    wanted.pixel = [inverted >> 16, (inverted >> 8) & 255, inverted & 255];
  }
  return { number, workflow: GRAPHS[graph](colour), wanted };
}

/** What a picture is like: of a Blob, a buffer or an ArrayBuffer with a PNG file. */
async function picture(got) {
  const file = Buffer.from(got instanceof Blob ? await got.arrayBuffer() : got);
  if (file.toString("latin1", 1, 4) !== "PNG") throw new Error(`Not a PNG file: ${file.toString("latin1", 0, 80)}`);
  let header;
  const data = [];
  for (let at = 8; at < file.length; at += file.readUInt32BE(at) + 12) {
    const body = file.subarray(at + 8, at + 8 + file.readUInt32BE(at));
    const kind = file.toString("latin1", at + 4, at + 8);
    if (kind === "IHDR") header = body;
    if (kind === "IDAT") data.push(body);
  }
  // No filter changes the first pixel of the first line, which follows the filter's number.
  const pixel = [...inflateSync(Buffer.concat(data)).subarray(1, 4)];
  return { width: header.readUInt32BE(0), height: header.readUInt32BE(4), pixel };
}

function check(task, pictures) {
  const comparable = pictures.map((one) => Object.fromEntries(Object.keys(task.wanted).map((key) => [key, one[key]])));
  if (JSON.stringify(comparable) !== JSON.stringify([task.wanted])) {
    const [wanted, got] = [JSON.stringify(task.wanted), JSON.stringify(pictures)];
    throw new Error(`Not the picture that was asked for, ${wanted}: ${got}`);
  }
}

/** What was thrown, in words: clients throw errors, responses, events and nothing at all. */
async function inWords(thrown) {
  if (thrown instanceof Response) return `Response: ${thrown.status} ${await thrown.text()}`;
  if (!(thrown instanceof Error)) return `${typeof thrown}: ${String(thrown)}`;
  const cause = thrown.cause === undefined ? "" : ` (${await inWords(thrown.cause)})`;
  return `${thrown.name}: ${thrown.message}${cause}`;
}

/** Leads a client through its jobs: `connect(url)` connects it and gives what runs a task. */
export async function drive(connect) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      stay: { type: "boolean", default: false },
      every: { type: "string", default: "500" },
      graph: { type: "string", default: "colour" },
    },
  });
  const url = positionals[0].replace(/\/+$/, "");
  let failed = false;
  const report = async (number, work) => {
    const start = performance.now();
    const line = { job: number, ok: true };
    try {
      Object.assign(line, await work());
    } catch (thrown) {
      failed = true;
      Object.assign(line, { ok: false, error: await inWords(thrown) });
    }
    line.seconds = Math.round(performance.now() - start) / 1000;
    if (number > 0 || failed) process.stdout.write(`${JSON.stringify(line)}\n`);
  };
  // What a client lets fly is its fault, and the end of it.
  process.on("uncaughtException", async (thrown) => {
    failed = true;
    await report(0, () => Promise.reject(thrown));
    process.exit(1);
  });

  let run;
  await report(0, async () => void (run = await connect(url)));
  if (failed) process.exit(1);
  if (values.stay) process.stdin.on("end", () => process.exit(failed ? 1 : 0)).resume();
  for (let number = 1; number === 1 || values.stay; number++) {
    const task = newTask(number, values.graph);
    await report(number, async () => {
      const pictures = await Promise.all((await run(task)).map(picture));
      check(task, pictures);
      return { pictures };
    });
    if (values.stay) await sleep(Number(values.every));
  }
  // Sockets and timers of the client would go on.
  process.exit(failed ? 1 : 0);
}
