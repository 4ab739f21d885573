// @ts-check
/** Formats values as text. A missing or non-finite number becomes "—", never 0, NaN or undefined. */

import { histogramOf } from "../data/histograms.js";
import { isNumber } from "../data/nested.js";

/** @import { Histogram } from "../data/histograms.js" */

export const ABSENT = "—";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
/** Six digits, so that a count of a billion still changes every ten thousand. */
const compact = new Intl.NumberFormat("en-US", {
  notation: "compact",
  maximumSignificantDigits: 6,
  minimumSignificantDigits: 6,
});
/** The longest text of a value that is almost a whole number and must not look like one. */
const MOST_DIGITS = 8;

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
  if (size >= 1e15 || size < 1e-4)
    return size
      .toExponential(size === Number(size.toPrecision(1)) ? 0 : 2)
      .replace("e+", "e")
      .replace("e-", "e−");
  if (short && size >= 1e7) return compact.format(size);
  if (Number.isInteger(size) || size >= 1e5) return whole.format(size);
  if (size >= 1000)
    return new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 }).format(size);
  if (size >= 1e-3)
    return rounded(size, size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : size >= 0.1 ? 4 : leastDecimals(size));
  return size.toExponential(size === Number(size.toPrecision(2)) ? 1 : 2).replace("e-", "e−");
}

/**
 * Decimals of a small number: four, or as many as its four significant digits need: 0.0200, 0.001254.
 * @param {number} size
 */
function leastDecimals(size) {
  return Math.max(4, String(Number(size.toPrecision(4))).length - 2);
}

/**
 * A number with these decimals, or with more if it would look like a whole number.
 * @param {number} size @param {number} decimals
 */
function rounded(size, decimals) {
  let text = size.toFixed(decimals);
  for (let more = decimals + 1; Number.isInteger(Number(text)) && text.length <= MOST_DIGITS; more++)
    text = size.toFixed(more);
  return Number.isInteger(Number(text)) ? size.toFixed(decimals) : text;
}

/**
 * A change of a value, with at most the decimals that the value and the change have when shown alone.
 * @param {number} change @param {number} value
 */
export function difference(change, value) {
  const [decimals, own] = [value, change].map((one) => /\.(\d+)$/.exec(number(one, { short: true }))?.[1].length ?? 0);
  const isWhole = Number.isInteger(value) && Number.isInteger(change);
  if (isWhole || Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 || Math.abs(change) >= 1e5)
    return number(change, { short: true, sign: true });
  const text = Math.abs(change).toFixed(Math.min(value === 0 ? 3 : decimals, Math.abs(change) < 1 ? 8 : own));
  return Number(text) === 0 ? "±0" : (change < 0 ? "−" : "+") + text;
}

/** Any leaf of the state, for a table. @param {unknown} value @param {number} [longest] characters */
export function value(value, longest = 200) {
  if (value === null || value === undefined) return ABSENT;
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  const histogram = histogramOf(value);
  if (histogram) return histogramText(histogram);
  if (Array.isArray(value)) return cut(`[${value.map(itemText).join(", ")}]`, longest);
  if (typeof value === "object") return cut(JSON.stringify(value), longest);
  return cut(String(value), longest) || ABSENT;
}

/** A histogram as "0.021 ± 0.13". @param {Histogram} histogram */
export function histogramText({ n, mean, deviation }) {
  return isNumber(mean) ? `${number(mean)} ± ${number(deviation)}` : `${number(n)} values, none of them finite`;
}

/** @param {unknown} item @returns {string} */
function itemText(item) {
  return item !== null && typeof item === "object" ? JSON.stringify(item) : value(item, 60);
}

/** @param {string} text @param {number} longest */
export function cut(text, longest) {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

/**
 * A name in two parts, of which the first may be shortened: long names often differ at their ends only.
 * @param {string} name
 */
export function inTwo(name) {
  return /^[ -~]{25,}$/.test(name) ? [name.slice(0, -8), name.slice(-8)] : [name, ""];
}

/**
 * A share as per cent: 0.962 and 96.2 both mean 96.2 %, because old clients sent either form.
 * @param {unknown} share @param {boolean} [isPercent] the field is known to count to 100, so 0.8 is 0.8 %
 */
export function percent(share, isPercent = false) {
  if (!isNumber(share)) return ABSENT;
  const size = share >= 0 && share <= 1 && !isPercent ? share * 100 : share;
  return `${size >= 99.95 || size === 0 ? size.toFixed(0) : size.toFixed(1)} %`;
}

/** Milliseconds as "41 ms", "1.9 s" or "2 min". @param {unknown} ms */
export function milliseconds(ms) {
  if (!isNumber(ms) || ms < 0) return ABSENT;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return duration(ms);
}

/**
 * The time from the making of a frame or value to its display; "" if the clocks disagree too much.
 * @param {number | null} ms
 */
export function latency(ms) {
  return ms === null || ms < 0 || ms > 60_000 ? "" : milliseconds(ms);
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
  return s < 3600
    ? `${two(Math.floor(s / 60))}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** The time of day, "12:04:11". @param {unknown} ms */
export function time(ms) {
  return isNumber(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toTimeString().slice(0, 8) : ABSENT;
}

/** Day and time, "22 Nov 12:04". @param {unknown} ms */
export function date(ms) {
  if (!isNumber(ms) || Math.abs(ms) >= 8.64e15) return ABSENT;
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })
    .format(new Date(ms))
    .replace(",", "");
}

const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A date, "30 Nov". @param {unknown} ms */
export function day(ms) {
  return isNumber(ms) && Math.abs(ms) < 8.64e15 ? days.format(ms) : ABSENT;
}

/** A time with its date unless it is today, "12:04:11" or "30 Nov 12:04:11". @param {number} ms */
export function inDays(ms) {
  return day(ms) === day(Date.now()) ? time(ms) : `${day(ms)} ${time(ms)}`;
}

const DAY_MS = 86_400_000;

/**
 * A text of the server about a process, with its time in the viewer's time zone: the server writes "Died 13:17:45" and
 * "last heard at 13:17:40" in UTC. Other times in the text, as of an exception, stay.
 * @param {string} text @param {number | null} timeMs of the event: the time in the text is at most a day before
 */
export function inLocalTime(text, timeMs) {
  if (timeMs === null || !(Math.abs(timeMs) < 8.64e15)) return text;
  return text.replace(/(?<=died |heard at )\d\d:\d\d:\d\d/i, (utc) => {
    const ms = Date.parse(`${new Date(timeMs).toISOString().slice(0, 10)}T${utc}Z`);
    return time(ms > timeMs + DAY_MS / 2 ? ms - DAY_MS : ms);
  });
}

/** "1.7 KB", "3.1 GB". @param {unknown} size */
export function bytes(size) {
  if (!isNumber(size)) return ABSENT;
  if (Math.abs(size) < 1000) return `${Math.round(size)} B`;
  const power = Math.min(4, Math.floor(Math.log10(Math.abs(size)) / 3));
  return `${(size / 1000 ** power).toFixed(1)} ${["", "K", "M", "G", "T"][power]}B`;
}

/** An env's short name, "w1/e0". @param {readonly number[] | null | undefined} env */
export function envName(env) {
  return env ? `w${env[0]}/e${env[1]}` : ABSENT;
}
