// @ts-check
/**
 * Which of the policy's views the page knows. /api/mind is asked for windows of fixed length on the writer's clock,
 * each when it is needed. Fetches nothing itself.
 */

/** @import { Mind } from "../data/types.js" */

/** One window is about 100 views, as they come at most five times per second. */
export const WINDOW_MS = 20_000;
/** Windows of one episode on each side of the moment: five minutes are kept. */
export const MOST_WINDOWS = 15;
/** The learner's phases within an episode have no views: this many empty windows do not end its curve. */
const EMPTY_WINDOWS = 2;
/** A window that may still get views is fetched again after this time at the earliest. */
const REFETCH_MS = 2_000;

/** @param {number} timeMs */
export function windowOf(timeMs) {
  return Math.floor(timeMs / WINDOW_MS);
}

export class MindWindows {
  /** The episodes of the known views, by the number of their window. @type {Map<number, Set<number | null>>} */
  episodes = new Map();
  /** When each window was requested, on this page's clock. @type {Map<number, number>} */
  asked = new Map();
  /** The windows that were fetched after they were over. @type {Set<number>} */
  whole = new Set();
  /** Every live view since this one is known: its time, and when it arrived on this page's clock. */
  live = { sinceMs: Infinity, at: Infinity };

  clear() {
    this.episodes.clear();
    this.asked.clear();
    this.whole.clear();
    this.missLive();
  }

  /** Record that live views may be missing from now on. */
  missLive() {
    this.live = { sinceMs: Infinity, at: Infinity };
  }

  /** @param {Mind} mind that arrived live */
  addLive({ time_ms: sinceMs }) {
    if (this.live.at === Infinity) this.live = { sinceMs, at: performance.now() };
  }

  /** @param {Mind} mind that is known now */
  add({ time_ms: timeMs, episode }) {
    const window = windowOf(timeMs);
    const episodes = this.episodes.get(window);
    if (episodes) episodes.add(episode);
    else this.episodes.set(window, new Set([episode]));
  }

  /** Forget the windows that are not within two times. @param {number} firstMs @param {number} lastMs */
  keep(firstMs, lastMs) {
    for (const window of new Set([...this.episodes.keys(), ...this.asked.keys()])) {
      if (window * WINDOW_MS >= firstMs && (window + 1) * WINDOW_MS <= lastMs) continue;
      this.episodes.delete(window);
      this.asked.delete(window);
      this.whole.delete(window);
    }
    if (lastMs < Infinity) this.missLive();
    else this.live.sinceMs = Math.max(this.live.sinceMs, firstMs);
  }

  /** @param {number} window */
  wasAskedLately(window) {
    return performance.now() - (this.asked.get(window) ?? -Infinity) < REFETCH_MS;
  }

  /**
   * The number of a window between two times that was not fetched; null if there is none.
   * @param {number} fromMs @param {number} toMs @param {boolean} hasFound whether a view of the moment is known
   */
  missingBetween(fromMs, toMs, hasFound) {
    for (const window of [windowOf(toMs), windowOf(fromMs)]) {
      const isKnown = this.whole.has(window) || this.wasAskedLately(window) || (hasFound && this.asked.has(window));
      if (!isKnown) return window;
    }
    return null;
  }

  /**
   * The number of the next window of an episode to fetch, first towards its start; null if all are known.
   * @param {number} hereMs a time within the episode @param {number | null} episode
   * @param {number} firstMs of the run @param {number} lastMs
   */
  missingOfEpisode(hereMs, episode, firstMs, lastMs) {
    const here = windowOf(hereMs);
    const first = Math.max(here - MOST_WINDOWS + 1, windowOf(firstMs));
    const last = Math.min(here + MOST_WINDOWS, windowOf(lastMs));
    for (const step of [-1, 1]) {
      let empty = 0;
      for (let window = here; window >= first && window <= Math.max(here, last); window += step) {
        const isLive = window * WINDOW_MS >= this.live.sinceMs || (this.asked.get(window) ?? 0) >= this.live.at;
        if (!isLive && !this.whole.has(window) && !this.wasAskedLately(window)) return window;
        const episodes = this.episodes.get(window);
        empty = episodes ? 0 : empty + 1;
        const isOver = window !== here && episodes && (episodes.size > 1 || !episodes.has(episode));
        if (isOver || empty > EMPTY_WINDOWS) break;
      }
    }
    return null;
  }
}
