// What the viewer says of its image in words: its size, what is at a place, what was found.

import { count, figure } from "./words.js";

/** Return what is at a place of a view, px. id: of the cell there, 0 for none. */
export function placeWords({ mpp, tracks, labels }, x, y, id) {
  const um = mpp ? ` (${figure(y * mpp)}, ${figure(x * mpp)} µm)` : "";
  const cell = id ? `${tracks ? "track" : "cell"} ${id}` : "no cell";
  const what = labels.length ? ` · ${cell}` : "";
  return `y ${Math.floor(y)}, x ${Math.floor(x)}${um}${what}`;
}

/** Return how large a view's image is. */
export function sizeWords({ width, height, mpp, scale }) {
  const um = mpp ? `, ${figure(width * mpp)} × ${figure(height * mpp)} µm` : "";
  const small = scale && scale < 1 ? `, shown at ${Math.round(scale * 100)} %` : "";
  return `${width} × ${height} px${um}${small}`;
}

/** Return what is to be seen, for those who do not see it. part: index in the view's labels. */
export function foundWords(view, part, { tracks, spots }) {
  const words = ["Image", `${view.width} × ${view.height} pixels`];
  const labels = view.labels[part];
  if (labels && view.tracks) words.push(count(tracks?.length ?? 0, "track"));
  else if (labels) words.push(count(labels.count, "cell"));
  if (spots) words.push(count(spots.total, "spot"));
  return words.join(", ");
}
