// The keyboard: everything can be done from it.

import { $, make } from "./elements.js";

/**
 * Listens to the keyboard, and lists the keys in their dialog.
 *
 * Each row is [what is written on the keys, what they do, {key: what to do}]; `onNumber` gets 1 to 9,
 * `onWipe` -1 or 1 where the wipe has the focus.
 */
export function listenToKeys(rows, onNumber, onWipe) {
  const actions = new Map(rows.flatMap(([, , keys]) => Object.entries(keys)));
  for (const [label, words] of rows) $("keys-list").append(make("dt", {}, label), make("dd", {}, words));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    const { target, key } = event;
    if (target.matches("select, input[type=number], input[type=color]")) return;
    if (target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(key)) return;
    if (key === " " && target.matches("button")) return;
    if (target === $("wipe") && /^Arrow(Left|Right)$/.test(key)) onWipe(key === "ArrowLeft" ? -1 : 1);
    else if (actions.has(key)) actions.get(key)();
    else if (/^[1-9]$/.test(key)) onNumber(Number(key));
    else return;
    event.preventDefault();
  });
}
