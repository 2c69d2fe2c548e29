// What can be done with a job: cancel it, take its result, try it again.

import { announce, button, h, icon } from "./dom.js";
import { jobs } from "./live.js";

/** Return the buttons for what can be done with a job now. */
export function actionsOf(job, complain, { words = false } = {}) {
  const named = (what) => (words ? null : `${what} ${job.name}`);
  const doing = (act) => async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await act();
    } catch (error) {
      complain(error);
    }
    pressed.disabled = false;
  };
  if (!job.ended) {
    const cancel = doing(() => jobs.cancel(job));
    return [button("cancel", "Cancel", cancel, { label: named("Cancel") })];
  }
  if (job.status === "done") return [download(job, named("Download result of"))];
  const again = async () => {
    const next = await jobs.retry(job);
    announce(`${next.name} is tried again.`);
    if (words) location.hash = `#/jobs/${next.id}`;
  };
  return [button("retry", "Try again", doing(again), { label: named("Try again:") })];
}

function download(job, label) {
  const href = job.urls.result; // not the signed link: that expires while the page is open
  const props = { class: "button quiet", href, download: true, "aria-label": label };
  return h("a", props, icon("download"), h("span", {}, "Download"));
}
