// @ts-check
/** Nested fields as updates contain them: merges them into a state and visits their leaves. */

/** @import { Fields } from "./types.js" */

/**
 * Merge an update into a state: mappings merge, any other value replaces, and a missing field keeps its value.
 * @param {Fields} base @param {Fields} update
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
 * Set a field of any name as a plain field, also "__proto__".
 * @param {Fields} base @param {string} name @param {any} value
 */
function put(base, name, value) {
  if (name === "__proto__")
    Object.defineProperty(base, name, { value, enumerable: true, configurable: true, writable: true });
  else base[name] = value;
  return value;
}

/** @param {unknown} value @returns {value is number} */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
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

/**
 * The time at which an entry was appended, on the clock that all entries of a channel share: Redis' (the first part of
 * the id).
 * @param {{id: string | null, time_ms: number}} entry
 */
export function entryTime(entry) {
  const millis = entry.id ? Number.parseInt(entry.id, 10) : NaN;
  return Number.isFinite(millis) && millis > 1e11 ? millis : entry.time_ms;
}

/** The place of an entry among those that its stream got in one millisecond. @param {string | null | undefined} id */
export function entryPlace(id) {
  return Number(id?.split("-")[1]) || 0;
}
