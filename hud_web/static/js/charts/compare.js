// @ts-check
/**
 * Other runs, of any channel, beside the one shown: fetches their points for the charts in view, and again while they
 * are live. The browser stores the choice of runs.
 */

import { Series } from "../data/rings.js";
import { Api } from "../server/api.js";
import { remember } from "../ui/memory.js";
import { EPISODE_FIELDS } from "./recipes.js";

/** @import { Roles, Session } from "../data/types.js" */
/**
 * @typedef {{key: string, name: string, startMs: number, slot: number, series: Series, version: number,
 *   episodeAt: (timeMs: number) => number}} Other a field of another run; `key`: CHANNEL:SID; `slot`: its
 *   colour; `version`: of its points
 *
 * @typedef {{session: Session, slot: number, api: Api, asked: Set<string>, series: Map<string, Series>,
 *   version: number, roles: Roles | null}} One a compared run; `series`: by the path in the session shown; `roles`:
 *   null while unknown
 */

/** Each run has a different colour or dash. */
export const MOST_COMPARED = 24;
/** A live session's points are fetched at this interval, and its state once in ASK_STATE_EVERY times. */
const REFRESH_MS = 5_000;
const ASK_STATE_EVERY = 6;

/** The name of a run in an address: CHANNEL:SID. @param {{channel: string, sid: string | null}} run */
export function keyOf({ channel, sid }) {
  return `${channel}:${sid ?? ""}`;
}

/**
 * The runs that an address names: "CHANNEL:SID,CHANNEL:SID", or "SID~SID" of one channel, the form of earlier versions.
 * @param {string} text @param {string} channel of the second form
 * @returns {string[]} CHANNEL:SID
 */
export function readKeys(text, channel) {
  const names = text.includes(":") ? text.split(",") : text.split("~").map((sid) => `${channel}:${sid}`);
  return [...new Set(names)].filter((name) => /^[^:,]+:[0-9]+$/.test(name));
}

export class Compare {
  /**
   * @param {string} channel the choice of runs is stored for
   * @param {() => string} shown CHANNEL:SID of the run that the page shows, which is never compared with itself
   * @param {() => Roles} roles of the run shown
   */
  constructor(channel, shown, roles) {
    this.channel = channel;
    this.roles = roles;
    this.shown = shown;
    /** By CHANNEL:SID. @type {Map<string, One>} */
    this.all = new Map();
    this.refreshes = 0;
  }

  /** CHANNEL:SID of each compared run. */
  get chosen() {
    return new Set(this.all.keys());
  }

  /** The compared runs whose lines are drawn: all but the one that the page shows. */
  get drawn() {
    return [...this.all.values()].filter(({ session }) => keyOf(session) !== this.shown());
  }

  /** @param {Session[]} sessions */
  choose(sessions) {
    const wanted = new Map(sessions.slice(0, MOST_COMPARED).map((session) => [keyOf(session), session]));
    for (const [key, one] of this.all) {
      if (wanted.has(key)) continue;
      one.api.stop();
      this.all.delete(key);
    }
    const slots = new Set([...this.all.values()].map(({ slot }) => slot));
    for (const [key, session] of wanted) {
      if (this.all.has(key)) continue;
      const slot = Array.from({ length: MOST_COMPARED }, (_, i) => i).find((free) => !slots.has(free)) ?? 0;
      slots.add(slot);
      this.all.set(key, {
        session,
        slot,
        api: new Api({ channel: session.channel, session: session.sid ?? "" }),
        asked: new Set(),
        series: new Map(),
        version: 0,
        roles: null,
      });
    }
    remember(`compare.${this.channel}`, [...this.all.keys()]);
  }

  /** @param {Session} session */
  add(session) {
    this.choose([...this.sessions(), session]);
  }

  /** @param {Session} session */
  remove(session) {
    this.choose(this.sessions().filter((one) => keyOf(one) !== keyOf(session)));
  }

  sessions() {
    return [...this.all.values()].map(({ session }) => session);
  }

  /** Choose runs by their names. @param {string[]} keys CHANNEL:SID */
  async restore(keys) {
    const known = new Map((await this.describe(keys)).map((session) => [keyOf(session), session]));
    this.choose(keys.map((key) => known.get(key)).filter((session) => session !== undefined));
  }

  /** Fetch the details of runs. @param {string[]} keys @returns {Promise<Session[]>} of those that exist */
  async describe(keys) {
    const channels = [...new Set(keys.map((key) => key.slice(0, key.indexOf(":"))))];
    const answers = await Promise.all(channels.map((channel) => new Api({ channel, session: "" }).get("api/sessions")));
    /** @type {Session[]} */
    const sessions = answers.flatMap((answer) => answer?.sessions ?? []);
    return sessions.filter((session) => keys.includes(keyOf(session)));
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
   * Another run's field with the same role and label, else the field of the same name.
   * @param {One} one @param {string} path
   */
  sameIn(one, path) {
    for (const [role, fields] of Object.entries(this.roles())) {
      const own = fields.find((field) => field.path === path);
      if (own) return one.roles?.[role]?.find(({ label }) => label === own.label)?.path ?? path;
    }
    return path;
  }

  /** Fields for the axis of episodes: the other run most likely has the same one. */
  episodeFields() {
    return [...(this.roles().episodes ?? []).map(({ path }) => path), ...EPISODE_FIELDS];
  }

  /**
   * Fetch the points of live runs again, for the charts in view.
   * @param {string[]} paths
   * @returns {Promise<boolean>}
   */
  async refresh(paths) {
    const live = this.drawn.filter(({ session }) => session.status === "live");
    if (!live.length) return false;
    for (const { asked } of live) asked.clear();
    if (this.refreshes++ % ASK_STATE_EVERY === ASK_STATE_EVERY - 1) {
      for (const session of await this.describe(live.map(({ session }) => keyOf(session)))) {
        const one = this.all.get(keyOf(session));
        if (one) one.session = session;
      }
    }
    return this.load(paths);
  }

  /** Call back at an interval while a compared run is live. @param {() => void} refresh */
  every(refresh) {
    setInterval(
      () =>
        document.visibilityState === "visible" &&
        this.drawn.some(({ session }) => session.status === "live") &&
        refresh(),
      REFRESH_MS,
    );
  }

  /** The lines of the other runs for a field. @param {string} path @returns {Other[]} */
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
        key: keyOf(session),
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
