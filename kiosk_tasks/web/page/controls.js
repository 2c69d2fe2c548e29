// The viewer's controls: choices, sliders, switches, and the buttons of the zoom.

import { h, icon } from "./dom.js";

const MODES = [["fill", "Filled"], ["outlines", "Outlines"], ["off", "Off"]];

/**
 * Make a viewer's controls. set: {part, mode, opacity, gamma, tracks, spots}, which they change;
 * onchange: called with the name of what was. legend: of the spots.
 */
export function viewerControls({ labels, tracks, spots }, set, { legend, onchange }) {
  const setting = (name) => (value) => {
    set[name] = value;
    onchange(name);
  };
  const row = h("div", { class: "viewer-controls" });
  if (labels.length > 1) {
    const parts = labels.map(({ name }, index) => [String(index), partWords(name)]);
    row.append(segments("Part", parts, "0", (value) => setting("part")(Number(value))));
  }
  if (labels.length) {
    row.append(
      segments(tracks ? "Cells" : "Labels", MODES, set.mode, setting("mode")),
      slider("Opacity", 0, 100, 70, (value) => setting("opacity")(value / 100)),
    );
  }
  row.append(slider("Brightness", 0, 100, 0, (value) => setting("gamma")(1 + value / 40)));
  if (tracks) row.append(toggle("Tracks", setting("tracks")));
  if (spots) row.append(toggle("Spots", setting("spots")), legend);
  return row;
}

/** Return what a part of a cell is called. */
function partWords(name) {
  const words = name.replace("-", " ");
  return words ? words.charAt(0).toUpperCase() + words.slice(1) : "Cells";
}

let groups = 0;

/** Make a choice of one in a few. */
function segments(title, options, chosen, onchange) {
  groups += 1;
  const name = `segments-${groups}`;
  const inputs = options.map(([value, words]) => h("label", { class: "segment" },
    h("input", {
      type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value),
    }),
    h("span", {}, words)));
  const legend = h("span", { class: "legend", id: name }, title);
  const group = h("div", { class: "segments", role: "radiogroup", "aria-labelledby": name }, ...inputs);
  return h("div", { class: "control-group" }, legend, group);
}

/** Make a slider with its words. */
function slider(words, min, max, value, oninput) {
  const id = `slider-${words.toLowerCase()}`;
  const input = h("input", { type: "range", min, max, value, id });
  input.addEventListener("input", () => oninput(Number(input.value)));
  return h("div", { class: "control-group" }, h("label", { for: id }, words), input);
}

/** Make a switch that is on. */
function toggle(words, onchange) {
  const input = h("input", { type: "checkbox", checked: true });
  input.addEventListener("change", () => onchange(input.checked));
  return h("label", { class: "control-group toggle" }, input, words);
}

/** Make the buttons that zoom. */
export function zoomButtons(camera) {
  const make = (name, words, act) => h("button", {
    type: "button",
    class: "icon-button",
    "aria-label": words,
    title: words,
    onclick: act,
  }, icon(name));
  return h("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
    make("add", "Zoom in", () => camera.zoomBy(1.5)),
    make("minus", "Zoom out", () => camera.zoomBy(1 / 1.5)),
    make("fit", "Show all", () => camera.fit()));
}
