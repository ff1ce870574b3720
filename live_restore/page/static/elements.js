// Small helpers for the document. Text from files goes through textContent only.

export const $ = (id) => document.getElementById(id);

/** Makes an element with attributes, and children that are nodes or plain text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** Changes a text, where it is another: to lay out and draw it again takes from what restores. */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

export function makeSvg(tag, attributes = {}, text = null) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== null) element.textContent = text;
  return element;
}

// Each state has a shape of its own: colour alone says nothing to one person in twelve.
const SHAPES = {
  done: [["circle", { cx: 6, cy: 6, r: 4.6, class: "solid" }]],
  doubtful: [
    ["path", { d: "M6 .6 11.6 11H.4z", class: "solid" }],
    ["path", { d: "M6 4v3.4M6 8.7v1", class: "cut" }],
  ],
  brightness: [["circle", { cx: 6, cy: 6, r: 4.6 }], ["path", { d: "M6 1.4a4.6 4.6 0 0 0 0 9.2z", class: "solid" }]],
  failed: [["path", { d: "M1.5 1.5l9 9m0-9l-9 9" }]],
  refused: [["circle", { cx: 6, cy: 6, r: 4.6 }], ["path", { d: "M2.8 9.2l6.4-6.4" }]],
  incomplete: [["circle", { cx: 6, cy: 6, r: 4.6, "stroke-dasharray": "3 2" }]],
  waiting: [["circle", { cx: 6, cy: 6, r: 4.6 }]],
  running: [["path", { d: "M2.5 1l8 5-8 5z", class: "solid" }]],
  arriving: [["path", { d: "M6 .8v7M2.6 5L6 8.4 9.4 5M1 11h10" }]],
};

/** Returns the sign of a state. */
export function mark(state) {
  const svg = makeSvg("svg", { viewBox: "0 0 12 12", class: `mark ${state}`, "aria-hidden": "true" });
  for (const [tag, attributes] of SHAPES[state] ?? SHAPES.waiting) svg.append(makeSvg(tag, attributes));
  return svg;
}

export const STATE_WORDS = {
  done: "restored", doubtful: "doubtful", brightness: "restored, brightness doubtful", failed: "failed", refused: "nothing to restore",
  incomplete: "incomplete", waiting: "waiting", running: "being restored", arriving: "arriving",
};

export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-GB");
  return String(Number(value.toPrecision(digits)));
}

// Digits as in `status` and in the paragraph for a paper (trust/digits.py): one quantity, one number.

/** A time, as `status` tells it. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 100) return `${value.toFixed(1)} s`;
  const [minutes, rest] = [Math.floor(value / 60), Math.floor(value % 60)];
  const two = (part) => String(part).padStart(2, "0");
  return minutes < 60 ? `${minutes} min ${two(rest)} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** A signal-to-noise ratio: two digits. */
export function ratio(value) {
  if (value === null || value === undefined) return "not known";
  if (value < 0.1) return "below 0.1";
  return value < 9.95 ? value.toPrecision(2) : String(Number(value.toPrecision(2)));
}

/** A change in percent, with its sign. */
export function change(value) {
  if (value === null || value === undefined) return "not known";
  const words = value.toFixed(1);
  return /^-?0\.0$/.test(words) ? "0.0 %" : `${value > 0 ? "+" : ""}${words} %`;
}

/** A gain or a cost in decibels. */
export function decibels(value) {
  return value.toFixed(1).replace(/^-0\.0$/, "0.0");
}

const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
// Made once: to make one takes as long as a hundred uses of it.
const CLOCKS = {
  false: new Intl.DateTimeFormat("en-GB", TIME),
  true: new Intl.DateTimeFormat("en-GB", { ...TIME, weekday: "short" }),
};

export function clock(at, withDay = false) {
  return CLOCKS[withDay].format(new Date(at * 1000));
}
