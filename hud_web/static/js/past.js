// @ts-check
/** Fetches, for the charts that came into view, the points from before the page was opened: once per field and session. */

/** @import { Store } from "./store.js" */

/** Fields per request: an address must not grow beyond what servers take. */
const MOST_FIELDS = 40;
const LONGEST_QUERY = 4_000;
/** Charts come into view together; so long their wishes are gathered. */
const GATHER_MS = 60;

export class Past {
  /** @param {Store} store @param {() => import("./api.js").Api} api @param {(path: string) => void} onCame */
  constructor(store, api, onCame) {
    this.store = store;
    this.api = api;
    this.onCame = onCame;
    /** Fields whose past is here or on its way. @type {Set<string>} */
    this.asked = new Set();
    /** @type {Set<string>} */
    this.wanted = new Set();
    this.timer = 0;
  }

  /** What is known may have gaps: ask again for everything. */
  forget() {
    this.asked.clear();
    this.wanted.clear();
  }

  /** @param {string[]} paths */
  want(paths) {
    for (const path of paths) if (!this.asked.has(path)) this.wanted.add(path);
    clearTimeout(this.timer);
    if (this.wanted.size) this.timer = setTimeout(() => this.fetch(), GATHER_MS);
  }

  async fetch() {
    const paths = [];
    let length = 0;
    for (const path of this.wanted) {
      length += encodeURIComponent(path).length + 3;
      if (paths.length && (paths.length >= MOST_FIELDS || length > LONGEST_QUERY)) break;
      paths.push(path);
      this.wanted.delete(path);
      this.asked.add(path);
    }
    const answer = await this.api().history(paths);
    for (const path of paths) {
      const past = answer?.series?.[path];
      if (past) this.store.learnSteps(past);
      const series = this.store.leaves.get(path)?.series;
      if (!past || !series) continue;
      series.prepend(past.time_ms, past.step, past.value);
      this.onCame(path);
    }
    if (this.wanted.size) this.timer = setTimeout(() => this.fetch(), GATHER_MS);
  }
}
