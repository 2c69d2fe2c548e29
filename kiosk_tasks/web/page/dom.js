// Elements made in one call, and the icons.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: h("a", {href, class, onclick, hidden: false}, "text", child, null). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const ICONS = {
  add: ["M12 5v14M5 12h14"],
  back: ["M15 5l-7 7 7 7"],
  cancel: ["M6 6l12 12M18 6L6 18"],
  cancelled: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M6 18L18 6"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  done: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M8 12.2l2.8 2.8L16 9.5"],
  download: ["M12 4v11M7 11l5 5 5-5M5 20h14"],
  failed: ["M12 3.5l9.3 16.5H2.7z", "M12 10v4.5M12 17.2v.3"],
  file: ["M6 3h8l4 4v14H6z", "M14 3v4h4"],
  fit: ["M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"],
  minus: ["M5 12h14"],
  pause: ["M8 5v14M16 5v14"],
  play: ["M7 4.5v15l12-7.5z"],
  retry: ["M19 12a7 7 0 1 1-2.2-5.1L19 9", "M19 4v5h-5"],
  running: ["M12 3a9 9 0 1 0 9 9"],
  upload: ["M12 20V9M7 13l5-5 5 5M5 4h14"],
  waiting: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M12 7.5V12l3 2"],
};

/** Make an icon; it says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: `icon icon-${name}` })) {
    svg.setAttribute(key, value);
  }
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** Make a button with an icon and words; `quiet` ones have no frame. */
export function button(name, words, onclick, { quiet = true, label = null } = {}) {
  const kind = quiet ? "button quiet" : "button";
  const props = { type: "button", class: kind, onclick, "aria-label": label };
  return h("button", props, icon(name), h("span", {}, words));
}

/** Change text only where it differs: less work, and screen readers stay calm. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let live;

/** Say something to screen readers when they have time. */
export function announce(sentence) {
  live ??= document.getElementById("live");
  live.append(h("p", {}, sentence));
  while (live.childElementCount > 5) live.firstElementChild.remove();
}
