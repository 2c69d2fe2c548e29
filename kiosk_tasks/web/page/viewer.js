// The image of a finished job with what was found drawn over it: zoom, pan, play, point at a cell.

import { ask } from "./api.js";
import { Camera } from "./camera.js";
import { partWords, segments, slider, toggle, zoomButtons } from "./controls.js";
import { brightened, drawSpots, drawTrails, fetchBitmap, fetchLabels } from "./drawing.js";
import { button, h, icon, setText } from "./dom.js";
import { count, figure } from "./words.js";

const KEPT = 80; // frames in memory
const FRAMES_PER_S = 6;
const TRAIL = 12;
const MODES = [["fill", "Filled"], ["outlines", "Outlines"], ["off", "Off"]];

/** A canvas and its controls. Call `stop` when it leaves the page. */
export class Viewer {
  #frame = 0;

  #part = 0;

  #mode = "fill";

  #opacity = 0.7;

  #gamma = 1;

  #picture = null;

  #pictures = new Map();

  #shown = null;

  #overlay = null;

  #hovered = 0;

  #edge = null;

  #playing = 0;

  #tracks = null;

  #spots = null;

  #showTracks = true;

  #showSpots = true;

  #due = 0;

  constructor(view, name) {
    this.view = view;
    this.element = h("div", { class: "viewer" });
    this.canvas = h("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "image viewer",
      "aria-label": `${name}, ${view.width} × ${view.height} pixels`,
      "aria-describedby": "viewer-help",
    });
    this.camera = new Camera(this.canvas, {
      width: view.width,
      height: view.height,
      onmove: () => this.#drawSoon(),
      onpoint: (x, y) => this.#point(x, y),
    });
    this.readout = h("p", { class: "readout" }, this.#size());
    this.legend = h("span", { class: "spot-legend", hidden: true },
      h("i", { class: "spot-in" }), "in a cell", h("i", { class: "spot-out" }), "in none");
    this.message = h("p", { class: "viewer-message", role: "status" }, "Loading the image…");
    const help = "Zoom: wheel, + and −. Move: drag, arrow keys. 0 shows all.";
    const stage = h("div", { class: "stage" }, this.canvas, this.message, zoomButtons(this.camera));
    this.canvas.style.aspectRatio = `${view.width} / ${view.height}`;
    const foot = h("div", { class: "viewer-foot" }, this.readout, h("p", { class: "help", id: "viewer-help" }, help));
    this.element.append(this.#controls(), stage, this.#player(), foot);
    this.#resized = new ResizeObserver(() => this.#resize());
    this.#resized.observe(stage);
    this.ready = this.#load();
  }

  #resized;

  stop() {
    this.#resized.disconnect();
    this.#pause();
    cancelAnimationFrame(this.#due);
    this.#pictures.clear();
    this.stopped = true;
  }

  async #load() {
    try {
      const { tracks, spots } = this.view;
      [this.#tracks, this.#spots] = await Promise.all([
        tracks ? ask(tracks) : null,
        spots ? ask(spots) : null,
        this.#show(0),
      ]);
      this.legend.hidden = !this.#spots?.cells;
      this.#say();
      this.#draw();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    this.message.hidden = false;
    setText(this.message, error.message || "The image could not be shown.");
  }

  /* Pictures. */

  #fetch(frame) {
    const key = `${frame}/${this.#part}`;
    if (!this.#pictures.has(key)) {
      const part = this.view.labels[this.#part];
      const url = (pattern) => pattern.replace("{frame}", frame);
      const both = Promise.all([
        fetchBitmap(url(this.view.image)),
        part ? fetchLabels(url(part.url), Boolean(this.view.tracks)) : null,
      ]).then(([image, labels]) => ({ image, labels }));
      both.catch(() => this.#pictures.delete(key));
      this.#pictures.set(key, both);
      if (this.#pictures.size > KEPT) {
        this.#pictures.delete(this.#pictures.keys().next().value);
      }
    }
    return this.#pictures.get(key);
  }

  async #show(frame) {
    this.#frame = frame;
    const shown = await this.#fetch(frame);
    if (this.stopped || frame !== this.#frame) return; // overtaken
    this.#shown = shown;
    this.#picture = null;
    this.#overlay = null;
    this.#edge = null;
    this.message.hidden = true;
    if (this.slider) {
      this.slider.value = frame;
      setText(this.number, `${frame + 1} of ${this.view.frames}`);
      this.slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${this.view.frames}`);
      if (frame + 1 < this.view.frames) this.#fetch(frame + 1).catch(() => {});
    }
    this.canvas.dataset.frame = frame;
    this.#drawSoon();
  }

  /* Controls. */

  #controls() {
    const { labels, tracks, spots } = this.view;
    const row = h("div", { class: "viewer-controls" });
    if (labels.length > 1) {
      const parts = labels.map(({ name }, index) => [String(index), partWords(name)]);
      row.append(segments("Part", parts, "0", (value) => {
        this.#part = Number(value);
        this.#say();
        this.#show(this.#frame).catch((error) => this.#fail(error));
      }));
    }
    if (labels.length) {
      row.append(segments(tracks ? "Cells" : "Labels", MODES, this.#mode, (value) => {
        this.#mode = value;
        this.#overlay = null;
        this.#drawSoon();
      }), slider("Opacity", 0, 100, 70, (value) => {
        this.#opacity = value / 100;
        this.#drawSoon();
      }));
    }
    row.append(slider("Brightness", 0, 100, 0, (value) => {
      this.#gamma = 1 + value / 40;
      this.#picture = null;
      this.#drawSoon();
    }));
    if (tracks) row.append(toggle("Tracks", (on) => {
      this.#showTracks = on;
      this.#drawSoon();
    }));
    if (spots) row.append(toggle("Spots", (on) => {
      this.#showSpots = on;
      this.#drawSoon();
    }), this.legend);
    return row;
  }

  #player() {
    if (this.view.frames < 2) return "";
    const last = String(this.view.frames - 1);
    this.slider = h("input", { type: "range", min: "0", max: last, value: "0", id: "frame" });
    this.slider.addEventListener("input", () => {
      this.#pause();
      this.#go(Number(this.slider.value));
    });
    this.number = h("output", { for: "frame", class: "units" }, `1 of ${this.view.frames}`);
    this.play = button("play", "Play", () => (this.#playing ? this.#pause() : this.#start()));
    return h("div", { class: "player" }, this.play,
      h("label", { for: "frame" }, "Frame"), this.slider, this.number);
  }

  #go(frame) {
    const { frames } = this.view;
    return this.#show((frame + frames) % frames).catch((error) => this.#fail(error));
  }

  #start() {
    this.#playing = 1;
    this.play.replaceChildren(icon("pause"), h("span", {}, "Pause"));
    const turn = async () => {
      const began = performance.now();
      await this.#go(this.#frame + 1);
      if (!this.#playing) return;
      const left = 1000 / FRAMES_PER_S - (performance.now() - began);
      this.#playing = setTimeout(turn, Math.max(0, left));
    };
    turn();
  }

  #pause() {
    if (!this.#playing) return;
    clearTimeout(this.#playing);
    this.#playing = 0;
    this.play.replaceChildren(icon("play"), h("span", {}, "Play"));
  }

  /* What is pointed at. */

  #point(px, py) {
    const [x, y] = this.camera.under(px, py);
    const inside = px >= 0 && x >= 0 && y >= 0 && x < this.view.width && y < this.view.height;
    const s = this.view.scale || 1;
    const id = inside && this.#shown?.labels ? this.#shown.labels.at(x * s, y * s) : 0;
    if (id !== this.#hovered) {
      this.#hovered = id;
      this.#edge = null;
      this.#drawSoon();
    }
    setText(this.readout, inside ? this.#place(x, y, id) : this.#size());
  }

  #place(x, y, id) {
    const { mpp } = this.view;
    const um = mpp ? ` (${figure(y * mpp)}, ${figure(x * mpp)} µm)` : "";
    const cell = id ? `${this.view.tracks ? "track" : "cell"} ${id}` : "no cell";
    const what = this.view.labels.length ? ` · ${cell}` : "";
    return `y ${Math.floor(y)}, x ${Math.floor(x)}${um}${what}`;
  }

  #size() {
    const { width, height, mpp, scale } = this.view;
    const um = mpp ? `, ${figure(width * mpp)} × ${figure(height * mpp)} µm` : "";
    const small = scale && scale < 1 ? `, shown at ${Math.round(scale * 100)} %` : "";
    return `${width} × ${height} px${um}${small}`;
  }

  #say() {
    const part = this.view.labels[this.#part];
    const found = [];
    if (part && this.view.tracks) found.push(count(this.#tracks?.tracks.length ?? 0, "track"));
    else if (part) found.push(count(part.count, "cell"));
    if (this.#spots) found.push(count(this.#spots.total, "spot"));
    const { width, height } = this.view;
    const size = `${width} × ${height} pixels`;
    this.canvas.setAttribute("aria-label", ["Image", size, ...found].join(", "));
  }

  /* Drawing. */

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.#draw();
  }

  #drawSoon() {
    this.#due ||= requestAnimationFrame(() => {
      this.#due = 0;
      this.#draw();
    });
  }

  #draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.#shown) return;
    const ratio = window.devicePixelRatio || 1;
    const scale = this.camera.scale() * ratio;
    const [cx, cy] = this.camera.centre;
    const left = width / 2 - cx * scale;
    const top = height / 2 - cy * scale;
    const area = [left, top, this.view.width * scale, this.view.height * scale];
    context.imageSmoothingEnabled = scale < 2 * ratio;
    this.#picture ??= brightened(this.#shown.image, this.#gamma);
    context.drawImage(this.#picture, ...area);
    this.#drawLabels(context, area);
    const at = (y, x) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
    const size = ratio * Math.min(3, Math.max(1, Math.sqrt(this.camera.scale())));
    if (this.#tracks && this.#showTracks) {
      drawTrails(context, this.#tracks.tracks, this.#frame, { at, length: TRAIL, size });
    }
    if (this.#spots && this.#showSpots) drawSpots(context, this.#spots, { at, size, width, height });
    this.canvas.style.touchAction = this.camera.near ? "none" : "pan-y";
    this.canvas.dataset.drawn = "yes";
  }

  #drawLabels(context, [left, top, width, height]) {
    const { labels } = this.#shown;
    if (!labels || this.#mode === "off") return;
    this.#overlay ??= labels.drawn(this.#mode === "outlines");
    context.imageSmoothingEnabled = false;
    context.globalAlpha = this.#opacity;
    context.drawImage(this.#overlay, left, top, width, height);
    context.globalAlpha = 1;
    if (!this.#hovered) return;
    this.#edge ??= labels.edge(this.#hovered);
    const scale = width / labels.width;
    context.save();
    context.translate(left, top);
    context.scale(scale, scale);
    context.strokeStyle = "#fff";
    context.lineWidth = (2 * (window.devicePixelRatio || 1)) / scale;
    context.stroke(this.#edge);
    context.restore();
  }
}
