// One job: how far it is, or what was found, with the files and the commands to do it again.

import { actionsOf } from "./actions.js";
import { Refused, ask, sentence } from "./api.js";
import { commandsOf } from "./commands.js";
import { announce, button, h, icon, setText } from "./dom.js";
import { jobs } from "./live.js";
import { Viewer } from "./viewer.js";
import {
  bytes, count, duration, elapsed, figure, reasonOf, statusOf, typeOf, unitsOf, when,
} from "./words.js";

const MOST_FILES = 60;
const MOST_PICTURES = 48;
const MOST_FAILURES = 100;

/** The view of one job; `stop` ends what it started. */
export class JobView {
  #viewer = null;

  #status = "";

  #clock = 0;

  #stopped = false;

  constructor(id) {
    this.id = id;
    this.title = h("h1", { tabindex: "-1", id: "job-title" }, "Job");
    this.line = h("p", { class: "facts" });
    this.mark = h("span", { class: "mark" });
    this.bar = h("progress", { max: "100", value: "0", "aria-label": "Progress", hidden: true });
    this.actions = h("div", { class: "actions" });
    this.reason = h("p", { class: "reason" });
    this.main = h("div", { class: "job-stage" });
    this.side = h("div", { class: "job-side" });
    const back = h("a", { class: "back", href: "#/" }, icon("back"), "All jobs");
    const words = h("div", { class: "job-head-words" }, this.title, this.line);
    this.head = h("div", { class: "job-head" }, this.mark, words, this.actions);
    this.element = h("div", { class: "job-view" }, back, this.head, this.bar, this.reason,
      h("div", { class: "job-grid" }, this.main, this.side));
    this.onjob = ({ detail }) => detail.job.id === id && this.#show(detail.job);
  }

  async start() {
    jobs.addEventListener("job", this.onjob);
    this.#clock = setInterval(() => this.job && !this.job.ended && this.#showLine(), 1000);
    try {
      const job = await jobs.one(this.id);
      if (!this.#stopped) this.#show(job);
    } catch (error) {
      const gone = error instanceof Refused && error.status === 404;
      if (gone) setText(this.title, "No such job");
      setText(this.reason, gone ? error.message : sentence(error));
    }
  }

  /** Show the line anew, as when the titles of job types have come. */
  refresh() {
    if (this.job) this.#showLine();
  }

  stop() {
    this.#stopped = true;
    jobs.unfocus();
    jobs.removeEventListener("job", this.onjob);
    clearInterval(this.#clock);
    this.#viewer?.stop();
  }

  #show(job) {
    this.job = job;
    setText(this.title, job.name);
    document.title = `${statusOf(job)[0]}: ${job.name} · kiosk`;
    this.bar.value = job.progress;
    this.bar.hidden = job.ended;
    setText(this.reason, reasonOf(job));
    this.#showLine();
    if (job.status === this.#status) return;
    this.#status = job.status;
    const [, kind] = statusOf(job);
    this.element.dataset.kind = kind;
    this.element.dataset.status = job.status;
    this.mark.replaceChildren(icon(kind));
    const complain = (error) => {
      setText(this.reason, sentence(error));
      announce(sentence(error));
    };
    this.actions.replaceChildren(...actionsOf(job, complain, { words: true }));
    this.#showSide(job, {}, []);
    if (job.status === "done") this.#showResult(job);
  }

  #showLine() {
    const { job } = this;
    const parts = [typeOf(job), statusOf(job)[0], job.ended ? "" : unitsOf(job), duration(elapsed(job))];
    setText(this.line, parts.filter(Boolean).join(" · "));
  }

  async #showResult(job) {
    this.#showFailures(job);
    const listed = ask(job.urls.files).then(({ files }) => files).catch(() => []);
    if (job.urls.view) {
      try {
        const view = await ask(job.urls.view);
        if (this.#stopped) return;
        this.#viewer = new Viewer(view, job.name);
        this.main.prepend(this.#viewer.element);
        this.view = view;
      } catch (error) {
        this.main.prepend(h("p", { class: "note" }, sentence(error)));
      }
    }
    const files = await listed;
    if (!job.urls.view && !this.#stopped) this.main.append(...gallery(files));
    const record = recordOf(job, files);
    const facts = record ? await ask(record.url).catch(() => ({})) : {};
    if (!this.#stopped) this.#showSide(job, facts, files);
  }

  #showFailures(job) {
    const failed = Object.entries(job.failures ?? {});
    if (!failed.length) return;
    const rows = failed.slice(0, MOST_FAILURES).map(([name, reason]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, reason)));
    const head = h("tr", {}, h("th", { scope: "col" }, "File"), h("th", { scope: "col" }, "Why it failed"));
    const table = h("table", {}, h("caption", {}, `${count(failed.length, "file")} failed`),
      h("thead", {}, head), h("tbody", {}, ...rows));
    this.main.append(h("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Files that failed" }, table));
  }

  #showSide(job, facts, files) {
    const parts = [factsTable(job, facts, this.view)];
    if (job.status === "done") parts.push(downloads(job, files));
    parts.push(again(job));
    this.side.replaceChildren(...parts);
  }
}

/** Return the overlays among the files, as pictures; of an archive, nothing else is to be seen. */
function gallery(files) {
  const end = "_overlay.png";
  const overlays = files.filter(({ name }) => name.endsWith(end)).slice(0, MOST_PICTURES);
  if (!overlays.length) return [];
  const pictures = overlays.map(({ name, url }) => {
    const what = name.slice(0, -end.length);
    const image = h("img", { src: url, alt: `Overlay of ${what}`, loading: "lazy" });
    return h("li", {}, h("figure", {}, image, h("figcaption", {}, what)));
  });
  return [h("ul", { class: "gallery", "aria-label": "Overlays" }, ...pictures)];
}

/** Return the file that tells what was done; an archive's own, not that of a file in it. */
function recordOf(job, files) {
  const stem = ({ name }) => name.replace(/_job\.json$/, "");
  return files
    .filter((file) => file.name.endsWith("_job.json") && job.name.startsWith(stem(file)))
    .sort((a, b) => b.name.length - a.name.length)[0];
}

/** Return the facts of a job, as pairs of words. */
function factsOf(job, facts, view) {
  const found = ["cells", "nuclei", "tracks", "divisions", "spots", "files", "failed"]
    .filter((name) => typeof facts[name] === "number" && (facts[name] || name !== "failed"))
    .map((name) => [name === "failed" ? "Files failed" : `${name.charAt(0).toUpperCase()}${name.slice(1)}`, facts[name].toLocaleString("en")]);
  const { image, model } = facts;
  const mpp = image?.mpp ?? view?.mpp;
  const models = Object.values(facts.models ?? (model ? { model } : {}));
  const named = [...new Set(models.map(({ name, version }) => `${name}, version ${version}`))];
  const given = Object.entries(job.params ?? {})
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [name, String(value)]);
  return [
    ...found.map((pair) => [...pair, "found"]),
    image?.shape && ["Image", `${image.shape.join(" × ")} ${image.axes ?? ""}, ${image.dtype ?? ""}`],
    image && ["Pixel size", mpp ? `${figure(mpp)} µm` : "not known"],
    facts.diameter && ["Diameter", `${figure(facts.diameter)} px`],
    named.length && ["Model", named.join("; ")],
    facts.detector && !named.length && ["Detector", facts.detector],
    job.ended && job.finished_at && ["Time", duration(elapsed(job))],
    ["Submitted", when(job.created_at)],
    job.user && ["By", job.user],
    ...given.map(([name, value]) => [name, value, "param"]),
  ].filter(Boolean);
}

function factsTable(job, facts, view) {
  const list = h("dl", { class: "fact-list" });
  for (const [name, value, kind] of factsOf(job, facts, view)) {
    const term = kind === "param" ? h("code", {}, name) : name;
    const pair = h("div", { class: kind ?? "" }, h("dt", {}, term), h("dd", {}, value));
    list.append(pair);
  }
  return h("section", { "aria-labelledby": "facts-title" }, h("h2", { id: "facts-title" }, "Facts"), list);
}

function downloads(job, files) {
  const all = h("a", { class: "button", href: job.urls.result, download: true },
    icon("download"), h("span", {}, "Download all"));
  const rows = files.slice(0, MOST_FILES).map(({ name, bytes: size, url }) =>
    h("li", {}, h("a", { href: url, download: name.split("/").at(-1) }, name), h("span", { class: "units" }, bytes(size))));
  if (files.length > MOST_FILES) {
    rows.push(h("li", { class: "note" }, `and ${files.length - MOST_FILES} more, in “Download all”.`));
  }
  return h("section", { "aria-labelledby": "files-title" }, h("h2", { id: "files-title" }, "Files"),
    all, h("ul", { class: "file-list" }, ...rows));
}

function again(job) {
  const blocks = commandsOf(job).map(([title, text]) => {
    const copy = button("copy", "Copy", () => copyText(text, code, copy), { label: `Copy for ${title}` });
    const code = h("code", {}, text);
    return h("div", { class: "command" },
      h("div", { class: "command-head" }, h("h3", {}, title), copy),
      h("pre", { tabindex: "0", role: "region", "aria-label": title }, code));
  });
  return h("section", { "aria-labelledby": "again-title" },
    h("h2", { id: "again-title" }, "The same again"), ...blocks);
}

async function copyText(text, code, pressed) {
  const words = pressed.querySelector("span");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // no clipboard over plain HTTP: the old way, by a selection
    const range = document.createRange();
    range.selectNodeContents(code);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    document.execCommand("copy");
  }
  setText(words, "Copied");
  announce("Copied.");
  setTimeout(() => setText(words, "Copy"), 2000);
}
