// Drives @stable-canvas/comfyui-client: one websocket that it renews by itself, and the output of `executed`.

import { drive, host, installed } from "./driving.mjs";

const { Client } = installed("@stable-canvas/comfyui-client");
const WebSocket = installed("ws");

await drive(async (url) => {
  const client = new Client({ api_host: host(url), WebSocket, fetch });
  await client.connect();
  return async (task) => {
    const { images } = await client.enqueue(task.workflow, {});
    // A preview counts as a picture to it, and has come already.
    return Promise.all(images.map(async ({ type, data }) => (type === "url" ? (await fetch(data)).blob() : data)));
  };
});
