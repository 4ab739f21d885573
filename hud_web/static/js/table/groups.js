// @ts-check
/** Groups of runs: which group a run is in, and the mean of its runs' returns. */

import { isNumber } from "../data/nested.js";
import { valueText } from "../data/tree.js";

/** @import { Run } from "../server/runs.js" */
/**
 * @typedef {{key: string, label: string, runs: Run[], mean: number | null, deviation: number | null, count: number}}
 *   Group `deviation`: of the sample, null for fewer than two runs; `count`: of the runs that have a return
 */

/** The groupings, besides those by columns that are looked up. */
export const GROUPS = /** @type {Record<string, string>} */ ({
  name: "name",
  env: "environment",
  algorithm: "algorithm",
  tag: "tag",
  status: "status",
  channel: "channel",
});

/** The keys of the groups that a run is in: one, or one for each tag. @param {Run} run @param {string} by */
function keysOf(run, by) {
  if (by === "tag") return run.tags.length ? run.tags : [""];
  if (by === "name" || by === "status" || by === "channel") return [run[by] ?? ""];
  if (by === "env" || by === "algorithm") return [valueText(run.info?.[by] ?? "")];
  return [valueText(run.columns?.[by])];
}

/**
 * The groups of these runs, in the order of their first runs.
 * @param {Run[]} runs @param {string} by
 * @returns {Group[]}
 */
export function groupsOf(runs, by) {
  /** @type {Map<string, Run[]>} */
  const found = new Map();
  for (const run of runs)
    for (const key of keysOf(run, by)) {
      const group = found.get(key);
      if (group) group.push(run);
      else found.set(key, [run]);
    }
  return [...found].map(([key, inside]) => ({
    key,
    label: key || `no ${GROUPS[by] ?? by.replace(/^\w+\./, "")}`,
    runs: inside,
    ...meanOf(inside.map((run) => run.return?.value)),
  }));
}

/**
 * The mean and the sample's standard deviation of the numbers among these values.
 * @param {unknown[]} values
 * @returns {{mean: number | null, deviation: number | null, count: number}}
 */
export function meanOf(values) {
  const known = values.filter(isNumber);
  const count = known.length;
  if (!count) return { mean: null, deviation: null, count };
  const mean = known.reduce((sum, one) => sum + one, 0) / count;
  const squares = known.reduce((sum, one) => sum + (one - mean) ** 2, 0);
  return { mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : null, count };
}
