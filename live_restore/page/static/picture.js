// The picture: fetches what is looked at, and has it painted.

import { Look, differenceRange } from "./contrast.js";
import { paint } from "./paint.js";
import { Viewport } from "./viewport.js";
import { coarsestLevel, plane, sample } from "./voxels.js";

const PALETTE = [[255, 255, 255], [80, 230, 120], [255, 80, 220], [60, 190, 255], [255, 190, 60], [255, 90, 80]];
const DETAIL_AFTER_MS = 120;
const BOTH_WITHIN_MS = 250; // of the half second in which a result has to be on the screen
const SIDES = ["restored", "raw"];

/** Returns the sizes {z, y, x} of the stacks of a cell, or null where none is restored yet. */
export function sizesOf(cell) {
  const [found] = stacksOf(cell);
  if (!found) return null;
  const [z, y, x] = found.entry.report.shape_zyx;
  return { z, y, x };
}

/** Returns the stacks of a cell that can be looked at, by channel: [{channel, entry, stack}]. */
export function stacksOf(cell) {
  const sorted = [...(cell?.channels ?? [])].sort(([a], [b]) => a - b);
  return sorted.filter(([, each]) => each.stack).map(([channel, each]) => ({ channel, ...each }));
}

export class Picture extends EventTarget {
  view = "slice";
  axis = "z";
  cell = null;
  index = { z: null, y: null, x: null };
  previews = new Map(); // stack id -> {number, model}
  previewed = false; // whether they are shown in the place of raw
  problems = { raw: "", restored: "" }; // why a side is not there (yet)
  range = 1; // grey value that fills the scale of a difference
  #mode = "wipe";
  #wipe = 0.5;
  #looks = new Map(); // per series and channel
  #canvas;
  #context;
  #viewport;
  #layers = []; // {channel, entry, stack, look, what, raw: {base, detail}, restored: {base, detail}}
  #cursor = null;
  #wanted = 0;
  #frame = 0;
  #detailTimer = 0;
  #image = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#viewport = new Viewport(canvas, () => this.#moved());
    canvas.addEventListener("pointermove", (event) => this.#hover({ x: event.offsetX, y: event.offsetY }));
    canvas.addEventListener("pointerleave", () => this.#hover(null));
  }

  // ---- what is shown, and how

  get mode() {
    return this.#mode;
  }

  set mode(mode) {
    this.#mode = mode;
    this.#viewport.panes = mode === "side" ? 2 : 1;
    this.#viewport.fit();
  }

  get wipe() {
    return this.#wipe;
  }

  set wipe(share) {
    this.#wipe = Math.min(1, Math.max(0, share));
    this.redraw();
  }

  /** Channels of the series shown now: [{channel, name, look}]. */
  channels() {
    if (!this.cell) return [];
    return [...this.cell.series.channels].map(([channel, name]) => ({ channel, name, look: this.#look(channel) }));
  }

  #look(channel) {
    const key = `${this.cell.series.id}/${channel}`;
    if (!this.#looks.has(key)) {
      const many = this.cell.series.channels.size > 1;
      const place = [...this.cell.series.channels.keys()].indexOf(channel);
      const colour = many ? PALETTE[1 + (Math.max(0, place) % (PALETTE.length - 1))] : PALETTE[0];
      this.#looks.set(key, new Look(colour));
    }
    return this.#looks.get(key);
  }

  /** Returns [side, key of what is kept] of a stack: its preview stands in for raw where asked. */
  #source(side, layer) {
    const preview = side === "raw" && this.previewed && this.previews.get(layer.stack.id);
    return preview ? ["preview", `${layer.entry.finished_at}/${preview.number}`] : [side, layer.entry.finished_at];
  }

  /** What stands left of the wipe, of all channels shown or of one: "raw", or "preview" and its model. */
  leftName(only = null) {
    if (!this.previewed) return "raw";
    const names = new Map(this.channels().filter(({ channel, look }) => (only === null ? look.shown : channel === only)).map(({ channel, name }) => [channel, name]));
    const shown = this.stacks().filter(({ channel }) => names.has(channel));
    const found = shown.map(({ stack }) => this.previews.get(stack.id)).find(Boolean);
    if (!found) return "raw";
    const raw = shown.filter(({ stack }) => !this.previews.has(stack.id)).map(({ channel }) => names.get(channel));
    return `preview, ${found.model}${raw.length ? `; ${raw.join(", ")}: raw` : ""}`;
  }

  stacks() {
    return stacksOf(this.cell);
  }

  /** Which plane across the axis is shown of a cell. */
  at(cell = this.cell) {
    const sizes = cell && sizesOf(cell);
    if (!sizes) return 0;
    const wished = this.index[this.axis] ?? Math.floor(sizes[this.axis] / 2);
    return Math.min(sizes[this.axis] - 1, Math.max(0, wished));
  }

  /**
   * Shows a cell; resolves when all of it is shown.
   *
   * The one before stays for a moment, so that raw and restored change together; then what is here is
   * shown. `atOnce`: it stays until the whole of the new one is here.
   */
  async show(cell, { atOnce = false } = {}) {
    this.cell = cell;
    const wanted = (this.#wanted += 1);
    const stacks = this.stacks().filter(({ channel }) => this.#look(channel).shown);
    if (!stacks.length) {
      this.#layers = [];
      this.problems = { raw: "", restored: "" };
      this.redraw();
      return;
    }
    const { what, shape, aspect } = this.#plan(stacks[0].entry.report);
    const layers = stacks.map(({ channel, entry, stack }) => ({
      channel, entry, stack, look: this.#look(channel), what, raw: null, restored: null,
    }));
    const problems = { raw: "", restored: "" };
    let patient = atOnce || this.#layers.length > 0;
    const show = () => {
      if (wanted !== this.#wanted) return;
      this.#take(layers, shape, aspect);
      this.problems = Object.fromEntries(SIDES.map((side) => [side, problems[side] || (layers.every((each) => each[side]) ? "" : "is being read")]));
      this.dispatchEvent(new Event("shown"));
    };
    const loads = SIDES.flatMap((side) => layers.map(async (layer) => {
      const [source, finished] = this.#source(side, layer);
      try {
        layer[side] = { base: await plane(layer.stack.id, finished, source, what), detail: null };
      } catch (error) {
        problems[side] = error.message;
        layer[`no_${side}`] = true;
      }
      if (!patient) show();
    }));
    if (!atOnce) setTimeout(() => {
      patient = false;
      if (layers.some((each) => each.raw || each.restored)) show();
    }, BOTH_WITHIN_MS);
    await Promise.all(loads);
    if (wanted !== this.#wanted) return;
    if (patient) show();
    this.#wantDetail();
  }

  /** Returns what to fetch of stacks with this report, and what size it has on the screen. */
  #plan(report) {
    const [z, y, x] = report.shape_zyx;
    const [dz, dy, dx] = report.voxel_um.map((size) => size ?? 0);
    const shape = { z: [y, x], y: [z, x], x: [z, y] }[this.axis];
    const steps = { z: [dy, dx], y: [dz, dx], x: [dz, dy] }[this.axis];
    const aspect = steps[0] > 0 && steps[1] > 0 ? steps[0] / steps[1] : 1;
    const what = { axis: this.axis, index: this.at(), projection: this.view === "max", level: coarsestLevel(...shape) };
    return { what, shape, aspect };
  }

  #take(layers, shape, aspect) {
    this.#layers = layers;
    this.#viewport.show(shape, aspect);
    this.#contrastFor(layers, false);
    this.redraw();
    this.#retell();
  }

  #contrastFor(layers, again) {
    let changed = false;
    for (const layer of layers) {
      const planes = [layer.raw?.base, layer.restored?.base].filter(Boolean);
      if (layer.look.adapt(this.view, planes, again)) changed = true;
    }
    if (changed || again) this.dispatchEvent(new Event("contrast"));
    const first = layers.find((layer) => layer.raw && layer.restored);
    if (first && this.mode === "difference") this.range = differenceRange(first.raw.base.data, first.restored.base.data);
  }

  autoContrast() {
    this.#contrastFor(this.#layers, true);
    this.redraw();
  }

  setContrast(look, low, high) {
    look.set(this.view, low, high);
    this.dispatchEvent(new Event("contrast"));
    this.redraw();
  }

  // ---- where it lies

  fit() {
    this.#viewport.fit();
  }

  oneToOne() {
    this.#viewport.oneToOne();
  }

  zoomBy(factor) {
    this.#viewport.zoomBy(factor);
  }

  #moved() {
    this.redraw();
    clearTimeout(this.#detailTimer);
    this.#detailTimer = setTimeout(() => this.#wantDetail(), DETAIL_AFTER_MS);
  }

  /** Fetches what is on the screen at the level its zoom needs, where the overview is too coarse. */
  async #wantDetail() {
    const layers = this.#layers;
    const base = layers[0]?.restored?.base ?? layers[0]?.raw?.base;
    const found = base && this.#viewport.detail(base.level);
    if (!found) return;
    const wanted = this.#wanted;
    await Promise.all(layers.flatMap((layer) => SIDES.map(async (side) => {
      if (!layer[side]) return;
      const [source, finished] = this.#source(side, layer);
      const detail = await plane(layer.stack.id, finished, source, { ...layer.what, ...found }).catch(() => null);
      if (detail && wanted === this.#wanted) {
        layer[side].detail = detail;
        this.redraw();
      }
    })));
    this.#retell();
  }

  /** Micrometres per CSS pixel, or null where the file does not say. */
  micrometresPerPixel() {
    const report = this.#layers[0]?.entry.report;
    const size = report?.voxel_um[this.axis === "x" ? 1 : 2];
    return size ? (size / this.#viewport.zoom) * this.#viewport.ratio : null;
  }

  // ---- grey values under the cursor

  #hover(cursor) {
    this.#cursor = cursor;
    this.#retell();
  }

  #retell() {
    this.dispatchEvent(new Event("cursor"));
  }

  /** Returns what is under the cursor: {row, column, exact, values: [{channel, stack, raw, restored}]} or null. */
  under() {
    const found = this.#cursor && this.#layers.length ? this.#viewport.voxelAt(this.#cursor.x, this.#cursor.y) : null;
    if (!found) return null;
    let exact = true;
    const values = this.#layers.map((layer) => {
      const told = { channel: layer.channel, stack: layer.stack };
      for (const side of ["raw", "restored"]) {
        const value = sample(layer[side], found.row, found.column);
        told[side] = value?.value ?? null;
        if (value && value.level > 0) exact = false;
      }
      return told;
    });
    return { ...found, exact, values };
  }

  // ---- drawing

  redraw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#paint(); });
  }

  #paint() {
    const { width, height } = this.#canvas;
    if (this.#image?.width !== width || this.#image.height !== height) this.#image = this.#context.createImageData(width, height);
    const image = this.#image;
    const layers = this.#layers.filter(({ look }) => look.shown).map((layer) => {
      const [low, high] = layer.look.contrast(this.view);
      // Half a picture in black would say that there is nothing: until raw is read, restored is on both sides.
      const sides = this.mode === "difference" ? {} : { raw: layer.raw ?? (layer.no_raw ? null : layer.restored), restored: layer.restored ?? (layer.no_restored ? null : layer.raw) };
      return { raw: layer.raw, restored: layer.restored, ...sides, low, high, colour: layer.look.colour };
    });
    paint(new Uint32Array(image.data.buffer), [width, height], layers, this.#viewport, { mode: this.mode, wipe: this.wipe, range: this.range });
    this.#context.putImageData(image, 0, 0);
    this.dispatchEvent(new Event("painted"));
  }
}
