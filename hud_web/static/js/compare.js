// @ts-check
/** Past sessions beside the present one: their points, fetched for the charts that are seen, as faint lines. */

import { Api } from "./api.js";
import { Series } from "./rings.js";

/** @import { Session } from "./types.js" */
/** @typedef {{name: string, startMs: number, series: Map<string, Series>}} Other */

export class Compare {
  /** @param {string} channel */
  constructor(channel) {
    this.channel = channel;
    /** @type {Map<string, {session: Session, api: Api, asked: Set<string>, other: Other}>} */
    this.all = new Map();
    /** @type {Set<string>} the sessions that are compared, by their public number */
    this.chosen = new Set();
  }

  /** @param {Session[]} sessions */
  choose(sessions) {
    this.chosen = new Set(sessions.map((session) => session.sid ?? ""));
    for (const [sid, one] of this.all) {
      if (this.chosen.has(sid)) continue;
      one.api.stop();
      this.all.delete(sid);
    }
    for (const session of sessions) {
      const sid = session.sid ?? "";
      if (this.all.has(sid)) continue;
      const other = { name: session.name ?? sid, startMs: session.started_ms ?? 0, series: new Map() };
      this.all.set(sid, { session, api: new Api({ channel: this.channel, session: sid }), asked: new Set(), other });
    }
  }

  /** Fetch what is not here yet. @param {string[]} paths @returns {Promise<boolean>} whether anything came */
  async load(paths) {
    const answers = await Promise.all([...this.all.values()].map(async ({ api, asked, other }) => {
      const wanted = paths.filter((path) => !asked.has(path));
      if (!wanted.length) return false;
      for (const path of wanted) asked.add(path);
      const answer = await api.history(wanted);
      for (const path of wanted) {
        const past = answer?.series?.[path];
        if (!past) continue;
        const series = new Series();
        series.prepend(past.time_ms, past.step, past.value);
        other.series.set(path, series);
      }
      return Boolean(answer);
    }));
    return answers.some(Boolean);
  }

  /** The lines of the other sessions for a field. @param {string} path @returns {{name: string, startMs: number, series: Series}[]} */
  of(path) {
    const found = [];
    for (const { other } of this.all.values()) {
      const series = other.series.get(path);
      if (series?.length) found.push({ name: other.name, startMs: other.startMs, series });
    }
    return found;
  }
}
