// @ts-check
/** The columns of the run table: their titles, widths and texts. */

import { isNumber } from "../data/nested.js";
import { valueText } from "../data/tree.js";
import { cut, date, duration, number, value } from "../ui/format.js";
import { statusLook } from "../ui/status-look.js";
import { lookOf } from "../ui/verdict-look.js";
import { isLookedUp } from "./view.js";

/** @import { Run } from "../server/runs.js" */
/**
 * @typedef {{text: string, title?: string, icon?: string, tone?: string, below?: string, belowTone?: string}} Cell
 *   `below`: a second line
 *
 * @typedef {{name: string, label: string, width: number, sort: string | null, isNumber: boolean, firstOrder: "asc" |
 *   "desc", cell: (run: Run, now: number) => Cell}} Column `sort`: its name in the query of api/runs; `firstOrder`:
 *   of the first click on its title
 */

const ABSENT_CELL = /** @type {Cell} */ ({ text: "" });
/** Characters of a text in a cell; its tooltip has all. */
const LONGEST = 160;
const LONGEST_NUMBER = 9;

/** When a run had its last entry or its end, for its duration. @param {Run} run @param {number} now */
function endOf({ status, ended_ms: endedMs, last_ms: lastMs }, now) {
  return status === "live" ? now : (endedMs ?? lastMs);
}

/** @param {number | null | undefined} given @param {string} [about] @returns {Cell} */
function numberCell(given, about = "") {
  return isNumber(given) ? { text: number(given, { short: true }), title: `${given}${about}` } : ABSENT_CELL;
}

/** @param {unknown} given @returns {Cell} */
function textCell(given) {
  const text = given === null || given === undefined ? "" : String(given);
  return { text: cut(text, LONGEST), title: cut(text, 2000) };
}

/** @param {unknown} ms @returns {Cell} */
function dateCell(ms) {
  return isNumber(ms) ? { text: date(ms), title: new Date(ms).toLocaleString("en-GB") } : ABSENT_CELL;
}

/** @param {Run} run @returns {Cell} */
function statusCell({ status, verdict, ended_by: endedBy }) {
  const [shape, tone] = statusLook(status);
  const isSaid = verdict?.text.toLowerCase() === status;
  const judged = verdict && !isSaid ? cut(verdict.text, LONGEST) : "";
  return {
    text: status,
    icon: shape,
    tone,
    below: judged,
    belowTone: verdict ? lookOf(verdict)[0] : undefined,
    title: [verdict?.text, endedBy && `ended by ${endedBy}`].filter(Boolean).join("\n"),
  };
}

/** @type {Record<string, Omit<Column, "name" | "firstOrder" | "isNumber"> & {isNumber?: boolean}>} */
const OWN = {
  status: { label: "Status", width: 240, sort: "status", cell: statusCell },
  channel: { label: "Channel", width: 150, sort: "channel", cell: ({ channel }) => textCell(channel) },
  env: { label: "Environment", width: 170, sort: null, cell: ({ info }) => textCell(info?.env) },
  algorithm: { label: "Algorithm", width: 110, sort: null, cell: ({ info }) => textCell(info?.algorithm) },
  started: { label: "Started", width: 124, sort: "started", cell: ({ started_ms: ms }) => dateCell(ms) },
  ended: { label: "Ended", width: 124, sort: "ended", cell: ({ ended_ms: ms }) => dateCell(ms) },
  duration: {
    label: "Duration",
    width: 112,
    sort: "duration",
    isNumber: true,
    cell: (run, now) => {
      const end = endOf(run, now);
      return run.started_ms && end ? { text: duration(Math.max(0, end - run.started_ms)) } : ABSENT_CELL;
    },
  },
  step: { label: "Step", width: 112, sort: "step", isNumber: true, cell: ({ step }) => numberCell(step) },
  return: {
    label: "Return",
    width: 112,
    sort: "return",
    isNumber: true,
    cell: ({ return: found }) => numberCell(found?.value, found ? ` · ${found.label} (${found.path})` : ""),
  },
  speed: {
    label: "Steps/s",
    width: 96,
    sort: null,
    isNumber: true,
    cell: ({ steps_per_s: speed }) => numberCell(speed),
  },
  tags: { label: "Tags", width: 160, sort: null, cell: ({ tags }) => textCell(tags.join(", ")) },
  note: { label: "Note", width: 240, sort: null, cell: ({ note }) => textCell(note) },
};

/** The names of the columns that every run has, apart from the first one. */
export const OWN_COLUMNS = Object.keys(OWN);

/** The first column. */
export const NAME = /** @type {Column} */ ({
  name: "name",
  label: "Run",
  width: 300,
  sort: "name",
  isNumber: false,
  firstOrder: "asc",
  cell: (run) => ({
    ...textCell(run.name || "unnamed run"),
    below: [run.info?.env, run.info?.algorithm]
      .filter(Boolean)
      .map((part) => cut(String(part), 60))
      .join(" · "),
  }),
});

/** @param {string} name @returns {Column | null} null for a name that no column has */
export function columnOf(name) {
  const own = OWN[name];
  if (own) {
    const isNumeric = Boolean(own.isNumber);
    const firstOrder = isNumeric || name === "started" || name === "ended" ? "desc" : "asc";
    return { ...own, name, isNumber: isNumeric, firstOrder };
  }
  if (!isLookedUp(name)) return null;
  return {
    name,
    label: titleOf(name),
    width: 130,
    sort: name,
    isNumber: true,
    firstOrder: "desc",
    cell: (run) => settingCell(run.columns?.[name], name.startsWith("config.")),
  };
}

/** The title of a column: "lr" of "config.lr". @param {string} name */
export function titleOf(name) {
  return OWN[name]?.label ?? name.replace(/^(config|result)\./, "");
}

/**
 * A value of a run's configuration or results.
 * @param {unknown} given
 * @param {boolean} isExact a setting is shown as it was written, 0.0003, if it is short
 * @returns {Cell}
 */
export function settingCell(given, isExact) {
  if (given === undefined || given === null) return ABSENT_CELL;
  const written = valueText(given);
  const isShort = isExact && isNumber(given) && written.length <= LONGEST_NUMBER;
  return { text: isShort ? written.replace("-", "−") : value(given, LONGEST), title: cut(written, 2000) };
}
