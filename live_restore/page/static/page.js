// The page: puts the run, the picture, the strip and the plots together.

import { Choice } from "./choice.js";
import { Controls } from "./controls.js";
import { positionName, showDetails } from "./details.js";
import { Doing } from "./do.js";
import { $ } from "./elements.js";
import { showHeader, showLost } from "./header.js";
import { atMostEvery, restoringHere } from "./pace.js";
import { Picture, stacksOf } from "./picture.js";
import { showPlots } from "./plots.js";
import { showScale, showTags, showValues } from "./readout.js";
import { showReasons } from "./reasons.js";
import { Run } from "./run.js";
import { Strip } from "./strip.js";

// News are shown at once, and then no more often; beside work of this computer, as seldom as can be borne.
const [ENTRIES_MS, ENTRIES_BESIDE_WORK_MS] = [250, 3000];
const [NUMBERS_MS, NUMBERS_BESIDE_WORK_MS] = [1000, 15_000];
let disk = [];
let besideWork = false;
let newestShown = ""; // which results of the newest cell are on the screen

const run = new Run();
const picture = new Picture($("canvas"));
const choice = new Choice(run, show);
const strip = new Strip((cell) => choice.choose(cell), positionName);
const doing = new Doing(picture, {
  cell: () => choice.cell, cells: () => strip.cells(), refresh: () => controls.refresh(),
});
const controls = new Controls(run, picture, choice, strip, () => doing.showPreview());

/** Returns how often something is done: beside work of this computer's processor more seldom. */
const pace = (usual, beside) => (restoringHere(run.summary) ? beside : usual);

async function show(cell, { atOnce }) {
  strip.select(cell);
  controls.show(cell);
  showDetails(cell);
  const shown = picture.show(cell, { atOnce });
  controls.press();
  doing.offer();
  await shown;
}

// ---- what comes from the server

run.addEventListener("summary", () => {
  showHeader(run.summary);
  doing.offerToDaemon(run.summary);
  choice.showPlaying();
  atMostEvery(pace(ENTRIES_MS, ENTRIES_BESIDE_WORK_MS), fetchEntries);
  if (besideWork && !restoringHere(run.summary)) showNumbersSoon(); // what was put off
  besideWork = restoringHere(run.summary);
});
run.addEventListener("lost", showLost);
run.addEventListener("entries", showEntries);
document.addEventListener("visibilitychange", () => { if (!document.hidden && run.summary) showEntries(); });

function fetchEntries() {
  run.fetch();
}

function showEntries() {
  if (document.hidden) return; // it is shown when somebody looks again
  strip.show(run, choice.series);
  const newest = run.newestCell();
  const results = newest && resultsOf(newest);
  if (choice.following && newest && results !== newestShown) {
    newestShown = results;
    choice.choose(newest, { follow: true });
  } else if (!choice.cell) {
    choice.choose(newest ?? choice.series?.cells.values().next().value, { follow: true });
  } else {
    controls.show(choice.cell);
    showDetails(choice.cell);
  }
  $("empty").hidden = newest !== null;
  showNumbersSoon();
}

function showNumbersSoon() {
  atMostEvery(pace(NUMBERS_MS, NUMBERS_BESIDE_WORK_MS), showNumbers);
}

function resultsOf(cell) {
  return `${cell.series.id}/${cell.key}/${stacksOf(cell).map(({ entry, stack }) => `${stack.id}${entry.finished_at}`).join()}`;
}

async function showNumbers() {
  showReasons(run, (entries) => controls.filter("all", entries));
  const answer = await fetch("/api/disk").catch(() => null);
  if (answer?.ok) disk = await answer.json();
  showPlots(run, disk, (id) => choice.choose(run.cellOf(id)));
}

// ---- the picture's own news

picture.addEventListener("contrast", () => controls.showChannels());
picture.addEventListener("shown", () => {
  showTags(picture);
  doing.offer(); // only now it is known which stacks there are
});
picture.addEventListener("painted", () => showScale(picture));
picture.addEventListener("cursor", () => showValues(picture));

controls.press();
doing.look();
run.start();
