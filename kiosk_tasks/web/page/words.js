// What the page says: statuses, units, sizes, times. All words of the server's values are here.

const STATUS = {
  new: ["Waiting for a worker", "waiting"],
  started: ["Reading the file", "running"],
  "pre-processing": ["Preparing the image", "running"],
  predicting: ["Running the model", "running"],
  "post-processing": ["Finding objects", "running"],
  "saving-results": ["Saving results", "running"],
  waiting: ["Working on its parts", "running"],
  done: ["Done", "done"],
  failed: ["Failed", "failed"],
  cancelled: ["Cancelled", "cancelled"],
};

/** Return the words for a job's status and the name of its icon. */
export function statusOf(job) {
  return STATUS[job.status] ?? [job.status, job.ended ? "done" : "running"];
}

const ABOUT = {
  predict: "Nuclei, cytoplasm or phase contrast: a number each",
  mesmer: "A nuclear and a membrane channel, as in tissue",
  track: "Cells keep their number from frame to frame",
  spot: "Fluorescent spots, to a fraction of a pixel",
  polaris: "Spots, and the cell that each one lies in",
};
const ORDER = Object.keys(ABOUT);

/** Return one line about a job type. */
export function about(type) {
  if (ABOUT[type.name]) return ABOUT[type.name];
  const takes = (type.accepts ?? []).join(", ");
  return takes ? `Takes ${takes}` : "";
}

/** Sort job types: the usual ones first, others by name. */
export function sorted(types) {
  const place = (type) => (ORDER.includes(type.name) ? ORDER.indexOf(type.name) : ORDER.length);
  return [...types].sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name));
}

const titles = new Map();

/** Remember what job types are called. */
export function learn(types) {
  types.forEach(({ name, title }) => titles.set(name, title));
}

/** Return the words for a job's type. */
export function typeOf(job) {
  const title = titles.get(plainType(job)) ?? plainType(job);
  return isArchive(job) ? `${title}, an archive` : title;
}

export const isArchive = (job) => job.type.endsWith("-zip");
export const plainType = (job) => job.type.replace(/-zip$/, "");

/** Return what the server says of a job's end; of a cancelled one, the status says all. */
export const reasonOf = (job) => (job.status === "cancelled" ? "" : (job.reason ?? ""));

/** Return "3 of 12 tiles", or "" where the job counts nothing yet. */
export function unitsOf(job) {
  if (!job.units?.total) return "";
  const one = isArchive(job) ? "file" : plainType(job) === "track" ? "frame" : "tile";
  return `${job.units.done} of ${count(job.units.total, one)}`;
}

/** Return "1 cell", "1,204 cells". */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Return a file's size: "312 kB". */
export function bytes(size) {
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = size;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Return a length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Return the seconds from a job's submission to its end, or to now. */
export function elapsed(job) {
  const end = job.finished_at ? Date.parse(job.finished_at) : job.ended ? NaN : Date.now();
  return Math.max(0, (end - Date.parse(job.created_at)) / 1000);
}

/** Return when something was: "14:03" today, else "21 Nov, 14:03". */
export function when(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.valueOf())) return "";
  const clock = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (date.toDateString() === new Date().toDateString()) {
    return date.toLocaleTimeString("en-GB", clock);
  }
  return date.toLocaleString("en-GB", { day: "numeric", month: "short", ...clock });
}

/** Return a number with at most 4 significant digits. */
export function figure(value) {
  return String(Number(Number(value).toPrecision(4)));
}

export const LOST = "No answer from the server; trying again…";
