// The image of a finished job with what was found drawn over it: zoom, pan, play, point at a cell.

import { ask, sentence } from "./api.js";
import { Camera } from "./camera.js";
import { trackPlaces } from "./colours.js";
import { viewerControls, zoomButtons } from "./controls.js";
import { h, setText } from "./dom.js";
import { brightened, drawSpots, drawTrails } from "./drawing.js";
import { Pictures } from "./pictures.js";
import { Player } from "./player.js";
import { foundWords, placeWords, sizeWords } from "./readout.js";

const TRAIL = 12;

/** A canvas and its controls. Call `stop` when it leaves the page. */
export class Viewer {
  #frame = 0;

  #set = { part: 0, mode: "fill", opacity: 0.7, gamma: 1, tracks: true, spots: true };

  #picture = null;

  #pictures;

  #player = null;

  #shown = null;

  #overlay = null;

  #hovered = 0;

  #edge = null;

  #tracks = null;

  #places = null; // of tracks, in the palette

  #spots = null;

  #due = 0;

  #loaded = false;

  #lacking = []; // why tracks or spots could not be had

  #resized;

  constructor(view, name) {
    this.view = view;
    this.#pictures = new Pictures(view);
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
    this.readout = h("p", { class: "readout" }, sizeWords(view));
    this.legend = h("span", { class: "spot-legend", hidden: true },
      h("i", { class: "spot-in" }), "in a cell", h("i", { class: "spot-out" }), "in none");
    this.message = h("p", { class: "viewer-message", role: "status" }, "Loading the image…");
    const help = "Zoom: wheel, + and −. Move: drag, arrow keys. 0 shows all.";
    const stage = h("div", { class: "stage" }, this.canvas, this.message, zoomButtons(this.camera));
    this.canvas.style.aspectRatio = `${view.width} / ${view.height}`;
    const foot = h("div", { class: "viewer-foot" }, this.readout, h("p", { class: "help", id: "viewer-help" }, help));
    const controls = viewerControls(view, this.#set, {
      legend: this.legend,
      onchange: (name) => this.#changed(name),
    });
    this.note = h("p", { class: "note", role: "status" });
    if (view.frames > 1) this.#player = new Player(view.frames, (frame) => this.#show(frame));
    const player = this.#player?.element ?? "";
    this.element.append(controls, stage, this.note, player, foot);
    this.#resized = new ResizeObserver(() => this.#resize());
    this.#resized.observe(stage);
    this.ready = this.#load();
  }

  stop() {
    this.#resized.disconnect();
    this.#player?.pause();
    cancelAnimationFrame(this.#due);
    this.stopped = true;
  }

  async #load() {
    const { tracks, spots } = this.view;
    const table = (path) => path && ask(path).catch((error) => {
      this.#lacking.push(sentence(error));
      return null;
    });
    const asked = [table(tracks), table(spots), this.#show(0)];
    [this.#tracks, this.#spots] = await Promise.all(asked);
    if (this.#tracks) this.#places = trackPlaces(this.#tracks.tracks);
    this.#loaded = true;
    this.legend.hidden = !this.#spots?.cells;
    this.#say();
    this.#tell();
    this.#drawSoon();
  }

  async #show(frame) {
    this.#frame = frame;
    const { part } = this.#set;
    const shown = await this.#pictures.of(frame, part);
    if (this.stopped || frame !== this.#frame || part !== this.#set.part) return; // overtaken
    this.#shown = { ...shown, frame };
    this.#picture = null;
    this.#overlay = null;
    this.#edge = null;
    this.#player?.at(frame);
    if (frame + 1 < this.view.frames) this.#pictures.of(frame + 1, part);
    this.canvas.dataset.frame = frame;
    this.#tell();
    this.#drawSoon();
  }

  /** Say what is missing: over the stage where nothing is seen, else below it. */
  #tell() {
    if (!this.#loaded || !this.#shown) return;
    const { image, labels, missing } = this.#shown;
    const words = [...new Set([...missing, ...this.#lacking])].join(" ");
    const nothing = !image && !labels && !this.#tracks && !this.#spots;
    this.message.hidden = !nothing;
    setText(this.message, nothing ? words : "");
    setText(this.note, nothing ? "" : words);
  }

  #changed(name) {
    if (name === "mode") this.#overlay = null;
    if (name === "gamma") this.#picture = null;
    if (name === "part") {
      this.#say();
      this.#show(this.#frame);
    }
    this.#drawSoon();
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
    setText(this.readout, inside ? placeWords(this.view, x, y, id) : sizeWords(this.view));
  }

  #say() {
    const { tracks } = this.#tracks ?? {};
    const words = foundWords(this.view, this.#set.part, { tracks, spots: this.#spots });
    this.canvas.setAttribute("aria-label", words);
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
    if (!this.#shown || !this.#loaded) return;
    const ratio = window.devicePixelRatio || 1;
    const scale = this.camera.scale() * ratio;
    const [cx, cy] = this.camera.centre;
    const left = width / 2 - cx * scale;
    const top = height / 2 - cy * scale;
    const area = [left, top, this.view.width * scale, this.view.height * scale];
    context.imageSmoothingEnabled = scale < 2 * ratio;
    this.#drawImage(context, area);
    this.#drawLabels(context, area);
    const at = (y, x) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
    const size = ratio * Math.min(3, Math.max(1, Math.sqrt(this.camera.scale())));
    if (this.#tracks && this.#set.tracks) {
      const how = { at, length: TRAIL, size, places: this.#places };
      drawTrails(context, this.#tracks.tracks, this.#shown.frame, how);
    }
    if (this.#spots && this.#set.spots) {
      drawSpots(context, this.#spots, this.#shown.frame, { at, size, width, height });
    }
    this.canvas.style.touchAction = this.camera.near ? "none" : "pan-y";
    this.canvas.dataset.drawn = "yes";
  }

  #drawImage(context, area) {
    const { image } = this.#shown;
    if (!image) {
      context.fillStyle = "#000";
      context.fillRect(...area);
      return;
    }
    this.#picture ??= brightened(image, this.#set.gamma);
    context.drawImage(this.#picture, ...area);
  }

  #drawLabels(context, [left, top, width, height]) {
    const { labels } = this.#shown;
    if (!labels || this.#set.mode === "off") return;
    this.#overlay ??= labels.drawn(this.#set.mode === "outlines", this.#places);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = this.#set.opacity;
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
