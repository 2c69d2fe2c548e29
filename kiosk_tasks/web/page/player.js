// Frames of a movie one after the other: a slider, and a button that plays.

import { button, h, icon, setText } from "./dom.js";

const FRAMES_PER_S = 6;

/** The controls of a movie. show: called with a frame; its promise ends when that is seen. */
export class Player {
  #frame = 0;

  #run = null; // what plays now; another one after each press of Play

  constructor(frames, show) {
    Object.assign(this, { frames, show });
    const last = String(frames - 1);
    this.slider = h("input", { type: "range", min: "0", max: last, value: "0", id: "frame" });
    this.slider.addEventListener("input", () => {
      this.pause();
      this.show(Number(this.slider.value));
    });
    this.number = h("output", { for: "frame", class: "units" }, `1 of ${frames}`);
    this.button = button("play", "Play", () => (this.#run ? this.pause() : this.#play()));
    this.element = h("div", { class: "player" }, this.button,
      h("label", { for: "frame" }, "Frame"), this.slider, this.number);
  }

  /** Say which frame is seen. */
  at(frame) {
    this.#frame = frame;
    this.slider.value = frame;
    setText(this.number, `${frame + 1} of ${this.frames}`);
    this.slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${this.frames}`);
  }

  pause() {
    if (!this.#run) return;
    this.#run = null;
    this.button.replaceChildren(icon("play"), h("span", {}, "Play"));
  }

  async #play() {
    const run = {};
    this.#run = run;
    this.button.replaceChildren(icon("pause"), h("span", {}, "Pause"));
    while (this.#run === run) {
      const began = performance.now();
      await this.show((this.#frame + 1) % this.frames);
      const left = 1000 / FRAMES_PER_S - (performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)));
    }
  }
}
