// Drives @artifyfun/comfy-ui-client, which tells of errors and has a result without pictures.

import { randomUUID } from "node:crypto";

import { OUTPUT, drive, host, installed } from "./driving.mjs";

const { ComfyUIClient } = installed("@artifyfun/comfy-ui-client");

await drive(async (url) => {
  const client = new ComfyUIClient(host(url), randomUUID());
  await client.connect();
  return async (task) => {
    const history = await client.getResult(task.workflow);
    const images = history.outputs[OUTPUT].images;
    return Promise.all(images.map((image) => client.getImage(image.filename, image.subfolder, image.type)));
  };
});
