// Which stack is looked at: the newest, one that was chosen, or one after the other.

import { $ } from "./elements.js";
import { restoringHere } from "./pace.js";

const PLAY_MS = 200;
const PLAY_BESIDE_WORK_MS = 2000; // without a GPU, to draw a time point takes 16 ms of a processor

export class Choice {
  following = true;
  #run;
  #show;
  #playing = 0;
  #chosen = null; // {series, position, time}: cells are made anew with every news

  /** `show(cell, {atOnce})` is called with what is chosen, and is over when it is on the screen. */
  constructor(run, show) {
    this.#run = run;
    this.#show = show;
  }

  /** The cell that is looked at, or null. */
  get cell() {
    const chosen = this.#chosen;
    return chosen && (this.#run.series.get(chosen.series)?.cells.get(`${chosen.position},${chosen.time}`) ?? null);
  }

  /** The series that is looked at: the chosen one, or that of the newest result. */
  get series() {
    const { series } = this.#run;
    return series.get(this.#chosen?.series) ?? this.#run.newestCell()?.series ?? [...series.values()][0];
  }

  /** Chooses a cell; whoever does so by hand wants to stay there. */
  async choose(cell, { follow = false, atOnce = false } = {}) {
    if (!cell) return;
    if (!follow && this.following) this.follow(false);
    this.#chosen = { series: cell.series.id, position: cell.position, time: cell.time };
    await this.#show(cell, { atOnce });
  }

  follow(on) {
    this.following = on;
    $("newest").setAttribute("aria-pressed", String(on));
    if (on) this.choose(this.#run.newestCell(), { follow: true });
  }

  /** Chooses a position and a time (an index among the times) of the series. */
  go(position, at, options) {
    const { series } = this.cell ?? {};
    return this.choose(series?.cells.get(`${position},${series.times[at]}`), options);
  }

  stepTime(by) {
    const { cell } = this;
    if (!cell) return Promise.resolve();
    const { times } = cell.series;
    const at = times.indexOf(cell.time) + by;
    return this.go(cell.position, Math.min(times.length - 1, Math.max(0, at)));
  }

  stepPosition(by) {
    const { cell } = this;
    if (!cell) return;
    const { positions, times } = cell.series;
    this.go(positions[positions.indexOf(cell.position) + by], times.indexOf(cell.time));
  }

  // ---- over time

  play() {
    this.#playing = this.#playing ? 0 : Date.now();
    const mine = this.#playing;
    this.showPlaying();
    if (!this.#playing) return;
    this.follow(false);
    const next = async () => {
      if (this.#playing !== mine) return;
      const began = performance.now();
      if (!document.hidden) await this.#stepAround();
      this.showPlaying();
      const every = restoringHere(this.#run.summary) ? PLAY_BESIDE_WORK_MS : PLAY_MS;
      setTimeout(next, Math.max(20, every - (performance.now() - began)));
    };
    next();
  }

  #stepAround() {
    const { cell } = this;
    if (!cell) return Promise.resolve();
    const { times } = cell.series;
    return this.go(cell.position, (times.indexOf(cell.time) + 1) % times.length, { atOnce: true });
  }

  showPlaying() {
    const slow = this.#playing && restoringHere(this.#run.summary);
    $("play").setAttribute("aria-pressed", String(Boolean(this.#playing)));
    $("play").textContent = !this.#playing ? "Play" : slow ? "Pause (slowed)" : "Pause";
    $("play").title = slow ? "A time point every two seconds while this computer restores: drawing more would take from that" : "Play over time (space)";
  }
}
