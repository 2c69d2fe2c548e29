// Start the page: panel, list, views by address, and a word when the server is lost.

import { connection } from "./api.js";
import { refreshList, startList } from "./job-list.js";
import { JobView } from "./job-view.js";
import { jobs } from "./live.js";
import { startNewJobs } from "./new-jobs.js";
import { LOST } from "./words.js";

const home = document.getElementById("home");
const place = document.getElementById("one");
const banner = document.getElementById("banner");
let view = null;
let scrolled = 0;
let first = true;

function route() {
  const id = /^#\/jobs\/([^/]+)$/.exec(location.hash)?.[1];
  if (!view && !first) scrolled = window.scrollY;
  view?.stop();
  view = null;
  home.hidden = Boolean(id);
  place.hidden = !id;
  if (id) {
    view = new JobView(decoded(id));
    place.replaceChildren(view.element);
    view.start();
    window.scrollTo(0, 0);
    if (!first) view.title.focus({ preventScroll: true });
  } else {
    document.title = "kiosk: images in, cells out";
    place.replaceChildren();
    if (!first) {
      window.scrollTo(0, scrolled);
      document.getElementById("jobs-title").focus({ preventScroll: true });
    }
  }
  first = false;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a broken address; the server will not know it
  }
}

connection.addEventListener("change", () => {
  banner.textContent = connection.lost ? LOST : "";
  banner.hidden = !connection.lost;
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  document.getElementById("content").focus();
});
window.addEventListener("hashchange", route);

startList();
startNewJobs().then(() => {
  refreshList();
  view?.refresh();
});
route();
jobs.start();
