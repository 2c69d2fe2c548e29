// The jobs that the page knows, kept up to date: by events for a few, by asking for the rest.

import { ask, connection, post } from "./api.js";

const STREAMS = 2; // a browser opens six connections to a server, for all of its tabs
const BUSY_MS = 1500;
const CALM_MS = 10_000;
const PAGE = 50;
const AGAIN_MS = 30_000; // after a stream broke; until then the job is asked for

/** Return what can change in a job; its link is signed anew each time. */
const facts = (job) => JSON.stringify({ ...job, output_url: null });

/** Jobs by id. Says "job" with {job, was} on each change, "list" when the order has changed. */
class Jobs extends EventTarget {
  byId = new Map();

  next = null;

  loaded = false;

  #streams = new Map();

  #broken = new Map();

  #timer = 0;

  #focus = null;

  #due = null;

  /** All jobs, newest first. */
  get ordered() {
    return [...this.byId.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  }

  /** Take in what the server says of a job, unless we know better already. */
  put(job) {
    const was = this.byId.get(job.id);
    if (was?.ended && !job.ended) return; // an answer that was overtaken
    this.byId.set(job.id, job);
    if (!was) this.dispatchEvent(new Event("list"));
    if (!was || facts(was) !== facts(job)) {
      this.dispatchEvent(new CustomEvent("job", { detail: { job, was } }));
    }
    this.#followSoon();
  }

  /** Fetch the newest jobs, then go on looking. */
  async start() {
    connection.addEventListener("change", () => connection.lost || this.refresh());
    document.addEventListener("visibilitychange", () => this.#wake());
    await this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    try {
      await this.#look();
    } catch {
      // `connection` says it; a refusal is said where somebody asked for something
    }
    clearTimeout(this.#timer);
    if (!document.hidden) {
      const pause = this.#unfollowed().length ? BUSY_MS : CALM_MS;
      this.#timer = setTimeout(() => this.refresh(), pause);
    }
  }

  /** Fetch older jobs. */
  async more() {
    const page = await ask(`/jobs?limit=${PAGE}&before=${encodeURIComponent(this.next)}`);
    this.next = page.next;
    page.jobs.forEach((job) => this.put(job));
    this.dispatchEvent(new Event("list"));
  }

  /** Fetch one job; its changes come first from now on. */
  async one(id) {
    this.#focus = id;
    const job = this.byId.get(id);
    if (job) {
      this.#followSoon();
      return job;
    }
    const fetched = await ask(`/jobs/${encodeURIComponent(id)}`);
    this.put(fetched);
    return fetched;
  }

  unfocus() {
    this.#focus = null;
  }

  async cancel(job) {
    this.put(await ask(job.urls.self, { method: "DELETE" }));
  }

  async retry(job) {
    const again = await post(`${job.urls.self}/retry`);
    this.put(again);
    return again;
  }

  async #look() {
    const page = await ask(`/jobs?limit=${PAGE}`);
    const first = !this.loaded;
    this.loaded = true;
    if (first) this.next = page.next;
    page.jobs.forEach((job) => this.put(job));
    const seen = new Set(page.jobs.map((job) => job.id));
    const rest = this.#unfollowed().filter((job) => !seen.has(job.id));
    await Promise.all(
      rest.slice(0, 10).map(async (job) => this.put(await ask(`/jobs/${job.id}`))),
    );
    if (first) this.dispatchEvent(new Event("list"));
  }

  #open() {
    const open = this.ordered.filter((job) => !job.ended);
    return open.sort((a, b) => (b.id === this.#focus) - (a.id === this.#focus));
  }

  #unfollowed() {
    return this.#open().filter((job) => !this.#streams.has(job.id));
  }

  #wake() {
    if (document.hidden) {
      this.#streams.forEach((stream) => stream.close());
      this.#streams.clear();
    } else this.refresh();
  }

  #followSoon() {
    this.#due ??= Promise.resolve().then(() => this.#follow());
  }

  #follow() {
    this.#due = null;
    for (const [id, stream] of this.#streams) {
      if (this.byId.get(id)?.ended) {
        stream.close();
        this.#streams.delete(id);
      }
    }
    if (document.hidden) return;
    const now = Date.now();
    for (const job of this.#open()) {
      if (this.#streams.size >= STREAMS) break;
      const resting = now - (this.#broken.get(job.id) ?? -Infinity) < AGAIN_MS;
      if (!this.#streams.has(job.id) && !resting) this.#listen(job);
    }
  }

  #listen(job) {
    const stream = new EventSource(job.urls.events);
    this.#streams.set(job.id, stream);
    stream.addEventListener("job", (event) => this.put(JSON.parse(event.data)));
    stream.onerror = () => {
      stream.close();
      this.#streams.delete(job.id);
      this.#broken.set(job.id, Date.now());
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), BUSY_MS / 3);
    };
  }
}

export const jobs = new Jobs();
