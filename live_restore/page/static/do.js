// What may be asked for beside looking; hidden from whoever came without the token.

import { $, make, seconds } from "./elements.js";

const SOON_MS = 700;
const MOST_AT_ONCE = 500;

export class Doing {
  #picture;
  #page;
  #tasks = [];
  #cannotAdapt = "";
  #timer = 0;

  /** `page` tells the `cell` that is shown, the `cells` that have a tile, and can `refresh` the picture. */
  constructor(picture, page) {
    this.#picture = picture;
    this.#page = page;
    const clicks = {
      "do-preview": () => this.#preview(),
      "show-preview": () => this.showPreview(),
      "do-again": () => this.#again([page.cell()]),
      "do-all": () => this.#again(page.cells()),
      "do-adapt": () => this.#adapt(),
      "do-pause": () => this.#daemon(isPressed("do-pause") ? "resume" : "pause"),
      "do-newest": () => this.#daemon(isPressed("do-newest") ? "in-turn" : "newest-first"),
    };
    for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
  }

  /** Asks what may be done, and what became of it; again and again while something is being done. */
  async look() {
    clearTimeout(this.#timer);
    const answer = await fetch("/api/do").catch(() => null);
    if (!answer?.ok) return;
    const told = await answer.json();
    this.#tasks = told.tasks;
    this.#cannotAdapt = told.adapt;
    const select = $("do-model");
    if (!select.options.length) select.replaceChildren(...told.models.map((name) => make("option", { value: name }, name)));
    if (!select.dataset.chosen && told.models.includes("standard")) select.value = "standard";
    select.dataset.chosen = "yes";
    $("do-section").hidden = !told.allowed;
    this.#show();
    this.#takePreviews(told.tasks.filter((task) => task.stack && task.state === "done"));
    if (told.tasks.some((task) => task.state === "waiting" || task.state === "running")) this.#timer = setTimeout(() => this.look(), SOON_MS);
  }

  #takePreviews(done) {
    const before = JSON.stringify([...this.#picture.previews]);
    this.#picture.previews = new Map(done.map((task) => [task.stack, { number: task.number, model: task.model }]));
    if (JSON.stringify([...this.#picture.previews]) === before) return;
    if (this.#previewed().some(({ stack }) => this.#picture.previews.has(stack.id))) this.#picture.previewed = true;
    this.#page.refresh();
    this.offer();
  }

  /** The stacks that a preview is of: those of the channels shown. */
  #previewed() {
    const shown = this.#picture.channels().filter(({ look }) => look.shown).map(({ channel }) => channel);
    const stacks = this.#picture.stacks();
    const found = stacks.filter(({ channel }) => shown.includes(channel));
    return found.length ? found : stacks.slice(0, 1);
  }

  #hasPreview() {
    return this.#picture.stacks().some(({ stack }) => this.#picture.previews.has(stack.id));
  }

  /** Shows the preview in the place of raw, or raw again. */
  showPreview() {
    if (!this.#hasPreview()) return;
    this.#picture.previewed = !this.#picture.previewed;
    this.#page.refresh();
    this.offer();
  }

  /** Offers what can be done with the stack that is shown. */
  offer() {
    const there = this.#hasPreview();
    enable("show-preview", there ? "" : "No preview of this stack has been made");
    $("show-preview").setAttribute("aria-pressed", String(there && this.#picture.previewed));
    enable("do-preview", this.#picture.stacks().length ? "" : "Choose a stack that has been read");
    // A process of this page does it, whether or not the folder is watched.
    const finished = entriesOf([this.#page.cell()]).length > 0;
    enable("do-again", finished ? "" : "Choose a stack that is finished");
    enable("do-adapt", this.#cannotAdapt || (finished ? "" : "Choose a stack of the run to learn from"));
  }

  /** Offers what can be asked of a daemon, where there is one. */
  offerToDaemon(told) {
    const nobody = told.watched ? "" : "Nobody watches this folder now: live-restore watch does";
    for (const [id, on] of [["do-pause", told.paused], ["do-newest", told.newest_first]]) {
      enable(id, nobody);
      $(id).setAttribute("aria-pressed", String(on));
    }
  }

  // ---- what is asked for

  async #preview() {
    for (const { stack } of this.#previewed()) await this.#ask("preview", { stack: stack.id, model: $("do-model").value });
  }

  #again(cells) {
    return this.#ask("again", { entries: entriesOf(cells), model: $("do-model").value });
  }

  #adapt() {
    const [entry] = entriesOf([this.#page.cell()]);
    return entry && this.#ask("adapt", { entry, model: $("do-model").value });
  }

  #daemon(wish) {
    return this.#ask("daemon", { wish });
  }

  async #ask(what, body) {
    const answer = await fetch(`/api/do/${what}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    }).catch(() => null);
    const told = answer ? await answer.json().catch(() => ({})) : { error: "the page server is gone" };
    $("do-problem").textContent = answer?.ok ? "" : told.error ?? "not allowed any more: open the address with the token again";
    await this.look();
  }

  #show() {
    $("tasks").replaceChildren(...this.#tasks.slice(-6).reverse().map((task) => make("li", { "data-state": task.state },
      make("strong", {}, told(task)),
      ...(task.results.length && !task.stack ? [make("span", {}, task.results.join(", "))] : []),
      ...task.failed.slice(-1).map((why) => make("span", { class: "remedy" }, why)))));
  }
}

function told(task) {
  const count = task.stack || task.of === 1 ? "" : `${task.done} of ${task.of}, `;
  const what = task.state === "running" ? task.what.replace(/^preview/, "restoring preview") : task.what;
  const begun = `${what} with ${task.model}: ${count}`;
  if (task.state === "running") return `${begun}${task.now || "begins"} (for ${seconds(task.seconds)})`;
  return `${begun}${task.state}${task.seconds === null ? "" : ` in ${seconds(task.seconds)}`}`;
}

/** Ids of the entries of some cells that are finished, each once. */
function entriesOf(cells) {
  const entries = cells.filter(Boolean).flatMap((cell) => [...cell.channels.values()].map(({ entry }) => entry));
  return [...new Set(entries.filter(({ state }) => ["done", "failed", "refused"].includes(state)).map(({ id }) => id))].slice(-MOST_AT_ONCE);
}

function isPressed(id) {
  return $(id).getAttribute("aria-pressed") === "true";
}

/** Offers a button, or says as its title why not. */
function enable(id, obstacle) {
  const button = $(id);
  button.dataset.title ??= button.title;
  const title = obstacle || button.dataset.title;
  if (button.title !== title) button.title = title;
  if (button.disabled !== Boolean(obstacle)) button.disabled = Boolean(obstacle);
}
