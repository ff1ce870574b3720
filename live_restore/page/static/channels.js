// Channels: shown or not, in which colour, and which grey values are black and white.

import { $, make, number } from "./elements.js";

/** Brings the row of channels up to date; `refresh` shows the picture with other channels. */
export function showChannels(picture, refresh) {
  const box = $("channels");
  const wanted = picture.channels();
  const key = picture.cell ? `${picture.cell.series.id}:${wanted.map(({ channel, name }) => `${channel}${name}`).join()}` : "";
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(
      ...wanted.map((each, i) => channelOf(picture, each, i, refresh)),
      make("button", {
        type: "button", id: "auto", onclick: () => picture.autoContrast(),
        title: "Contrast from what is shown, one for raw and restored; it is taken anew where a stack is much brighter or dimmer (a)",
      }, "Auto contrast"),
      make("span", { class: "quiet" }, "the same for raw and restored"));
  }
  wanted.forEach(({ look }, i) => {
    const each = box.children[i];
    each.firstChild.setAttribute("aria-pressed", String(look.shown));
    const [low, high] = look.contrast(picture.view);
    for (const input of each.querySelectorAll('input[type="number"]')) {
      const value = input.dataset.which === "low" ? low : high;
      const text = value === undefined ? "" : number(value, 4).replaceAll(",", "");
      if (document.activeElement !== input && value !== undefined && input.value !== text) input.value = text;
    }
  });
  $("auto")?.setAttribute("aria-pressed", String(wanted.every(({ look }) => look.auto(picture.view))));
}

function channelOf(picture, { channel, name, look }, i, refresh) {
  const toggle = make("button", {
    type: "button", class: "name", "aria-pressed": String(look.shown), title: `Show or hide (${i + 1})`, "data-channel": channel,
    onclick: () => { look.shown = !look.shown; refresh(); },
  }, name);
  const colour = make("input", {
    type: "color", class: "swatch", value: hex(look.colour), "aria-label": `Colour of ${name}`,
    oninput: (event) => { look.colour = rgb(event.target.value); picture.redraw(); },
  });
  const field = (which) => make("input", {
    type: "number", step: "any", "data-which": which, "aria-label": `${which === "low" ? "Black" : "White"} at, ${name}`,
    onchange: (event) => {
      const [low, high] = look.contrast(picture.view);
      const value = Number(event.target.value);
      if (Number.isFinite(value)) picture.setContrast(look, which === "low" ? value : low, which === "high" ? value : high);
    },
  });
  return make("span", { class: "channel" }, toggle, colour, field("low"), "–", field("high"));
}

function hex(colour) {
  return `#${colour.map((each) => Math.round(each).toString(16).padStart(2, "0")).join("")}`;
}

function rgb(text) {
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}
