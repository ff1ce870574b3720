// What is known of the stack that is shown.

import { $, STATE_WORDS, change, clock, make, number, ratio, seconds, setText } from "./elements.js";
import { stacksOf } from "./picture.js";
import { stateOf } from "./run.js";

/** Returns what a position is called, "" where there is one only. */
export function positionName(series, position) {
  return series.positions.length > 1 ? `pos ${position}` : "";
}

/** Shows what reports say of a cell. */
export function showDetails(cell) {
  const { series } = cell;
  const [first] = [...cell.channels].sort(([a], [b]) => a - b);
  setText($("stack-title"), series.files
    ? first[1].entry.name
    : [positionName(series, cell.position), `time ${cell.time}`].filter(Boolean).join(", "));
  showDoubts(cell);
  showFacts([["state", STATE_WORDS[stateOf(cell)]], ...factsOf(stacksOf(cell))]);
}

function showDoubts(cell) {
  const { series } = cell;
  const doubts = [];
  for (const [channel, { entry, stack }] of cell.channels) {
    const name = series.channels.size > 1 ? `${series.channels.get(channel)}: ` : "";
    if (stack) doubts.push(...stack.doubts.map((doubt) => ["doubt", name + doubt]));
    else if (entry.reason) doubts.push(["doubt bad", `${name}${STATE_WORDS[entry.state]}: ${entry.reason}${entry.remedy ? ` – ${entry.remedy}` : ""}`]);
    if (stack?.brightness_doubt) doubts.push(["doubt brightness", `${name}doubtful for measuring brightness: ${stack.brightness_doubt}`]);
    if (stack && !stack.doubts.length && entry.doubtful && entry.index) doubts.push(["doubt", name + entry.reason]);
  }
  const box = $("doubts");
  const now = JSON.stringify(doubts);
  if (box.dataset.now === now) return;
  box.dataset.now = now;
  box.replaceChildren(...doubts.map(([kind, text]) => make("p", { class: kind }, text)));
}

function factsOf(stacks) {
  if (!stacks.length) return [];
  const [{ entry: { report, finished_at } }] = stacks;
  const [z, y, x] = report.voxel_um;
  const list = (value) => stacks.map(({ stack, entry }) => value(stack, entry)).join(" / ");
  return [
    ["finished", clock(finished_at, true)],
    ["delay", list((_, entry) => seconds(entry.report.delay_s))],
    ["size", `${report.shape_zyx.join(" × ")} ${report.dtype}`],
    ["voxel", x ? `${[z, y, x].map((each) => (each ? number(each) : "?")).join(" × ")} µm` : "not in the file"],
    ["signal to noise", list((stack) => ratio(stack.snr))],
    ["mean, raw", list((stack) => number(stack.raw_mean, 4))],
    ["mean, restored", list((stack) => number(stack.restored_mean, 4))],
    ["light against raw", list((stack) => change(stack.flux_bias_percent))],
    ...stacks.filter(({ stack }) => stack.less_light).map(({ stack }) => ["less light", stack.less_light]),
    ["model", report.model || "none"],
  ];
}

/** Changes what differs: what is drawn again takes from what restores. */
function showFacts(rows) {
  const list = $("facts");
  while (list.childElementCount > 2 * rows.length) list.lastChild.remove();
  while (list.childElementCount < 2 * rows.length) list.append(make("dt"), make("dd"));
  rows.forEach(([name, value], i) => {
    setText(list.children[2 * i], name);
    setText(list.children[2 * i + 1], value);
  });
}
