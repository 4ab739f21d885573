// @ts-check
/** The state of a run in a word, an icon and a tone, and how badly it needs a look, from its card alone. */

import { statusLook } from "../ui/status-look.js";
import { lookOf, tellsOfDeath } from "../ui/verdict-look.js";

/** @import { Card } from "./feed.js" */
/** @typedef {{word: string, icon: string, tone: string}} Look */

const STALLED = /(^|, )no data for /i;
const HUNG = /(^|, )hung in /i;
/** Levels of verdicts, the worst first. */
const RANKS = ["bad", "warning", "flat", "early", "good", "ended"];

/** @param {Card} card @returns {Look} */
export function stateOf({ status, verdict }) {
  const [icon, tone] = statusLook(status);
  if (status !== "live")
    return { word: status.toUpperCase(), icon, tone: verdict && tellsOfDeath(verdict) ? "error" : tone };
  if (verdict && HUNG.test(verdict.text)) return { word: "HUNG", icon: "stalled", tone: "error" };
  if (verdict && STALLED.test(verdict.text)) return { word: "STALLED", icon: "stalled", tone: "error" };
  return { word: "LIVE", icon, tone };
}

/** Whether a run has a problem: its verdict or its state says so. @param {Card} card */
export function toneOf(card) {
  const tone = lookOf(card.verdict)[0];
  return card.status === "lapsed" || tone === "error" ? "error" : tone;
}

/** The place of a run in an order by problems: 0 is the worst. @param {Card} card */
export function rankOf(card) {
  if (toneOf(card) === "error") return 0;
  const rank = RANKS.indexOf(card.verdict?.level ?? "early");
  return rank < 0 ? RANKS.length : rank;
}

/** Whether a run has a problem that needs a look. @param {Card} card */
export function isInTrouble(card) {
  return rankOf(card) <= 1;
}

/** The time for which a run has lasted, in milliseconds; null if unknown. @param {Card} card @param {number} now */
export function durationOf({ status, started_ms: started, ended_ms: ended, last_ms: last }, now) {
  if (started === null) return null;
  return Math.max(0, (status === "live" ? now : (ended ?? last ?? now)) - started);
}
