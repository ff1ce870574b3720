// The page: puts the run, the picture, the strip and the plots together.

import { Doing } from "./do.js";
import { $, STATE_WORDS, clock, make, number, seconds } from "./elements.js";
import { atMostEvery, restoringHere } from "./pace.js";
import { Picture, sizesOf } from "./picture.js";
import { showPlots } from "./plots.js";
import { Run, stateOf } from "./run.js";
import { Strip } from "./strip.js";

const PLAY_MS = 200;
const PLAY_BESIDE_WORK_MS = 1000; // drawing a time point takes 16 ms of a processor
// News are shown at once, and then no more often; beside work of this computer, as seldom as can be borne.
const [ENTRIES_MS, ENTRIES_BESIDE_WORK_MS] = [250, 1000];
const [PLOTS_MS, PLOTS_BESIDE_WORK_MS] = [1000, 5000];
const run = new Run();
const picture = new Picture($("canvas"));
const strip = new Strip((cell) => choose(cell, { follow: false }));
const doing = new Doing();
let following = true;
let playing = 0;
let chosen = null; // {series, position, time}
let disk = [];
const hidden = matchMedia("(prefers-color-scheme: light)");

/** Returns how often something is done: beside work of this computer's processor more seldom. */
const pace = (usual, beside) => (restoringHere(run.summary) ? beside : usual);

// ---- what is shown

function cellNow() {
  return chosen && (run.series.get(chosen.series)?.cells.get(`${chosen.position},${chosen.time}`) ?? null);
}

async function choose(cell, { follow = following, atOnce = false } = {}) {
  if (!cell) return;
  if (!follow && following) setFollowing(false);
  chosen = { series: cell.series.id, position: cell.position, time: cell.time };
  strip.select(cell);
  pressed();
  controls(cell);
  details(cell);
  await picture.show(cell, { atOnce });
}

function setFollowing(on) {
  following = on;
  $("newest").setAttribute("aria-pressed", String(on));
  if (on) choose(run.newestCell());
}

function positionName(series, position) {
  return series.positions.length > 1 ? `pos ${position}` : "";
}

function fill(select, options, value) {
  const now = options.map(([id, text]) => `${id}|${text}`).join("\n");
  if (select.dataset.now !== now) {
    select.replaceChildren(...options.map(([id, text]) => make("option", { value: id }, text)));
    select.dataset.now = now;
  }
  select.value = String(value);
}

function controls(cell) {
  const { series } = cell;
  fill($("series"), [...run.series.values()].map((each) => [each.id, each.name || "files"]), series.id);
  fill($("position"), series.positions.map((each) => [each, String(each)]), cell.position);
  $("position-pick").hidden = series.positions.length < 2;
  const sizes = sizesOf(cell);
  const slider = $("plane");
  if (sizes) {
    slider.max = String(sizes[picture.axis] - 1);
    picture.cell = cell;
    slider.value = String(picture.at());
  }
  slider.disabled = picture.view === "max" || !sizes;
  $("plane-label").textContent = picture.axis;
  $("plane-out").textContent = !sizes ? "–" : picture.view === "max" ? "all planes" : `${picture.at()} of ${sizes[picture.axis]}`;
  const time = $("time");
  time.max = String(Math.max(0, series.times.length - 1));
  time.value = String(series.times.indexOf(cell.time));
  $("time-out").textContent = `${series.times.indexOf(cell.time) + 1} of ${series.times.length}`;
  channelControls();
}

function channelControls() {
  const box = $("channels");
  const wanted = picture.channels();
  const key = picture.cell ? `${picture.cell.series.id}:${wanted.map(({ channel, name }) => `${channel}${name}`).join()}` : "";
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(...wanted.map(({ channel, name, look }, i) => {
      const toggle = make("button", { type: "button", class: "name", "aria-pressed": String(look.shown), title: `Show or hide (${i + 1})`, "data-channel": channel,
        onclick: () => { look.shown = !look.shown; refresh(); } }, name);
      const colour = make("input", { type: "color", class: "swatch", value: hex(look.colour), "aria-label": `Colour of ${name}`,
        oninput: (event) => { look.colour = rgb(event.target.value); picture.redraw(); } });
      const field = (which) => make("input", { type: "number", step: "any", "data-which": which, "aria-label": `${which === "low" ? "Black" : "White"} at, ${name}`,
        onchange: (event) => {
          const [low, high] = picture.contrast(look);
          const value = Number(event.target.value);
          if (Number.isFinite(value)) picture.setContrast(look, which === "low" ? value : low, which === "low" ? high : value);
        } });
      return make("span", { class: "channel" }, toggle, colour, field("low"), "–", field("high"));
    }), make("button", { type: "button", title: "Contrast from what is shown, one for raw and restored (a)", onclick: () => picture.autoContrast() }, "Auto contrast"),
    make("span", { class: "quiet" }, "the same for raw and restored"));
  }
  wanted.forEach(({ look }, i) => {
    const each = box.children[i];
    each.firstChild.setAttribute("aria-pressed", String(look.shown));
    const [low, high] = picture.contrast(look);
    for (const input of each.querySelectorAll('input[type="number"]')) {
      const value = input.dataset.which === "low" ? low : high;
      if (document.activeElement !== input && value !== undefined) input.value = number(value, 4).replaceAll(",", "");
    }
  });
}

function hex(colour) {
  return `#${colour.map((each) => Math.round(each).toString(16).padStart(2, "0")).join("")}`;
}

function rgb(text) {
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}

function details(cell) {
  const stacks = [...cell.channels].sort(([a], [b]) => a - b).map(([, each]) => each);
  const { series } = cell;
  $("stack-title").textContent = series.files
    ? stacks[0].entry.name
    : [positionName(series, cell.position), `time ${cell.time}`].filter(Boolean).join(", ");
  const doubts = [];
  for (const [channel, { entry, stack }] of cell.channels) {
    const name = series.channels.size > 1 ? `${series.channels.get(channel)}: ` : "";
    if (stack) for (const doubt of stack.doubts) doubts.push(make("p", { class: "doubt" }, name + doubt));
    else if (entry.reason) doubts.push(make("p", { class: "doubt bad" }, `${name}${STATE_WORDS[entry.state]}: ${entry.reason}${entry.remedy ? ` – ${entry.remedy}` : ""}`));
    if (stack?.brightness_doubt) doubts.push(make("p", { class: "doubt brightness" }, `${name}doubtful for measuring brightness: ${stack.brightness_doubt}`));
    if (stack && !stack.doubts.length && entry.doubtful && entry.index) doubts.push(make("p", { class: "doubt" }, name + entry.reason));
  }
  $("doubts").replaceChildren(...doubts);
  const rows = [["state", STATE_WORDS[stateOf(cell)]]];
  const shown = stacks.find(({ stack }) => stack);
  if (shown) {
    const { report } = shown.entry;
    const [z, y, x] = report.voxel_um;
    const list = (value) => stacks.filter(({ stack }) => stack).map(({ stack, entry }) => value(stack, entry)).join(" / ");
    rows.push(
      ["finished", clock(shown.entry.finished_at, true)],
      ["delay", list((_, entry) => seconds(entry.report.delay_s))],
      ["size", `${report.shape_zyx.join(" × ")} ${report.dtype}`],
      ["voxel", x ? `${[z, y, x].map((each) => (each ? number(each) : "?")).join(" × ")} µm` : "not in the file"],
      ["signal to noise", list((stack) => (stack.snr === null ? "unknown" : number(stack.snr)))],
      ["mean, raw", list((stack) => number(stack.raw_mean, 4))],
      ["mean, restored", list((stack) => number(stack.restored_mean, 4))],
      ["light over raw", list((stack) => (stack.flux_bias_percent === null ? "unknown" : `${number(100 + stack.flux_bias_percent)} %`))],
      ...stacks.filter(({ stack }) => stack?.less_light).map(({ stack }) => ["less light", stack.less_light]),
      ["model", report.model || "none"],
    );
  }
  $("facts").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// ---- what comes from the server

run.addEventListener("summary", () => {
  const told = run.summary;
  $("run-name").textContent = told.name;
  document.title = `${told.name} – live-restore`;
  const pill = $("watched");
  pill.textContent = told.watched ? "watching" : "not watched";
  pill.className = told.watched ? "pill on" : "pill";
  $("n-done").textContent = told.counts.done;
  $("n-doubtful").textContent = told.doubtful;
  $("n-failed").textContent = told.counts.failed;
  $("n-backlog").textContent = told.backlog;
  $("n-delay").textContent = seconds(told.last_delay_s);
  document.querySelector(".is-doubtful").classList.toggle("some", told.doubtful > 0);
  document.querySelector(".is-failed").classList.toggle("some", told.counts.failed > 0);
  $("pace").textContent = told.watched ? told.pace.words : "";
  $("pace").classList.toggle("behind", (told.pace.behind_s ?? 0) > 0);
  $("do-pause").setAttribute("aria-pressed", String(told.paused));
  const nobody = told.watched ? "" : "Nobody watches this folder now: live-restore watch does";
  enable("do-pause", nobody);
  enable("do-newest", nobody);
  $("do-newest").setAttribute("aria-pressed", String(told.newest_first));
  if (told.paused) pill.textContent = "paused";
  $("watched").title = told.ended;
  $("device").textContent = [told.model, told.hardware].filter(Boolean).join(" on ");
  $("problem").hidden = !told.problem;
  $("problem").textContent = told.problem;
});

run.addEventListener("lost", () => {
  $("watched").textContent = "page server gone, trying again";
  $("watched").className = "pill off";
});

run.addEventListener("entries", () => atMostEvery(pace(ENTRIES_MS, ENTRIES_BESIDE_WORK_MS), showEntries));
document.addEventListener("visibilitychange", () => { if (!document.hidden && run.summary) showEntries(); });

function showEntries() {
  if (document.hidden) return; // it is shown when somebody looks again
  showStrip();
  if (following || !cellNow()) {
    const newest = run.newestCell() ?? [...run.series.values()][0]?.cells.values().next().value;
    const now = cellNow();
    if (newest && (newest.key !== now?.key || newest.series.id !== now?.series.id || stacksOf(newest) !== picture.shownStacks)) {
      picture.shownStacks = stacksOf(newest);
      choose(newest);
    }
  }
  const now = cellNow();
  if (now) {
    controls(now);
    details(now);
  }
  $("empty").hidden = run.newestCell() !== null;
  atMostEvery(pace(PLOTS_MS, PLOTS_BESIDE_WORK_MS), showNumbers);
  atMostEvery(pace(PLOTS_MS, PLOTS_BESIDE_WORK_MS), showReasons);
}

async function showNumbers() {
  const answer = await fetch("/api/disk").catch(() => null);
  if (answer?.ok) disk = await answer.json();
  showPlots(run, disk, (id) => choose(cellOfEntry(id), { follow: false }));
}

function stacksOf(cell) {
  return [...cell.channels.values()].map(({ entry, stack }) => (stack ? `${stack.id}${entry.finished_at}` : "")).join();
}

function showStrip() {
  const series = run.series.get(chosen?.series) ?? run.newestCell()?.series ?? [...run.series.values()][0];
  strip.show(run, series, (position) => positionName(series, position));
}

function cellOfEntry(id) {
  for (const series of run.series.values()) {
    for (const cell of series.cells.values()) {
      for (const { entry } of cell.channels.values()) if (entry.id === id) return cell;
    }
  }
  return null;
}

async function showReasons() {
  const answer = await fetch("/api/reasons").catch(() => null);
  if (!answer?.ok) return;
  const groups = await answer.json();
  $("reasons-section").hidden = !groups.length;
  $("reasons").replaceChildren(...groups.map((group) => make("li", {}, make("button", {
    type: "button", title: "Show these",
    onclick: () => { strip.only = new Set(group.entries); setFilter("all", true); },
  }, make("strong", {}, `${group.count} ${STATE_WORDS[group.state] ?? group.state}`), make("span", {}, group.reason),
  ...(group.remedy ? [make("span", { class: "remedy" }, group.remedy)] : [])))));
}

// ---- the picture's own news

picture.addEventListener("contrast", channelControls);
picture.addEventListener("shown", (event) => {
  channelControls();
  previewControls(); // only now it is known which stacks there are
  const failure = event.detail;
  $("tag-left").textContent = failure?.side === "raw" ? `${picture.leftName()}: ${failure.text}` : leftTag();
  if (failure?.side === "restored") $("tag-right").textContent = `restored: ${failure.text}`;
  else $("tag-right").textContent = "restored";
});
picture.addEventListener("painted", scaleBar);
picture.addEventListener("cursor", showValues);

let asked = 0;
async function showValues() {
  const found = picture.under();
  const out = $("values");
  const mine = (asked += 1);
  if (!found) {
    out.textContent = "";
    delete out.dataset.voxel;
    return;
  }
  const at = { z: picture.at(), y: picture.at(), x: picture.at() };
  const [down, across] = { z: ["y", "x"], y: ["z", "x"], x: ["z", "y"] }[picture.axis];
  at[down] = found.row;
  at[across] = found.column;
  const where = picture.view === "max" ? `max ${down} ${found.row} ${across} ${found.column}` : `z ${at.z}  y ${at.y}  x ${at.x}`;
  const tell = (values, about) => {
    const lines = values.map(({ channel, raw, restored }) => {
      const name = picture.cell.series.channels.size > 1 ? `${picture.cell.series.channels.get(channel)}: ` : "";
      return `${name}${picture.leftName()} ${about}${grey(raw)}  restored ${about}${grey(restored)}`;
    });
    out.textContent = [where, ...lines].join("\n");
    out.dataset.voxel = JSON.stringify({ ...at, exact: about === "", values: values.map(({ channel, raw, restored }) => ({ channel, raw, restored })) });
  };
  tell(found.values, found.exact ? "" : "≈ ");
  if (found.exact || picture.view === "max" || picture.leftName() !== "raw") return;
  await new Promise((resolve) => setTimeout(resolve, 120));
  if (mine !== asked) return;
  const query = new URLSearchParams(at);
  const exact = await Promise.all(found.values.map(async (value) => {
    const answer = await fetch(`/api/stacks/${value.stack.id}/voxel?${query}`).catch(() => null);
    return answer?.ok ? { ...value, ...(await answer.json()) } : null;
  }));
  if (mine === asked && exact.every(Boolean)) tell(exact, "");
}

function grey(value) {
  if (value === null) return "–";
  return Number.isInteger(value) ? String(value) : value.toFixed(3);
}

function scaleBar() {
  const per = picture.micrometresPerPixel();
  $("scale").hidden = !per;
  if (!per) return;
  const most = per * 120;
  const power = 10 ** Math.floor(Math.log10(most));
  const size = [5, 2, 1].map((each) => each * power).find((each) => each <= most);
  $("scale").firstChild.style.width = `${size / per}px`;
  $("scale").lastChild.textContent = `${number(size)} µm`;
}

// ---- controls

async function refresh() {
  const cell = cellNow();
  pressed();
  if (!cell) return;
  controls(cell);
  await picture.show(cell);
}

function pressed() {
  for (const [name, value] of [["mode", picture.mode], ["view", picture.view], ["axis", picture.axis], ["filter", strip.only ? "" : strip.filter]]) {
    for (const button of document.querySelectorAll(`button[data-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === value));
    }
  }
  $("wipe").hidden = picture.mode !== "wipe" || !chosen;
  $("tag-right").hidden = picture.mode === "difference";
  $("tag-left").textContent = leftTag();
  previewControls();
  placeWipe();
}

function leftTag() {
  if (picture.mode !== "difference") return picture.leftName();
  const shown = picture.channels().filter(({ look }) => look.shown);
  const name = shown.length > 1 ? `, ${shown[0].name}` : "";
  const left = picture.leftName();
  return `${left} − restored${name}: orange where ${left} is brighter, blue where darker, up to ±${number(picture.range)}`;
}

function placeWipe() {
  $("wipe").style.left = `${picture.wipe * 100}%`;
  $("wipe").setAttribute("aria-valuenow", String(Math.round(picture.wipe * 100)));
}

function setMode(mode) {
  if (picture.mode === mode && mode !== "wipe") mode = "wipe";
  picture.mode = mode;
  picture.fit();
  refresh();
}

function setView(view) {
  picture.view = view;
  refresh();
}

function setAxis(axis) {
  picture.axis = axis;
  refresh();
}

function setFilter(filter, keepReason = false) {
  strip.filter = filter;
  if (!keepReason) strip.only = null;
  pressed();
  showStrip();
}

function setWipe(share) {
  picture.wipe = Math.min(1, Math.max(0, share));
  placeWipe();
  picture.redraw();
}

function stepPlane(by) {
  const sizes = picture.sizes();
  if (!sizes || picture.view === "max") return;
  picture.index[picture.axis] = Math.min(sizes[picture.axis] - 1, Math.max(0, picture.at() + by));
  refresh();
}

function stepTime(by, around = false) {
  const cell = cellNow();
  if (!cell) return Promise.resolve();
  const { times } = cell.series;
  let at = times.indexOf(cell.time) + by;
  if (around) at = (at + times.length) % times.length;
  const next = cell.series.cells.get(`${cell.position},${times[Math.min(times.length - 1, Math.max(0, at))]}`);
  return next ? choose(next, { follow: false, atOnce: around }) : Promise.resolve();
}

function stepPosition(by) {
  const cell = cellNow();
  if (!cell) return;
  const { positions } = cell.series;
  const position = positions[positions.indexOf(cell.position) + by];
  const next = cell.series.cells.get(`${position},${cell.time}`);
  if (next) choose(next, { follow: false });
}

function play() {
  playing = playing ? 0 : Date.now();
  const mine = playing;
  showPlaying();
  if (!playing) return;
  setFollowing(false);
  const next = async () => {
    if (playing !== mine) return;
    const began = performance.now();
    if (!document.hidden) await stepTime(1, true);
    showPlaying();
    setTimeout(next, Math.max(20, pace(PLAY_MS, PLAY_BESIDE_WORK_MS) - (performance.now() - began)));
  };
  next();
}

function showPlaying() {
  const slow = playing && restoringHere(run.summary);
  $("play").setAttribute("aria-pressed", String(Boolean(playing)));
  $("play").textContent = !playing ? "Play" : slow ? "Pause (slowed)" : "Pause";
  $("play").title = slow ? "A time point a second while this computer restores: drawing more would take from that" : "Play over time (space)";
}

function previewedStack() {
  const shown = picture.channels().find(({ look }) => look.shown)?.channel;
  return picture.stacks().find(({ channel }) => channel === shown) ?? picture.stacks()[0] ?? null;
}

function showPreview() {
  if (!picture.stacks().some(({ stack }) => picture.previews.has(stack.id))) return;
  picture.previewed = !picture.previewed;
  refresh();
}

function previewControls() {
  const there = picture.stacks().some(({ stack }) => picture.previews.has(stack.id));
  enable("show-preview", there ? "" : "No preview of this stack has been made");
  $("show-preview").setAttribute("aria-pressed", String(there && picture.previewed));
  enable("do-preview", picture.stacks().length ? "" : "Choose a stack that has been read");
  // A process of this page does it, whether or not the folder is watched.
  enable("do-again", entriesOf([cellNow()]).length ? "" : "Choose a stack that is finished");
}

/** Offers a button, or says as its title why not. */
function enable(id, obstacle) {
  const button = $(id);
  button.dataset.title ??= button.title;
  button.title = obstacle || button.dataset.title;
  button.disabled = Boolean(obstacle);
}

doing.addEventListener("previews", () => {
  picture.previews = doing.previews;
  if (doing.previews.has(previewedStack()?.stack.id)) picture.previewed = true;
  refresh();
});
$("do-preview").addEventListener("click", () => { const found = previewedStack(); if (found) doing.preview(found.stack.id); });
$("show-preview").addEventListener("click", showPreview);
$("do-again").addEventListener("click", () => doing.again(entriesOf([cellNow()])));
$("do-all").addEventListener("click", () => doing.again(entriesOf(strip.cells())));
$("do-pause").addEventListener("click", (event) => doing.daemon(event.target.getAttribute("aria-pressed") === "true" ? "resume" : "pause"));
$("do-newest").addEventListener("click", (event) => doing.daemon(event.target.getAttribute("aria-pressed") === "true" ? "in-turn" : "newest-first"));

/** Ids of the entries of some cells that are finished, each once. */
function entriesOf(cells) {
  const entries = cells.filter(Boolean).flatMap((cell) => [...cell.channels.values()].map(({ entry }) => entry));
  return [...new Set(entries.filter(({ state }) => ["done", "failed", "refused"].includes(state)).map(({ id }) => id))].slice(-500);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "light" ? "Dark" : "Light";
}

const KEYS = [
  ["← →", "time before, after", () => {}], ["↑ ↓", "next, previous plane", () => {}],
  ["space", "play over time", play], ["n", "follow the newest", () => setFollowing(!following)],
  ["w", "wipe", () => setMode("wipe")], ["[ ]", "move the wipe", () => {}],
  ["s", "side by side", () => setMode("side")], ["d", "raw − restored", () => setMode("difference")],
  ["m", "plane or maximum", () => setView(picture.view === "max" ? "slice" : "max")],
  ["z y x", "look along z, y, x", () => {}], [", .", "position before, after", () => {}],
  ["1 – 9", "show or hide a channel", () => {}], ["a", "auto contrast", () => picture.autoContrast()],
  ["f", "fit", () => picture.fit()], ["v", "one voxel, one pixel", () => picture.oneToOne()],
  ["p", "preview or raw", showPreview], ["+ −", "zoom", () => {}], ["t", "light or dark", () => setTheme(document.documentElement.dataset.theme === "light" ? "dark" : "light")],
  ["?", "these keys", () => $("keys").showModal()],
];
const ACTIONS = new Map(KEYS.map(([key, , act]) => [key === "space" ? " " : key, act]));
for (const [key, act] of [
  ["ArrowLeft", () => stepTime(-1)], ["ArrowRight", () => stepTime(1)],
  ["ArrowUp", () => stepPlane(1)], ["ArrowDown", () => stepPlane(-1)],
  ["PageUp", () => stepPlane(5)], ["PageDown", () => stepPlane(-5)],
  ["Home", () => stepTime(-1e6)], ["End", () => stepTime(1e6)],
  ["[", () => setWipe(picture.wipe - 0.05)], ["]", () => setWipe(picture.wipe + 0.05)],
  ["z", () => setAxis("z")], ["y", () => setAxis("y")], ["x", () => setAxis("x")],
  [",", () => stepPosition(-1)], [".", () => stepPosition(1)],
  ["+", () => picture.zoomBy(1.5)], ["=", () => picture.zoomBy(1.5)], ["-", () => picture.zoomBy(1 / 1.5)],
]) ACTIONS.set(key, act);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const { target } = event;
  if (target.matches("select, input[type=number], input[type=color]")) return;
  if (target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(event.key)) return;
  if (target === $("wipe") && /^Arrow(Left|Right)$/.test(event.key)) {
    setWipe(picture.wipe + (event.key === "ArrowLeft" ? -0.02 : 0.02));
    event.preventDefault();
    return;
  }
  if (event.key === " " && target.matches("button")) return;
  const act = ACTIONS.get(event.key);
  if (act) act();
  else if (/^[1-9]$/.test(event.key)) {
    const each = picture.channels()[Number(event.key) - 1];
    if (!each) return;
    each.look.shown = !each.look.shown;
    refresh();
  } else return;
  event.preventDefault();
});

for (const button of document.querySelectorAll("button[data-mode]")) button.addEventListener("click", () => setMode(button.dataset.mode));
for (const button of document.querySelectorAll("button[data-view]")) button.addEventListener("click", () => setView(button.dataset.view));
for (const button of document.querySelectorAll("button[data-axis]")) button.addEventListener("click", () => setAxis(button.dataset.axis));
for (const button of document.querySelectorAll("button[data-filter]")) button.addEventListener("click", () => setFilter(button.dataset.filter));
$("fit").addEventListener("click", () => picture.fit());
$("one-to-one").addEventListener("click", () => picture.oneToOne());
$("newest").addEventListener("click", () => setFollowing(!following));
$("play").addEventListener("click", play);
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "light" ? "dark" : "light"));
$("help").addEventListener("click", () => $("keys").showModal());
$("plane").addEventListener("input", (event) => {
  picture.index[picture.axis] = Number(event.target.value);
  refresh();
});
$("time").addEventListener("input", (event) => {
  const cell = cellNow();
  if (!cell) return;
  const next = cell.series.cells.get(`${cell.position},${cell.series.times[Number(event.target.value)]}`);
  if (next) choose(next, { follow: false });
});
$("series").addEventListener("change", (event) => {
  const series = run.series.get(event.target.value);
  const cells = [...(series?.cells.values() ?? [])];
  choose(cells.findLast((cell) => sizesOf(cell)) ?? cells[0], { follow: false }).then(showStrip);
});
$("position").addEventListener("change", (event) => {
  const cell = cellNow();
  const next = cell && [...cell.series.cells.values()].find((each) => each.position === Number(event.target.value) && each.time === cell.time);
  if (next) choose(next, { follow: false });
});
$("wipe").addEventListener("pointerdown", (event) => {
  const box = $("canvas").getBoundingClientRect();
  const move = (each) => setWipe((each.clientX - box.left) / box.width);
  event.target.setPointerCapture(event.pointerId);
  event.target.addEventListener("pointermove", move);
  event.target.addEventListener("pointerup", () => event.target.removeEventListener("pointermove", move), { once: true });
});
for (const [key, words] of KEYS) $("keys-list").append(make("dt", {}, key), make("dd", {}, words));
setTheme(hidden.matches ? "light" : "dark");
hidden.addEventListener("change", () => setTheme(hidden.matches ? "light" : "dark"));
pressed();
doing.look();
run.start();
