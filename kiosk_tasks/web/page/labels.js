// A label image: which cell is where, drawn in colours in which neighbours differ.

import { COLOURS, RGB, place } from "./colours.js";

const NEAR = 8; // pixels; cells nearer than that should not look like one

/** A label image. */
export class LabelImage {
  #places = null;

  constructor(pixels) {
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

  /**
   * Draw all cells: filled with their edges, or the edges only.
   * lasting: places in the palette by id, that hold for all images; else, this image has its own.
   */
  drawn(outlines, lasting) {
    const { width, height, ids } = this;
    const places = lasting ?? (this.#places ??= this.#placed());
    const of = (id) => places.get(id) ?? place(id);
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
