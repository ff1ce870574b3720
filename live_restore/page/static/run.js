// What the server knows of the run, kept up to date: entries, put in order as series of cells.

/** A series is an acquisition or a folder of files; a cell is a position and time with its channels. */
export class Run extends EventTarget {
  entries = new Map();
  series = new Map();
  summary = null;
  reasonsVersion = 0; // grows with every change of why something failed or is doubtful
  #version = 0;
  #fetching = false;
  #again = false;
  #wait = 500;
  #stream = null;

  start() {
    this.#stream = new EventSource("/api/events");
    this.#stream.addEventListener("run", (event) => {
      this.#wait = 500;
      this.summary = JSON.parse(event.data);
      // Versions count anew in a page process that was started again.
      if (this.summary.version < this.#version) this.#version = 0;
      this.#tell("summary");
    });
    this.#stream.addEventListener("error", () => {
      this.#tell("lost");
      if (this.#stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
      setTimeout(() => this.start(), this.#wait);
      this.#wait = Math.min(8000, this.#wait * 2);
    });
    this.#stream.addEventListener("open", () => {
      this.#version = 0;
    });
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /** Fetches what has changed since the last time. */
  async fetch() {
    if (this.#fetching) {
      this.#again = true;
      return;
    }
    this.#fetching = true;
    try {
      let more = true;
      while (more || this.#again) {
        this.#again = false;
        const whole = this.#version === 0;
        const answer = await fetch(`/api/entries?since=${this.#version}`);
        if (!answer.ok) throw new Error(String(answer.status));
        const told = await answer.json();
        if (whole) this.entries.clear();
        for (const id of told.removed) {
          this.#reasonsOf(this.entries.get(id));
          this.entries.delete(id);
        }
        for (const entry of told.entries) {
          this.#reasonsOf(entry, this.entries.get(entry.id));
          this.entries.set(entry.id, entry);
        }
        this.#version = Math.max(this.#version, told.version, 1);
        more = told.more;
        if (told.entries.length || told.removed.length || whole) {
          this.#arrange();
          this.#tell("entries");
        }
      }
    } catch {
      setTimeout(() => this.fetch(), 1000);
    } finally {
      this.#fetching = false;
    }
  }

  #reasonsOf(...entries) {
    if (entries.some((entry) => entry?.reason)) this.reasonsVersion += 1;
  }

  #arrange() {
    const byName = new Intl.Collator("en", { numeric: true });
    const found = new Map();
    const series = (id, name) => {
      if (!found.has(id)) {
        found.set(id, { id, name, cells: new Map(), positions: [], times: [], channels: new Map(), newest: 0 });
      }
      return found.get(id);
    };
    const place = (where, position, time, channel, entry, stack) => {
      const key = `${position},${time}`;
      if (!where.cells.has(key)) where.cells.set(key, { key, position, time, channels: new Map(), series: where });
      where.cells.get(key).channels.set(channel, { entry, stack });
      if (!where.channels.has(channel) || stack?.channel_name) {
        where.channels.set(channel, stack?.channel_name ?? where.channels.get(channel) ?? `channel ${channel}`);
      }
      where.newest = Math.max(where.newest, entry.finished_at ?? 0);
    };
    const files = [];
    for (const entry of this.entries.values()) {
      if (entry.index === null) files.push(entry);
      else {
        const [position, time, channel] = entry.index;
        const stack = entry.report?.stacks[0] ?? null;
        place(series(entry.series, entry.series_name), position, time, channel, entry, stack);
      }
    }
    files.sort((a, b) => byName.compare(a.name, b.name));
    const ordinals = new Map();
    for (const entry of files) {
      const [positions, times] = entry.report?.sizes_ptc ?? [1, 1];
      if (positions * times > 1) {
        const own = series(`${entry.series}/${entry.id}`, entry.name);
        for (const stack of entry.report.stacks) place(own, stack.position, stack.time, stack.channel, entry, stack);
        continue;
      }
      const time = ordinals.get(entry.series) ?? 0;
      ordinals.set(entry.series, time + 1);
      const where = series(entry.series, entry.series_name || "files");
      where.files = true;
      const stacks = entry.report?.stacks ?? [];
      if (!stacks.length) place(where, 0, time, 0, entry, null);
      for (const stack of stacks) place(where, 0, time, stack.channel, entry, stack);
    }
    for (const each of found.values()) {
      const cells = [...each.cells.values()];
      each.positions = [...new Set(cells.map((cell) => cell.position))].sort((a, b) => a - b);
      each.times = [...new Set(cells.map((cell) => cell.time))].sort((a, b) => a - b);
      each.channels = new Map([...each.channels].sort((a, b) => a[0] - b[0]));
    }
    this.series = found;
  }

  /** Returns the cell that an entry belongs to, or null. */
  cellOf(id) {
    for (const series of this.series.values()) {
      for (const cell of series.cells.values()) {
        for (const { entry } of cell.channels.values()) if (entry.id === id) return cell;
      }
    }
    return null;
  }

  /** Returns the cell whose result is the newest, or null. */
  newestCell() {
    let best = null;
    let at = 0;
    for (const each of this.series.values()) {
      if (each.newest < at) continue;
      for (const cell of each.cells.values()) {
        for (const { entry, stack } of cell.channels.values()) {
          if (stack && entry.finished_at >= at) {
            best = cell;
            at = entry.finished_at;
          }
        }
      }
    }
    return best;
  }
}

const ORDER = ["failed", "doubtful", "running", "arriving", "incomplete", "waiting", "refused", "brightness", "done"];

/** Returns the state of a cell: that of the channel a person should know of first. */
export function stateOf(cell) {
  const states = [...cell.channels.values()].map(({ entry, stack }) => {
    if (entry.state !== "done") return entry.state;
    if ((stack ? stack.doubts.length : entry.doubtful) || (entry.index && entry.doubtful)) return "doubtful";
    return (stack ? stack.brightness_doubt : entry.doubtful_brightness) ? "brightness" : "done";
  });
  return ORDER.find((state) => states.includes(state)) ?? "waiting";
}
