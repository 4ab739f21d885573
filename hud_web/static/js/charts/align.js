// @ts-check
/** The mean and the standard deviation of several lines over a common axis. No DOM. */

import { lastAt } from "../data/rings.js";

/** A line in one segment for each pass over the same places, oldest first. @typedef {number[][][]} Segments */
/**
 * @typedef {{xs: number[], mean: (number | null)[], low: (number | null)[], high: (number | null)[], count: number[]}}
 *   Band `low`, `high`: one standard deviation from the mean; `count`: of the lines at each place; null: a gap
 */

/** Places of a band: about the width of a chart in pixels. */
const MOST_PLACES = 1_000;
/** A mean of one line says nothing. */
const LEAST_LINES = 2;

/**
 * The value of a line at a place, interpolated between its points; NaN outside of the line. The newest pass counts.
 * @param {Segments} segments @param {number} x
 */
export function interpolate(segments, x) {
  for (let i = segments.length - 1; i >= 0; i--) {
    const [xs, ys] = segments[i];
    const last = xs.length - 1;
    if (last < 0 || x < xs[0] || x > xs[last]) continue;
    const at = lastAt(xs.length, (n) => xs[n], x);
    if (at === last || xs[at] === x) return ys[at];
    return ys[at] + ((ys[at + 1] - ys[at]) * (x - xs[at])) / (xs[at + 1] - xs[at]);
  }
  return NaN;
}

/**
 * The mean of lines and its standard deviation (of a sample, n − 1), wherever at least two lines have a value.
 * @param {Segments[]} lines @param {number} [most] places
 * @returns {Band}
 */
export function bandOf(lines, most = MOST_PLACES) {
  /** @type {Band} */
  const band = { xs: [], mean: [], low: [], high: [], count: [] };
  for (const x of placesOf(lines, most)) {
    const values = lines.map((segments) => interpolate(segments, x)).filter((y) => !Number.isNaN(y));
    const isKnown = values.length >= LEAST_LINES;
    if (!isKnown && (!band.xs.length || band.mean[band.mean.length - 1] === null)) continue;
    const mean = values.reduce((sum, y) => sum + y, 0) / values.length;
    const squares = values.reduce((sum, y) => sum + (y - mean) ** 2, 0);
    const deviation = Math.sqrt(squares / (values.length - 1));
    band.xs.push(x);
    band.count.push(values.length);
    band.mean.push(isKnown ? mean : null);
    band.low.push(isKnown ? mean - deviation : null);
    band.high.push(isKnown ? mean + deviation : null);
  }
  return band;
}

/** The places of all points in order, thinned evenly. @param {Segments[]} lines @param {number} most */
function placesOf(lines, most) {
  const all = Float64Array.from(lines.flatMap((segments) => segments.flatMap(([xs]) => xs))).sort();
  const places = all.filter((x, i) => !i || x !== all[i - 1]);
  if (places.length <= most) return places;
  return Float64Array.from({ length: most }, (_, i) => places[Math.round((i * (places.length - 1)) / (most - 1))]);
}
