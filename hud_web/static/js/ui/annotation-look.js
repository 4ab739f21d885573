// @ts-check
/** The tone and the icon of each kind of annotation, for the list of events, for toasts and for the time line. */

/** @import { Annotation } from "../data/types.js" */
/** @typedef {"ok" | "warn" | "error" | "accent" | "info" | "muted"} Tone */

/** Tone and icon of each kind. @type {Record<string, [Tone, string]>} */
const LOOKS = {
  session_started: ["ok", "live"],
  session_ended: ["muted", "ended"],
  session_lapsed: ["error", "warn"],
  session_taken_over: ["warn", "taken"],
  reporter_changed: ["info", "pin"],
  best_episode: ["ok", "star"],
  collapse: ["error", "down"],
  recovered: ["ok", "check"],
  non_finite: ["error", "error"],
  finite_again: ["ok", "check"],
  milestone: ["ok", "check"],
  stall: ["warn", "stalled"],
  resumed: ["ok", "live"],
  hung_phase: ["error", "stalled"],
  phase_ended: ["ok", "check"],
  steps_restarted: ["warn", "warn"],
  env_runner_lost: ["error", "warn"],
  env_runner_back: ["ok", "check"],
  vision_failing: ["warn", "eye"],
  vision_recovered: ["ok", "eye"],
  symptom: ["warn", "warn"],
  symptom_ended: ["ok", "check"],
  process_died: ["error", "error"],
  process_lost: ["error", "warn"],
  process_back: ["ok", "check"],
  restarted: ["warn", "live"],
  alert: ["warn", "warn"],
};
const UNKNOWN = /** @type {[Tone, string]} */ (["info", "live"]);
/** Kinds without a mark on the time line: they are its ends. */
const UNMARKED = new Set(["session_started", "session_ended"]);

/** @param {Annotation} annotation */
export function lookOf({ kind }) {
  const [tone, iconName] = LOOKS[kind] ?? UNKNOWN;
  return { tone, icon: iconName, isMarked: !UNMARKED.has(kind) };
}
