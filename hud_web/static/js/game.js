// @ts-check
/**
 * What the game says of itself. Nested fields become panels by themselves: {current, max} hearts or a bar, truth values
 * milestones, counts badges, {x, y} a position, the rest text.
 */

import { byId, el, fill, icon } from "./dom.js";
import { cut, isNumber, number, value } from "./format.js";
import { painter } from "./paint.js";
import { loadSheet } from "./sheet.js";

/** @import { Store } from "./store.js" */
/** @import { Child } from "./dom.js" */

await loadSheet("game");

/** Panels of the fields that clients of old send flat; the nested ones need no list. */
const FLAT = [
  { title: "Game state", names: ["location", "room_id", "room", "level", "lives", "score"] },
  { title: "LLM guidance", names: ["llm_scene_description", "alignment_bonus"] },
];
const PROGRESS = ["episode_id", "epoch", "episode", "global_step", "episode_reward", "episode_length"];
/** These nested fields join the panel of that title. */
const HOME = /** @type {Record<string, string>} */ ({ position: "Game state", health: "Game state", hearts: "Game state", lives: "Game state", inventory: "Game state" });
const MOST_HEARTS = 20;
const MOST_FIELDS = 40;

export class Game {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.panel = byId("game");
    this.body = byId("game-body");
    /** What is drawn, as text: painted anew only when it differs. */
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
    for (const { title, names } of FLAT) {
      for (const name of names) {
        const leaf = store.leaves.get(name);
        if (leaf?.value !== undefined) put(title, name, leaf.value);
      }
    }
    /** @type {Map<string, Record<string, any>>} the branches of the first level */
    const nested = new Map();
    for (const branch of store.branches) if (!branch.includes("/")) nested.set(branch, Object.create(null));
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
      if (isGauge(fields) || isPosition(fields)) put(HOME[name] ?? "Game state", name, fields);
      else for (const [field, shown] of Object.entries(fields)) put(titleOf(name), field, shown);
    }
    if (store.leaves.get("epoch")?.value !== undefined || store.leaves.get("episode_id")?.value !== undefined) {
      for (const name of PROGRESS) {
        const leaf = store.leaves.get(name);
        if (leaf?.value !== undefined && groups.size) put("Training progress", name, leaf.value);
      }
    }
    return groups;
  }

  paint() {
    const groups = this.collect();
    const drawn = JSON.stringify([...groups]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.panel.hidden = !groups.size;
    fill(this.body, ...[...groups].map(([title, fields]) => el("section", { class: "game-group" }, el("h3", { class: "eyebrow" }, cut(title, 60)), drawGroup(fields))));
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
    ...rest.map(({ name, value: shown }) => el("div", {}, el("dt", {}, label(name)), el("dd", {}, ...drawValue(name, shown)))),
    ...counts.map(({ name, value: shown }) => el("div", { class: "badge" }, el("dt", {}, label(name)), el("dd", {}, number(shown)))),
    ...chips.map(({ name, value: shown }) =>
      typeof shown === "boolean"
        ? el("div", { class: shown ? "milestone done" : "milestone" }, icon(shown ? "check" : "ring"), el("dt", {}, label(name)), el("dd", { class: "sr" }, shown ? "reached" : "not yet"))
        : el("div", { class: "badge" }, el("dt", {}, label(name)), el("dd", {}, shown.length ? value(shown, 80) : "none")),
    ),
  );
}

/** @param {string} name @param {any} shown @returns {Child[]} */
function drawValue(name, shown) {
  if (isGauge(shown)) return drawGauge(name, shown);
  if (isPosition(shown)) return [Object.entries(shown).map(([axis, at]) => `${axis} ${value(at, 12)}`).join(" · ")];
  return [value(shown, 120)];
}

/** @param {string} name @param {{current: number, max: number}} gauge @returns {Child[]} */
function drawGauge(name, { current, max }) {
  const text = `${number(current)} / ${number(max)}`;
  if (max > 0 && max <= MOST_HEARTS && Number.isInteger(max)) {
    const hearts = el("span", { class: "hearts", role: "img", "aria-label": text });
    for (let i = 0; i < max; i++) {
      const heart = icon("heart");
      heart.classList.toggle("lost", i >= current);
      hearts.append(heart);
    }
    return [hearts, el("b", {}, text)];
  }
  return [el("meter", { min: 0, max: Math.max(max, 1e-9), value: current, "aria-label": name }), el("b", {}, text)];
}

/** @param {any} fields @returns {fields is {current: number, max: number}} */
function isGauge(fields) {
  return fields !== null && typeof fields === "object" && isNumber(fields.current) && isNumber(fields.max);
}

/** @param {any} fields */
function isPosition(fields) {
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) return false;
  const names = Object.keys(fields);
  return names.length <= 4 && "x" in fields && "y" in fields && names.every((name) => /^[xyz]$|^map$|^room$|^level$/.test(name));
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
