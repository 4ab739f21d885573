// @ts-check
/**
 * The viewer's changes to the default layout of the charts: pinned, moved, resized, closed and enlarged charts, and
 * opened sections. This browser remembers them, and a link carries them. Holds no elements.
 */

import { embedded } from "../ui/embed.js";
import { remember } from "../ui/memory.js";
import { kept, linkPart, listText, urlList, urlPart } from "../ui/page-url.js";
import { KEY_CHARTS } from "./recipes.js";

/** @typedef {[columns: number, rows: number]} Span */

/** The largest span of a chart. */
export const MOST_COLUMNS = 4;
export const MOST_ROWS = 3;
/** Changes of one kind that are kept; the oldest are dropped. */
const MOST = 300;
/** Follows the name of a section in the place of a chart that was moved to its end. */
const END = ">";
/** The prefix of the id of a chart of one field. */
export const FIELD = "field:";

export class Layout {
  /** Charts that the viewer pinned, in the order chosen. @type {string[]} */
  pins = kept("chart.pins", []);
  /** @type {Map<string, Span>} */
  spans = new Map();
  /** @type {Set<string>} */
  closed = new Set();
  /** Sections that the viewer opened or closed. @type {Map<string, boolean>} */
  open = new Map();
  /** The chart that fills the area of the charts. @type {string | null} */
  large = null;
  /** The chart before which each moved chart is, or its section and END; in the order of the moves. */
  moves = /** @type {Map<string, string>} */ (new Map());

  constructor() {
    const known = kept("chart.layout", /** @type {any} */ ({}));
    this.pins = urlList("pins") ?? this.pins;
    this.large = embeddedChart() ?? urlPart("large") ?? known.large ?? null;
    this.closed = new Set(urlList("closed") ?? known.closed);
    this.moves = new Map(pairs(urlList("moves")) ?? known.moves);
    this.open = new Map(known.open);
    for (const name of urlList("open") ?? []) this.open.set(name, true);
    for (const name of urlList("shut") ?? []) this.open.set(name, false);
    const spans = pairs(urlList("spans"))?.map(([id, text]) => [id, text.split("x").map(Number)]);
    for (const [id, [columns, rows]] of spans ?? known.spans ?? []) this.resize(id, columns, rows, false);
    linkPart("pins", () => listText(this.pins));
    linkPart("large", () => this.large);
    linkPart("closed", () => listText(this.closed));
    linkPart("moves", () => listText([...this.moves].flat()));
    linkPart("spans", () => listText([...this.spans].flatMap(([id, span]) => [id, span.join("x")])));
  }

  keep() {
    remember("chart.pins", this.pins);
    for (const changes of [this.spans, this.closed, this.open, this.moves])
      for (const id of [...changes.keys()].slice(0, -MOST)) changes.delete(id);
    remember("chart.layout", {
      large: this.large,
      closed: [...this.closed],
      spans: [...this.spans],
      open: [...this.open],
      moves: [...this.moves],
    });
  }

  /** @param {string} id @param {boolean} isPinned */
  pin(id, isPinned) {
    this.pins = this.pins.filter((one) => one !== id);
    if (isPinned) this.pins.push(id);
    this.keep();
  }

  /** @param {string} id @param {boolean} isClosed */
  close(id, isClosed) {
    if (isClosed) this.closed.add(id);
    else this.closed.delete(id);
    this.keep();
  }

  /** @param {string | null} id */
  enlarge(id) {
    this.large = id;
    this.keep();
  }

  /** @param {string} name of a section @param {boolean} isOpen */
  setOpen(name, isOpen) {
    this.open.set(name, isOpen);
    this.keep();
  }

  /** @param {string} id @returns {Span} */
  spanOf(id) {
    return this.spans.get(id) ?? [1, 1];
  }

  /** @param {string} id @param {number} columns @param {number} rows @param {boolean} [isKept] */
  resize(id, columns, rows, isKept = true) {
    const span = /** @type {Span} */ ([within(columns, MOST_COLUMNS), within(rows, MOST_ROWS)]);
    if (span[0] === 1 && span[1] === 1) this.spans.delete(id);
    else this.spans.set(id, span);
    if (isKept) this.keep();
  }

  /**
   * Move a chart before another one, or to the end of a section.
   * @param {string} id @param {string | null} before @param {string} section @param {boolean} isPinned whether the
   *   section is the one of the pinned charts
   */
  move(id, before, section, isPinned) {
    if (id === before) return;
    this.pins = this.pins.filter((one) => one !== id);
    if (isPinned) {
      const at = before === null ? -1 : this.pins.indexOf(before);
      this.pins.splice(at < 0 ? this.pins.length : at, 0, id);
    } else {
      this.moves.delete(id);
      this.moves.set(id, before ?? section + END);
    }
    this.keep();
  }

  /** Apply the moves to the default order. @param {Map<string, string[]>} sections the ids of each one's charts */
  arrange(sections) {
    if (!this.moves.size) return;
    /** @type {Map<string, string>} */
    const home = new Map();
    for (const [name, ids] of sections) for (const id of ids) home.set(id, name);
    for (const [id, place] of this.moves) {
      const from = sections.get(home.get(id) ?? "");
      const name = place.endsWith(END) ? place.slice(0, -END.length) : home.get(place);
      const to = name === undefined ? undefined : sections.get(name);
      if (!from || !to || name === undefined) continue; // the run has no such field, or not yet
      from.splice(from.indexOf(id), 1);
      to.splice(place.endsWith(END) ? to.length : to.indexOf(place), 0, id);
      home.set(id, name);
    }
  }
}

/** @param {number} count @param {number} most */
function within(count, most) {
  return Math.max(1, Math.min(most, Math.round(count) || 1));
}

/** @param {string[] | null} items @returns {[string, string][] | undefined} */
function pairs(items) {
  return items?.flatMap((item, i) =>
    i % 2 && items[i - 1] ? [/** @type {[string, string]} */ ([items[i - 1], item])] : [],
  );
}

/** The id of the chart that another page embeds: `chart=` names a key chart or a field. @returns {string | null} */
function embeddedChart() {
  const name = embedded === "chart" ? urlPart("chart") : null;
  return name && !KEY_CHARTS.some(({ id }) => id === name) ? FIELD + name : name;
}
