// The line at the top: how the run stands.

import { $, seconds, setText } from "./elements.js";

/** Shows the summary of a run. */
export function showHeader(told) {
  setText($("run-name"), told.name);
  document.title = `${told.name} – live-restore`;
  const pill = $("watched");
  setText(pill, told.paused ? "paused" : told.watched ? "watching" : "not watched");
  pill.className = told.watched ? "pill on" : "pill";
  pill.title = told.ended;
  setText($("n-done"), told.stacks.done); // as `status` and `methods` count; a file may hold several
  setText($("n-doubtful"), told.stacks.doubtful);
  setText($("n-failed"), told.counts.failed);
  setText($("n-backlog"), told.backlog);
  // Whoever watches may still see them arrive; nobody else does.
  const notWhole = told.counts.arriving + told.counts.incomplete;
  $("not-whole").hidden = !notWhole;
  setText($("not-whole").firstElementChild, told.watched ? "arriving" : "incomplete");
  setText($("not-whole").lastElementChild, notWhole);
  setText($("n-delay"), seconds(told.last_delay_s));
  document.querySelector(".is-doubtful").classList.toggle("some", told.stacks.doubtful > 0);
  document.querySelector(".is-failed").classList.toggle("some", told.counts.failed > 0);
  setText($("pace"), told.watched ? told.pace.words : "");
  $("pace").title = $("pace").textContent;
  $("pace").classList.toggle("behind", (told.pace.behind_s ?? 0) > 0);
  setText($("device"), [told.model, told.hardware].filter(Boolean).join(" on "));
  $("problem").hidden = !told.problem;
  setText($("problem"), told.problem);
}

/** Says that the server does not answer. */
export function showLost() {
  setText($("watched"), "page server gone, trying again");
  $("watched").className = "pill off";
}
