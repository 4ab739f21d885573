// @ts-check
/** Splits the points of a line into passes over the same steps, puts them in order, and smooths them. */

/** The writers of one run append slightly out of order; after this many entries the steps are in order again. */
const CROSSING = 6;
/** Passes over the same steps that are drawn apart; older ones share one line. */
const MOST_SEGMENTS = 12;
/** Fields of these names hold states or counts if they hold whole numbers: their means have no meaning. */
const DISCRETE = /(^|[/_.])(action|episode|iteration|epoch|phase|lives|level|room|stage|seed|index|id|choice|mode)s?$/i;

/**
 * The indices at which each pass over the same steps begins, the first of them 0.
 * @param {number[]} xs in order of time
 */
export function restartsOf(xs) {
  const starts = [0];
  let top = xs[0];
  let bottom = xs[0];
  for (let i = 1; i < xs.length; i++) {
    if (xs[i] >= top) {
      top = xs[i];
      continue;
    }
    bottom = Math.min(bottom, xs[i]);
    // The writers of one run append slightly out of order.
    const isCrossing = xs.slice(i + 1, i + 1 + CROSSING).some((x) => x >= top);
    const isLast = i + CROSSING >= xs.length && top - xs[i] < (top - bottom) * 0.02;
    if (isCrossing || isLast) continue;
    starts.push(i);
    top = xs[i];
  }
  return starts.length > MOST_SEGMENTS ? [0, ...starts.slice(1 - MOST_SEGMENTS)] : starts;
}

/** @param {number[]} xs @param {number[]} ys */
export function inOrder(xs, ys) {
  if (xs.every((x, i) => !i || x >= xs[i - 1])) return [xs, ys];
  const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b]);
  return [order.map((i) => xs[i]), order.map((i) => ys[i])];
}

/** Whether a line holds counts or states, whose mean has no meaning. @param {string} path @param {number[]} ys */
export function isDiscrete(path, ys) {
  const known = ys.filter((y) => y !== null);
  if (!known.every(Number.isInteger)) return false;
  return (
    DISCRETE.test(path) ||
    (known.length > 2 && known[known.length - 1] > known[0] && known.every((y, i) => !i || y >= known[i - 1]))
  );
}

/**
 * Exponential moving average, corrected for the bias towards its first value.
 * @param {(number | null)[]} column @param {number} weight
 */
export function smooth(column, weight) {
  let mean = 0;
  let total = 0;
  return column.map((y) => {
    if (y === null || y === undefined) return y; // null makes a gap, undefined does not
    mean = mean * weight + y * (1 - weight);
    total = total * weight + (1 - weight);
    return mean / total;
  });
}
