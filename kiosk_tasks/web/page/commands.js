// The same job from a terminal, from Python, with curl: text that runs as it stands.

import { plainType } from "./words.js";

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const stringOf = (text) => JSON.stringify(String(text));

/** Return a value as Python writes it. */
function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  return typeof value === "number" ? String(value) : stringOf(value);
}

/** Return [title, text] of each way to run a job again. */
export function commandsOf(job) {
  const type = plainType(job);
  const given = Object.entries(job.params ?? {}).filter(([, value]) => value !== null);
  return [
    ["Command line", commandLine(job, type, given)],
    ["Python", program(job, type, given)],
    ["curl", curl(job, type, given)],
  ];
}

function commandLine(job, type, given) {
  const options = given.map(([name, value]) => {
    const option = name.replaceAll("_", "-");
    if (value === true) return `--${option}`;
    return value === false ? `--no-${option}` : `--${option} ${quoted(String(value))}`;
  });
  const path = job.name.startsWith("-") ? `./${job.name}` : job.name; // no option
  return ["kiosk run", type, quoted(path), ...options, "-o results"].join(" ");
}

function program(job, type, given) {
  const values = given.map(([name, value]) => `, ${name}=${python(value)}`).join("");
  const token = job.user ? ', token="YOUR TOKEN"' : "";
  return [
    "from kiosk_tasks.client import Client",
    "",
    `client = Client(${stringOf(location.origin)}${token})`,
    `job = client.submit(${stringOf(type)}, ${stringOf(job.name)}${values})`,
    "job.wait()",
    'job.result().save("results")',
  ].join("\n");
}

function curl(job, type, given) {
  const fields = given.map(([name, value]) => field(name, String(value)));
  const user = job.user ? [`-u ${quoted(job.user)}`] : [];
  const file = `-F ${quoted(`file=@${curlName(job.name)}`)}`;
  return ["curl", ...user, ...fields, file, quoted(`${location.origin}/jobs/${type}`)].join(" ");
}

/** Return a form's field; to curl, some values would mean the content of a file of that name. */
function field(name, value) {
  return `${/^[\w.,:+-]*$/.test(value) ? "-F" : "--form-string"} ${quoted(`${name}=${value}`)}`;
}

/** Return a file's name as -F takes it, to which commas and semicolons end one. */
function curlName(name) {
  return /[,;"\\]/.test(name) || name === "-" ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name;
}
