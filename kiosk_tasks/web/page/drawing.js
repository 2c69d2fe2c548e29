// What is drawn over an image: labels in colour, outlines, one cell's edge, trails, spots.

// Okabe and Ito's colours, which are told apart with any colour vision; their black is left out.
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];
const RGB = COLOURS.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** Return the place in the palette for an id: the same in every frame. */
const place = (id) => (Math.imul(id, 2654435761) >>> 8) % COLOURS.length;

export const colourOf = (id) => COLOURS[place(id)];

const NEAR = 8; // pixels; cells nearer than that should not look like one

/** A label image. lasting: an id has the same colour in every image, whatever is beside it. */
export class LabelImage {
  #places = null;

  constructor(pixels, lasting) {
    this.lasting = lasting;
    const { width, height, data } = pixels;
    this.width = width;
    this.height = height;
    this.ids = new Uint32Array(width * height);
    for (let i = 0, from = 0; i < this.ids.length; i += 1, from += 4) {
      this.ids[i] = (data[from] << 16) | (data[from + 1] << 8) | data[from + 2];
    }
  }

  /** Return the id at a pixel; 0 is no cell. */
  at(x, y) {
    const inside = x >= 0 && y >= 0 && x < this.width && y < this.height;
    return inside ? this.ids[Math.floor(y) * this.width + Math.floor(x)] : 0;
  }

  /** Return the place in the palette by id: another one than its neighbours', if there is one. */
  #placed() {
    const near = new Map();
    const { width, ids } = this;
    const meet = (a, b) => {
      if (!a || !b || a === b) return;
      const key = a > b ? a : b;
      if (!near.has(key)) near.set(key, new Set());
      near.get(key).add(a > b ? b : a);
    };
    for (let i = 0; i < ids.length; i += 1) {
      if (!ids[i]) continue;
      meet(ids[i], ids[i + NEAR]); // those that meet across the border of the image do no harm
      meet(ids[i], ids[i + 1]);
      meet(ids[i], ids[i + width]);
      meet(ids[i], ids[i + NEAR * width]);
    }
    const places = new Map();
    for (const id of [...near.keys()].sort((a, b) => a - b)) {
      const taken = new Set([...near.get(id)].map((other) => places.get(other) ?? place(other)));
      let own = place(id);
      for (let turn = 0; taken.has(own) && turn < COLOURS.length; turn += 1) {
        own = (own + 1) % COLOURS.length;
      }
      places.set(id, own);
    }
    return places;
  }

  /** Draw all cells: filled with their edges, or the edges only. */
  drawn(outlines) {
    const { width, height, ids } = this;
    this.#places ??= this.lasting ? new Map() : this.#placed();
    const of = (id) => this.#places.get(id) ?? place(id);
    const image = new ImageData(width, height);
    const out = new Uint32Array(image.data.buffer);
    const fills = RGB.map(([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
    const soft = RGB.map(([r, g, b]) => ((140 << 24) | (b << 16) | (g << 8) | r) >>> 0);
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        const id = ids[i];
        if (!id) continue;
        const edge =
          (x > 0 && ids[i - 1] !== id) ||
          (x < width - 1 && ids[i + 1] !== id) ||
          (y > 0 && ids[i - width] !== id) ||
          (y < height - 1 && ids[i + width] !== id);
        if (edge) out[i] = fills[of(id)];
        else if (!outlines) out[i] = soft[of(id)];
      }
    }
    return canvasOf(image);
  }

  /** Return the pixels of one cell's edge, as a path in pixels of the label image. */
  edge(id) {
    const path = new Path2D();
    const { width, height, ids } = this;
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        if (ids[i] !== id) continue;
        if (x === 0 || ids[i - 1] !== id) side(path, x, y, x, y + 1);
        if (x === width - 1 || ids[i + 1] !== id) side(path, x + 1, y, x + 1, y + 1);
        if (y === 0 || ids[i - width] !== id) side(path, x, y, x + 1, y);
        if (y === height - 1 || ids[i + width] !== id) side(path, x, y + 1, x + 1, y + 1);
      }
    }
    return path;
  }
}

function side(path, x1, y1, x2, y2) {
  path.moveTo(x1, y1);
  path.lineTo(x2, y2);
}

function canvasOf(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Fetch a label image; its colours are numbers, so that no colour management may touch them. */
export async function fetchLabels(url, lasting) {
  const bitmap = await fetchBitmap(url, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new LabelImage(context.getImageData(0, 0, canvas.width, canvas.height), lasting);
}

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

/** Fetch a picture. */
export async function fetchBitmap(url, options = {}) {
  const answer = await fetch(url);
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw new Error(body?.message ?? `The picture could not be fetched (${answer.status}).`);
  }
  return createImageBitmap(await answer.blob(), options);
}

/**
 * Draw the trails of tracks that are seen in a frame, and where they come from.
 * at: (y, x) in image pixels → [x, y] on the canvas. length: frames that a trail goes back.
 */
export function drawTrails(context, tracks, frame, { at, length, size }) {
  const byId = new Map(tracks.map((track) => [track.id, track]));
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const track of tracks) {
    const seen = track.points.filter(([f]) => f <= frame && f >= frame - length);
    const last = seen.at(-1);
    if (!last || last[0] < frame - 1) continue;
    const colour = colourOf(track.id);
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

/** Draw spots: filled where they lie in a cell or no cells are known, rings elsewhere. */
export function drawSpots(context, { spots, cells }, { at, size, width, height }) {
  const reach = 4 * size;
  for (const [hollow, colour] of [[true, "#ffffff"], [false, "#ffd54a"]]) {
    const path = new Path2D();
    spots.forEach(([y, x], index) => {
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
