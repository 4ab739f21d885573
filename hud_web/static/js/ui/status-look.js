// @ts-check
/** The icon and the tone of each status of a run, for lists of runs. */

/** @import { Tone } from "./annotation-look.js" */

const LOOKS = /** @type {Record<string, [string, Tone]>} */ ({
  live: ["live", "ok"],
  lapsed: ["warn", "error"],
  ended: ["ended", "muted"],
  "taken over": ["taken", "warn"],
  waiting: ["waiting", "accent"],
});

/** @param {string | undefined} status @returns {[string, Tone]} icon and tone */
export function statusLook(status) {
  return LOOKS[status ?? "ended"] ?? LOOKS.ended;
}
