// A small client that has no websocket: it polls. For tests of the report card; it survives every outage.
//
//     node node_client.mjs URL

import { setTimeout as sleep } from "node:timers/promises";

const url = process.argv[2].replace(/\/+$/, "");
const REQUEST_TIMEOUT = 4000;
const LOOK_EVERY = 300;
/** So many looks in a row must find nothing of a job before it is called lost: the history may be late. */
const PATIENCE = 10;

/** Sends a request until it is answered as it should be; waits as long as the server asks it to. */
async function ask(method, path, body) {
  for (;;) {
    let patience = LOOK_EVERY;
    try {
      const answer = await fetch(`${url}${path}`, {
        method,
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT),
      });
      if (answer.ok) return await answer.json();
      patience = Math.max(patience, 1000 * Number(answer.headers.get("retry-after") ?? 0));
      console.log(`${method} ${path}: ${answer.status}`);
    } catch (failure) {
      console.log(`${method} ${path}: ${failure.message}`);
    }
    await sleep(patience);
  }
}

/** Waits for the end of a job. Whether it has one; false if it is lost. */
async function ends(id) {
  for (let missed = 0; missed < PATIENCE; ) {
    const queue = await ask("GET", "/queue");
    const history = await ask("GET", `/history/${id}`);
    if (history[id]) return true;
    const waits = [...queue.queue_running, ...queue.queue_pending].some((row) => row[1] === id);
    missed = waits ? 0 : missed + 1;
    await sleep(LOOK_EVERY);
  }
  return false;
}

for (let number = 1; ; number++) {
  const color = Math.floor(Math.random() * 2 ** 24);
  const prompt = {
    1: { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color } },
    2: { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
    3: { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "mine" } },
  };
  let id;
  do id = (await ask("POST", "/prompt", { prompt, client_id: "node-client" })).prompt_id;
  while (!(await ends(id)));
  console.log(`job ${number} is done`);
  await sleep(LOOK_EVERY);
}
