// @ts-check
/** Fetches the points from before the page was opened, for the charts in view: once per field and session. */

import { columnsOf } from "../data/leaves.js";

/** @import { Store } from "../data/store.js" */

/** Fields of one request: servers limit the length of a URL. */
const MOST_FIELDS = 40;
const LONGEST_QUERY = 4_000;
/** Charts come into view together; their requests are batched for this time. */
const GATHER_MS = 60;
/** A request without a response is repeated after this time. */
const AGAIN_MS = 3_000;

export class History {
  /** @param {Store} store @param {() => import("../server/api.js").Api} api @param {(path: string) => void} onPoints */
  constructor(store, api, onPoints) {
    this.store = store;
    this.api = api;
    this.onPoints = onPoints;
    /** Fields whose points are fetched or requested. @type {Set<string>} */
    this.asked = new Set();
    /** @type {Set<string>} */
    this.wanted = new Set();
    this.timer = 0;
  }

  /** Request all points again, because the known ones may have gaps. */
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
      length += encodeURIComponent(path).length + "&field=".length;
      if (paths.length && (paths.length >= MOST_FIELDS || length > LONGEST_QUERY)) break;
      paths.push(path);
      this.wanted.delete(path);
      this.asked.add(path);
    }
    const answer = await this.api().history(paths);
    for (const path of paths) {
      if (!answer && this.asked.delete(path)) this.wanted.add(path);
      const leaf = this.store.leaves.get(path);
      const histograms = own(answer?.histograms, path);
      if (histograms && leaf) {
        this.store.rewind.addSteps(histograms);
        columnsOf(leaf).prependAll(histograms);
        this.onPoints(path);
      }
      const past = own(answer?.series, path);
      if (past) this.store.rewind.addSteps(past);
      const series = leaf?.series;
      if (!past || !series) continue;
      series.prepend(past.time_ms, past.step, past.value);
      this.onPoints(path);
    }
    if (this.wanted.size) this.timer = setTimeout(() => this.fetch(), answer ? GATHER_MS : AGAIN_MS);
  }
}

/**
 * A field of an answer; a field may have the name of a property that every object has, such as "constructor".
 * @param {Record<string, any> | undefined} all @param {string} path
 */
function own(all, path) {
  return all && Object.hasOwn(all, path) ? all[path] : undefined;
}
