// Which part of an image a canvas shows: wheel, drag, two fingers, keys.

const CLOSEST = 24; // canvas pixels per image pixel

/** Looks at an image of that size. Calls `onmove` when it has moved, `onpoint` with a place. */
export class Camera {
  #zoom = 0; // 0: all is seen

  #pointers = new Map();

  constructor(canvas, { width, height, onmove, onpoint }) {
    Object.assign(this, { canvas, width, height, onmove, onpoint });
    this.centre = [width / 2, height / 2];
    this.#listen();
  }

  /** Whether less than all is seen. */
  get near() {
    return this.#zoom > 0;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.onpoint(-1, -1));
    canvas.addEventListener("dblclick", (event) => this.zoomBy(2, [event.offsetX, event.offsetY]));
  }

  #wheel(event) {
    const zoomed = this.scale() > this.#fitting() * 1.01;
    if (event.deltaY > 0 && !zoomed) return; // nothing further out: the page scrolls
    event.preventDefault();
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018));
    this.zoomBy(factor, [event.offsetX, event.offsetY]);
  }

  #key(event) {
    const step = 60 / this.scale();
    const moves = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step],
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) this.#pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  #moved(event) {
    const before = this.#pointers.get(event.pointerId);
    const now = [event.offsetX, event.offsetY];
    if (!before) {
      this.onpoint(...now);
      return;
    }
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) {
      const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
      this.zoomBy(apart(now) / Math.max(1, apart(before)), other);
    } else {
      this.#pan((before[0] - now[0]) / this.scale(), (before[1] - now[1]) / this.scale());
    }
  }

  /** Return CSS pixels per image pixel at which all is seen. */
  #fitting() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
  }

  /** Return CSS pixels per image pixel. */
  scale() {
    return this.#zoom || this.#fitting();
  }

  /** Show all of the image. */
  fit() {
    this.#zoom = 0;
    this.centre = [this.width / 2, this.height / 2];
    this.onmove();
  }

  /** Zoom around a place on the canvas, or its middle. */
  zoomBy(factor, place = null) {
    const { clientWidth, clientHeight } = this.canvas;
    const [x, y] = place ?? [clientWidth / 2, clientHeight / 2];
    const before = this.scale();
    const zoom = Math.min(Math.max(before * factor, this.#fitting()), Math.max(CLOSEST, before));
    if (zoom <= this.#fitting() * 1.001) {
      this.fit();
      return;
    }
    const shift = (at, length) => (at - length / 2) * (1 / before - 1 / zoom);
    this.#zoom = zoom;
    this.#pan(shift(x, clientWidth), shift(y, clientHeight));
  }

  #pan(x, y) {
    const within = (value, most) => Math.min(most, Math.max(0, value));
    const [cx, cy] = this.centre;
    this.centre = [within(cx + x, this.width), within(cy + y, this.height)];
    if (!this.#zoom) this.centre = [this.width / 2, this.height / 2];
    this.onmove();
  }

  /** Return the image position, (x, y), under a place on the canvas. */
  under(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    const scale = this.scale();
    const [cx, cy] = this.centre;
    return [cx + (x - clientWidth / 2) / scale, cy + (y - clientHeight / 2) / scale];
  }
}
