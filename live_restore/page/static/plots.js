// Plots over time as plain SVG.

import { $, change, clock, decibels, make, makeSvg, number, ratio, seconds } from "./elements.js";

const [HEIGHT, LEFT, BOTTOM] = [74, 40, 14];
const MOST_POINTS = 500;
// Bleaching is percents: a difference of a thousandth must not look like one.
const LEAST_PERCENT = 10;
const FROM_NEAR = new Set(["Mean brightness"]); // LEAST_PERCENT of it high at least; others from 0
const drawn = new Map();

/** Draws every plot there is data for. */
export function showPlots(run, disk, onPick) {
  const done = [...run.entries.values()].filter((entry) => entry.finished_at && entry.report);
  done.sort((a, b) => a.finished_at - b.finished_at);
  const per = (value) => thinned(done.map((entry) => [entry.finished_at, value(entry), entry.id]).filter(([, y]) => y !== null));
  const channels = [...new Set(done.flatMap((entry) => entry.report.stacks.map((stack) => stack.channel_name)))].slice(0, 3);
  const many = channels.length > 1;
  const ofChannel = (channel, name) => per((entry) => {
    const values = entry.report.stacks.filter((stack) => stack.channel_name === channel && stack[name] !== null);
    return values.length ? values.reduce((sum, stack) => sum + stack[name], 0) / values.length : null;
  });
  const pace = run.summary?.pace;
  const plots = [
    { title: "Delay", say: seconds, note: pace?.words, lines: [{ points: per((entry) => entry.report.delay_s) }] },
    { title: "Backlog", say: (value) => number(value), lines: [{ points: backlog(run) }] },
    {
      title: "Stacks per minute", say: (value) => number(value, 2),
      lines: [
        { name: "restored", points: rate(done.map((entry) => entry.finished_at)) },
        { name: "arrived", style: "c1 dashed", points: rate([...run.entries.values()].map((entry) => entry.seen_at)) },
      ],
    },
    {
      title: "Signal to noise, raw", say: ratio,
      lines: channels.map((channel, i) => ({ name: many ? channel : "", style: `c${i}`, points: ofChannel(channel, "snr") })),
    },
    {
      title: "Mean brightness", unit: "ADU", say: (value) => number(value, 4),
      lines: channels.flatMap((channel, i) => [
        { name: `${many ? `${channel} ` : ""}restored`, style: `c${i}`, points: ofChannel(channel, "restored_mean") },
        { name: `${many ? `${channel} ` : ""}raw`, style: `c${i} dashed`, points: ofChannel(channel, "raw_mean") },
      ]),
    },
    {
      title: "Light, restored against raw", say: change, least: LEAST_PERCENT,
      lines: channels.map((channel, i) => ({ name: many ? channel : "", style: `c${i}`, points: ofChannel(channel, "flux_bias_percent") })),
    },
    {
      title: "Sharpness", say: (value) => number(value, 3),
      lines: channels.flatMap((channel, i) => [
        { name: `${many ? `${channel} ` : ""}restored`, style: `c${i}`, points: ofChannel(channel, "restored_sharpness") },
        { name: `${many ? `${channel} ` : ""}raw`, style: `c${i} dashed`, points: ofChannel(channel, "raw_sharpness") },
      ]),
    },
    {
      title: "Decibels", unit: "dB", say: decibels,
      lines: channels.flatMap((channel, i) => [
        { name: `${many ? `${channel} ` : ""}gain over raw`, style: `c${i}`, points: ofChannel(channel, "gain_db") },
        { name: `${many ? `${channel} ` : ""}half the light would cost`, style: `c${i} dashed`, points: ofChannel(channel, "half_light_db") },
      ]),
    },
    { title: "Disk space left", unit: "GB", say: (value) => number(value), lines: [{ points: disk.map(([at, free]) => [at, free / 1e9, null]) }] },
  ];
  const width = Math.max(200, $("plots").clientWidth); // once: each look at it would have all laid out
  for (const plot of plots) {
    if (!drawn.has(plot.title)) {
      const frame = make("div", { class: "plot", role: "img" });
      drawn.set(plot.title, frame);
      $("plots").append(frame);
    }
    draw(drawn.get(plot.title), plot, width, onPick);
  }
}

function thinned(points) {
  const step = Math.ceil(points.length / MOST_POINTS);
  return step < 2 ? points : points.filter((_, i) => i % step === 0 || i === points.length - 1);
}

const DUE = new Set(["arriving", "waiting", "running"]);

/** How many were complete or arriving, and not finished yet. */
function backlog(run) {
  const changes = [];
  for (const entry of run.entries.values()) {
    if (!entry.finished_at && !DUE.has(entry.state)) continue; // nobody will begin it
    changes.push([entry.seen_at, 1]);
    if (entry.finished_at) changes.push([entry.finished_at, -1]);
  }
  changes.sort((a, b) => a[0] - b[0]);
  let waiting = 0;
  return thinned(changes.map(([at, step]) => [at, (waiting += step), null]));
}

/** Per minute, over a window of a twentieth of the run, half a minute at least. */
function rate(times) {
  const sorted = times.toSorted((a, b) => a - b);
  if (sorted.length < 3) return [];
  const window = Math.max(30, (sorted.at(-1) - sorted[0]) / 20);
  const points = [];
  let first = 0;
  for (let i = 1; i < sorted.length; i += 1) {
    while (sorted[first] <= sorted[i] - window) first += 1;
    const span = Math.min(window, Math.max(10, sorted[i] - sorted[0]));
    points.push([sorted[i], (60 * (i - first + 1)) / span, null]);
  }
  return thinned(points);
}

function draw(frame, plot, width, onPick) {
  const points = plot.lines.flatMap((line) => line.points);
  frame.hidden = points.length < 2;
  if (frame.hidden) return;
  const shown = JSON.stringify([width, plot.note, plot.lines]);
  if (frame.shown === shown) return; // to draw it again would take from what restores
  frame.shown = shown;
  const [x0, x1] = extent(points.map((point) => point[0]));
  let [y0, y1] = extent(points.map((point) => point[1]));
  if (plot.least) [y0, y1] = [Math.min(y0, -plot.least), Math.max(y1, plot.least)];
  else if (!FROM_NEAR.has(plot.title)) y0 = Math.min(0, y0);
  else if (y1 - y0 < (LEAST_PERCENT / 100) * Math.abs(y1)) {
    const [middle, half] = [(y0 + y1) / 2, (LEAST_PERCENT / 200) * Math.abs(y1)];
    [y0, y1] = [middle - half, middle + half];
  }
  if (y1 - y0 < 1e-9) y1 = y0 + (Math.abs(y0) || 1) * 0.1;
  const pad = (y1 - y0) * 0.08;
  y1 += pad;
  if (y0 !== 0) y0 -= pad;
  const x = (value) => LEFT + ((value - x0) / Math.max(1e-9, x1 - x0)) * (width - LEFT - 2);
  const y = (value) => 4 + (1 - (value - y0) / (y1 - y0)) * (HEIGHT - BOTTOM - 4);
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  for (const value of ticks(y0, y1)) {
    svg.append(makeSvg("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }));
    svg.append(makeSvg("text", { x: LEFT - 5, y: y(value) + 3.5, "text-anchor": "end" }, number(value, 4)));
  }
  const long = x1 - x0 > 72000;
  const shortClock = (at) => (x1 - x0 < 600 ? clock(at, long) : clock(at, long).slice(0, -3));
  svg.append(makeSvg("text", { x: LEFT, y: HEIGHT - 1 }, shortClock(x0)));
  svg.append(makeSvg("text", { x: width, y: HEIGHT - 1, "text-anchor": "end" }, shortClock(x1)));
  plot.lines.forEach((line) => {
    const way = line.points.map(([px, py], k) => `${k ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
    svg.append(makeSvg("path", { class: line.style ?? "c0", d: way }));
  });
  const cursor = makeSvg("line", { class: "cursor", y1: 2, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 });
  svg.append(cursor);
  const last = plot.lines.map((line) => line.points.at(-1)).filter(Boolean);
  const unit = plot.unit ? ` ${plot.unit}` : "";
  const say = (values) => values.map((point) => plot.say(point[1])).join(" / ") + unit;
  const out = make("output", { class: plot.note ? "note" : "" }, plot.note || say(last));
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    return plot.lines.map((line) => line.points.reduce(
      (best, point) => (!best || Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at) ? point : best), null,
    )).filter(Boolean);
  };
  svg.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    cursor.setAttribute("x1", x(found[0][0]));
    cursor.setAttribute("x2", x(found[0][0]));
    out.textContent = `${say(found)} at ${clock(found[0][0])}`;
  });
  svg.addEventListener("pointerleave", () => {
    out.textContent = plot.note || say(last);
  });
  svg.addEventListener("click", (event) => {
    const id = nearest(event)[0][2];
    if (id) onPick(id);
  });
  const head = make("header", {}, make("b", {}, plot.title), out);
  const key = make("span", { class: "key" });
  for (const line of plot.lines) if (line.name) key.append(make("span", {}, make("i", { class: line.style ?? "c0" }), line.name));
  frame.setAttribute("aria-label", `${plot.title}: now ${say(last)}`);
  frame.replaceChildren(head, svg, ...(key.childElementCount ? [key] : []));
}

function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function ticks(low, high) {
  const rough = (high - low) / 2;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).filter((each) => each <= rough * 1.01).at(-1) ?? power;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 && found.length < 5; value += step) found.push(value);
  return found;
}
