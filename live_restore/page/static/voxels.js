// Planes of grey values from the server: exact, whatever their type; the last ones are kept.

const KEPT_BYTES = 256 * 2 ** 20;
const TYPES = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };
const kept = new Map();
const flying = new Map();
let bytes = 0;

/** Levels halve the edges; the coarsest one used has no edge above this. */
export const OVERVIEW_EDGE = 1024;

export function coarsestLevel(rows, columns) {
  let level = 0;
  while (Math.max(rows, columns) / 2 ** level > OVERVIEW_EDGE) level += 1;
  return level;
}

/** Returns a plane {data, rows, columns, level, y, x} (y, x: of the cut, in voxels of the level). */
export function plane(stack, finished, side, what) {
  const query = new URLSearchParams({ axis: what.axis, level: what.level });
  if (what.projection) query.set("projection", "max");
  else query.set("index", what.index);
  if (what.cut) for (const [name, value] of Object.entries(what.cut)) query.set(name, value);
  const url = `/api/stacks/${stack}/${side}/plane?${query}`;
  const key = `${url}#${finished}`;
  const found = kept.get(key);
  if (found) {
    kept.delete(key);
    kept.set(key, found);
    return Promise.resolve(found);
  }
  if (!flying.has(key)) flying.set(key, load(url, key, what).finally(() => flying.delete(key)));
  return flying.get(key);
}

async function load(url, key, what) {
  let answer = await fetch(url);
  for (let attempt = 0; attempt < 3 && (answer.status === 503 || answer.status === 429); attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 400 * (attempt + 1)));
    answer = await fetch(url);
  }
  if (!answer.ok) {
    const why = await answer.json().catch(() => ({}));
    throw new Error(why.error ?? `error ${answer.status}`);
  }
  const [rows, columns] = answer.headers.get("X-Shape").split(",").map(Number);
  const data = new TYPES[answer.headers.get("X-Voxel-Type")](await answer.arrayBuffer());
  const loaded = { data, rows, columns, level: what.level, y: what.cut?.y ?? 0, x: what.cut?.x ?? 0 };
  kept.set(key, loaded);
  bytes += data.byteLength;
  for (const [old, value] of kept) {
    if (bytes <= KEPT_BYTES || kept.size < 2) break;
    kept.delete(old);
    bytes -= value.data.byteLength;
  }
  return loaded;
}

/** Returns grey values at some shares (0 to 1) of up to 40,000 voxels of several planes. */
export function percentiles(planes, shares) {
  const values = [];
  for (const { data } of planes) {
    const step = Math.max(1, Math.floor((data.length * planes.length) / 40000));
    for (let i = 0; i < data.length; i += step) if (Number.isFinite(data[i])) values.push(data[i]);
  }
  values.sort((a, b) => a - b);
  return shares.map((share) => values[Math.min(values.length - 1, Math.floor(share * values.length))] ?? 0);
}

/** Returns {value, level} of a voxel from planes {detail, base} of one side, or null. */
export function sample(held, row, column) {
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
