// @ts-check
/** Rows of a name, a bar and a number. Keeps its elements, and changes only what differs from the last painting. */

import { isNumber } from "../data/nested.js";
import { el, setText } from "./dom.js";
import { cut } from "./format.js";

/**
 * @typedef {{name: string, value: number | null, text: string, spread?: number | null, point?: number | null,
 *   isMarked?: boolean, isTotal?: boolean}} Row `spread`: the whisker's half length; `point`: a dot on the bar's scale;
 *   `isMarked`: with the mark of the list; `isTotal`: the sum of the others
 *
 * @typedef {{low: number, high: number}} Scale
 */

const LONGEST_NAME = 60;

/**
 * A scale that contains zero and all of these numbers.
 * @param {(number | null | undefined)[]} values
 * @returns {Scale}
 */
export function scaleOf(values) {
  const known = values.filter(isNumber);
  const low = Math.min(0, ...known);
  const high = Math.max(0, ...known);
  return { low, high: high === low ? low + 1 : high };
}

export class Bars {
  /** @param {string} label of the list @param {string} [mark] what a marked row means, for screen readers */
  constructor(label, mark = "") {
    this.mark = mark;
    this.node = el("ul", { class: "bars", "aria-label": label });
    this.more = el("li", { class: "more" });
    /** @type {{node: HTMLElement, name: HTMLElement, fill: HTMLElement, whisker: HTMLElement, point: HTMLElement,
     *   text: HTMLElement, marked: HTMLElement, drawn: string}[]} */
    this.rows = [];
  }

  /** @param {Row[]} rows @param {Scale} scale @param {number} [more] rows that are left out */
  paint(rows, { low, high }, more = 0) {
    const at = (/** @type {number} */ value) => (100 * (Math.min(high, Math.max(low, value)) - low)) / (high - low);
    const zero = at(0);
    this.node.style.setProperty("--zero", `${zero}%`);
    this.node.classList.toggle("signed", low < 0);
    this.node.classList.toggle(
      "tall",
      rows.some(({ spread }) => isNumber(spread)),
    ); // its text is twice as long
    while (this.rows.length > rows.length) this.rows.pop()?.node.remove();
    rows.forEach((row, i) => {
      const parts = (this.rows[i] ??= this.make());
      const drawn = JSON.stringify([row, low, high]);
      if (parts.drawn === drawn) return;
      parts.drawn = drawn;
      const { value, spread, point } = row;
      const name = cut(row.name, LONGEST_NAME);
      setText(parts.name, name);
      parts.name.title = row.name;
      setText(parts.text, row.text);
      setText(parts.marked, row.isMarked ? `, ${this.mark}` : "");
      parts.node.classList.toggle("marked", Boolean(row.isMarked));
      parts.node.classList.toggle("total", Boolean(row.isTotal));
      parts.node.classList.toggle("below", isNumber(value) && value < 0);
      place(parts.fill, isNumber(value) ? [zero, at(value)] : null);
      place(parts.whisker, isNumber(value) && isNumber(spread) ? [at(value - spread), at(value + spread)] : null);
      place(parts.point, isNumber(point) ? [at(point), at(point)] : null);
    });
    setText(this.more, more ? `… ${more} more` : "");
    if (more) this.node.append(this.more);
    else this.more.remove();
  }

  make() {
    const name = el("span", { class: "bar-name" });
    const marked = el("span", { class: "sr" });
    const fill = el("i", { class: "bar-fill" });
    const whisker = el("i", { class: "bar-whisker" });
    const point = el("i", { class: "bar-point" });
    const text = el("b", { class: "bar-text" });
    const node = el(
      "li",
      { class: "bar" },
      name,
      el("span", { class: "bar-track" }, fill, whisker, point),
      text,
      marked,
    );
    this.node.append(node);
    return { node, name, fill, whisker, point, text, marked, drawn: "" };
  }
}

/** @param {HTMLElement} node @param {[number, number] | null} span in per cent of the track; null hides it */
function place(node, span) {
  node.hidden = span === null;
  if (!span) return;
  node.style.left = `${Math.min(...span)}%`;
  node.style.width = `${Math.abs(span[1] - span[0])}%`;
}
