// The list of jobs: uploads first, then jobs, newest first. Rows are made once and changed in place.

import { actionsOf } from "./actions.js";
import { sentence } from "./api.js";
import { announce, button, h, icon, setText } from "./dom.js";
import { jobs } from "./live.js";
import { uploads } from "./uploads.js";
import { duration, elapsed, reasonOf, statusOf, typeOf, unitsOf, when } from "./words.js";

const rows = new Map(); // by id of a job
const open = new Set(); // rows whose clock runs
let due = 0;
let list;
let sending;
let older;
let empty;

/** Keep the list up to date from now on. */
export function startList() {
  list = document.getElementById("jobs");
  sending = document.getElementById("sending");
  older = document.getElementById("older");
  empty = document.getElementById("no-jobs");
  jobs.addEventListener("list", orderSoon);
  jobs.addEventListener("job", ({ detail }) => changed(detail.job, detail.was));
  uploads.addEventListener("change", ({ detail }) => showUpload(detail));
  uploads.all.forEach(showUpload);
  older.addEventListener("click", showOlder);
  setInterval(() => open.forEach((row) => row.tick()), 1000);
}

async function showOlder() {
  older.disabled = true;
  try {
    await jobs.more();
  } catch (error) {
    announce(sentence(error));
  }
  older.disabled = false;
}

function orderSoon() {
  due ||= requestAnimationFrame(() => {
    due = 0;
    order();
  });
}

/** Show all rows anew, as when the titles of job types have come. */
export function refreshList() {
  rows.forEach((row) => row.show(row.job));
  uploads.all.forEach(showUpload);
}

/** Put the rows in order; those in place are not touched, so that focus stays where it is. */
function order() {
  let before = list.firstElementChild;
  for (const job of jobs.ordered) {
    const { element } = rowOf(job);
    if (element === before) before = before.nextElementSibling;
    else list.insertBefore(element, before);
  }
  older.hidden = !jobs.next;
  showEmpty();
}

function showEmpty() {
  empty.hidden = !jobs.loaded || jobs.byId.size > 0 || uploads.all.length > 0;
}

function changed(job, was) {
  rowOf(job).show(job);
  if (was && job.ended && !was.ended) {
    announce(`${job.name}: ${statusOf(job)[0]}. ${reasonOf(job)}`);
  }
}

function rowOf(job) {
  if (!rows.has(job.id)) rows.set(job.id, new Row(job));
  return rows.get(job.id);
}

/** Make the parts that rows of jobs and of uploads share. */
function parts() {
  return {
    mark: h("span", { class: "mark" }),
    state: h("span", { class: "state" }),
    units: h("span", { class: "units" }),
    type: h("span", { class: "type" }),
    time: h("span", { class: "time" }),
    bar: h("progress", { max: "100", value: "0" }),
    reason: h("p", { class: "reason" }),
    actions: h("div", { class: "actions" }),
  };
}

function laid(part, name, kind) {
  const facts = h("p", { class: "facts" }, part.state, part.units, part.type, part.time);
  const main = h("div", { class: "job-main" }, name, facts, part.bar, part.reason);
  return h("li", { class: `job ${kind}` }, part.mark, main, part.actions);
}

class Row {
  #shown = "";

  constructor(job) {
    this.part = parts();
    this.part.bar.setAttribute("aria-label", `Progress of ${job.name}`);
    const name = h("a", { class: "name", href: `#/jobs/${job.id}` }, job.name);
    this.element = laid(this.part, name, "");
    this.element.dataset.id = job.id;
    this.show(job);
  }

  show(job) {
    this.job = job;
    const { part } = this;
    const [words, kind] = statusOf(job);
    setText(part.state, words);
    setText(part.type, typeOf(job));
    setText(part.units, job.ended ? "" : unitsOf(job));
    setText(part.reason, reasonOf(job));
    part.bar.value = job.progress;
    part.bar.hidden = job.ended;
    this.tick();
    (job.ended ? Set.prototype.delete : Set.prototype.add).call(open, this);
    if (this.#shown === job.status) return;
    this.#shown = job.status;
    this.element.dataset.status = job.status;
    this.element.dataset.kind = kind;
    part.mark.replaceChildren(icon(kind));
    const focused = part.actions.contains(document.activeElement);
    part.actions.replaceChildren(...actionsOf(job, (error) => this.complain(error)));
    if (focused) this.element.querySelector(".name").focus();
  }

  tick() {
    const { job } = this;
    const took = duration(elapsed(job));
    setText(this.part.time, job.ended ? [took, when(job.created_at)].filter(Boolean).join(" · ") : took);
  }

  complain(error) {
    setText(this.part.reason, sentence(error));
    announce(sentence(error));
  }
}

const STATES = {
  waiting: ["Waits to be sent", "upload"],
  sending: ["Sending", "upload"],
  paused: ["Not sent yet", "waiting"],
  failed: ["Not sent", "failed"],
  left: ["Not sent", "failed"],
};

const sent = new Map(); // rows of uploads by key

function showUpload(upload) {
  const gone = !STATES[upload.state];
  if (gone) {
    sent.get(upload.key)?.element.remove();
    sent.delete(upload.key);
    showEmpty();
    return;
  }
  if (!sent.has(upload.key)) {
    const made = new UploadRow(upload);
    sent.set(upload.key, made);
    sending.append(made.element);
    showEmpty();
  }
  sent.get(upload.key).show(upload);
}

class UploadRow {
  #shown = "";

  constructor(upload) {
    this.part = parts();
    this.part.bar.setAttribute("aria-label", `Upload of ${upload.name}`);
    const name = h("span", { class: "name" }, upload.name);
    this.element = laid(this.part, name, "upload");
  }

  show(upload) {
    const { part } = this;
    const { state } = upload;
    const [words, kind] = STATES[state];
    const percent = Math.round(upload.share * 100);
    setText(part.state, words);
    setText(part.type, typeOf(upload));
    setText(part.units, state === "sending" ? `${percent} %` : "");
    setText(part.reason, upload.reason);
    part.bar.value = percent;
    part.bar.hidden = state === "failed" || state === "left";
    if (this.#shown === state) return;
    this.#shown = state;
    this.element.dataset.status = state;
    this.element.dataset.kind = kind === "upload" ? "running" : kind;
    part.mark.replaceChildren(icon(kind));
    part.actions.replaceChildren(...uploadActions(upload));
  }
}

function uploadActions(upload) {
  const { name } = upload;
  const drop = () => {
    uploads.drop(upload);
    document.getElementById("jobs-title").focus({ preventScroll: true });
  };
  if (upload.state === "left") {
    return [button("cancel", "Dismiss", drop, { label: `Dismiss ${name}` })];
  }
  if (upload.state === "failed") {
    const again = button("retry", "Send again", () => uploads.again(upload), {
      label: `Send ${name} again`,
    });
    return [again, button("cancel", "Dismiss", drop, { label: `Dismiss ${name}` })];
  }
  return [button("cancel", "Cancel", drop, { label: `Cancel ${name}` })];
}
