// Drives comfy-ui-client of npm: one websocket that stays (ws), and the history when `executing` is null.

import { randomUUID } from "node:crypto";

import { drive, host, installed } from "./driving.mjs";

const { ComfyUIClient } = installed("comfy-ui-client");

await drive(async (url) => {
  const client = new ComfyUIClient(host(url), randomUUID());
  await client.connect();
  return async (task) => {
    const images = await client.getImages(task.workflow);
    return Object.values(images)
      .flat()
      .map(({ blob }) => blob);
  };
});
