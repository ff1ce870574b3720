// Tiles: one per position and time, with a thumbnail, and a sign for its state.

import { $, STATE_WORDS, clock, make, mark, setText } from "./elements.js";
import { stateOf } from "./run.js";

const MOST_TILES = 3000;
const LONGEST_LABEL = 6;

export class Strip {
  filter = "all";
  only = null; // ids of entries, chosen by a reason
  #tiles = new Map();
  #current = null;
  #marked = null; // the tile of it
  #onPick;
  #labelOf;
  #seen;

  /** `onPick` gets the cell of a tile; `labelOf(series, position)` returns what a row is called. */
  constructor(onPick, labelOf) {
    this.#onPick = onPick;
    this.#labelOf = labelOf;
    this.#seen = new IntersectionObserver((events) => {
      for (const { isIntersecting, target } of events) {
        if (!isIntersecting) continue;
        this.#seen.unobserve(target);
        if (target.dataset.src) target.src = target.dataset.src;
      }
    }, { root: $("strip"), rootMargin: "300px" });
    for (const state of ["done", "brightness", "doubtful", "failed", "running", "waiting", "arriving", "incomplete"]) {
      $("legend").append(make("span", {}, mark(state), STATE_WORDS[state].replace(/^restored, /, "")));
    }
  }

  /** Brings the tiles up to date; those that have not changed stay as they are. */
  show(run, series) {
    const strip = $("strip");
    const filtered = this.filter !== "all" || this.only !== null;
    const cells = filtered
      ? [...run.series.values()].flatMap((each) => [...each.cells.values()]).filter((cell) => this.#fits(cell))
      : [...(series?.cells.values() ?? [])];
    cells.sort((a, b) => a.position - b.position || a.time - b.time);
    const left = Math.max(0, cells.length - MOST_TILES);
    const drawn = left ? cells.slice(left) : cells;
    const what = this.filter === "failed" ? "failed or not restored" : this.filter;
    $("strip-note").textContent = filtered
      ? `${cells.length} ${this.only ? "with this reason" : what}${this.only ? " · choose All to see the rest" : ""}`
      : left ? `the newest ${MOST_TILES} of ${cells.length}` : "";
    const old = this.#tiles;
    this.#tiles = new Map();
    const tile = (cell) => {
      const key = `${cell.series.id}/${cell.key}`;
      const made = this.#tile(cell, old.get(key));
      this.#tiles.set(key, made);
      return made.element;
    };
    if (!drawn.length) {
      strip.replaceChildren(make("p", { class: "quiet" }, filtered ? `Nothing is ${what}.` : "No stack has arrived yet."));
    } else if (filtered) {
      const flow = strip.querySelector(".flow") ?? make("div", { class: "flow" });
      sync(flow, drawn.map(tile));
      sync(strip, [flow]);
    } else {
      const rows = new Map(series.positions.map((position) => [position, []]));
      for (const cell of drawn) rows.get(cell.position).push(tile(cell));
      const wasAtEnd = strip.scrollLeft + strip.clientWidth >= strip.scrollWidth - 90;
      const lines = [...rows].map(([position, tiles]) => {
        const line = strip.querySelector(`.grid-row[data-position="${position}"]`)
          ?? make("div", { class: "grid-row", "data-position": position }, make("b", {}));
        setText(line.firstChild, this.#labelOf(series, position));
        line.firstChild.hidden = rows.size === 1;
        sync(line, [line.firstChild, ...tiles]);
        return line;
      });
      sync(strip, lines);
      if (wasAtEnd) strip.scrollLeft = strip.scrollWidth;
    }
    this.select(this.#current, false);
  }

  #fits(cell) {
    if (this.only) return [...cell.channels.values()].some(({ entry }) => this.only.has(entry.id));
    const state = stateOf(cell);
    if (this.filter === "doubtful") return state === "doubtful";
    return state === "failed" || state === "refused" || state === "incomplete";
  }

  #tile(cell, known) {
    const state = stateOf(cell);
    const shown = [...cell.channels.values()].find(({ stack }) => stack);
    const version = [...cell.channels.values()].map(({ entry }) => `${entry.id}${entry.version}`).join();
    if (known && known.version === version) {
      known.cell = cell;
      return known;
    }
    const made = known ?? { element: make("button", { type: "button" }), cell };
    made.cell = cell;
    made.version = version;
    const { element } = made;
    const label = cell.series.files ? [...cell.channels.values()][0].entry.name.replace(/(\.ome)?\.tiff?$/i, "") : `t ${cell.time}`;
    const reasons = [...cell.channels.values()].map(({ entry }) => entry.reason).filter(Boolean);
    const words = `${label}: ${STATE_WORDS[state]}${reasons.length ? `, ${reasons[0]}` : ""}`;
    element.className = `tile ${state}`;
    element.setAttribute("aria-label", words);
    element.title = shown ? `${words}\n${clock(shown.entry.finished_at, true)}` : words;
    element.dataset.state = state;
    // Names of one series differ at their end.
    const short = label.length > LONGEST_LABEL ? `…${label.slice(1 - LONGEST_LABEL)}` : label;
    const foot = make("span", { class: "foot" }, mark(state), make("span", {}, short));
    if (shown) {
      let image = element.querySelector("img");
      const source = `/api/stacks/${shown.stack.id}/thumbnail.png?at=${shown.entry.finished_at}`;
      if (image?.dataset.src !== source) {
        image = make("img", { alt: "", "data-src": source });
        this.#seen.observe(image);
      }
      element.replaceChildren(image, foot);
    } else {
      element.replaceChildren(foot);
    }
    if (!known) element.addEventListener("click", () => this.#onPick(made.cell));
    return made;
  }

  /** Returns the cells that have a tile. */
  cells() {
    return [...this.#tiles.values()].map(({ cell }) => cell);
  }

  /** Marks a cell as the one that is shown. */
  select(cell, scroll = true) {
    this.#current = cell;
    const found = (cell && this.#tiles.get(`${cell.series.id}/${cell.key}`)?.element) ?? null;
    if (this.#marked !== found) {
      this.#marked?.removeAttribute("aria-current");
      found?.setAttribute("aria-current", "true");
      this.#marked = found;
    }
    if (scroll && found) reveal(found);
  }
}

/** Makes nodes the children of a parent, without moving those that are in place. */
function sync(parent, nodes) {
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Scrolls the strip until a tile of it can be seen; the window, which may scroll too, stays. */
function reveal(tile) {
  const strip = $("strip");
  const [inner, outer] = [tile.getBoundingClientRect(), strip.getBoundingClientRect()];
  strip.scrollTop += Math.max(0, inner.bottom - outer.bottom) + Math.min(0, inner.top - outer.top);
  strip.scrollLeft += Math.max(0, inner.right - outer.right) + Math.min(0, inner.left - outer.left);
}
