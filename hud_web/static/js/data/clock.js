// @ts-check
/** The server's clock, estimated from the times in its messages, and the latency of live entries on that clock. */

import { entryTime, isNumber } from "./nested.js";

export class ServerClock {
  /**
   * Server clock minus this clock: the largest difference seen, since a delay can only reduce it.
   * @type {number | null}
   */
  offsetMs = null;
  /** From the making of the newest live picture or value to its arrival. @type {number | null} */
  latencyMs = null;

  /** This moment on the server's clock. */
  now() {
    return Date.now() + (this.offsetMs ?? 0);
  }

  /** Learn from a time that the server's clock had already reached. @param {number | null} serverTimeMs */
  sync(serverTimeMs) {
    if (!isNumber(serverTimeMs)) return;
    const offset = serverTimeMs - Date.now();
    this.offsetMs = this.offsetMs === null ? offset : Math.max(this.offsetMs, offset);
  }

  /**
   * Measure a live entry; the result is smoothed to be readable.
   * @param {{id: string | null, time_ms: number}} entry
   */
  measure(entry) {
    let late = this.now() - entry.time_ms;
    if (late < 0) late = this.now() - entryTime(entry); // the writer's clock is ahead; Redis' may fit better
    this.latencyMs = this.latencyMs === null || late < 0 ? late : this.latencyMs * 0.8 + late * 0.2;
  }
}
