// Buttons, sliders and keys: how the chosen stack is looked at.

import { showChannels } from "./channels.js";
import { $, make, setText } from "./elements.js";
import { listenToKeys } from "./keys.js";
import { sizesOf } from "./picture.js";
import { showTags } from "./readout.js";

const FAR = 1e6;
const WIPE_STEP = 0.05;
const FINE_WIPE_STEP = 0.02;

export class Controls {
  #run;
  #picture;
  #choice;
  #strip;
  #preview;

  /** `preview` shows a preview in the place of raw, or raw again. */
  constructor(run, picture, choice, strip, preview) {
    [this.#run, this.#picture, this.#choice, this.#strip, this.#preview] = [run, picture, choice, strip, preview];
    this.#listen();
    const light = matchMedia("(prefers-color-scheme: light)");
    const asUsual = () => setTheme(light.matches ? "light" : "dark");
    light.addEventListener("change", asUsual);
    asUsual();
  }

  // ---- what they show

  /** Brings everything to what is shown of a cell. */
  show(cell) {
    const { series } = cell;
    const picture = this.#picture;
    fill($("series"), [...this.#run.series.values()].map((each) => [each.id, each.name || "files"]), series.id);
    fill($("position"), series.positions.map((each) => [each, String(each)]), cell.position);
    $("position-pick").hidden = series.positions.length < 2;
    const sizes = sizesOf(cell);
    const at = picture.at(cell);
    if (sizes) setRange($("plane"), at, sizes[picture.axis] - 1);
    $("plane").disabled = picture.view === "max" || !sizes;
    setText($("plane-label"), picture.axis);
    setText($("plane-out"), !sizes ? "–" : picture.view === "max" ? "all planes" : `${at} of ${sizes[picture.axis]}`);
    const time = series.times.indexOf(cell.time);
    setRange($("time"), time, Math.max(0, series.times.length - 1));
    setText($("time-out"), `${time + 1} of ${series.times.length}`);
    this.showChannels();
  }

  showChannels() {
    showChannels(this.#picture, () => this.#refresh());
  }

  /** Brings the buttons to what is chosen. */
  press() {
    const picture = this.#picture;
    const filter = this.#strip.only ? "" : this.#strip.filter;
    for (const [name, value] of [["mode", picture.mode], ["view", picture.view], ["axis", picture.axis], ["filter", filter]]) {
      for (const button of document.querySelectorAll(`button[data-${name}]`)) {
        button.setAttribute("aria-pressed", String(button.dataset[name] === value));
      }
    }
    $("wipe").hidden = picture.mode !== "wipe" || !this.#choice.cell;
    $("wipe").style.left = `${picture.wipe * 100}%`;
    $("wipe").setAttribute("aria-valuenow", String(Math.round(picture.wipe * 100)));
    showTags(picture);
  }

  // ---- what they do

  #refresh() {
    this.press();
    const { cell } = this.#choice;
    if (!cell) return Promise.resolve();
    this.show(cell);
    return this.#picture.show(cell);
  }

  /** Shows what is chosen anew. */
  refresh() {
    return this.#refresh();
  }

  #set(name, value) {
    this.#picture[name] = value;
    this.#refresh();
  }

  #setMode(mode) {
    // The brightest of raw is mostly noise: of two projections a difference says nothing about light.
    if (mode === "difference") this.#picture.view = "slice";
    this.#set("mode", this.#picture.mode === mode ? "wipe" : mode);
  }

  #setView(view) {
    if (view === "max" && this.#picture.mode === "difference") this.#picture.mode = "wipe";
    this.#set("view", view);
  }

  #moveWipe(share) {
    this.#picture.wipe = share;
    this.press();
  }

  #stepPlane(by) {
    const sizes = this.#choice.cell && sizesOf(this.#choice.cell);
    if (!sizes || this.#picture.view === "max") return;
    this.#setPlane(Math.min(sizes[this.#picture.axis] - 1, Math.max(0, this.#picture.at() + by)));
  }

  #setPlane(at) {
    this.#picture.index[this.#picture.axis] = at;
    this.#refresh();
  }

  #toggleChannel(number) {
    const each = this.#picture.channels()[number - 1];
    if (!each) return;
    each.look.shown = !each.look.shown;
    this.#refresh();
  }

  /** Shows all tiles, those of a state, or the entries `only`. */
  filter(filter, only = null) {
    this.#strip.filter = filter;
    this.#strip.only = only;
    this.press();
    this.#strip.show(this.#run, this.#choice.series);
  }

  // ---- who does it

  #listen() {
    const [picture, choice] = [this.#picture, this.#choice];
    const buttons = (name, act) => {
      for (const button of document.querySelectorAll(`button[data-${name}]`)) button.addEventListener("click", () => act(button.dataset[name]));
    };
    buttons("mode", (mode) => this.#setMode(mode));
    buttons("view", (view) => this.#setView(view));
    buttons("axis", (axis) => this.#set("axis", axis));
    buttons("filter", (filter) => this.filter(filter));
    const clicks = {
      "fit": () => picture.fit(), "one-to-one": () => picture.oneToOne(), "newest": () => choice.follow(!choice.following),
      "play": () => choice.play(), "theme": toggleTheme, "help": () => $("keys").showModal(),
    };
    for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
    $("plane").addEventListener("input", (event) => this.#setPlane(Number(event.target.value)));
    $("time").addEventListener("input", (event) => { if (choice.cell) choice.go(choice.cell.position, Number(event.target.value)); });
    $("position").addEventListener("change", (event) => {
      const { cell } = choice;
      if (cell) choice.go(Number(event.target.value), cell.series.times.indexOf(cell.time));
    });
    $("series").addEventListener("change", async (event) => {
      const cells = [...(this.#run.series.get(event.target.value)?.cells.values() ?? [])];
      await choice.choose(cells.findLast((cell) => sizesOf(cell)) ?? cells[0]);
      this.#strip.show(this.#run, choice.series);
    });
    $("wipe").addEventListener("pointerdown", (event) => {
      const box = $("canvas").getBoundingClientRect();
      const move = (each) => this.#moveWipe((each.clientX - box.left) / box.width);
      event.target.setPointerCapture(event.pointerId);
      event.target.addEventListener("pointermove", move);
      event.target.addEventListener("pointerup", () => event.target.removeEventListener("pointermove", move), { once: true });
    });
    listenToKeys(this.#keys(), (number) => this.#toggleChannel(number), (by) => this.#moveWipe(picture.wipe + by * FINE_WIPE_STEP));
  }

  #keys() {
    const [picture, choice] = [this.#picture, this.#choice];
    const wipe = (by) => () => this.#moveWipe(picture.wipe + by);
    const zoom = (by) => () => picture.zoomBy(by);
    return [
      ["← →", "time before, after", {
        ArrowLeft: () => choice.stepTime(-1), ArrowRight: () => choice.stepTime(1),
        Home: () => choice.stepTime(-FAR), End: () => choice.stepTime(FAR),
      }],
      ["↑ ↓", "next, previous plane", {
        ArrowUp: () => this.#stepPlane(1), ArrowDown: () => this.#stepPlane(-1),
        PageUp: () => this.#stepPlane(5), PageDown: () => this.#stepPlane(-5),
      }],
      ["space", "play over time", { " ": () => choice.play() }],
      ["n", "follow the newest", { n: () => choice.follow(!choice.following) }],
      ["w", "wipe", { w: () => this.#setMode("wipe") }],
      ["[ ]", "move the wipe", { "[": wipe(-WIPE_STEP), "]": wipe(WIPE_STEP) }],
      ["s", "side by side", { s: () => this.#setMode("side") }],
      ["d", "raw − restored", { d: () => this.#setMode("difference") }],
      ["m", "plane or maximum", { m: () => this.#setView(picture.view === "max" ? "slice" : "max") }],
      ["z y x", "look along z, y, x", Object.fromEntries(["z", "y", "x"].map((axis) => [axis, () => this.#set("axis", axis)]))],
      [", .", "position before, after", { ",": () => choice.stepPosition(-1), ".": () => choice.stepPosition(1) }],
      ["1 – 9", "show or hide a channel", {}],
      ["a", "auto contrast", { a: () => picture.autoContrast() }],
      ["f", "fit", { f: () => picture.fit() }],
      ["v", "one voxel, one pixel", { v: () => picture.oneToOne() }],
      ["p", "preview or raw", { p: this.#preview }],
      ["+ −", "zoom", { "+": zoom(1.5), "=": zoom(1.5), "-": zoom(1 / 1.5) }],
      ["t", "light or dark", { t: toggleTheme }],
      ["?", "these keys", { "?": () => $("keys").showModal() }],
    ];
  }
}

function fill(select, options, value) {
  const now = options.map(([id, text]) => `${id}|${text}`).join("\n");
  if (select.dataset.now !== now) {
    select.replaceChildren(...options.map(([id, text]) => make("option", { value: id }, text)));
    select.dataset.now = now;
  }
  if (select.value !== String(value)) select.value = String(value);
}

function setRange(slider, value, most) {
  if (slider.max !== String(most)) slider.max = String(most);
  if (slider.value !== String(value)) slider.value = String(value);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  setText($("theme"), theme === "light" ? "Dark" : "Light");
}

function toggleTheme() {
  setTheme(document.documentElement.dataset.theme === "light" ? "dark" : "light");
}
