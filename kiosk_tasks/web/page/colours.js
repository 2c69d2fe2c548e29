// Colours for cells: those near to each other get different ones, a track the same in every frame.

// Okabe and Ito's colours, which are told apart with any colour vision; their black is left out.
export const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];
export const RGB = COLOURS.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

const MOST_POINTS = 60_000; // of longer movies some frames are left out, so that the page stays quick
const SAMPLES = 30;
const REACH = 2.5; // in usual distances between a cell and the next
const TURNS = 3; // the first colours tracks in order, the others mend what it could not know

/** Return the place in the palette for an id that has no neighbours. */
export const place = (id) => (Math.imul(id, 2654435761) >>> 8) % COLOURS.length;

/**
 * Return the place in the palette by track: another one than those of the tracks that it is beside
 * in any frame; where there are too many of them, than those it is nearest to for longest.
 */
export function trackPlaces(tracks) {
  const near = nearness(tracks);
  const places = new Map();
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const { id } of tracks) {
      const cost = COLOURS.map(() => 0);
      for (const [other, weight] of near.get(id) ?? []) {
        if (places.has(other)) cost[places.get(other)] += weight;
      }
      const best = Math.min(...cost);
      let own = places.get(id) ?? place(id);
      while (cost[own] > best) own = (own + 1) % COLOURS.length;
      places.set(id, own);
    }
  }
  return places;
}

/** Return, by track, the tracks near to it and how much so: the sum of 1 / distance² over frames. */
function nearness(tracks) {
  const near = new Map();
  const add = (a, b, weight) => {
    if (!near.has(a)) near.set(a, new Map());
    near.get(a).set(b, (near.get(a).get(b) ?? 0) + weight);
  };
  for (const points of framesOf(tracks)) {
    const reach = REACH * usualDistance(points);
    for (const [a, b] of pairs(points, reach)) {
      const weight = 1 / Math.max(1, (a.y - b.y) ** 2 + (a.x - b.x) ** 2);
      add(a.id, b.id, weight);
      add(b.id, a.id, weight);
    }
  }
  return near;
}

/** Return the points of each frame, as {id, y, x}; of long movies, of every nth. */
function framesOf(tracks) {
  const all = tracks.reduce((sum, { points }) => sum + points.length, 0);
  const step = Math.ceil(all / MOST_POINTS);
  const frames = new Map();
  for (const { id, points } of tracks) {
    for (const [frame, y, x] of points) {
      if (frame % step) continue;
      if (!frames.has(frame)) frames.set(frame, []);
      frames.get(frame).push({ id, y, x });
    }
  }
  return [...frames.values()].filter((points) => points.length > 1);
}

/** Return the median distance from a point to the next one, by some of the points. */
function usualDistance(points) {
  const step = Math.max(1, Math.floor(points.length / SAMPLES));
  const distances = points.filter((_, index) => index % step === 0).map((a) =>
    points.reduce((least, b) => (a === b ? least : Math.min(least, Math.hypot(a.y - b.y, a.x - b.x))), Infinity));
  return distances.sort((a, b) => a - b)[Math.floor(distances.length / 2)];
}

/** Yield the pairs of points that are at most that far apart. */
function* pairs(points, reach) {
  const size = Math.max(1, reach);
  const squares = new Map();
  for (const point of points) {
    const [row, column] = [Math.floor(point.y / size), Math.floor(point.x / size)];
    for (let dy = -1; dy <= 1; dy += 1) {
      for (let dx = -1; dx <= 1; dx += 1) {
        for (const other of squares.get(`${row + dy} ${column + dx}`) ?? []) {
          if (Math.hypot(point.y - other.y, point.x - other.x) <= reach) yield [point, other];
        }
      }
    }
    const key = `${row} ${column}`;
    if (!squares.has(key)) squares.set(key, []);
    squares.get(key).push(point);
  }
}
