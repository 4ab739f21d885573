// @ts-check
/** Nested fields as updates bring them: laid over a state, or walked leaf by leaf. */

/** @import { Fields } from "./types.js" */

/**
 * Lay an update over a state: mapping over mapping, anything else replaces; what is missing keeps its value.
 * @param {Fields} base
 * @param {Fields} update
 */
export function merge(base, update) {
  for (const name of Object.keys(update)) {
    const value = update[name];
    if (value === null || value === undefined) continue;
    const known = Object.hasOwn(base, name) ? base[name] : undefined;
    if (isMapping(value)) {
      if (isMapping(known)) merge(known, value);
      else merge(put(base, name, {}), value);
    } else put(base, name, value);
  }
}

/**
 * Set a field of any name, "__proto__" too, as a plain field.
 * @param {Fields} base @param {string} name @param {any} value
 */
function put(base, name, value) {
  if (name === "__proto__") Object.defineProperty(base, name, { value, enumerable: true, configurable: true, writable: true });
  else base[name] = value;
  return value;
}

/** @param {unknown} value @returns {value is Fields} */
export function isMapping(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * Call back with every leaf of nested fields and its path.
 * @param {Fields} fields @param {string} prefix @param {(path: string, value: any) => void} take
 */
export function eachLeaf(fields, prefix, take) {
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value === null || value === undefined) continue;
    if (isMapping(value)) eachLeaf(value, `${prefix}${name}/`, take);
    else take(prefix + name, value);
  }
}
