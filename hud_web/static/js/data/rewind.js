// @ts-check
/** The moment that the page shows, and the recorded changes and steps by which the fields are set to it. */

import { eachLeaf, entryTime, isNumber } from "./nested.js";
import { lastAt, Series } from "./rings.js";
import { Timeline } from "./timeline.js";

/** @import { Leaves } from "./leaves.js" */
/** @import { Fields } from "./types.js" */
/** @import { Change } from "./timeline.js" */
/** @typedef {{id: string | null, time_ms: number, step: number | null, episode: number | null,
 *   env: [number, number] | null}} FrameFacts */

/** Fields within this time after a picture belong to its moment. */
const SAME_MS = 3;
/** Older entries than this say nothing about a picture. */
const LONGEST_BEFORE_MS = 60_000;
/** Entries of the next episode may be appended up to this time before a picture of the previous one. */
const CROSSING_MS = 500;

export class Rewind {
  timeline = new Timeline();
  /** The known steps by time. */
  steps = new Series();
  /** The moment shown, on Redis' clock; null: now. @type {number | null} */
  moment = null;

  /** @param {Leaves} leaves */
  constructor(leaves) {
    this.leaves = leaves;
  }

  clear() {
    this.timeline.clear();
    this.steps = new Series();
    this.moment = null;
  }

  /**
   * Record the changes that a function makes.
   * @param {number} t @param {number | null} step @param {(change: Change) => void} write
   */
  record(t, step, write) {
    /** @type {Change} */
    const change = { t, step, paths: [], values: [], before: [] };
    write(change);
    this.timeline.add(change);
  }

  /** Set each field to its value at a moment; null: to the newest value. @param {number | null} moment */
  show(moment) {
    if (this.moment === null) this.timeline.begin();
    if (moment === null && this.moment !== null) this.leaves.showLive();
    else if (moment !== null) {
      this.timeline.walk(moment, (path, value) => {
        const leaf = this.leaves.get(path);
        if (leaf) leaf.value = value;
      });
    }
    this.moment = moment;
  }

  /**
   * Add entries from before the page was opened, as the export endpoint returns them.
   * @param {{id: string, time_ms: number, step: number | null, data: Fields}[]} entries
   */
  addPast(entries) {
    const older = entries.map((entry) => {
      const paths = /** @type {string[]} */ ([]);
      const values = /** @type {any[]} */ ([]);
      eachLeaf(entry.data, "", (path, value) => {
        paths.push(path);
        values.push(value);
      });
      return { t: entryTime(entry), step: entry.step ?? null, paths, values };
    });
    older.sort((a, b) => a.t - b.t);
    this.timeline.prepend(older);
    const { moment } = this;
    if (moment === null) return;
    this.leaves.showLive();
    this.moment = null;
    this.show(moment);
  }

  /**
   * The value that a field had for the env and the episode of a picture. The entries of one batch have one time: their
   * steps show which of them precede the picture.
   * @param {readonly string[]} names the first one that the run has counts @param {FrameFacts} picture
   */
  valueFor(names, picture) {
    const leaf = this.leaves.find(names, () => true);
    if (!leaf) return undefined;
    const { changes, head, start } = this.timeline;
    const t = entryTime(picture) + SAME_MS;
    for (
      let i = lastAt(changes.length, (at) => changes[at].t, t);
      i >= head && changes[i].t > t - LONGEST_BEFORE_MS;
      i--
    ) {
      const change = changes[i];
      const at = change.paths.indexOf(leaf.path);
      if (at < 0 || (picture.step !== null && change.step !== null && change.step > picture.step)) continue;
      const own = (/** @type {string} */ name) => change.values[change.paths.indexOf(name)];
      const [worker, index] = [own("worker_index"), own("env_index")];
      if (picture.env && isNumber(worker) && isNumber(index) && (worker !== picture.env[0] || index !== picture.env[1]))
        continue;
      const episode = own("episode");
      if (!isNumber(episode) || picture.episode === null || episode === picture.episode) return change.values[at];
      if (t - change.t > CROSSING_MS) return undefined;
    }
    return start > t ? leaf.value : undefined;
  }

  /** The step at a time, or the first known one; null if no entry ever had a step. @param {number} timeMs */
  stepAt(timeMs) {
    const { steps } = this;
    return steps.length ? steps.value[Math.max(0, steps.indexAt(timeMs))] : null;
  }

  /** Add steps from before the page was opened. @param {{time_ms: number[], step: (number | null)[]}} past */
  addSteps({ time_ms: times, step }) {
    const { steps } = this;
    if (times.some((t, i) => step[i] !== null && steps.time[steps.indexAt(t)] !== t)) steps.join(times, step);
  }
}
