// @ts-check
/** A configuration as a tree: its values by path, and the differences between two of them. */

import { isMapping } from "./nested.js";

/** Values of one run that the page shows: an RLlib config has about 400. */
const MOST = 4_000;

/**
 * The values of a tree by path, in its order. The parts of a path are joined by " › ", because names contain slashes
 * and dots.
 * @param {unknown} tree @param {string[]} [path] @param {Map<string, unknown>} [found]
 * @returns {Map<string, unknown>}
 */
export function flatten(tree, path = [], found = new Map()) {
  if (isMapping(tree) && Object.keys(tree).length)
    for (const name of Object.keys(tree)) flatten(tree[name], [...path, name], found);
  else if (path.length && found.size < MOST) found.set(path.join(" › "), tree);
  return found;
}

/** A value as text. @param {unknown} value */
export function valueText(value) {
  return typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
}

/**
 * The values of a run's configuration by path, without those that it repeats: the section `changed` has values of the
 * section `config`.
 * @param {import("./types.js").Fields} configuration from each section to its values
 */
export function settingsOf({ changed, ...rest }) {
  return flatten(rest.config ? rest : { changed, ...rest });
}

/**
 * The differences of several configurations: paths whose values differ, then paths of which some run has no value.
 * @param {Map<string, unknown>[]} all
 * @returns {{path: string, values: unknown[]}[]} undefined: not there
 */
export function differences(all) {
  return [...new Set(all.flatMap((one) => [...one.keys()]))]
    .map((path) => ({ path, values: all.map((one) => one.get(path)) }))
    .filter(({ values }) => new Set(values.map((one) => JSON.stringify(one))).size > 1)
    .sort((a, b) => Number(a.values.includes(undefined)) - Number(b.values.includes(undefined)));
}
