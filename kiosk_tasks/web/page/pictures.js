// The pictures of a finished job's frames: fetched once, kept for a while.

import { LabelImage } from "./labels.js";

const KEPT_PIXELS = 80e6; // of 4 bytes
const FEWEST = 8;
const MOST = 160;

/** The pictures of a view, as the service describes it. */
export class Pictures {
  #kept = new Map(); // promises by address, the oldest first

  constructor(view) {
    this.view = view;
    const pixels = view.width * view.height * (view.scale || 1) ** 2;
    this.most = Math.min(MOST, Math.max(FEWEST, Math.floor(KEPT_PIXELS / pixels)));
  }

  /**
   * Return {image, labels, missing} of a frame. What cannot be had is null, and so are labels where
   * there are none; missing: sentences that say why. part: place in the view's labels.
   */
  async of(frame, part) {
    const asked = [this.#once(this.view.image, frame, fetchBitmap)];
    const labels = this.view.labels[part];
    if (labels) asked.push(this.#once(labels.url, frame, fetchLabels));
    const got = await Promise.allSettled(asked);
    const [image, found] = got.map(({ value }) => value ?? null);
    const missing = got.filter(({ reason }) => reason).map(({ reason }) => reason.message);
    return { image, labels: found ?? null, missing };
  }

  #once(pattern, frame, fetching) {
    const url = pattern.replace("{frame}", frame);
    if (!this.#kept.has(url)) {
      const fetched = fetching(url);
      this.#kept.set(url, fetched);
      fetched.catch(() => this.#kept.delete(url)); // asked for again when it is wanted again
      if (this.#kept.size > this.most) this.#kept.delete(this.#kept.keys().next().value);
    }
    return this.#kept.get(url);
  }
}

async function fetchBitmap(url, options = {}) {
  const answer = await fetch(url).catch(() => {
    throw new Error("No answer from the server.");
  });
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw new Error(body?.message ?? `The picture could not be fetched (${answer.status}).`);
  }
  return createImageBitmap(await answer.blob(), options);
}

/** Fetch a label image; its colours are numbers, so that no colour management may touch them. */
async function fetchLabels(url) {
  const bitmap = await fetchBitmap(url, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new LabelImage(context.getImageData(0, 0, canvas.width, canvas.height));
}
