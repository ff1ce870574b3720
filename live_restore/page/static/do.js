// What may be asked for beside looking; hidden from whoever came without the token.

import { $, make, seconds } from "./elements.js";

const SOON_MS = 700;

export class Doing extends EventTarget {
  allowed = false;
  tasks = [];
  previews = new Map(); // stack id -> {number, model}
  #timer = 0;

  /** Asks what may be done, and what became of it; again and again while something is being done. */
  async look() {
    clearTimeout(this.#timer);
    const answer = await fetch("/api/do").catch(() => null);
    if (!answer?.ok) return;
    const told = await answer.json();
    this.allowed = told.allowed;
    this.tasks = told.tasks;
    const before = JSON.stringify([...this.previews]);
    this.previews = new Map(told.tasks.filter((task) => task.stack && task.state === "done").map((task) => [task.stack, { number: task.number, model: task.model }]));
    const select = $("do-model");
    if (!select.options.length) select.replaceChildren(...told.models.map((name) => make("option", { value: name }, name)));
    if (!select.dataset.chosen && told.models.includes("standard")) select.value = "standard";
    select.dataset.chosen = "yes";
    $("do-section").hidden = !told.allowed;
    this.#show();
    if (JSON.stringify([...this.previews]) !== before) this.dispatchEvent(new Event("previews"));
    if (told.tasks.some((task) => task.state === "waiting" || task.state === "running")) this.#timer = setTimeout(() => this.look(), SOON_MS);
  }

  preview(stack) {
    return this.#ask("preview", { stack, model: $("do-model").value });
  }

  again(entries) {
    return this.#ask("again", { entries, model: $("do-model").value });
  }

  daemon(wish) {
    return this.#ask("daemon", { wish });
  }

  async #ask(what, body) {
    const answer = await fetch(`/api/do/${what}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    }).catch(() => null);
    const told = answer ? await answer.json().catch(() => ({})) : { error: "the page server is gone" };
    $("do-problem").textContent = answer?.ok ? "" : told.error ?? "not allowed any more: open the address with the token again";
    await this.look();
    return Boolean(answer?.ok);
  }

  #show() {
    $("tasks").replaceChildren(...this.tasks.slice(-6).reverse().map((task) => make("li", { "data-state": task.state },
      make("strong", {}, told(task)),
      ...(task.results.length && !task.stack ? [make("span", {}, task.results.join(", "))] : []),
      ...task.failed.slice(-1).map((why) => make("span", { class: "remedy" }, why)))));
  }
}

function told(task) {
  const count = task.stack || task.of === 1 ? "" : `${task.done} of ${task.of}, `;
  const what = task.state === "running" ? task.what.replace(/^preview/, "restoring preview") : task.what;
  const took = task.seconds === null ? "" : task.state === "running" ? `, ${task.now ? `${task.now}, ` : ""}${Math.floor(task.seconds)} s` : ` in ${seconds(task.seconds)}`;
  return `${what} with ${task.model}: ${count}${task.state}${took}`;
}
