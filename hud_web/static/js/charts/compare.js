// @ts-check
/**
 * Other runs, of any channel, beside the one shown: fetches their points for the charts in view, and the new points of
 * the live ones in one request for all. The browser stores the choice of runs.
 */

import { isNumber } from "../data/nested.js";
import { Series } from "../data/rings.js";
import { Api } from "../server/api.js";
import { remember } from "../ui/memory.js";
import { EPISODE_FIELDS } from "./recipes.js";
import { distinctNames, groupsOf, keyOf, MOST_COMPARED } from "./run-names.js";

export { keyOf, MOST_COMPARED, readKeys } from "./run-names.js";

/** @import { Roles, Session } from "../data/types.js" */
/** @import { Points } from "../server/api.js" */
/** @import { Group, Run } from "./run-names.js" */
/**
 * @typedef {{key: string, name: string, startMs: number, slot: number, series: Series, version: number,
 *   episodeAt: (timeMs: number) => number}} Other a field of another run; `key`: CHANNEL:SID; `slot`: its
 *   colour; `version`: of its points
 *
 * @typedef {{session: Run, slot: number, api: Api, asked: Set<string>, series: Map<string, Series>, version: number,
 *   roles: Roles | null, position: string, isGone: boolean}} One a compared run; `series`: by the path in the run
 *   shown; `roles`: null while unknown; `position`: after the newest points that the page has; `isGone`:
 *   deleted meanwhile
 */

/** The prefix of the columns of the configuration. */
const CONFIG = "config.";
/** Fields of one request: servers limit the length of a URL. */
const MOST_FIELDS = 40;
/** Charts come into view together; their requests are batched for this time. */
const GATHER_MS = 60;
/** The points of live runs are fetched at this interval, and the state of the runs once in ASK_STATE_EVERY times. */
const REFRESH_MS = 2_000;
const ASK_STATE_EVERY = 5;
/** A request without a response is repeated after this time. */
const AGAIN_MS = 3_000;
/** The history and the newest points overlap by this time: the streams of a run are read one after the other. */
const OVERLAP_MS = 1_000;

export class Compare {
  /**
   * @param {string} channel the choice of runs is stored for
   * @param {{shown: () => Session | null, roles: () => Roles, seen: () => string[], onPoints: () => void,
   *   onRuns: () => void}} parts `shown`: the run that the page shows, which is never compared with itself; `roles`:
   *   its; `seen`: paths of the charts in view; `onPoints`: points came; `onRuns`: a run, its state or group changed
   */
  constructor(channel, { shown, roles, seen, onPoints, onRuns }) {
    this.channel = channel;
    this.roles = roles;
    this.seen = seen;
    this.shownRun = shown;
    this.onPoints = onPoints;
    this.onRuns = onRuns;
    this.api = new Api({ channel: "", session: "" });
    /** By CHANNEL:SID. @type {Map<string, One>} */
    this.all = new Map();
    /** Runs of the address that do not exist (any more). @type {string[]} */
    this.missing = [];
    /** How the runs are grouped: "name", "tag", "config.PATH"; "" for not at all. */
    this.by = "";
    /** Columns of the configuration that the runs can be grouped by. @type {string[]} */
    this.columns = [];
    /** The run shown, with its tags and columns. @type {Run | null} */
    this.own = null;
    this.named = { of: "", names: /** @type {Map<string, string>} */ (new Map()) };
    /** @type {Set<string>} */
    this.wanted = new Set();
    this.gathering = 0;
    this.refreshes = 0;
    this.isRefreshing = false;
    this.refreshing = setInterval(() => this.refresh(), REFRESH_MS);
  }

  /** Stop all requests. */
  close() {
    clearInterval(this.refreshing);
    clearTimeout(this.gathering);
    this.api.stop();
    for (const { api } of this.all.values()) api.stop();
  }

  /** CHANNEL:SID of each compared run. */
  get chosen() {
    return new Set(this.all.keys());
  }

  /** CHANNEL:SID of the run shown. */
  shown() {
    const run = this.shownRun();
    return run ? keyOf(run) : "";
  }

  /** The compared runs whose lines are drawn: all but the one that the page shows. */
  get drawn() {
    const shown = this.shown();
    return [...this.all].filter(([key]) => key !== shown).map(([, one]) => one);
  }

  sessions() {
    return [...this.all.values()].map(({ session }) => session);
  }

  /** @param {Session} session */
  add(session) {
    this.choose([...this.sessions(), session]);
    this.describe(true);
  }

  /** @param {Session[]} sessions */
  remove(...sessions) {
    const keys = new Set(sessions.map(keyOf));
    this.choose(this.sessions().filter((one) => !keys.has(keyOf(one))));
  }

  /** @param {Run[]} sessions */
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
        position: "",
        isGone: false,
      });
    }
    remember(`compare.${this.channel}`, [...this.all.keys()]);
    this.onRuns();
  }

  /** Choose runs by their names, and tell which do not exist. @param {string[]} keys CHANNEL:SID */
  async restore(keys) {
    const wanted = keys.slice(0, MOST_COMPARED);
    for (;;) {
      const runs = await this.fetchRuns(wanted);
      if (runs) {
        const known = new Map(runs.map((run) => [keyOf(run), run]));
        this.missing = wanted.filter((key) => !known.has(key));
        this.choose(wanted.map((key) => known.get(key)).filter((run) => run !== undefined));
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (this.api.abort.signal.aborted) return;
    }
  }

  /** Group the runs. @param {string} by "name", "tag", "config.PATH"; "" for not at all */
  async group(by) {
    this.by = by;
    remember("compare.group", by);
    this.onRuns();
    await this.describe(true);
  }

  /** The groups of all runs, with the one shown. @returns {Group[]} */
  groups() {
    const own = this.own && keyOf(this.own) === this.shown() ? this.own : this.shownRun();
    const groups = groupsOf([...(own ? [own] : []), ...this.drawn.map(({ session }) => session)], this.by);
    const taken = new Set();
    for (const group of groups) {
      const slots = group.keys.flatMap((key) => this.all.get(key)?.slot ?? []);
      group.slot = slots.find((slot) => !taken.has(slot)) ?? slots[0] ?? 0;
      taken.add(group.slot);
    }
    return groups;
  }

  /** A name for each run that no other one has, by CHANNEL:SID. */
  names() {
    const own = this.shownRun();
    const runs = [...(own ? [own] : []), ...this.drawn.map(({ session }) => session)];
    const named = runs.map((run) => `${keyOf(run)} ${run.name}`).join();
    if (named !== this.named.of) this.named = { of: named, names: distinctNames(runs) };
    return this.named.names;
  }

  /**
   * Fetch the state of all runs, their tags, and the column that groups them.
   * @param {boolean} [isWhole] with the columns that could group them
   */
  async describe(isWhole = false) {
    const shown = this.shown();
    const keys = [...new Set([...this.all.keys(), ...(shown ? [shown] : [])])];
    const runs = this.all.size ? await this.fetchRuns(keys, isWhole) : null;
    if (!runs) return;
    const known = new Map(runs.map((run) => [keyOf(run), run]));
    const wereLive = this.drawn.filter(({ session }) => session.status === "live");
    this.own = known.get(shown) ?? null;
    for (const [key, one] of this.all) {
      const run = known.get(key);
      one.isGone = !run;
      if (run) one.session = run;
    }
    for (const one of wereLive) if (one.session.status !== "live") this.reload(one); // its last points
    this.onRuns();
  }

  /**
   * @param {string[]} keys @param {boolean} [isWhole] with the columns that could group them
   * @returns {Promise<Run[] | null>} those that exist; null without a response
   */
  async fetchRuns(keys, isWhole = true) {
    if (!keys.length) return [];
    /** @type {Record<string, string | number | string[]>} */
    const query = { run: keys, limit: keys.length };
    if (this.by.startsWith(CONFIG)) query.column = this.by;
    if (isWhole) query.columns = 1;
    const answer = await this.api.get("api/runs", query);
    if (!answer) return null;
    if (isWhole)
      this.columns = (answer.columns ?? [])
        .map((/** @type {{name: string}} */ { name }) => name)
        .filter((/** @type {string} */ name) => name.startsWith(CONFIG));
    return answer.runs;
  }

  // -- points

  /** Fetch the points of these fields that the page does not have yet. @param {string[]} paths */
  want(paths) {
    for (const path of paths) this.wanted.add(path);
    clearTimeout(this.gathering);
    this.gathering = setTimeout(() => this.load(), GATHER_MS);
  }

  async load() {
    const paths = [...this.wanted];
    this.wanted.clear();
    if (!paths.length) return;
    const answers = await Promise.all(this.drawn.map((one) => this.loadOne(one, paths)));
    if (answers.includes(false)) setTimeout(() => this.want(this.seen()), AGAIN_MS);
  }

  /** @param {One} one whose points the page has only in part */
  reload(one) {
    one.asked.clear();
    one.position = "";
    this.want(this.seen());
  }

  /** @param {One} one @param {string[]} paths @returns {Promise<boolean>} whether the server answered */
  async loadOne(one, paths) {
    const wanted = [...new Set([...paths, ...this.episodeFields()])].filter((path) => !one.asked.has(path));
    for (const path of wanted) one.asked.add(path);
    for (let first = 0; first < wanted.length; first += MOST_FIELDS) {
      const some = wanted.slice(first, first + MOST_FIELDS);
      let answer = await one.api.history(some.map((path) => this.sameIn(one, path)));
      if (answer?.roles && !one.roles) {
        one.roles = answer.roles; // its fields may have other names
        const theirs = some.map((path) => this.sameIn(one, path));
        if (theirs.some((path, i) => path !== some[i])) answer = await one.api.history(theirs);
      }
      if (!answer) {
        for (const path of wanted.slice(first)) one.asked.delete(path);
        return one.isGone;
      }
      one.roles = answer.roles ?? one.roles;
      let newest = 0;
      for (const path of some) {
        const past = answer.series?.[this.sameIn(one, path)];
        if (!past) continue;
        const series = new Series();
        series.prepend(past.time_ms, past.step, past.value);
        one.series.set(path, series);
        newest = Math.max(newest, past.time_ms[past.time_ms.length - 1] ?? 0);
      }
      if (!one.position) one.position = String(Math.max(0, (newest || (one.session.started_ms ?? 0)) - OVERLAP_MS));
      one.version++;
      this.onPoints();
    }
    return true;
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

  /** Fetch the newest points of the live runs, for the charts in view, and at times the state of all runs. */
  async refresh() {
    if (document.visibilityState === "hidden" || this.isRefreshing || !this.all.size) return;
    this.isRefreshing = true;
    try {
      const live = this.drawn.filter(({ session, position }) => session.status === "live" && position);
      if (live.length) await this.follow(live);
      const mayChange = this.drawn.some(({ session }) => session.status === "live" || session.status === "lapsed");
      if (mayChange && ++this.refreshes % ASK_STATE_EVERY === 0) await this.describe();
    } finally {
      this.isRefreshing = false;
    }
  }

  /** @param {One[]} live */
  async follow(live) {
    const paths = [...new Set([...this.seen(), ...this.episodeFields()])];
    for (const one of live) for (const path of one.asked) if (!paths.includes(path)) one.asked.delete(path);
    const fields = [...new Set(live.flatMap((one) => paths.map((path) => this.sameIn(one, path))))];
    const run = live.map(({ session, position }) => `${keyOf(session)}@${position}`);
    /** @type {Map<One, string>} */
    const positions = new Map();
    let hasNew = false;
    for (let first = 0; first < fields.length; first += MOST_FIELDS) {
      const answer = await this.api.get("api/points", { run, field: fields.slice(first, first + MOST_FIELDS) });
      if (!answer) return;
      for (const one of live) {
        const news = answer.runs?.[keyOf(one.session)];
        if (!news) continue;
        if (!positions.has(one)) positions.set(one, news.position);
        if (!news.complete) this.reload(one);
        else if (this.append(one, paths, news.series)) hasNew = true;
      }
    }
    for (const [one, position] of positions) if (one.position) one.position = position;
    if (hasNew) this.onPoints();
  }

  /**
   * Append points to the fields that the page follows; it may have some of them already, from the history.
   * @param {One} one @param {string[]} paths @param {Record<string, Points>} news by the path in the other run
   * @returns {boolean} whether there were any
   */
  append(one, paths, news) {
    let hasNew = false;
    for (const path of paths) {
      const points = news[this.sameIn(one, path)];
      if (!points || !one.asked.has(path)) continue;
      const series = one.series.get(path) ?? new Series();
      one.series.set(path, series);
      const last = series.length ? series.time[series.length - 1] : -Infinity;
      points.time_ms.forEach((timeMs, i) => {
        const value = points.value[i];
        if (timeMs > last && isNumber(value)) series.add(timeMs, points.step[i], value);
        hasNew ||= timeMs > last;
      });
    }
    if (hasNew) one.version++;
    return hasNew;
  }

  /** The lines of the other runs for a field. @param {string} path @returns {Other[]} */
  of(path) {
    const found = [];
    const names = this.names();
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
        name: names.get(keyOf(session)) ?? "",
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
