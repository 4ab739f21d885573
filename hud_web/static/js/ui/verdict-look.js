// @ts-check
/** The tone, the icon and the word of a verdict, for the dashboard, the picker and the wall. */

/** @import { Verdict } from "../data/types.js" */

/** Tone, icon, and the word that the text needs beside it, of each level. */
const LEVELS = /** @type {Record<Verdict["level"], [string, string, string]>} */ ({
  early: ["muted", "waiting", ""],
  good: ["ok", "check", ""],
  flat: ["info", "chart", ""],
  warning: ["warn", "warn", "Warning"],
  bad: ["error", "error", "Problem"],
  ended: ["muted", "ended", ""],
});
/** A clause about a process that died. */
const DIED = /(^|, )died /i;

/** Whether a verdict says that a process died. @param {{text: string}} verdict */
export function tellsOfDeath({ text }) {
  return DIED.test(text);
}

/**
 * Tone, icon and word of a verdict: a run that ended because a process died did not end well.
 * @param {Pick<Verdict, "level" | "text"> | null} verdict
 */
export function lookOf(verdict) {
  if (!verdict) return LEVELS.early;
  return verdict.level === "ended" && tellsOfDeath(verdict) ? LEVELS.bad : (LEVELS[verdict.level] ?? LEVELS.early);
}
