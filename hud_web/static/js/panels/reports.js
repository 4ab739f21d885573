// @ts-check
/**
 * The reports of the run's processes: deaths, restarts and log lines, from before the page was opened and since. What
 * the monitor found about a process that could not report comes from the annotations.
 */

import { toReport } from "../data/reports.js";

/** @import { Report } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */

/** Reports kept: a process sends at most its last 200 log lines at once. */
const MOST = 2_000;
/** Annotations about processes; a death that a process reported is in the reports, too. */
const KINDS = new Set(["process_died", "process_lost", "process_back", "restarted", "session_lapsed"]);
const SHOWN = new Set(["death", "restart", "log"]);
const LOSSES = new Set(["process_died", "process_lost", "session_lapsed"]);

export class Reports {
  /** @param {Store} store @param {() => import("../server/api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    /** In order of time. @type {Report[]} */
    this.all = [];
    /** @type {Set<string>} */
    this.known = new Set();
    store.on("report", (report) => this.add([report]));
    store.on("snapshot", () => this.load());
    store.on("annotation", (annotation) => KINDS.has(annotation.kind) && store.emit("reports"));
    store.on("annotations", () => store.emit("reports"));
    store.on("cleared", () => {
      this.all = [];
      this.known.clear();
    });
    if (store.snapshotSeen) this.load();
  }

  /** Annotations about processes. */
  get annotations() {
    return this.store.annotations.filter(({ kind }) => KINDS.has(kind));
  }

  /** Whether there is anything to show. */
  get any() {
    return this.all.some(({ kind }) => SHOWN.has(kind)) || this.annotations.length > 0;
  }

  /** Whether a process died or was lost. */
  get hasLoss() {
    return this.all.some(({ kind }) => kind === "death") || this.annotations.some(({ kind }) => LOSSES.has(kind));
  }

  async load() {
    const api = this.api();
    const sid = this.store.session?.sid;
    if (!sid) return;
    const answer = await api.get("api/reports", { limit: MOST });
    if (answer && api === this.api() && sid === this.store.session?.sid) this.add(answer.reports.map(toReport));
  }

  /** @param {Report[]} reports */
  add(reports) {
    const fresh = reports.filter(({ id }) => !this.known.has(id));
    if (!fresh.length) return;
    for (const { id } of fresh) this.known.add(id);
    this.all = [...this.all, ...fresh].sort((a, b) => a.time_ms - b.time_ms).slice(-MOST);
    this.store.emit("reports");
  }
}
