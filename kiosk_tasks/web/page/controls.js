// The viewer's controls: choices, sliders, switches, and the buttons of the zoom.

import { h, icon } from "./dom.js";

/** Return what a part of a cell is called. */
export function partWords(name) {
  const words = name.replace("-", " ");
  return words ? words.charAt(0).toUpperCase() + words.slice(1) : "Cells";
}

let groups = 0;

/** Make a choice of one in a few. */
export function segments(title, options, chosen, onchange) {
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
export function slider(words, min, max, value, oninput) {
  const id = `slider-${words.toLowerCase()}`;
  const input = h("input", { type: "range", min, max, value, id });
  input.addEventListener("input", () => oninput(Number(input.value)));
  return h("div", { class: "control-group" }, h("label", { for: id }, words), input);
}

/** Make a switch that is on. */
export function toggle(words, onchange) {
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
