// The panel that takes files: drop or choose, say what to do with them, start.

import { Refused, ask, inspect, sentence } from "./api.js";
import { announce, button, h, icon, setText } from "./dom.js";
import { SchemaForm } from "./schema-form.js";
import { uploads } from "./uploads.js";
import { about, bytes, count, figure, learn, sorted } from "./words.js";

const MOST_INSPECTED = 20; // headers of so many files are read; the others say themselves
const MOST_SHOWN = 60;
const TYPE = "kiosk-type";
const NOT_READ = /\.(zip|ozx|trks?)$/i;

const state = { files: [], types: [], type: null, models: [], form: null };
const at = {};
let inspecting = Promise.resolve();

/** Make the panel work; returns when the job types are known. */
export function startNewJobs() {
  for (const id of ["choose", "drop", "files", "file-input", "types", "settings", "start"]) {
    at[id] = document.getElementById(id);
  }
  at.choose.addEventListener("click", () => at["file-input"].click());
  at["file-input"].addEventListener("change", () => {
    add(at["file-input"].files);
    at["file-input"].value = "";
  });
  document.getElementById("new-job").addEventListener("submit", submit);
  takeDrops();
  return loadTypes();
}

async function loadTypes() {
  for (;;) {
    try {
      const [types, models] = await Promise.all([
        ask("/job-types"),
        ask("/models").catch(() => ({ models: {} })),
      ]);
      state.types = sorted(types.job_types);
      learn(state.types);
      state.models = Object.keys(models.models ?? {});
      break;
    } catch (error) {
      at.types.replaceChildren(h("p", { class: "error" }, sentence(error)));
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  const known = state.models.map((name) => h("option", { value: name }));
  document.getElementById("models").replaceChildren(...known);
  at.types.replaceChildren(...state.types.map(card));
  choose(state.types.find(({ name }) => name === remembered()) ?? state.types[0]);
}

function card(type) {
  const input = h("input", {
    type: "radio",
    name: "job-type",
    value: type.name,
    onchange: () => choose(type),
  });
  const words = h("span", { class: "card-words" }, h("b", {}, type.title), h("span", {}, about(type)));
  return h("label", { class: "card" }, input, words);
}

function choose(type) {
  state.type = type;
  remember(type.name);
  at.types.querySelector(`input[value="${CSS.escape(type.name)}"]`).checked = true;
  state.form = new SchemaForm(type, state.models);
  at.settings.replaceChildren(state.form.element);
  show();
}

function takeDrops() {
  let depth = 0;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (on) => document.body.classList.toggle("dropping", on);
  const moved = (step) => (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + step);
    mark(depth > 0);
  };
  document.addEventListener("dragenter", moved(1));
  document.addEventListener("dragleave", moved(-1));
  document.addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark(false);
    if (location.hash.length > 2) location.hash = "#/";
    add(event.dataTransfer.files);
  });
}

function add(files) {
  if (!files.length) return;
  const chosen = [...files].map((file) => ({ file, header: null }));
  state.files.push(...chosen);
  announce(`${count(chosen.length, "file")} chosen.`);
  show();
  const open = chosen.filter(({ file }) => !NOT_READ.test(file.name));
  open.slice(0, MOST_INSPECTED).forEach(look);
}

/** Read a file's header, one file after the other. */
function look(entry) {
  inspecting = inspecting.then(async () => {
    while (state.files.includes(entry) && !entry.header) {
      try {
        entry.header = await inspect(entry.file);
      } catch (error) {
        if (!(error instanceof Refused && error.passing)) return; // the job will say what is wrong
        await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
      }
    }
    show();
  });
}

/** Return why a file cannot be taken by the job type chosen, or "". */
function problem({ file }) {
  const accepts = state.type?.accepts ?? [];
  const name = file.name.toLowerCase();
  if (!file.size) return "This file is empty.";
  if (!accepts.length || name.endsWith(".zip")) return "";
  if (accepts.some((end) => name.endsWith(end.toLowerCase()))) return "";
  return `“${state.type.title}” takes ${accepts.join(", ")}.`;
}

function show() {
  const rows = state.files.slice(0, MOST_SHOWN).map(row);
  if (state.files.length > MOST_SHOWN) {
    rows.push(h("li", { class: "file" }, `and ${state.files.length - MOST_SHOWN} more`));
  }
  const focused = [...at.files.querySelectorAll("button")].indexOf(document.activeElement);
  at.files.replaceChildren(...rows);
  at.files.querySelectorAll("button")[focused]?.focus();
  at.drop.classList.toggle("has-files", state.files.length > 0);
  const ready = state.files.filter((entry) => !problem(entry)).length;
  setText(at.start, ready ? `Start ${count(ready, "job")}` : "Start");
  at.start.setAttribute("aria-disabled", String(!ready || !state.form));
  if (state.form) prefill();
}

function row(entry, index) {
  const { file, header } = entry;
  const wrong = problem(entry);
  const facts = [bytes(file.size)];
  if (header?.shape) facts.push(`${header.shape.join(" × ")} ${header.axes ?? ""}`.trim());
  if (header?.mpp) facts.push(`${figure(header.mpp)} µm/px`);
  const remove = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": `Remove ${file.name}` },
    icon("cancel"),
  );
  remove.addEventListener("click", () => {
    state.files = state.files.filter((other) => other !== entry);
    show();
    (at.files.querySelectorAll("button")[index] ?? at.choose).focus();
  });
  const words = h("div", { class: "file-words" }, h("span", { class: "file-name" }, file.name));
  words.append(h("span", { class: "file-facts" }, facts.join(" · ")));
  if (wrong) words.append(h("p", { class: "error" }, wrong));
  else if (isMovie(header) && state.type?.name === "predict") words.append(hint(header));
  return h("li", { class: "file" }, icon("file"), words, remove);
}

function isMovie(header) {
  const place = header?.axes?.indexOf("T") ?? -1;
  return place >= 0 && header.shape[place] > 1;
}

function hint(header) {
  const frames = header.shape[header.axes.indexOf("T")];
  const track = state.types.find(({ name }) => name === "track");
  const text = `A movie of ${frames} frames; each is done by itself. To follow cells: `;
  return h("p", { class: "note" }, text, h("button", {
    type: "button",
    class: "link",
    onclick: () => track && choose(track),
  }, "track them"));
}

function prefill() {
  const read = state.files.filter(({ header }) => header);
  const sizes = [...new Set(read.map(({ header }) => header.mpp ?? null))];
  const native = state.type.mpp ? ` The model works at ${figure(state.type.mpp)}.` : "";
  if (!read.length) state.form.prefill(null, "");
  else if (sizes.length > 1) {
    state.form.prefill(null, "The files differ; of each, its own pixel size is used.");
  } else if (sizes[0] === null) {
    const which = read.length > 1 ? "The files do" : "The file does";
    state.form.prefill(null, `${which} not say; give it if you know it.${native}`);
  } else {
    const of = read.length > 1 ? "the files" : read[0].file.name;
    state.form.prefill(sizes[0], `Read from ${of}.${native}`);
  }
}

function submit(event) {
  event.preventDefault();
  if (!state.form) return;
  const ready = state.files.filter((entry) => !problem(entry));
  if (!ready.length) {
    at.choose.focus();
    announce("Choose files first.");
    return;
  }
  if (!state.form.check()) return;
  const values = state.form.values();
  ready.forEach(({ file }) => uploads.add(file, state.type.name, values));
  state.files = state.files.filter((entry) => !ready.includes(entry));
  const own = state.form.get("mpp")?.input;
  if (own) delete own.dataset.own;
  show();
  announce(`${count(ready.length, "job")} started.`);
  const title = document.getElementById("jobs-title");
  title.focus({ preventScroll: true });
  const { top } = title.getBoundingClientRect();
  if (top < 0 || top > window.innerHeight - 100) title.scrollIntoView(); // one column: far below
}

function remembered() {
  try {
    return localStorage.getItem(TYPE);
  } catch {
    return null;
  }
}

function remember(name) {
  try {
    localStorage.setItem(TYPE, name);
  } catch {
    // private windows may have no storage
  }
}
