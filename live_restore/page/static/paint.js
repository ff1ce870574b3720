// Grey values become colours here, so that contrast, wipe and zoom answer at once. Pure.

const NOTHING = 0xff0a0805; // as the canvas holds pixels: A, B, G, R
const SEAM = 0xffb0a090;

/**
 * Paints a picture into the pixels of a canvas.
 *
 * `layers` are the channels that are shown: {raw, restored, low, high, colour}, each side {base, detail};
 * `view` is where they lie; `how` is {mode, wipe (0 to 1), range (of a difference)}.
 */
export function paint(out, [width, height], layers, view, how) {
  out.fill(NOTHING);
  if (!layers.length) return;
  const target = { out, width, height, view };
  if (how.mode === "side") {
    const pane = view.paneWidth;
    fill(target, 0, pane, layers, "raw", 0);
    fill(target, pane, width, layers, "restored", pane);
    for (let sy = 0; sy < height; sy += 1) out[sy * width + pane] = SEAM;
  } else if (how.mode === "difference") {
    fillDifference(target, layers, how.range);
  } else {
    const line = Math.round(how.wipe * width);
    fill(target, 0, line, layers, "raw", 0);
    fill(target, line, width, layers, "restored", 0);
  }
}

/** Fills columns [from, to) with one side, merged over channels. */
function fill({ out, width, height, view }, from, to, layers, side, offset) {
  const held = layers.filter((layer) => layer[side]);
  const maps = held.map((layer) => mapsOf(layer[side], view, height, from, to, offset));
  const looks = held.map(({ low, high, colour }) => (
    { low: low ?? 0, scale: 255 / Math.max(1e-9, (high ?? 1) - (low ?? 0)), shades: shadesOf(colour) }));
  for (let sy = 0; sy < height; sy += 1) {
    const start = sy * width;
    for (let number = 0; number < held.length; number += 1) {
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
function fillDifference({ out, width, height, view }, layers, range) {
  const layer = layers.find((each) => each.raw && each.restored);
  if (!layer) return;
  const raw = mapsOf(layer.raw, view, height, 0, width, 0);
  const restored = mapsOf(layer.restored, view, height, 0, width, 0);
  const scale = 1 / range;
  for (let sy = 0; sy < height; sy += 1) {
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

/** Returns for every row, and columns [from, to), of the canvas where its voxel is in base and detail. */
function mapsOf({ base, detail }, view, height, from, to, offset) {
  const rows = new Int32Array(height);
  const columns = new Int32Array(to - from);
  for (let sy = 0; sy < height; sy += 1) {
    const row = Math.floor((sy - view.top) / (view.zoom * view.aspect));
    rows[sy] = row >= 0 && row < view.shape[0] ? row : -1;
  }
  for (let sx = from; sx < to; sx += 1) {
    const column = Math.floor((sx - offset - view.left) / view.zoom);
    columns[sx - from] = column >= 0 && column < view.shape[1] ? column : -1;
  }
  const at = (values, edge, stride, level, first) => values.map((value) => {
    if (value < 0) return -1;
    const place = (value >> level) - first;
    return place >= 0 && place < edge ? place * stride : -1;
  });
  return {
    base: base.data,
    baseRow: at(rows, base.rows, base.columns, base.level, 0),
    baseColumn: at(columns, base.columns, 1, base.level, 0),
    detail: detail?.data,
    detailRow: detail ? at(rows, detail.rows, detail.columns, detail.level, detail.y) : null,
    detailColumn: detail ? at(columns, detail.columns, 1, detail.level, detail.x) : null,
  };
}

function pick(map, sy, sx) {
  if (map.detailRow && map.detailRow[sy] >= 0 && map.detailColumn[sx] >= 0) {
    return map.detail[map.detailRow[sy] + map.detailColumn[sx]];
  }
  return map.base[map.baseRow[sy] + map.baseColumn[sx]];
}

/** Returns what 256 grey levels are in a colour. */
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
