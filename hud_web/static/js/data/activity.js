// @ts-check
/** When a run last sent something, and how long its phases usually take: the state bar judges a silence by that. */

/** @import { Rhythm } from "./types.js" */

/**
 * Entries this long after the start of a phase show that the phase sends entries; the server's monitor uses the same.
 */
const STEADY_AFTER_MS = 2_000;

export class Activity {
  /** When the newest entry of the run was appended, on Redis' clock; 0 if unknown. */
  lastEntryMs = 0;
  /**
   * The silences after which the run counts as stalled or hung; null while the server does not know.
   * @type {Rhythm | null}
   */
  rhythm = null;
  /** The known durations of each phase. @type {Map<string, {usualMs: number | null, hungAfterMs: number}>} */
  phases = new Map();
  /** When the run's phase began, on Redis' clock; 0 if unknown. */
  phaseSinceMs = 0;
  /** Whether entries come in this phase, so that its silences tell more than its duration. */
  phaseSendsEntries = false;

  /** Record that an entry was appended at a time. @param {number} timeMs */
  seen(timeMs) {
    this.lastEntryMs = Math.max(this.lastEntryMs, timeMs);
  }

  /**
   * Record an update's phase.
   * @param {unknown} phase @param {unknown} before the phase until then @param {number} timeMs
   */
  seenIn(phase, before, timeMs) {
    this.seen(timeMs);
    if (typeof phase === "string" && phase !== before) {
      this.phaseSinceMs = timeMs;
      this.phaseSendsEntries = false;
    } else if (timeMs - this.phaseSinceMs >= STEADY_AFTER_MS) this.phaseSendsEntries = true;
  }

  /** @param {Rhythm | null} rhythm @param {unknown} phase of the run as far as the page knows */
  setRhythm(rhythm, phase) {
    if (!rhythm) return;
    this.rhythm = rhythm;
    if (rhythm.last_entry_ms) this.seen(rhythm.last_entry_ms);
    if (!this.phaseSinceMs && rhythm.phase === phase) this.phaseSinceMs = rhythm.phase_since_ms;
    if (rhythm.phase)
      this.phases.set(rhythm.phase, { usualMs: rhythm.phase_usual_ms, hungAfterMs: rhythm.phase_hung_after_ms });
  }
}
