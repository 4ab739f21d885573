// @ts-check
/** Histograms of one field over time: the columns of its chart, in bounded memory. */

import { isMapping, isNumber } from "./nested.js";
import { Series } from "./rings.js";

/**
 * @typedef {{n: number, low: number, high: number, counts: number[], mean?: number | null, deviation?: number | null,
 *   nan?: number, infinite?: number}} Histogram `counts` of equal intervals from `low` to `high`, `n` values
 *
 * @typedef {{time_ms: number[], step: (number | null)[], n: number[], low: number[], high: number[],
 *   mean: (number | null)[], counts: number[][]}} PastHistograms the columns of /api/history
 */

/** Columns kept: a chart is about as many pixels wide. If there are more, every second one is dropped. */
const MOST_COLUMNS = 240;

/**
 * The histogram in a field; null for any other value.
 * @param {any} value
 * @returns {Histogram | null}
 */
export function histogramOf(value) {
  if (!Array.isArray(value) || value.length !== 2 || value[0] !== "histogram" || !isMapping(value[1])) return null;
  const { n, low, high, counts } = value[1];
  const isSound = [n, low, high].every(isNumber) && Array.isArray(counts) && counts.every(isNumber);
  return isSound ? /** @type {Histogram} */ (value[1]) : null;
}

/** A series of means, with the histogram of each. */
export class Columns extends Series {
  /** @type {Histogram[]} */
  histograms = [];

  constructor() {
    super(MOST_COLUMNS);
  }

  /**
   * Add a histogram; one older than the last is dropped.
   * @param {number} timeMs @param {number | null} step @param {Histogram} histogram
   */
  put(timeMs, step, histogram) {
    if (this.length && timeMs < this.time[this.length - 1]) return;
    if (this.length === this.most) this.halve();
    this.add(timeMs, step, histogram.mean ?? NaN);
    this.histograms.push(histogram);
  }

  /** Keep the newest histogram, and every second one before it. */
  halve() {
    let to = 0;
    for (let i = 1; i < this.length; i += 2, to++) {
      this.time[to] = this.time[i];
      this.step[to] = this.step[i];
      this.value[to] = this.value[i];
      this.histograms[to] = this.histograms[i];
    }
    this.truncate(to);
    this.histograms.length = to;
  }

  /**
   * Insert the server's histograms before the ones that came later.
   * @param {PastHistograms} past
   */
  prependAll(past) {
    const since = this.histograms.map((histogram, i) => ({ t: this.time[i], step: this.step[i], histogram }));
    const last = past.time_ms.at(-1) ?? -Infinity;
    this.truncate(0);
    this.histograms = [];
    past.time_ms.forEach((t, i) => {
      const { n, low, high, mean, counts } = past;
      this.put(t, past.step[i], { n: n[i], low: low[i], high: high[i], mean: mean[i], counts: counts[i] });
    });
    for (const { t, step, histogram } of since) if (t > last) this.put(t, step, histogram);
    this.version++;
  }
}
