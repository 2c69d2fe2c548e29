// What is drawn of an image and over it: its dark parts brightened, trails, spots.

import { COLOURS, place } from "./colours.js";

/** Return a picture with its dark parts brightened; gamma 1 leaves it as it is. */
export function brightened(bitmap, gamma) {
  if (gamma === 1) return bitmap;
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const table = Uint8Array.from({ length: 256 }, (_, v) => 255 * (v / 255) ** (1 / gamma) + 0.5);
  const { data } = image;
  for (let i = 0; i < data.length; i += 4) {
    data[i] = table[data[i]];
    data[i + 1] = table[data[i + 1]];
    data[i + 2] = table[data[i + 2]];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw the trails of tracks that are seen in a frame, and where they come from.
 * at: (y, x) in image pixels → [x, y] on the canvas. length: frames that a trail goes back.
 * places: each track's place in the palette.
 */
export function drawTrails(context, tracks, frame, { at, length, size, places }) {
  const byId = new Map(tracks.map((track) => [track.id, track]));
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const track of tracks) {
    const seen = track.points.filter(([f]) => f <= frame && f >= frame - length);
    const last = seen.at(-1);
    if (!last || last[0] < frame - 1) continue;
    const colour = COLOURS[places?.get(track.id) ?? place(track.id)];
    const parent = byId.get(track.parent)?.points.at(-1);
    const way = parent && parent[0] >= frame - length ? [parent, ...seen] : seen;
    trail(context, way.map(([f, y, x]) => [f, ...at(y, x)]), frame, { colour, length, size });
    if (last[0] === frame) dot(context, at(last[1], last[2]), 1.6 * size, colour);
  }
}

function trail(context, way, frame, { colour, length, size }) {
  for (let i = 1; i < way.length; i += 1) {
    const [, x1, y1] = way[i - 1];
    const [f, x2, y2] = way[i];
    const age = Math.max(0, frame - f) / length;
    const line = () => {
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
      context.stroke();
    };
    context.globalAlpha = 1 - 0.8 * age;
    context.strokeStyle = "#000a";
    context.lineWidth = 2.2 * size;
    line();
    context.strokeStyle = colour;
    context.lineWidth = 1.2 * size;
    line();
  }
  context.globalAlpha = 1;
}

function dot(context, [x, y], radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.strokeStyle = "#000c";
  context.lineWidth = radius / 3;
  context.fill();
  context.stroke();
}

/**
 * Draw the spots of a frame: filled where they lie in a cell or no cells are known, rings elsewhere.
 * spots: [y, x] of each; cells, frames: the cell and the frame of each, or null.
 */
export function drawSpots(context, { spots, cells, frames }, frame, { at, size, width, height }) {
  const reach = 4 * size;
  for (const [hollow, colour] of [[true, "#ffffff"], [false, "#ffd54a"]]) {
    const path = new Path2D();
    spots.forEach(([y, x], index) => {
      if (frames && frames[index] !== frame) return;
      if (Boolean(cells && !cells[index]) !== hollow) return;
      const [cx, cy] = at(y, x);
      if (cx < -reach || cy < -reach || cx > width + reach || cy > height + reach) return;
      path.moveTo(cx + 1.7 * size, cy);
      path.arc(cx, cy, 1.7 * size, 0, 2 * Math.PI);
    });
    context.lineWidth = 1.6 * size;
    context.strokeStyle = "#000a";
    context.stroke(path);
    context.lineWidth = 0.8 * size;
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.stroke(path);
    if (!hollow) context.fill(path);
  }
}
