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

/** @param {{own: unknown, other: unknown}} row */
function isOneSided({ own, other }) {
  return own === undefined || other === undefined;
}

/**
 * The differences of two configurations: paths whose values differ, then paths of which one run has no value.
 * @param {Map<string, unknown>} own @param {Map<string, unknown>} other
 * @returns {{path: string, own: unknown, other: unknown}[]} undefined: not there
 */
export function differences(own, other) {
  return [...new Set([...own.keys(), ...other.keys()])]
    .filter((path) => JSON.stringify(own.get(path)) !== JSON.stringify(other.get(path)))
    .map((path) => ({ path, own: own.get(path), other: other.get(path) }))
    .sort((a, b) => Number(isOneSided(a)) - Number(isOneSided(b)));
}
