// The picture: grey values become colours here, so that contrast, wipe and zoom answer at once.

import { coarsestLevel, percentiles, plane } from "./voxels.js";

const AUTO = [0.3, 0.998]; // most voxels are background: it may be black, the noise on it need not be seen
const PALETTE = [[255, 255, 255], [80, 230, 120], [255, 80, 220], [60, 190, 255], [255, 190, 60], [255, 90, 80]];
const MOST_ZOOM = 64;
const DETAIL_AFTER_MS = 120;

/** Returns the sizes {z, y, x} of the stacks of a cell, or null where none is restored yet. */
export function sizesOf(cell) {
  const found = [...cell.channels].sort(([a], [b]) => a - b).find(([, { stack }]) => stack);
  if (!found) return null;
  const [z, y, x] = found[1].entry.report.shape_zyx;
  return { z, y, x };
}

export class Picture extends EventTarget {
  mode = "wipe";
  view = "slice";
  axis = "z";
  wipe = 0.5;
  cell = null;
  index = { z: null, y: null, x: null };
  looks = new Map(); // per series and channel: colour, contrast, shown
  cursor = null;
  previews = new Map(); // stack id -> {number, model}
  previewed = false; // whether they are shown in the place of raw
  #canvas;
  #context;
  #layers = []; // {channel, look, raw: {base, detail}, restored: {base, detail}}
  #zoom = 1;
  #left = 0;
  #top = 0;
  #fitted = true;
  #shape = [1, 1];
  #aspect = 1;
  #wanted = 0;
  #frame = 0;
  #detailTimer = 0;
  #range = 1;
  #image = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(1.2 ** (-event.deltaY / 100), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("pointermove", (event) => this.#hover(event.offsetX, event.offsetY));
    canvas.addEventListener("pointerleave", () => this.#hover(null));
    canvas.addEventListener("dblclick", () => this.fit());
  }

  /** Channels of the series shown now: [{channel, name, look}]. */
  channels() {
    if (!this.cell) return [];
    return [...this.cell.series.channels].map(([channel, name]) => ({ channel, name, look: this.#look(channel) }));
  }

  #look(channel) {
    const key = `${this.cell.series.id}/${channel}`;
    if (!this.looks.has(key)) {
      const many = this.cell.series.channels.size > 1;
      const place = [...this.cell.series.channels.keys()].indexOf(channel);
      const colour = many ? PALETTE[1 + (Math.max(0, place) % (PALETTE.length - 1))] : PALETTE[0];
      this.looks.set(key, { colour, shown: true, low: {}, high: {} });
    }
    return this.looks.get(key);
  }

  /** Returns [side, key of what is kept] of a stack: its preview stands in for raw where asked. */
  #source(side, layer) {
    const preview = side === "raw" && this.previewed && this.previews.get(layer.stack.id);
    return preview ? ["preview", `${layer.entry.finished_at}/${preview.number}`] : [side, layer.entry.finished_at];
  }

  /** What stands left of the wipe: "raw", or "preview" with the name of its model. */
  leftName() {
    const found = this.previewed && this.stacks().map(({ stack }) => this.previews.get(stack.id)).find(Boolean);
    return found ? `preview, ${found.model}` : "raw";
  }

  stacks() {
    if (!this.cell) return [];
    const sorted = [...this.cell.channels].sort(([a], [b]) => a - b);
    return sorted.filter(([, each]) => each.stack).map(([channel, each]) => ({ channel, ...each }));
  }

  /** Sizes {z, y, x} of the stack shown. */
  sizes() {
    return this.cell && sizesOf(this.cell);
  }

  at() {
    const sizes = this.sizes();
    if (!sizes) return 0;
    const wished = this.index[this.axis] ?? Math.floor(sizes[this.axis] / 2);
    return Math.min(sizes[this.axis] - 1, Math.max(0, wished));
  }

  /** Shows a cell, what is here of it first, or `atOnce` the whole of it; resolves when it is shown. */
  async show(cell, { atOnce = false } = {}) {
    this.cell = cell;
    const wanted = (this.#wanted += 1);
    const stacks = this.stacks().filter(({ channel }) => this.#look(channel).shown);
    if (!stacks.length) {
      this.#layers = [];
      this.#draw();
      return;
    }
    const report = stacks[0].entry.report;
    const [z, y, x] = report.shape_zyx;
    const [dz, dy, dx] = report.voxel_um.map((size) => size ?? 0);
    const shape = { z: [y, x], y: [z, x], x: [z, y] }[this.axis];
    const steps = { z: [dy, dx], y: [dz, dx], x: [dz, dy] }[this.axis];
    const aspect = steps[0] > 0 && steps[1] > 0 ? steps[0] / steps[1] : 1;
    const what = {
      axis: this.axis, index: this.at(), projection: this.view === "max", level: coarsestLevel(...shape),
    };
    const layers = stacks.map(({ channel, entry, stack }) => ({
      channel, entry, stack, look: this.#look(channel), what, raw: null, restored: null,
    }));
    const loads = [];
    let failure = null;
    for (const side of ["restored", "raw"]) {
      for (const layer of layers) {
        const [source, finished] = this.#source(side, layer);
        loads.push(
          plane(layer.stack.id, finished, source, what).then(
            (base) => {
              layer[side] = { base, detail: null };
              if (!atOnce && wanted === this.#wanted) this.#take(layers, shape, aspect);
            },
            (error) => { failure = { side, text: error.message }; },
          ),
        );
      }
    }
    await Promise.all(loads);
    if (wanted !== this.#wanted) return;
    this.#take(layers, shape, aspect);
    this.dispatchEvent(new CustomEvent("shown", { detail: failure }));
    this.#wantDetail();
  }

  #take(layers, shape, aspect) {
    const changed = shape.join() !== this.#shape.join() || aspect !== this.#aspect;
    this.#layers = layers;
    this.#shape = shape;
    this.#aspect = aspect;
    if (changed || this.#fitted) this.fit();
    this.#contrastFor(layers, false);
    this.#draw();
    this.#retell();
  }

  /** Measures the contrast, one for raw and restored, where there is none yet or where asked. */
  #contrastFor(layers, again) {
    const kind = this.view;
    for (const layer of layers) {
      const both = [layer.raw?.base, layer.restored?.base].filter(Boolean);
      const known = layer.look.low[kind] !== undefined && (layer.look.settled?.[kind] || both.length < 2);
      if (!both.length || (known && !again)) continue;
      let [low, high] = percentiles(both, AUTO);
      if (high <= low) high = low + 1;
      layer.look.low[kind] = low;
      layer.look.high[kind] = high;
      layer.look.settled = { ...layer.look.settled, [kind]: both.length === 2 };
      this.dispatchEvent(new Event("contrast"));
    }
    const first = layers.find((layer) => layer.raw && layer.restored);
    if (first && this.mode === "difference") this.#range = differenceRange(first.raw.base.data, first.restored.base.data);
  }

  autoContrast() {
    this.#contrastFor(this.#layers, true);
    this.#draw();
  }

  contrast(look) {
    const kind = this.view;
    return [look.low[kind], look.high[kind]];
  }

  setContrast(look, low, high) {
    const kind = this.view;
    look.low[kind] = low;
    look.high[kind] = high;
    look.settled = { ...look.settled, [kind]: true };
    this.#draw();
  }

  redraw() {
    this.#draw();
  }

  // ---- where voxels are on the screen

  #resize() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.#canvas.width = Math.max(1, Math.round(this.#canvas.clientWidth * ratio));
    this.#canvas.height = Math.max(1, Math.round(this.#canvas.clientHeight * ratio));
    if (this.#fitted) this.fit();
    this.#draw();
  }

  get #ratio() {
    return this.#canvas.width / Math.max(1, this.#canvas.clientWidth);
  }

  get #paneWidth() {
    return this.mode === "side" ? Math.floor(this.#canvas.width / 2) : this.#canvas.width;
  }

  fit() {
    const [rows, columns] = this.#shape;
    const height = rows * this.#aspect;
    this.#zoom = Math.min(this.#paneWidth / columns, this.#canvas.height / height);
    this.#left = (this.#paneWidth - columns * this.#zoom) / 2;
    this.#top = (this.#canvas.height - height * this.#zoom) / 2;
    this.#fitted = true;
    this.#moved();
  }

  oneToOne() {
    this.zoomBy(1 / this.#zoom, this.#canvas.clientWidth / 2, this.#canvas.clientHeight / 2);
  }

  /** Zooms about a point of the canvas (CSS pixels). */
  zoomBy(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const [sx, sy] = [this.#inPane(x * this.#ratio), y * this.#ratio];
    const fit = Math.min(this.#paneWidth / this.#shape[1], this.#canvas.height / (this.#shape[0] * this.#aspect));
    const zoom = Math.min(MOST_ZOOM, Math.max(Math.min(fit, 1) / 2, this.#zoom * factor));
    this.#left = sx - ((sx - this.#left) * zoom) / this.#zoom;
    this.#top = sy - ((sy - this.#top) * zoom) / this.#zoom;
    this.#zoom = zoom;
    this.#fitted = false;
    this.#moved();
  }

  #inPane(sx) {
    return this.mode === "side" ? sx % this.#paneWidth : sx;
  }

  #drag(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const start = { x: event.clientX, y: event.clientY, left: this.#left, top: this.#top };
    const move = (each) => {
      this.#left = start.left + (each.clientX - start.x) * this.#ratio;
      this.#top = start.top + (each.clientY - start.y) * this.#ratio;
      if (Math.abs(each.clientX - start.x) + Math.abs(each.clientY - start.y) > 2) this.#fitted = false;
      this.#moved();
    };
    const end = () => {
      this.#canvas.removeEventListener("pointermove", move);
      this.#canvas.removeEventListener("pointerup", end);
      this.#canvas.removeEventListener("pointercancel", end);
    };
    this.#canvas.addEventListener("pointermove", move);
    this.#canvas.addEventListener("pointerup", end);
    this.#canvas.addEventListener("pointercancel", end);
  }

  #moved() {
    this.#draw();
    clearTimeout(this.#detailTimer);
    this.#detailTimer = setTimeout(() => this.#wantDetail(), DETAIL_AFTER_MS);
  }

  /** Fetches what is on the screen at the level its zoom needs, where the overview is too coarse. */
  async #wantDetail() {
    const layers = this.#layers;
    const base = layers[0]?.restored?.base ?? layers[0]?.raw?.base;
    if (!base || base.level === 0) return;
    const level = Math.min(base.level, Math.max(0, Math.floor(Math.log2(1 / this.#zoom) + 0.01)));
    if (level >= base.level) return;
    const step = 2 ** level;
    const [rows, columns] = this.#shape.map((edge) => Math.ceil(edge / step));
    const x = Math.max(0, Math.floor(-this.#left / this.#zoom / step / 128) * 128);
    const y = Math.max(0, Math.floor(-this.#top / (this.#zoom * this.#aspect) / step / 128) * 128);
    const right = (this.#paneWidth - this.#left) / this.#zoom / step;
    const bottom = (this.#canvas.height - this.#top) / (this.#zoom * this.#aspect) / step;
    const width = Math.min(2048, columns - x, Math.ceil((right - x) / 128) * 128);
    const height = Math.min(2048, rows - y, Math.ceil((bottom - y) / 128) * 128);
    if (width <= 0 || height <= 0) return;
    const wanted = this.#wanted;
    await Promise.all(layers.flatMap((layer) => ["restored", "raw"].map(async (side) => {
      if (!layer[side]) return;
      const what = { ...layer.what, level, cut: { y, x, height, width } };
      const [source, finished] = this.#source(side, layer);
      const detail = await plane(layer.stack.id, finished, source, what).catch(() => null);
      if (detail && wanted === this.#wanted) {
        layer[side].detail = detail;
        this.#draw();
      }
    })));
    this.#retell();
  }

  // ---- grey values under the cursor

  #hover(x, y) {
    this.cursor = x === null ? null : { x, y };
    this.#retell();
  }

  #retell() {
    this.dispatchEvent(new Event("cursor"));
  }

  /** Returns what is under the cursor: {row, column, exact, values: [{channel, stack, raw, restored}]} or null. */
  under() {
    if (!this.cursor || !this.#layers.length) return null;
    const sx = this.#inPane(this.cursor.x * this.#ratio);
    const column = Math.floor((sx - this.#left) / this.#zoom);
    const row = Math.floor((this.cursor.y * this.#ratio - this.#top) / (this.#zoom * this.#aspect));
    if (row < 0 || column < 0 || row >= this.#shape[0] || column >= this.#shape[1]) return null;
    let exact = true;
    const values = this.#layers.map((layer) => {
      const told = { channel: layer.channel, stack: layer.stack };
      for (const side of ["raw", "restored"]) {
        const found = sample(layer[side], row, column);
        told[side] = found?.value ?? null;
        if (found && found.level > 0) exact = false;
      }
      return told;
    });
    return { row, column, exact, values };
  }

  // ---- drawing

  #draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#paint(); });
  }

  #paint() {
    const { width, height } = this.#canvas;
    if (this.#image?.width !== width || this.#image.height !== height) this.#image = this.#context.createImageData(width, height);
    const image = this.#image;
    const out = new Uint32Array(image.data.buffer);
    out.fill(0xff0a0805);
    if (this.#layers.length) {
      const pane = this.#paneWidth;
      if (this.mode === "side") {
        this.#fill(out, width, 0, pane, "raw", 0);
        this.#fill(out, width, pane, width, "restored", pane);
        for (let sy = 0; sy < height; sy += 1) out[sy * width + pane] = 0xffb0a090;
      } else if (this.mode === "difference") {
        this.#fillDifference(out, width);
      } else {
        const line = Math.round(this.wipe * width);
        this.#fill(out, width, 0, line, "raw", 0);
        this.#fill(out, width, line, width, "restored", 0);
      }
    }
    this.#context.putImageData(image, 0, 0);
    this.dispatchEvent(new Event("painted"));
  }

  /** Micrometres per CSS pixel, or null where the file does not say. */
  micrometresPerPixel() {
    const report = this.#layers[0]?.entry.report;
    const size = report?.voxel_um[this.axis === "x" ? 1 : 2];
    return size ? (size / this.#zoom) * this.#ratio : null;
  }

  /** Fills columns [from, to) of the canvas with one side, merged over channels. */
  #fill(out, width, from, to, side, offset) {
    const height = this.#canvas.height;
    const layers = this.#layers.filter((layer) => layer.look.shown && layer[side]);
    const maps = layers.map((layer) => this.#maps(layer[side], from, to, offset));
    const looks = layers.map(({ look }) => {
      const [low, high] = this.contrast(look);
      return { low: low ?? 0, scale: 255 / Math.max(1e-9, (high ?? 1) - (low ?? 0)), shades: shadesOf(look.colour) };
    });
    for (let sy = 0; sy < height; sy += 1) {
      const start = sy * width;
      for (let number = 0; number < layers.length; number += 1) {
        const map = maps[number];
        const { low, scale, shades } = looks[number];
        const baseRow = map.baseRow[sy];
        if (baseRow < 0) continue;
        const detailRow = map.detailRow ? map.detailRow[sy] : -1;
        for (let sx = from; sx < to; sx += 1) {
          const k = sx - from;
          let value;
          if (detailRow >= 0 && map.detailColumn[k] >= 0) value = map.detail[detailRow + map.detailColumn[k]];
          else {
            const column = map.baseColumn[k];
            if (column < 0) continue;
            value = map.base[baseRow + column];
          }
          const grey = (value - low) * scale;
          const shade = shades[grey < 0 ? 0 : grey > 255 ? 255 : grey | 0];
          out[start + sx] = number === 0 ? shade : sum(out[start + sx], shade);
        }
      }
    }
  }

  /** Raw minus restored of the first channel shown: orange where raw is brighter, blue where darker. */
  #fillDifference(out, width) {
    const layer = this.#layers.find((each) => each.look.shown && each.raw && each.restored);
    if (!layer) return;
    const raw = this.#maps(layer.raw, 0, width, 0);
    const restored = this.#maps(layer.restored, 0, width, 0);
    const scale = 1 / this.#range;
    for (let sy = 0; sy < this.#canvas.height; sy += 1) {
      if (raw.baseRow[sy] < 0) continue;
      for (let sx = 0; sx < width; sx += 1) {
        if (raw.baseColumn[sx] < 0) continue;
        let share = (pick(raw, sy, sx) - pick(restored, sy, sx)) * scale;
        share = share < -1 ? -1 : share > 1 ? 1 : share;
        const size = Math.abs(share);
        const red = share > 0 ? 14 + 241 * size : 14 + 60 * size;
        const green = share > 0 ? 19 + 141 * size : 19 + 160 * size;
        const blue = share > 0 ? 23 + 40 * size : 23 + 232 * size;
        out[sy * width + sx] = 0xff000000 | (blue << 16) | (green << 8) | red;
      }
    }
  }

  get range() {
    return this.#range;
  }

  /** Returns for every row and column of the canvas where its voxel is in base and detail. */
  #maps(held, from, to, offset) {
    const { base, detail } = held;
    const height = this.#canvas.height;
    const rows = new Int32Array(height);
    const columns = new Int32Array(to - from);
    for (let sy = 0; sy < height; sy += 1) {
      const row = Math.floor((sy - this.#top) / (this.#zoom * this.#aspect));
      rows[sy] = row >= 0 && row < this.#shape[0] ? row : -1;
    }
    for (let sx = from; sx < to; sx += 1) {
      const column = Math.floor((sx - offset - this.#left) / this.#zoom);
      columns[sx - from] = column >= 0 && column < this.#shape[1] ? column : -1;
    }
    const at = (edge, values, stride, first) => values.map((value) => {
      if (value < 0) return -1;
      const place = first.down(value) - first.start;
      return place >= 0 && place < edge ? place * stride : -1;
    });
    const down = (level) => (value) => value >> level;
    return {
      base: base.data,
      baseRow: at(base.rows, rows, base.columns, { down: down(base.level), start: 0 }),
      baseColumn: at(base.columns, columns, 1, { down: down(base.level), start: 0 }),
      detail: detail?.data,
      detailRow: detail ? at(detail.rows, rows, detail.columns, { down: down(detail.level), start: detail.y }) : null,
      detailColumn: detail ? at(detail.columns, columns, 1, { down: down(detail.level), start: detail.x }) : null,
    };
  }
}

/** Returns what 256 grey levels are in a colour, as the canvas holds pixels (A, B, G, R). */
function shadesOf([r, g, b]) {
  return Uint32Array.from({ length: 256 }, (_, grey) => {
    const [red, green, blue] = [r, g, b].map((each) => Math.round((grey * each) / 255));
    return 0xff000000 | (blue << 16) | (green << 8) | red;
  });
}

/** Adds the light of two pixels. */
function sum(one, other) {
  const red = Math.min(255, (one & 255) + (other & 255));
  const green = Math.min(255, ((one >>> 8) & 255) + ((other >>> 8) & 255));
  const blue = Math.min(255, ((one >>> 16) & 255) + ((other >>> 16) & 255));
  return 0xff000000 | (blue << 16) | (green << 8) | red;
}

function pick(map, sy, sx) {
  if (map.detailRow && map.detailRow[sy] >= 0 && map.detailColumn[sx] >= 0) {
    return map.detail[map.detailRow[sy] + map.detailColumn[sx]];
  }
  return map.base[map.baseRow[sy] + map.baseColumn[sx]];
}

function sample(held, row, column) {
  if (!held) return null;
  for (const each of [held.detail, held.base]) {
    if (!each) continue;
    const y = (row >> each.level) - each.y;
    const x = (column >> each.level) - each.x;
    if (y >= 0 && x >= 0 && y < each.rows && x < each.columns) {
      return { value: each.data[y * each.columns + x], level: each.level };
    }
  }
  return null;
}

/** Returns the grey value that fills the scale of a difference: 99.5 % are within it. */
function differenceRange(raw, restored) {
  const sizes = [];
  const step = Math.max(1, Math.floor(raw.length / 20000));
  for (let i = 0; i < raw.length; i += step) sizes.push(Math.abs(raw[i] - restored[i]));
  sizes.sort((a, b) => a - b);
  return Math.max(1e-6, sizes[Math.floor(0.995 * (sizes.length - 1))] || 1);
}
