// Talk to the service: questions, uploads with progress, and whether it answers at all.

const SENTENCES = {
  401: "Sign in to use this server: reload the page, then give your name and your token.",
  403: "The server refuses this to you.",
  404: "The server does not know this.",
  413: "The file is larger than this server takes.",
  429: "Too many requests at once.",
  503: "The server cannot take this at the moment.",
};

/** What the server said no to: one sentence, its status, and when to ask again. */
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message || SENTENCES[status] || `The server answered ${status}.`);
    this.status = status;
    this.passing = status === 429 || status === 503;
    this.retryAfter = Math.min(60, Math.max(1, Number(retryAfter) || 5));
  }
}

/** Whether the server answers; says "change" when that changes. */
class Connection extends EventTarget {
  lost = false;

  #asking = false;

  set(lost) {
    if (lost && !this.#asking) this.#ask();
    if (lost === this.lost) return;
    this.lost = lost;
    this.dispatchEvent(new Event("change"));
  }

  async #ask() {
    this.#asking = true;
    for (let pause = 500; ; pause = Math.min(5000, pause * 1.6)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        await fetch("/healthz", { cache: "no-store" });
        break;
      } catch {
        this.lost = true;
      }
    }
    this.#asking = false;
    this.set(false);
  }
}

export const connection = new Connection();

/** Ask for JSON; raises Refused, or TypeError where nobody answers. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name !== "AbortError") connection.set(true);
    throw error;
  }
  connection.set(false);
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body, answer.headers.get("Retry-After"));
  return body;
}

export const post = (path, body, headers = {}) =>
  ask(path, { method: "POST", body, headers: { Accept: "application/json", ...headers } });

const HEADER_BYTES = 4_000_000;

/** Ask what a file's header says; only its beginning is sent. */
export function inspect(file) {
  const cut = file.size > HEADER_BYTES;
  const form = new FormData();
  form.append("file", cut ? file.slice(0, HEADER_BYTES) : file, file.name);
  return post("/inspect", form, cut ? { "X-File-Truncated": "1" } : {});
}

/**
 * Submit a file; `progress` is called with the share sent, 0 to 1.
 * Returns {done, abort}: a promise of the job, and a function that stops the upload.
 */
export function send(type, file, params, { key, progress }) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  for (const [name, value] of Object.entries(params)) form.append(name, value);
  form.append("file", file, file.name); // last, so that the server knows all when it comes
  const done = new Promise((resolve, reject) => {
    request.open("POST", `/jobs/${encodeURIComponent(type)}`);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
    request.onload = () => {
      connection.set(false);
      if (request.status < 300) resolve(request.response);
      else {
        const wait = request.getResponseHeader("Retry-After");
        reject(new Refused(request.status, request.response, wait));
      }
    };
    request.onerror = () => {
      connection.set(true);
      reject(new TypeError("no answer"));
    };
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.send(form);
  });
  return { done, abort: () => request.abort() };
}

/** Return a sentence for whatever went wrong. */
export function sentence(error) {
  return error instanceof Refused ? error.message : "No answer from the server.";
}
