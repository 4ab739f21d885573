// @ts-check
/**
 * The policy's views of the kept minutes, and the one that belongs to the frame on the stage. Live views come from the
 * stream, older ones from /api/mind, in windows of fixed length that are fetched when they are needed.
 */

import { toMind } from "../data/mind.js";
import { entryPlace, entryTime, isNumber } from "../data/nested.js";
import { lastAt } from "../data/rings.js";
import { Topics } from "../data/topics.js";
import { NAMES } from "./stage.js";

/** @import { Mind } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Api } from "../server/api.js" */
/** @typedef {Pick<import("./stage.js").Shot, "id" | "time_ms" | "step" | "episode" | "env">} Shot */

/** A view that is older than this relative to its frame says nothing about the frame. */
const LONGEST_APART_MS = 1_000;
/** A view and its frame may be appended in two calls of the publisher, this far apart. */
const APPENDED_APART_MS = 1_500;
/** A view that was made this long after a frame still belongs to its moment. */
const SAME_MS = 3;
/** A live view stays this long, so that the panel does not flicker between two episodes. */
const HOLD_MS = 500;
/** One window is about 100 views, as they come at most five times per second. */
const WINDOW_MS = 20_000;
/** Windows of one episode on each side of the moment: five minutes are kept. */
const MOST_WINDOWS = 15;
/** The learner's phases within an episode have no views: this many empty windows do not end its curve. */
const EMPTY_WINDOWS = 2;
/** A window that may still get views is fetched again after this time at the earliest. */
const REFETCH_MS = 2_000;
/** Views are appended within this time: a window that is over for so long gets no more of them. */
const FINAL_AFTER_MS = 3_000;
const MOST_MINDS = 4_000;
/** Without an episode's number, the curve shows this time before and after the moment. */
const UNNUMBERED_MS = 60_000;
const MOST_PICTURES = 64;

/** @extends {Topics<"shown" | "curve">} */
export class Minds extends Topics {
  /** In order of time. @type {Mind[]} */
  all = [];
  /** The view of the moment shown. @type {Mind | null} */
  shown = null;
  /** Whether the views around the moment are still being fetched. */
  isLoading = false;
  /** The episodes of the known views, by the number of their window. @type {Map<number, Set<number | null>>} */
  windows = new Map();
  /** When each window was requested, on this page's clock. @type {Map<number, number>} */
  asked = new Map();
  /** The windows that were fetched after they were over. @type {Set<number>} */
  whole = new Set();
  /** Every live view since this one is known: its time, and when it arrived. */
  live = { sinceMs: Infinity, at: Infinity };
  /** The pictures of observations; the oldest first. @type {Map<string, Blob>} */
  pictures = new Map();
  /** Since when no view belongs to the live frame, on this page's clock; 0: one does. */
  lostAt = 0;
  holdTimer = 0;
  isFetching = false;

  /** @param {Store} store @param {() => Api} api @param {() => Shot | null} frame the frame on the stage */
  constructor(store, api, frame) {
    super();
    this.store = store;
    this.api = api;
    this.frame = frame;
    const miss = () => (this.live = { sinceMs: Infinity, at: Infinity });
    store.on("mind", (mind) => this.add(mind));
    store.on("snapshot", miss);
    store.on("cleared", () => this.clear());
    store.onEach("moment drawn", () => this.follow());
    document.addEventListener("visibilitychange", miss); // a hidden page gets no views
    if (store.mind) this.add(store.mind);
  }

  clear() {
    this.all = [];
    this.windows.clear();
    this.asked.clear();
    this.whole.clear();
    this.pictures.clear();
    this.live = { sinceMs: Infinity, at: Infinity };
    this.show(null, false);
  }

  /** Add a live view. @param {Mind} mind */
  add(mind) {
    if (this.live.at === Infinity) this.live = { sinceMs: mind.time_ms, at: performance.now() };
    this.insert([mind]);
    this.follow();
    this.emit("curve");
  }

  /** @param {Mind[]} minds */
  insert(minds) {
    const known = new Set(this.all.slice(this.indexAt((minds[0]?.t ?? 0) - 1)).map(({ id }) => id));
    const fresh = minds.filter(({ id }) => !known.has(id));
    const last = this.all.at(-1);
    if (!fresh.length) return;
    for (const { time_ms: timeMs, episode } of fresh) {
      const window = Math.floor(timeMs / WINDOW_MS);
      const episodes = this.windows.get(window);
      if (episodes) episodes.add(episode);
      else this.windows.set(window, new Set([episode]));
    }
    this.all.push(...fresh);
    if (last && inOrder(last, fresh[0]) > 0) this.all.sort(inOrder);
    if (this.all.length > MOST_MINDS) this.forget();
  }

  /** Forget the views that are far from the moment; they are fetched again when they are needed. */
  forget() {
    const { moment } = this.store;
    const half = (MOST_WINDOWS * WINDOW_MS) / 2;
    const kept = (/** @type {number} */ ms) => moment === null || Math.abs(ms - this.wantedMs) < half;
    this.all = this.all.slice(moment === null ? MOST_MINDS / 4 : 0).filter(({ time_ms: ms }) => kept(ms));
    const first = this.all[0]?.time_ms ?? Infinity;
    for (const window of this.windows.keys()) {
      const start = window * WINDOW_MS;
      if (start >= first && kept(start) && kept(start + WINDOW_MS)) continue;
      this.windows.delete(window);
      this.asked.delete(window);
      this.whole.delete(window);
    }
    this.live = { sinceMs: Math.max(first, this.live.sinceMs), at: this.live.at };
    if (moment !== null) this.live = { sinceMs: Infinity, at: Infinity };
  }

  /** Index of the first view after a time. @param {number} t */
  indexAt(t) {
    return lastAt(this.all.length, (i) => this.all[i].t, t) + 1;
  }

  /** Show the view of the frame on the stage, or of the moment if the run has no frames. */
  follow() {
    const { moment } = this.store;
    const found = this.find();
    const isLoading = !found && moment !== null && this.missing() !== null;
    if (found || moment !== null || !this.shown) this.lostAt = 0;
    else {
      this.lostAt ||= performance.now();
      const left = this.lostAt + HOLD_MS - performance.now();
      if (left > 0) {
        clearTimeout(this.holdTimer);
        this.holdTimer = setTimeout(() => this.follow(), left + 1);
        return;
      }
    }
    this.show(found, isLoading);
    this.fetch();
  }

  /** @param {Mind | null} mind @param {boolean} isLoading */
  show(mind, isLoading) {
    if (mind === this.shown && isLoading === this.isLoading) return;
    this.shown = mind;
    this.isLoading = isLoading;
    this.emit("shown");
  }

  /** The view that belongs to the moment. @returns {Mind | null} */
  find() {
    const { all, store } = this;
    const { moment } = store;
    const frame = this.frame();
    const newest = all.at(-1) ?? null;
    if (!frame) {
      if (moment === null) return newest;
      const mind = all[this.indexAt(moment) - 1];
      return mind && moment - mind.t <= LONGEST_APART_MS && this.isOfEpisode(mind, moment) ? mind : null;
    }
    const t = entryTime(frame);
    // A run that stopped sending frames goes on without them.
    if (moment === null && newest && newest.t - t > APPENDED_APART_MS) return newest;
    for (let i = this.indexAt(t + APPENDED_APART_MS) - 1; i >= 0; i--) {
      const mind = all[i];
      if (mind.t < t - LONGEST_APART_MS - APPENDED_APART_MS) return null;
      if (belongs(mind, frame)) return mind;
    }
    return null;
  }

  /** Whether the env of a view was in the view's episode at a moment. @param {Mind} mind @param {number} moment */
  isOfEpisode({ env, episode }, moment) {
    const at = { id: null, time_ms: moment, step: null, episode: null, env };
    const told = this.store.rewind.valueFor(NAMES.episode, at);
    return episode === null || !isNumber(told) || told === episode;
  }

  /** The views of the shown one's episode, in order of time: for the curve of its values. @returns {Mind[]} */
  episode() {
    const { all, shown } = this;
    if (!shown) return [];
    const reach = shown.episode === null ? UNNUMBERED_MS : MOST_WINDOWS * WINDOW_MS;
    return all
      .slice(this.indexAt(shown.t - reach - 1), this.indexAt(shown.t + reach))
      .filter((mind) => mind.episode === shown.episode && isSameEnv(mind, shown));
  }

  /** The time whose views are wanted, on the writer's clock as far as it is known. */
  get wantedMs() {
    const { store } = this;
    if (store.moment === null) return this.shown?.time_ms ?? store.now();
    return this.frame()?.time_ms ?? store.moment;
  }

  /** The newest time on the writer's clock that the page knows of. */
  get newestMs() {
    return Math.max(this.store.frame?.time_ms ?? 0, this.all.at(-1)?.time_ms ?? 0);
  }

  /** The number of a window at the rewound moment that was not fetched; null if there is none. */
  missing() {
    const t = this.wantedMs;
    const found = this.find();
    for (const at of [t, t - LONGEST_APART_MS]) {
      const window = Math.floor(at / WINDOW_MS);
      const asked = this.asked.get(window);
      const isKnown = asked !== undefined && (found !== null || performance.now() - asked < REFETCH_MS);
      if (!isKnown && !this.whole.has(window)) return window;
    }
    return null;
  }

  /** The number of the next window of the shown episode to fetch; null if all are known. */
  missingOfEpisode() {
    const { moment, session } = this.store;
    const here = Math.floor(this.wantedMs / WINDOW_MS);
    const first = Math.max(here - MOST_WINDOWS + 1, Math.floor((session?.started_ms ?? 0) / WINDOW_MS));
    const last = moment === null ? here : Math.min(here + MOST_WINDOWS, Math.floor(this.newestMs / WINDOW_MS));
    for (const step of [-1, 1]) {
      let empty = 0;
      for (let window = here; step < 0 ? window >= first : window <= last; window += step) {
        const isLive = window * WINDOW_MS >= this.live.sinceMs || (this.asked.get(window) ?? 0) >= this.live.at;
        if (!isLive && !this.whole.has(window) && !this.asked.has(window)) return window;
        const episodes = this.windows.get(window);
        empty = episodes ? 0 : empty + 1;
        const isOver = window !== here && episodes && (episodes.size > 1 || !episodes.has(this.shown?.episode ?? null));
        if (isOver || empty > EMPTY_WINDOWS) break;
      }
    }
    return null;
  }

  /** Fetch the missing windows one after the other: first that of the moment, then the rest of the episode. */
  async fetch() {
    const { moment, session, mind } = this.store;
    if (this.isFetching || !mind || !session?.sid) return;
    const window = (moment === null ? null : this.missing()) ?? (this.shown ? this.missingOfEpisode() : null);
    if (window === null) return;
    this.isFetching = true;
    const api = this.api();
    const from = window * WINDOW_MS;
    const isOver = session.status !== "live" || this.newestMs > from + WINDOW_MS + FINAL_AFTER_MS;
    this.asked.set(window, performance.now());
    const answer = await api.get("api/mind", { from_ms: from, to_ms: from + WINDOW_MS - 1 });
    this.isFetching = false;
    if (api !== this.api() || this.store.session?.sid !== session.sid) return;
    if (Array.isArray(answer?.mind)) {
      if (isOver) this.whole.add(window);
      this.insert(answer.mind.map((/** @type {any} */ one) => toMind(one)).filter(Boolean));
      this.emit("curve");
    }
    this.follow();
  }

  /**
   * The picture of an observation, from memory or from the server.
   * @param {Mind} mind
   * @returns {Promise<Blob | null>}
   */
  async picture(mind) {
    const { id, bytes } = mind;
    let blob = bytes ? new Blob([bytes], { type: mind.mime }) : (this.pictures.get(id) ?? null);
    if (!blob && mind.hasPicture) blob = await this.api().blob(`api/mind/${encodeURIComponent(id)}`);
    if (!blob) return null;
    this.pictures.set(id, blob);
    mind.bytes = null; // one copy of it is enough
    for (const oldest of this.pictures.keys()) {
      if (this.pictures.size <= MOST_PICTURES) break;
      this.pictures.delete(oldest);
    }
    return blob;
  }
}

/**
 * Whether a view is of a frame's env and episode, not later than the frame, and not too old.
 * @param {Mind} mind @param {Shot} frame
 */
function belongs(mind, frame) {
  if (!isSameEnv(mind, frame)) return false;
  if (mind.episode !== null && frame.episode !== null && mind.episode !== frame.episode) return false;
  const isLater =
    mind.step !== null && frame.step !== null ? mind.step > frame.step : mind.time_ms > frame.time_ms + SAME_MS;
  return !isLater && frame.time_ms - mind.time_ms <= LONGEST_APART_MS;
}

/** @param {{env: [number, number] | null}} one @param {{env: [number, number] | null}} other */
function isSameEnv({ env: one }, { env: other }) {
  return !one || !other || (one[0] === other[0] && one[1] === other[1]);
}

/** @param {Mind} one @param {Mind} other */
function inOrder(one, other) {
  return one.t - other.t || entryPlace(one.id) - entryPlace(other.id);
}
