// @ts-check
/**
 * The merged state of a run as leaves by path. Owns the rule that a missing value never overwrites a real one. The
 * values at an earlier moment come from rewind.js.
 */

import { Columns, histogramOf } from "./histograms.js";
import { isMapping, isNumber } from "./nested.js";
import { Series, Spark } from "./rings.js";

/** @import { Fields } from "./types.js" */
/** @import { Change } from "./timeline.js" */
/**
 * @typedef {{t: number, step: number | null, value: string}} Turn the time at which a field became "NaN", "∞" or "−∞",
 *   or a number again (`value` is "")
 *
 * @typedef {{path: string, name: string, value: any, live: any, changedMs: number, usualMs: number,
 *   spark: Spark | null, series: Series | null, columns: Columns | null, turns: Turn[] | null}} Leaf `path`: joined by
 *   "/"; `columns`: its histograms; `value`: at the moment shown, undefined before the field existed; `live`: the
 *   newest; `changedMs`: when it last came, 0 if unknown; `usualMs`: its longest usual interval, 0 if unknown; `turns`:
 *   in order of time, null if it always was a number
 */

/** Turns kept for one field: the newest. */
const MOST_TURNS = 400;
/** A shorter interval takes this share of its excess from the usual interval of a field. */
const INTERVAL_SHARE = 0.05;
/** Further fields of one run are counted and not kept: nobody reads a table of 100,000 rows. */
const MOST_LEAVES = 20_000;

/** @extends {Map<string, Leaf>} */
export class Leaves extends Map {
  /** Paths that hold mappings. @type {Set<string>} */
  branches = new Set();
  /** Fields beyond MOST_LEAVES. */
  uncounted = 0;
  /** @type {(leaf: Leaf) => void} called for each new leaf, after it has its value */
  onNew = () => {};

  clear() {
    super.clear();
    this.branches.clear();
    this.uncounted = 0;
  }

  /**
   * Merge nested fields.
   * @param {Fields} fields
   * @param {{timeMs: number, step: number | null, change: Change | null, isLive: boolean, missing?: Set<string>}} entry
   *   `timeMs`: 0 if unknown; `change`: records each value; `isLive`: the page shows the newest values; `missing`:
   *   loses the paths that come
   * @param {string} [prefix]
   */
  merge(fields, entry, prefix = "") {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (value === null || value === undefined) continue;
      const path = prefix + name;
      if (isMapping(value)) {
        this.delete(path);
        this.branches.add(path);
        this.merge(value, entry, `${path}/`);
      } else {
        entry.missing?.delete(path);
        this.put(path, value, entry);
      }
    }
  }

  /** @param {string} path @param {any} value @param {Parameters<Leaves["merge"]>[1]} entry */
  put(path, value, { timeMs, step, change, isLive }) {
    const known = this.get(path);
    const leaf = known ?? this.make(path, timeMs);
    if (!leaf) return;
    if (change && (timeMs || leaf.live !== value)) {
      change.paths.push(path);
      change.values.push(value);
      change.before.push(leaf.live);
    }
    leaf.live = value;
    if (isLive) leaf.value = value;
    if (!known) this.onNew(leaf);
    if (!timeMs) return;
    const interval = timeMs - leaf.changedMs;
    if (leaf.changedMs && interval > 0)
      leaf.usualMs = Math.max(interval, leaf.usualMs + INTERVAL_SHARE * (interval - leaf.usualMs));
    leaf.changedMs = timeMs;
    if (isNumber(value)) {
      (leaf.spark ??= new Spark()).add(value, timeMs);
      leaf.series?.add(timeMs, step, value);
      return;
    }
    const histogram = histogramOf(value);
    if (histogram) (leaf.columns ??= new Columns()).put(timeMs, step, histogram);
  }

  /** @param {string} path @param {number} timeMs @returns {Leaf | undefined} undefined beyond MOST_LEAVES */
  make(path, timeMs) {
    if (this.size >= MOST_LEAVES) {
      this.uncounted++;
      return undefined;
    }
    if (this.branches.delete(path))
      for (const other of [...this.keys()]) if (other.startsWith(`${path}/`)) this.delete(other);
    // Names may contain slashes, as RLlib's flattened results do: the part after the last one is the name.
    const name = path.slice(path.lastIndexOf("/") + 1) || path;
    /** @type {Leaf} */
    const leaf = {
      path,
      name,
      value: undefined,
      live: undefined,
      changedMs: timeMs,
      usualMs: 0,
      spark: null,
      series: null,
      columns: null,
      turns: null,
    };
    this.set(path, leaf);
    return leaf;
  }

  /**
   * Record that a field became NaN or infinite, or a number again. A snapshot and an annotation may bring the same
   * turn, and turns may come in any order.
   * @param {string} path @param {Turn} turn
   * @returns {boolean} whether it is new
   */
  addTurn(path, turn) {
    const known = this.get(path);
    const leaf = known ?? this.make(path, 0);
    if (!leaf) return false;
    if (!known) this.onNew(leaf);
    const turns = (leaf.turns ??= []);
    let at = turns.length;
    while (at > 0 && turns[at - 1].t > turn.t) at--;
    const before = turns[at - 1];
    if ((before?.value ?? "") === turn.value || before?.t === turn.t) return false;
    turns.splice(at, turns[at]?.value === turn.value ? 1 : 0, turn);
    if (turns.length > MOST_TURNS) turns.shift();
    if (turn.value) leaf.changedMs = Math.max(leaf.changedMs, turn.t);
    leaf.series?.touch();
    return true;
  }

  /**
   * The leaf of the first of these paths that exists.
   * @param {readonly string[]} paths
   * @param {(value: any) => boolean} [fits]
   * @returns {Leaf | null}
   */
  find(paths, fits = (value) => value !== undefined) {
    for (const path of paths) {
      const leaf = this.get(path);
      if (leaf && fits(leaf.value)) return leaf;
    }
    return null;
  }

  /** Show the newest value of each field. */
  showLive() {
    for (const leaf of this.values()) leaf.value = leaf.live;
  }
}

/** Whether a field has a chart: it is a number, was NaN or infinite, or holds histograms. @param {Leaf} leaf */
export function hasChart({ live, turns, columns }) {
  return isNumber(live) || turns !== null || columns !== null || histogramOf(live) !== null;
}

/** The histograms of a field for a chart. @param {Leaf} leaf */
export function columnsOf(leaf) {
  return (leaf.columns ??= new Columns());
}

/** The points of a field for a chart, kept from the first call on. @param {Leaf} leaf */
export function seriesOf(leaf) {
  return (leaf.series ??= new Series());
}

/**
 * The turn since which a field is not a number, at a moment (null: now); null while it is a number.
 * @param {Leaf} leaf @param {number | null} moment
 * @returns {Turn | null}
 */
export function brokenAt(leaf, moment) {
  const turns = leaf.turns ?? [];
  let at = turns.length - 1;
  while (at >= 0 && moment !== null && turns[at].t > moment) at--;
  return at >= 0 && turns[at].value ? turns[at] : null;
}
