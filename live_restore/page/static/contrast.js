// Which grey values are black and white: one contrast for raw and restored of a channel.

import { percentiles } from "./voxels.js";

const AUTO = [0.3, 0.998]; // most voxels are background: it may be black, the noise on it need not be seen
const FITS = 1.5;
const measured = new WeakMap(); // by the grey values measured last together with others

/** Returns [black, white] of some planes. */
export function measure(planes) {
  const last = planes.at(-1).data;
  const known = measured.get(last);
  if (known && known.of === planes.length) return known.values;
  let [low, high] = percentiles(planes, AUTO);
  if (high <= low) high = low + 1;
  measured.set(last, { of: planes.length, values: [low, high] });
  return [low, high];
}

/**
 * Whether a contrast does for a stack of which another one was measured.
 *
 * It stays as it is while a cell bleaches, so that one sees that it does, and is taken anew where the
 * stack would be a white sheet, or black.
 */
export function fits([low, high], [newLow, newHigh]) {
  const [span, newSpan] = [high - low, newHigh - newLow];
  return newSpan <= FITS * span && span <= FITS * newSpan && Math.abs(newLow - low) <= span / 2;
}

/** What a channel looks like: its colour, whether it is shown, and the contrast of each view. */
export class Look {
  shown = true;
  #contrasts = new Map(); // by view: {low, high, both: whether raw and restored had a say, own: set by a person}

  constructor(colour) {
    this.colour = colour;
  }

  /** Returns [black, white], undefined where nothing is known yet. */
  contrast(view) {
    const { low, high } = this.#contrasts.get(view) ?? {};
    return [low, high];
  }

  /** Whether the page chooses. */
  auto(view) {
    return !this.#contrasts.get(view)?.own;
  }

  set(view, low, high) {
    this.#contrasts.set(view, { low, high, own: true });
  }

  /** Measures it where there is none yet, where it does not do any more, or where asked; returns whether it changed. */
  adapt(view, planes, again) {
    const known = this.#contrasts.get(view);
    if (!planes.length || (known?.own && !again)) return false;
    const [low, high] = measure(planes);
    const both = planes.length > 1;
    if (known && !again && (known.both || !both) && fits([known.low, known.high], [low, high])) return false;
    this.#contrasts.set(view, { low, high, both });
    return true;
  }
}

/** Returns the grey value that fills the scale of a difference: 99.5 % are within it. */
export function differenceRange(raw, restored) {
  const sizes = [];
  const step = Math.max(1, Math.floor(raw.length / 20000));
  for (let i = 0; i < raw.length; i += step) sizes.push(Math.abs(raw[i] - restored[i]));
  sizes.sort((a, b) => a - b);
  return Math.max(1e-6, sizes[Math.floor(0.995 * (sizes.length - 1))] || 1);
}
