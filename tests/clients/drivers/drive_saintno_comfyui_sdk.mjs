// Drives @saintno/comfyui-sdk: one websocket that it renews by itself (ws), the queue after each status.

import { drive, installed } from "./driving.mjs";

const { CallWrapper, ComfyApi, PromptBuilder } = installed("@saintno/comfyui-sdk");

await drive(async (url) => {
  const api = await new ComfyApi(url).init().waitForReady();
  return async (task) => {
    const prompt = new PromptBuilder(task.workflow, [], ["images"]).setOutputNode("images", "9");
    const images = await new Promise((resolve, reject) => {
      new CallWrapper(api, prompt)
        .onFinished((data) => resolve(data.images.images))
        .onFailed(reject)
        .run()
        .catch(reject);
    });
    return Promise.all(images.map((image) => api.getImage(image)));
  };
});
