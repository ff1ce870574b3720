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

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 100) return `${number(value, 2)} s`;
  return value < 6000 ? `${number(value / 60, 2)} min` : `${number(value / 3600, 2)} h`;
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
