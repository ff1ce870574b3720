// What is written on the picture: its sides, grey values under the cursor, the scale.

import { $, number, setText } from "./elements.js";

const EXACT_AFTER_MS = 120;
const SCALE_PIXELS = 120; // at most

/** Says what is left and right of the wipe. */
export function showTags(picture) {
  $("tag-right").hidden = picture.mode === "difference";
  const { raw, restored } = picture.problems;
  setText($("tag-left"), raw ? problem(picture.leftName(), raw) : leftTag(picture));
  setText($("tag-right"), restored ? problem("restored", restored) : "restored");
}

function problem(name, text) {
  return text.startsWith("is ") ? `${name} ${text}` : `${name}: ${text}`;
}

function leftTag(picture) {
  const left = picture.leftName();
  if (picture.mode !== "difference") return left;
  const shown = picture.channels().filter(({ look }) => look.shown);
  const name = shown.length > 1 ? `, ${shown[0].name}` : "";
  return `${left} − restored${name}: orange where ${left} is brighter, blue where darker, up to ±${number(picture.range)}`;
}

let asked = 0;

/** Shows the grey values under the cursor; those of the files as soon as they are here. */
export async function showValues(picture) {
  const found = picture.under();
  const out = $("values");
  const mine = (asked += 1);
  if (!found) {
    setText(out, "");
    delete out.dataset.voxel;
    return;
  }
  const at = { z: picture.at(), y: picture.at(), x: picture.at() };
  const [down, across] = { z: ["y", "x"], y: ["z", "x"], x: ["z", "y"] }[picture.axis];
  at[down] = found.row;
  at[across] = found.column;
  const where = picture.view === "max" ? `max ${down} ${found.row} ${across} ${found.column}` : `z ${at.z}  y ${at.y}  x ${at.x}`;
  const tell = (values, about) => {
    const lines = values.map(({ channel, raw, restored }) => {
      const name = picture.cell.series.channels.size > 1 ? `${picture.cell.series.channels.get(channel)}: ` : "";
      return `${name}${picture.leftName(channel)} ${about}${grey(raw)}  restored ${about}${grey(restored)}`;
    });
    setText(out, [where, ...lines].join("\n"));
    out.dataset.voxel = JSON.stringify({ ...at, exact: about === "", values: values.map(({ channel, raw, restored }) => ({ channel, raw, restored })) });
  };
  tell(found.values, found.exact ? "" : "≈ ");
  if (found.exact || picture.view === "max" || picture.leftName() !== "raw") return;
  await new Promise((resolve) => setTimeout(resolve, EXACT_AFTER_MS));
  if (mine !== asked) return;
  const query = new URLSearchParams(at);
  const exact = await Promise.all(found.values.map(async (value) => {
    const answer = await fetch(`/api/stacks/${value.stack.id}/voxel?${query}`).catch(() => null);
    return answer?.ok ? { ...value, ...(await answer.json()) } : null;
  }));
  if (mine === asked && exact.every(Boolean)) tell(exact, "");
}

function grey(value) {
  if (value === null) return "–";
  return Number.isInteger(value) ? String(value) : value.toFixed(3);
}

/** Draws a bar of a round number of micrometres, where the file says how large a voxel is. */
export function showScale(picture) {
  const per = picture.micrometresPerPixel();
  $("scale").hidden = !per;
  if (!per) return;
  const most = per * SCALE_PIXELS;
  const power = 10 ** Math.floor(Math.log10(most));
  const size = [5, 2, 1].map((each) => each * power).find((each) => each <= most);
  const width = `${size / per}px`;
  if ($("scale").firstChild.style.width !== width) $("scale").firstChild.style.width = width;
  setText($("scale").lastChild, `${number(size)} µm`);
}
