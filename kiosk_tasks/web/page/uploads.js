// Files on their way: two at a time, stopped and sent again without ever making two jobs of one.

import { Refused, connection, send } from "./api.js";
import { announce } from "./dom.js";
import { jobs } from "./live.js";
import { LOST } from "./words.js";

const AT_ONCE = 2;
const TRIES = 4;
const UNSENT = "kiosk-unsent"; // of this tab: what a reload interrupts

/** Uploads in order. Says "change" with the upload. */
class Uploads extends EventTarget {
  all = unsent();

  get open() {
    return this.all.filter((upload) => ["waiting", "sending", "paused"].includes(upload.state));
  }

  /** Queue a file. */
  add(file, type, params) {
    const key = newKey();
    const upload = { key, name: file.name, file, type, params, tries: 0, share: 0 };
    this.all.push(upload);
    this.#set(upload, "waiting");
    this.#next();
  }

  /** Stop it, if it is on its way, and forget it. */
  drop(upload) {
    this.all = this.all.filter((other) => other !== upload);
    const { abort } = upload;
    this.#set(upload, "dropped");
    abort?.();
    this.#next();
  }

  /** Send it once more. */
  again(upload) {
    upload.tries = 0;
    this.#set(upload, "waiting");
    this.#next();
  }

  #next() {
    if (this.all.some(({ held }) => held)) return; // the server would refuse the others, too
    const busy = this.all.filter((upload) => upload.state === "sending").length;
    const waiting = this.all.filter((upload) => upload.state === "waiting");
    waiting.slice(0, Math.max(0, AT_ONCE - busy)).forEach((upload) => this.#send(upload));
  }

  async #send(upload) {
    upload.tries += 1;
    upload.share = 0;
    upload.held = false;
    const progress = (share) => {
      upload.share = share;
      this.#set(upload, "sending");
    };
    const { key, type, file, params } = upload;
    const { done, abort } = send(type, file, params, { key, progress });
    upload.abort = abort;
    this.#set(upload, "sending");
    try {
      const job = await done;
      this.all = this.all.filter((other) => other !== upload);
      this.#set(upload, "sent");
      jobs.put(job);
      announce(`${upload.name} is sent.`);
    } catch (error) {
      this.#stumbled(upload, error);
    }
    upload.abort = null;
    this.#next();
  }

  #stumbled(upload, error) {
    if (upload.state === "dropped" || error.name === "AbortError") return;
    if (error instanceof Refused && !error.passing) {
      this.#set(upload, "failed", error.message);
      announce(`${upload.name}: ${error.message}`);
    } else if (error instanceof Refused) {
      upload.tries = 0; // it is there, and says when to come again
      upload.held = true;
      this.#set(upload, "paused", `${error.message} Trying again in ${error.retryAfter} s.`);
      setTimeout(() => this.#resume(upload), error.retryAfter * 1000);
    } else if (upload.tries >= TRIES) {
      this.#set(upload, "failed", `The upload broke off ${TRIES} times; the server may refuse it.`);
    } else {
      this.#set(upload, "paused", LOST);
      const back = () => this.#resume(upload);
      connection.addEventListener("change", back, { once: true });
    }
  }

  #resume(upload) {
    if (upload.state !== "paused") return;
    upload.held = false;
    this.#set(upload, "waiting");
    this.#next();
  }

  #set(upload, state, reason = "") {
    Object.assign(upload, { state, reason });
    const rows = this.open.map(({ key, name, type }) => ({ key, name, type }));
    try {
      sessionStorage.setItem(UNSENT, JSON.stringify(rows));
    } catch {
      // private windows may have no storage; then a reload forgets
    }
    this.dispatchEvent(new CustomEvent("change", { detail: upload }));
  }
}

function unsent() {
  const reason = "Not sent: the page was left before the upload was complete. Choose it again.";
  try {
    const rows = JSON.parse(sessionStorage.getItem(UNSENT) ?? "[]");
    sessionStorage.removeItem(UNSENT);
    return rows.map((row) => ({ ...row, state: "left", reason, params: {}, share: 0 }));
  } catch {
    return [];
  }
}

function newKey() {
  // crypto.randomUUID is there over HTTPS and on this machine only; a lab's server may have neither
  const words = crypto.getRandomValues(new Uint32Array(4));
  return [...words].map((word) => word.toString(16).padStart(8, "0")).join("");
}

export const uploads = new Uploads();

window.addEventListener("beforeunload", (event) => {
  if (uploads.open.length) event.preventDefault();
});
