// @ts-check
/** Turns values into text. What is missing or not a finite number is "—", never 0, NaN or undefined. */

export const ABSENT = "—";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });

/** @param {unknown} value @returns {value is number} */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * A number with about four significant digits.
 * @param {unknown} value
 * @param {{short?: boolean, sign?: boolean}} [options] `short`: large whole numbers compact, too; `sign`: with a plus
 *
 */
export function number(value, { short = false, sign = false } = {}) {
  if (!isNumber(value)) return ABSENT;
  return (value < 0 ? "−" : sign && value > 0 ? "+" : "") + unsigned(Math.abs(value), short);
}

/** @param {number} size @param {boolean} short */
function unsigned(size, short) {
  if (size === 0) return "0";
  if (size >= 1e15 || size < 1e-4) return size.toExponential(size === Number(size.toPrecision(1)) ? 0 : 2).replace("e+", "e").replace("e-", "e−");
  if (short && size >= 1e7) return compact.format(size);
  if (Number.isInteger(size) || size >= 1e5) return whole.format(size);
  if (size >= 1000) return new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 }).format(size);
  if (size >= 100) return size.toFixed(1);
  if (size >= 10) return size.toFixed(2);
  if (size >= 1) return size.toFixed(3);
  if (size >= 1e-3) return size.toFixed(4);
  return size.toExponential(1).replace("e-", "e−");
}

/** Any leaf of the state, for a table. @param {unknown} value @param {number} [longest] characters */
export function value(value, longest = 200) {
  if (value === null || value === undefined) return ABSENT;
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return cut(`[${value.map((item) => (item !== null && typeof item === "object" ? JSON.stringify(item) : valueOf(item))).join(", ")}]`, longest);
  if (typeof value === "object") return cut(JSON.stringify(value), longest);
  return cut(String(value), longest) || ABSENT;
}

/** @param {unknown} item @returns {string} */
function valueOf(item) {
  return value(item, 60);
}

/** @param {string} text @param {number} longest */
export function cut(text, longest) {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

/** A name in two parts, the first of which may be shortened: long ones are told apart by their ends. @param {string} name */
export function inTwo(name) {
  return /^[ -~]{25,}$/.test(name) ? [name.slice(0, -8), name.slice(-8)] : [name, ""];
}

/** A share as per cent: 0.962 and 96.2 both mean 96.2 %, since old clients sent either. @param {unknown} share */
export function percent(share) {
  if (!isNumber(share)) return ABSENT;
  const size = share >= 0 && share <= 1 ? share * 100 : share;
  return `${size >= 99.95 || size === 0 ? size.toFixed(0) : size.toFixed(1)} %`;
}

/** Milliseconds as "41 ms", "1.9 s" or "2 min". @param {unknown} ms */
export function milliseconds(ms) {
  if (!isNumber(ms) || ms < 0) return ABSENT;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return duration(ms);
}

/** A longer time as "41 s", "3 min 05 s", "2 h 07 min" or "3 d 4 h". @param {unknown} ms */
export function duration(ms) {
  if (!isNumber(ms) || ms < 0) return ABSENT;
  const s = Math.floor(ms / 1000);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** "04:07", for a time line. @param {number} ms */
export function clock(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  return s < 3600 ? `${two(Math.floor(s / 60))}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** The time of day, "12:04:11". @param {unknown} ms */
export function time(ms) {
  return isNumber(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toTimeString().slice(0, 8) : ABSENT;
}

/** "1.7 KB". @param {unknown} size */
export function bytes(size) {
  if (!isNumber(size)) return ABSENT;
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1000).toFixed(1)} KB` : `${(size / 1e6).toFixed(1)} MB`;
}

/** An env's short name, "w1/e0". @param {readonly number[] | null | undefined} env */
export function envName(env) {
  return env ? `w${env[0]}/e${env[1]}` : ABSENT;
}
