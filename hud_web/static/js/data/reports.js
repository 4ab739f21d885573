// @ts-check
/** Reports of the run's processes in one form, whether the stream or the endpoint brought them. */

/** @import { Fields, Report } from "./types.js" */

/** Fields of an entry that describe the report itself. */
const ABOUT = new Set(["id", "time_ms", "step", "writer", "_hud", "stream", "data"]);

/**
 * A report of an event of the stream (its own description in `_hud`) or of an item of `api/reports`.
 * @param {any} entry
 * @returns {Report}
 */
export function toReport(entry) {
  const { id = "", time_ms = Date.now(), step = null, writer = "" } = entry._hud ?? entry;
  /** @type {Fields} */
  const data = entry.data ?? Object.fromEntries(Object.entries(entry).filter(([name]) => !ABOUT.has(name)));
  return { id, time_ms, step, writer, kind: String(data.kind ?? ""), process: String(data.process || writer), data };
}
