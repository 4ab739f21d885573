// @ts-check
/**
 * The rows of the table: fetches pages of runs as they come into view, or all runs of a grouped table, and merges the
 * news of the stream into them. Sorting and filtering are the server's.
 */

import { fetchRuns } from "../server/runs.js";
import { keyOf } from "../runs/feed.js";
import { groupsOf } from "./groups.js";
import { listQuery } from "./view.js";

/** @import { Run } from "../server/runs.js" */
/** @import { Group } from "./groups.js" */
/** @import { View } from "./view.js" */
/**
 * @typedef {{run: Run | null, group: Group | null, isInside: boolean}} Item a row: a run, the head of a group, or
 *   neither while it is fetched; `isInside`: the run is listed below its group
 */

const PAGE = 100;
const LARGEST_PAGE = 500;
/** A grouped table holds this number of runs at most: ten requests. */
export const MOST_GROUPED = 5_000;

const PENDING = /** @type {Item} */ ({ run: null, group: null, isInside: false });

export class Listing {
  /**
   * @param {Map<string, Run>} news the stream's runs, which may be newer than an answer
   * @param {() => void} onChange
   */
  constructor(news, onChange) {
    this.news = news;
    this.onChange = onChange;
    /** By index in the server's order; holes are not fetched yet. @type {Item[]} */
    this.items = [];
    /** @type {Map<string, Run>} */
    this.runs = new Map();
    /** Runs that match, on the server. */
    this.total = 0;
    this.isLoading = false;
    this.isViewOnly = false;
    this.isAway = false;
    this.error = "";
    /** When the list was fetched, on the server's clock; runs that start later are not in it. */
    this.loadedMs = 0;
    /** @type {View | null} */
    this.view = null;
    this.abort = new AbortController();
    /** Pages that were asked for. @type {Set<number>} */
    this.asked = new Set();
  }

  /**
   * Fetch the list of a view; the rows of the old one stay until its answer.
   * @param {View} view @param {number} [first] the row at the top of the table's view @param {number} [nowMs]
   */
  async load(view, first = 0, nowMs = Date.now()) {
    this.abort.abort();
    this.abort = new AbortController();
    this.isLoading = true;
    this.onChange();
    const page = view.group || view.differences ? 0 : Math.floor(first / PAGE);
    const limit = view.group || view.differences ? LARGEST_PAGE : PAGE;
    const answer = await this.fetch(view, limit, page * PAGE);
    if (!answer) return;
    this.isLoading = false;
    this.error = answer.error;
    if (!answer.error) {
      this.view = view;
      this.loadedMs = nowMs;
      this.total = answer.total;
      this.items = [];
      this.runs.clear();
      this.asked = new Set([page]);
      this.put(page * PAGE, answer.runs);
      this.items.length = Math.max(this.items.length, Math.min(answer.total, page * PAGE + answer.runs.length));
      if (view.group) await this.loadRest(view, answer.runs);
      else this.items.length = answer.total;
    }
    this.onChange();
  }

  /** Fetch the other runs of a grouped table. @param {View} view @param {Run[]} runs */
  async loadRest(view, runs) {
    this.group(view, runs);
    while (runs.length < Math.min(this.total, MOST_GROUPED)) {
      this.onChange();
      const answer = await this.fetch(view, LARGEST_PAGE, runs.length);
      if (!answer || answer.error || !answer.runs.length) return;
      runs.push(...answer.runs);
      this.group(view, runs);
    }
  }

  /** @param {View} view @param {Run[]} runs */
  group(view, runs) {
    for (const run of runs) this.add(run);
    this.grouped = groupsOf([...this.runs.values()], view.group);
    this.unfold(view);
  }

  /** List the heads of the groups, and the runs of the open ones. @param {View} view */
  unfold(view) {
    const isOpen = new Set(view.open);
    this.items = (this.grouped ?? []).flatMap((group) => [
      { run: null, group, isInside: false },
      ...(isOpen.has(group.key) ? group.runs.map((run) => ({ run, group: null, isInside: true })) : []),
    ]);
  }

  /** @param {View} view @param {number} limit @param {number} offset */
  async fetch(view, limit, offset) {
    const { signal } = this.abort;
    const answer = await fetchRuns(listQuery(view, { limit, offset }), signal);
    if (signal.aborted || !answer) return null;
    this.isViewOnly = answer.isViewOnly;
    this.isAway = answer.isAway;
    return answer;
  }

  /** @param {number} offset @param {Run[]} runs */
  put(offset, runs) {
    runs.forEach((run, i) => {
      this.items[offset + i] = { run, group: null, isInside: false };
      this.add(run);
    });
  }

  /** @param {Run} run */
  add(run) {
    const key = keyOf(run);
    this.runs.set(key, Object.assign(run, this.news.get(key)));
  }

  /** @param {number} index @returns {Item} */
  at(index) {
    return this.items[index] ?? PENDING;
  }

  /** Fetch the rows between these indices, if they are missing. @param {number} first @param {number} last */
  async need(first, last) {
    const { view } = this;
    if (!view || view.group || view.differences) return;
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.asked.has(page) || page * PAGE >= this.total) continue;
      this.asked.add(page);
      const answer = await this.fetch(view, PAGE, page * PAGE);
      if (!answer) return;
      if (answer.error) this.asked.delete(page);
      else this.put(page * PAGE, answer.runs);
      this.onChange();
    }
  }

  /**
   * Merge news of a run, from the stream or from an answer.
   * @param {Partial<Run> & {channel: string, sid: string}} part
   * @returns {boolean} whether the list has the run
   */
  patch(part) {
    const run = this.runs.get(keyOf(part));
    if (run) Object.assign(run, part, { columns: part.columns ?? run.columns });
    return run !== undefined;
  }

  /** The number of runs that match now; null if the server does not answer. */
  async count() {
    if (!this.view) return null;
    const answer = await fetchRuns(listQuery(this.view, { limit: 1 }));
    return !answer || answer.error ? null : answer.total;
  }
}
