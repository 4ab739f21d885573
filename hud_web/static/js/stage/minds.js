// @ts-check
/**
 * The policy's views of the kept minutes, and the one that belongs to the frame on the stage. Live views come from the
 * stream, older ones from /api/mind.
 */

import { toMind } from "../data/mind.js";
import { entryPlace, entryTime, isNumber } from "../data/nested.js";
import { lastAt } from "../data/rings.js";
import { Topics } from "../data/topics.js";
import { MindWindows, MOST_WINDOWS, WINDOW_MS } from "./mind-windows.js";
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
/** Views arrive within this time, so a window that ended earlier gets no further ones. */
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
  windows = new MindWindows();
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
    const miss = () => this.windows.missLive();
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
    this.pictures.clear();
    this.show(null, false);
  }

  /** Add a live view. @param {Mind} mind */
  add(mind) {
    this.windows.addLive(mind);
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
    for (const mind of fresh) this.windows.add(mind);
    this.all.push(...fresh);
    if (last && inOrder(last, fresh[0]) > 0) this.all.sort(inOrder);
    if (this.all.length > MOST_MINDS) this.forget();
  }

  /** Forget the views that are far from the moment; they are fetched again when they are needed. */
  forget() {
    const { moment } = this.store;
    const half = (MOST_WINDOWS * WINDOW_MS) / 2;
    const [first, last] =
      moment === null ? [this.all[MOST_MINDS / 4].time_ms, Infinity] : [this.wantedMs - half, this.wantedMs + half];
    this.all = this.all.filter(({ time_ms: timeMs }) => timeMs >= first && timeMs <= last);
    this.windows.keep(first, last);
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
    return this.windows.missingBetween(t - LONGEST_APART_MS, t, this.find() !== null);
  }

  /** Fetch the missing windows one after the other: first that of the moment, then the rest of the episode. */
  async fetch() {
    const { moment, session, mind } = this.store;
    if (this.isFetching || !mind || !session?.sid) return;
    let window = moment === null ? null : this.missing();
    if (window === null && this.shown) {
      const last = moment === null ? this.wantedMs : this.newestMs;
      window = this.windows.missingOfEpisode(this.wantedMs, this.shown.episode, session.started_ms ?? 0, last);
    }
    if (window === null) return;
    this.isFetching = true;
    const api = this.api();
    const from = window * WINDOW_MS;
    const isOver = session.status !== "live" || this.newestMs > from + WINDOW_MS + FINAL_AFTER_MS;
    this.windows.asked.set(window, performance.now());
    const answer = await api.get("api/mind", { from_ms: from, to_ms: from + WINDOW_MS - 1 });
    this.isFetching = false;
    if (api !== this.api() || this.store.session?.sid !== session.sid) return;
    if (Array.isArray(answer?.mind)) {
      if (isOver) this.windows.whole.add(window);
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
