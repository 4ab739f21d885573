// @ts-check
/**
 * Parses JSON without rounding: a whole number that a double cannot hold, such as a seed, becomes a string of its
 * digits.
 */

const LONG = /[:[,]\s*-?\d{16,}\s*[,\]}]/;

/** @param {string} text @returns {any} */
export function parseJson(text) {
  if (!LONG.test(text)) return JSON.parse(text);
  const keep = (/** @type {string} */ _name, /** @type {any} */ value, /** @type {{source?: string}} */ context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? context.source
      : value;
  return JSON.parse(text, /** @type {any} */ (keep)); // browsers from before 2023 have no `source`, and round
}
