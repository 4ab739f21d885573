// @ts-check
/**
 * The fields that the game logs. Nested fields get their form by their values: {current, max} becomes hearts or a bar,
 * a boolean a milestone, a count a badge, {x, y} a position, and anything else text.
 */

import { isMapping, isNumber } from "../data/nested.js";
import { byId, el, fill, icon } from "../ui/dom.js";
import { ABSENT, cut, number, value } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { loadSheet } from "../ui/sheet.js";
import { GAME_FIELDS, PROGRESS_FIELDS, PROGRESS_MARKS, TRAINER_FIELDS } from "../charts/recipes.js";

/** @import { Store } from "../data/store.js" */
/** @import { Child } from "../ui/dom.js" */

await loadSheet("game");

const STATE = "Game state";
const AXES = ["x", "y", "z", "map", "room", "level"];
const MOST_HEARTS = 20;
const MOST_FIELDS = 40;

export class Game {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.panel = byId("game");
    this.body = byId("game-body");
    /** The painted content as text: only a change of it causes another painting. */
    this.drawn = "";
    const request = painter(() => this.paint(), 200);
    store.onEach("fields moment cleared", request);
    request();
  }

  /** @returns {Map<string, {name: string, value: any}[]>} title → fields, in order */
  collect() {
    const { store } = this;
    /** @type {Map<string, {name: string, value: any}[]>} */
    const groups = new Map();
    const put = (/** @type {string} */ title, /** @type {string} */ name, /** @type {any} */ shown) => {
      const list = groups.get(title) ?? [];
      if (!groups.has(title)) groups.set(title, list);
      if (list.length < MOST_FIELDS) list.push({ name, value: shown });
    };
    const known = (/** @type {string} */ name) => store.leaves.get(name)?.value;
    const putFlat = (/** @type {string} */ title, /** @type {string[]} */ names) => {
      for (const name of names) if (known(name) !== undefined) put(title, name, known(name));
    };
    putFlat(STATE, GAME_FIELDS);
    /** @type {Map<string, Record<string, any>>} the branches of the first level */
    const nested = new Map();
    for (const branch of store.leaves.branches)
      if (!branch.includes("/") && !TRAINER_FIELDS.test(branch)) nested.set(branch, Object.create(null));
    if (nested.size) {
      for (const leaf of store.leaves.values()) {
        if (leaf.value === undefined) continue;
        const slash = leaf.path.indexOf("/");
        if (slash < 0) continue;
        const fields = nested.get(leaf.path.slice(0, slash));
        if (fields) fields[leaf.path.slice(slash + 1)] = leaf.value;
      }
    }
    for (const [name, fields] of nested) {
      if (!Object.keys(fields).length) continue;
      if (isGauge(fields) || isPosition(fields)) put(STATE, name, fields);
      else for (const [field, shown] of Object.entries(fields)) put(titleOf(name), field, shown);
    }
    if (PROGRESS_MARKS.some((name) => known(name) !== undefined)) putFlat("Training progress", PROGRESS_FIELDS);
    return groups;
  }

  paint() {
    const groups = this.collect();
    const drawn = JSON.stringify([...groups]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.panel.hidden = !groups.size;
    fill(
      this.body,
      ...[...groups].map(([title, fields]) =>
        el("section", { class: "game-group" }, el("h3", { class: "eyebrow" }, cut(title, 60)), drawGroup(fields)),
      ),
    );
  }
}

/** @param {{name: string, value: any}[]} fields */
function drawGroup(fields) {
  const chips = fields.filter((field) => typeof field.value === "boolean" || Array.isArray(field.value));
  const counts = fields.filter((field) => isNumber(field.value));
  const rest = fields.filter((field) => !chips.includes(field) && !counts.includes(field));
  return el(
    "dl",
    { class: "game-fields" },
    ...rest.map(({ name, value: shown }) =>
      el("div", {}, el("dt", {}, label(name)), el("dd", {}, ...drawValue(name, shown))),
    ),
    ...counts.map(({ name, value: shown }) =>
      el("div", { class: "badge" }, el("dt", {}, label(name)), el("dd", {}, number(shown))),
    ),
    ...chips.map(({ name, value: shown }) =>
      typeof shown === "boolean"
        ? el(
            "div",
            { class: shown ? "milestone done" : "milestone" },
            icon(shown ? "check" : "ring"),
            el("dt", {}, label(name)),
            el("dd", { class: "sr" }, shown ? "reached" : "not yet"),
          )
        : el("div", { class: "badge" }, el("dt", {}, label(name)), el("dd", {}, listText(shown))),
    ),
  );
}

/** @param {string} name @param {any} shown @returns {Child[]} */
function drawValue(name, shown) {
  if (isGauge(shown)) return drawGauge(name, shown);
  if (isPosition(shown))
    return [
      AXES.filter((axis) => axis in shown || axis === "x" || axis === "y")
        .map((axis) => `${axis} ${value(shown[axis], 12)}`)
        .join(" · "),
    ];
  return [shown === "-" ? ABSENT : value(shown, 120)]; // "-": the value that old clients send for an unknown one
}

/** @param {string} name @param {{current?: number, max?: number}} gauge @returns {Child[]} */
function drawGauge(name, { current, max }) {
  const text = `${number(current)} / ${number(max)}`;
  if (!isNumber(current) || !isNumber(max)) return [el("b", {}, text)];
  if (max > 0 && max <= MOST_HEARTS && Number.isInteger(max)) {
    const hearts = el("span", { class: "hearts", role: "img", "aria-label": text });
    for (let i = 0; i < max; i++) {
      const heart = icon("heart");
      heart.classList.toggle("lost", i >= current);
      heart.classList.toggle("half", i < current && i + 1 > current);
      hearts.append(heart);
    }
    return [hearts, el("b", {}, text)];
  }
  return [el("meter", { min: 0, max: Math.max(max, 1e-9), value: current, "aria-label": name }), el("b", {}, text)];
}

/** Whether fields are a count and its maximum; either may be missing. @param {any} fields */
function isGauge(fields) {
  return (isNumber(fields?.current) && isNumber(fields?.max)) || holdsOnly(fields, ["current", "max"], isNumber);
}

/** @param {any} fields */
function isPosition(fields) {
  return ("x" in Object(fields) || "y" in Object(fields)) && holdsOnly(fields, AXES, () => true);
}

/** @param {any} fields @param {string[]} names @param {(value: any) => boolean} fits */
function holdsOnly(fields, names, fits) {
  return isMapping(fields) && Object.entries(fields).every(([name, shown]) => names.includes(name) && fits(shown));
}

/** A list as a short text: its items, or their number if they are mappings. @param {any[]} items */
function listText(items) {
  if (!items.length) return "none";
  return items.some(isMapping) ? String(items.length) : value(items, 80);
}

/** @param {string} name */
function label(name) {
  return cut(name.replaceAll("_", " "), 60);
}

/** @param {string} name */
function titleOf(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
