// @ts-check
/**
 * Other sessions beside the one shown: fetches their points for the charts in view, and again while they are live. The
 * browser stores the choice of sessions.
 */

import { Series } from "../data/rings.js";
import { Api } from "../server/api.js";
import { remember } from "../ui/memory.js";
import { EPISODE_FIELDS } from "./recipes.js";

/** @import { Roles, Session } from "../data/types.js" */
/**
 * @typedef {{sid: string, name: string, startMs: number, slot: number, series: Series, version: number,
 *   episodeAt: (timeMs: number) => number}} Other a field of another session; `slot`: its colour; `version`: of its
 *   points
 *
 * @typedef {{session: Session, slot: number, api: Api, asked: Set<string>, series: Map<string, Series>,
 *   version: number, roles: Roles | null}} One a compared session; `series`: by the path in the session shown; `roles`:
 *   null while unknown
 */

/** Each session has a different colour. */
export const MOST_COMPARED = 4;
/** A live session's points are fetched at this interval, and its state once in ASK_STATE_EVERY times. */
const REFRESH_MS = 5_000;
const ASK_STATE_EVERY = 6;

export class Compare {
  /**
   * @param {string} channel
   * @param {() => string} shown the session that the page shows, which is never compared with itself
   * @param {() => Roles} roles of the session shown
   */
  constructor(channel, shown, roles) {
    this.channel = channel;
    this.roles = roles;
    this.shown = shown;
    this.api = new Api({ channel, session: "" });
    /** By sid, the public number of a session. @type {Map<string, One>} */
    this.all = new Map();
    this.refreshes = 0;
  }

  /** The sids of the compared sessions. */
  get chosen() {
    return new Set(this.all.keys());
  }

  /** The compared sessions whose lines are drawn: all but the one that the page shows. */
  get drawn() {
    return [...this.all.values()].filter(({ session }) => session.sid !== this.shown());
  }

  /** @param {Session[]} sessions */
  choose(sessions) {
    const wanted = new Set(sessions.map((session) => session.sid ?? ""));
    for (const [sid, one] of this.all) {
      if (wanted.has(sid)) continue;
      one.api.stop();
      this.all.delete(sid);
    }
    for (const session of sessions.slice(0, MOST_COMPARED)) {
      const sid = session.sid ?? "";
      if (this.all.has(sid)) continue;
      const taken = new Set([...this.all.values()].map(({ slot }) => slot));
      const slot = [0, 1, 2, 3].find((free) => !taken.has(free)) ?? 0;
      this.all.set(sid, {
        session,
        slot,
        api: new Api({ channel: this.channel, session: sid }),
        asked: new Set(),
        series: new Map(),
        version: 0,
        roles: null,
      });
    }
    remember(`compare.${this.channel}`, [...this.all.keys()]);
  }

  /** Choose sessions by their sids. @param {string[]} sids */
  async restore(sids) {
    const answer = await this.api.get("api/sessions");
    const sessions = (answer?.sessions ?? []).filter((/** @type {Session} */ session) =>
      sids.includes(session.sid ?? ""),
    );
    this.choose(sessions);
  }

  /**
   * Fetch the points that the page does not have yet.
   * @param {string[]} paths
   * @returns {Promise<boolean>} whether anything came
   */
  async load(paths) {
    const answers = await Promise.all(
      this.drawn.map(async (one) => {
        const wanted = [...new Set([...paths, ...this.episodeFields()])].filter((path) => !one.asked.has(path));
        if (!wanted.length) return false;
        for (const path of wanted) one.asked.add(path);
        one.roles ??= (await one.api.get("api/history", { fields: "" }))?.roles ?? null;
        const theirs = wanted.map((path) => this.sameIn(one, path));
        const answer = await one.api.history(theirs);
        one.roles = answer?.roles ?? one.roles;
        for (const [i, path] of wanted.entries()) {
          const past = answer?.series?.[theirs[i]];
          if (!past) continue;
          const series = new Series();
          series.prepend(past.time_ms, past.step, past.value);
          one.series.set(path, series);
        }
        one.version++;
        return Boolean(answer);
      }),
    );
    return answers.some(Boolean);
  }

  /**
   * Another session's field with the same role and label, else the field of the same name.
   * @param {One} one @param {string} path
   */
  sameIn(one, path) {
    for (const [role, fields] of Object.entries(this.roles())) {
      const own = fields.find((field) => field.path === path);
      if (own) return one.roles?.[role]?.find(({ label }) => label === own.label)?.path ?? path;
    }
    return path;
  }

  /** Fields for the axis of episodes: the other session most likely has the same one. */
  episodeFields() {
    return [...(this.roles().episodes ?? []).map(({ path }) => path), ...EPISODE_FIELDS];
  }

  /**
   * Fetch the points of live sessions again, for the charts in view.
   * @param {string[]} paths
   * @returns {Promise<boolean>}
   */
  async refresh(paths) {
    const live = this.drawn.filter(({ session }) => session.status === "live");
    if (!live.length) return false;
    for (const { asked } of live) asked.clear();
    if (this.refreshes++ % ASK_STATE_EVERY === ASK_STATE_EVERY - 1) {
      const answer = await this.api.get("api/sessions");
      for (const session of answer?.sessions ?? []) {
        const one = this.all.get(session.sid);
        if (one) one.session = session;
      }
    }
    return this.load(paths);
  }

  /** Call back at an interval while a compared session is live. @param {() => void} refresh */
  every(refresh) {
    setInterval(
      () =>
        document.visibilityState === "visible" &&
        this.drawn.some(({ session }) => session.status === "live") &&
        refresh(),
      REFRESH_MS,
    );
  }

  /** The lines of the other sessions for a field. @param {string} path @returns {Other[]} */
  of(path) {
    const found = [];
    for (const { session, slot, series: all, version } of this.drawn) {
      const series = all.get(path);
      if (!series?.length) continue;
      const episodes = this.episodeFields()
        .map((name) => all.get(name))
        .find((one) => one?.length);
      const episodeAt = (/** @type {number} */ timeMs) => {
        const at = episodes ? episodes.indexAt(timeMs) : -1;
        return episodes && at >= 0 ? episodes.value[at] : NaN;
      };
      found.push({
        sid: session.sid ?? "",
        name: session.name || `…${session.sid?.slice(-5)}`,
        startMs: session.started_ms ?? 0,
        slot,
        series,
        version,
        episodeAt,
      });
    }
    return found;
  }
}
