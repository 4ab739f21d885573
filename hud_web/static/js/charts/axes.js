// @ts-check
/** The marks of a chart's axes: their steps, their texts and their width. */

import { day, time } from "../ui/format.js";
import { theme } from "../ui/theme.js";
import { withUnit } from "./machine.js";

/** Marks of steps and episodes are whole numbers; marks of time are the usual parts of minutes, hours and days. */
export const WHOLE = Array.from({ length: 48 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));
const SIXTIETHS = [1, 2, 5, 10, 15, 30];
export const SECONDS = [
  ...SIXTIETHS,
  ...SIXTIETHS.map((n) => n * 60),
  ...[1, 2, 3, 6, 12, 24].map((n) => n * 3600),
  ...WHOLE.slice(1, 16).map((n) => n * 86_400),
];

/**
 * @param {any} _plot @param {(number | null)[]} splits @param {number} _axis @param {number} _space
 * @param {number} apart
 */
export function axisTexts(_plot, splits, _axis, _space, apart) {
  return splits.map((value) => axisText(value, apart));
}

/**
 * The texts of an axis whose values have a unit.
 * @param {import("./machine.js").Unit} unit
 */
export function unitTexts(unit) {
  return (
    /** @type {any} */ _plot,
    /** @type {(number | null)[]} */ splits,
    /** @type {number} */ _axis,
    /** @type {number} */ _space,
    /** @type {number} */ apart,
  ) =>
    splits.map((value) =>
      value === null ? "" : withUnit(value, unit, (size) => axisText(size, value ? (apart * size) / value : 1)),
    );
}

const DAY_S = 86_400;

/**
 * The texts of times of day; with the date if the axis covers more than a day.
 * @param {number[]} splits Unix seconds @param {number | null} single the only one with a text
 */
export function clockTexts(splits, single) {
  const apart = splits.length > 1 ? splits[1] - splits[0] : 1;
  const isLong = splits.length > 1 && splits[splits.length - 1] - splits[0] >= DAY_S;
  return splits.map((x) => {
    if (single !== null && x !== single) return "";
    const text = apart >= DAY_S ? "" : time(x * 1000).slice(0, apart >= 60 ? 5 : 8);
    return isLong || apart >= DAY_S ? `${day(x * 1000)} ${text}`.trim() : text;
  });
}

/**
 * The width of the longest mark; a digit of this font is 0.64 times as wide as high.
 * @param {any} _plot @param {string[] | null} texts
 */
export function axisSize(_plot, texts) {
  return Math.max(
    44,
    14 + 0.64 * parseFloat(theme("--size-s")) * Math.max(0, ...(texts ?? []).map((text) => text.length)),
  );
}

/**
 * The text of a mark, with enough digits to differ from its neighbours.
 * @param {number | null} value @param {number} apart from the next mark
 */
export function axisText(value, apart) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  const digits = Math.min(12, Math.max(2, Math.floor(Math.log10(size)) - Math.floor(Math.log10(apart || size)) + 2));
  if (size >= 1e12 || size < 1e-3)
    return (
      sign +
      size
        .toExponential(digits - 1)
        .replace(/\.?0*e/, "e")
        .replace("e+", "e")
        .replace("e-", "e−")
    );
  const [unit, letter] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  return sign + Number((size / unit).toPrecision(digits)) + letter;
}
