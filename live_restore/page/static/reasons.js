// Why stacks failed or are doubtful, what is alike together.

import { $, STATE_WORDS, make } from "./elements.js";

let shown = null;

/** Shows the groups, where what they are of has changed; `onPick` gets the entries of one. */
export async function showReasons(run, onPick) {
  if (shown === run.reasonsVersion) return;
  const version = run.reasonsVersion;
  const answer = await fetch("/api/reasons").catch(() => null);
  if (!answer?.ok) return;
  const groups = await answer.json();
  shown = version;
  $("reasons-section").hidden = !groups.length;
  $("reasons").replaceChildren(...groups.map((group) => make("li", {}, make(
    "button", { type: "button", title: "Show these", onclick: () => onPick(new Set(group.entries)) },
    make("strong", {}, `${group.count} ${STATE_WORDS[group.state] ?? group.state}`), make("span", {}, group.reason),
    ...(group.remedy ? [make("span", { class: "remedy" }, group.remedy)] : [])))));
}
