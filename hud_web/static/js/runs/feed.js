// @ts-check
/**
 * One stream of the runs of all channels: keeps the newest card of each run, and reports changes.
 *
 * The wall, the run table and the picker use it. The stream has no positions: after a reconnection the server sends all
 * cards again. A page that is hidden for a while closes the stream, and opens it again when it is shown.
 */

import { ServerClock } from "../data/clock.js";
import { serverUrl } from "../server/address.js";
import { EventStream } from "../server/event-stream.js";

/** @import { Fields, Session, Verdict } from "../data/types.js" */
/** @import { ConnectionStatus } from "../server/event-stream.js" */
/**
 * @typedef {{time_ms: number[], step: (number | null)[], value: (number | null)[]}} Curve of the return, oldest first
 *
 * @typedef {{channel: string, sid: string, name: string | null, status: Session["status"], started_ms: number | null,
 *   ended_ms: number | null, ended_by: string | null, last_ms: number | null, info: Fields,
 *   verdict: {level: Verdict["level"], text: string} | null, step: number | null, steps_per_s: number | null,
 *   return: {value: number | null, label: string, path: string} | null, tags: string[], note: string,
 *   pinned: boolean, curve?: Curve | null}} Card the newest state of a run; `last_ms`: of its newest entry
 *
 * @typedef {{key: string, card: Card, fields: string[], isNew: boolean}} Change of a card; `fields`: the ones that the
 *   server sent
 *
 * @typedef {{run: string, time_ms: number, mime: string, image: string, width: number, height: number}} RunPicture
 *   `run`: the key of its card; `image`: base64; `time_ms`: when it was captured
 *
 * @typedef {ConnectionStatus & {redis: "ok" | "away", redisDetail: string | null}} RunFeedStatus
 *
 * @typedef {{runs: (runs: Map<string, Card>) => void, changes: (all: {changes: Change[], gone: string[]}) => void,
 *   status: (status: RunFeedStatus) => void, picture: (picture: RunPicture) => void}} Listeners
 */

/** A page that is hidden for this time needs no stream: longer than a look at another tab. */
const CLOSED_AFTER_MS = 15_000;

/** The key of a run, which is also its form in URLs. @param {{channel: string, sid: string}} run */
export function keyOf({ channel, sid }) {
  return `${channel}:${sid}`;
}

export class RunFeed {
  /**
   * @param {{pictures?: boolean, curves?: boolean, live?: boolean}} [wanted] `pictures`: the newest picture of each
   *   run; `curves`: the curve of its return; `live`: no runs that have ended
   */
  constructor({ pictures = false, curves = false, live = false } = {}) {
    /** The newest card of each run, by "CHANNEL:SID". @type {Map<string, Card>} */
    this.runs = new Map();
    this.clock = new ServerClock();
    /** Whether the server has sent its runs. */
    this.isLoaded = false;
    /** @type {RunFeedStatus} */
    this.status = { state: "connecting", retryAt: null, detail: null, redis: "ok", redisDetail: null };
    /** @type {{[T in keyof Listeners]: Set<Listeners[T]>}} */
    this.listeners = { runs: new Set(), changes: new Set(), status: new Set(), picture: new Set() };
    const query = new URLSearchParams({ pictures: String(Number(pictures)), curves: String(Number(curves)) });
    if (live) query.set("live", "1");
    this.stream = new EventStream({
      events: ["runs", "changes", "status"],
      address: () => serverUrl(`stream/runs?${query}`),
      onEvent: (name, data) => this.onEvent(name, data),
      onState: (state) => this.setStatus(state),
    });
    this.closeTimer = 0;
    this.isAsleep = false;
    this.onVisibility = () => this.followVisibility();
    document.addEventListener("visibilitychange", this.onVisibility);
    this.stream.open();
  }

  /**
   * Call back on an event.
   * @template {keyof Listeners} T
   * @param {T} name @param {Listeners[T]} listener
   */
  on(name, listener) {
    this.listeners[name].add(listener);
  }

  /** This moment on the server's clock, in milliseconds. */
  now() {
    return this.clock.now();
  }

  close() {
    clearTimeout(this.closeTimer);
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.stream.close();
  }

  followVisibility() {
    clearTimeout(this.closeTimer);
    if (document.visibilityState === "hidden") {
      this.closeTimer = setTimeout(() => {
        this.isAsleep = true;
        this.stream.close();
      }, CLOSED_AFTER_MS);
    } else if (this.isAsleep) {
      this.isAsleep = false;
      this.stream.open();
    }
  }

  /** @param {Partial<RunFeedStatus>} change */
  setStatus(change) {
    this.status = { ...this.status, ...change };
    for (const listener of this.listeners.status) listener(this.status);
  }

  /** @param {string} name @param {any} data */
  onEvent(name, data) {
    this.clock.sync(data.server_time_ms ?? null);
    if (name === "runs") this.onRuns(data.runs ?? []);
    else if (name === "changes") this.onChanges(data);
    else this.setStatus({ redis: data.redis, redisDetail: data.detail ?? null });
  }

  /** @param {Card[]} cards */
  onRuns(cards) {
    this.isLoaded = true;
    this.runs.clear();
    for (const card of cards) this.runs.set(keyOf(card), card);
    for (const listener of this.listeners.runs) listener(this.runs);
  }

  /** @param {{runs?: Card[], gone?: string[], pictures?: RunPicture[]}} data `runs`: the keys that changed */
  onChanges({ runs = [], gone = [], pictures = [] }) {
    const changes = runs.map((part) => {
      const key = keyOf(part);
      const known = this.runs.get(key);
      const card = known ? Object.assign(known, part) : part;
      if (!known) this.runs.set(key, card);
      return { key, card, fields: Object.keys(part), isNew: !known };
    });
    for (const key of gone) this.runs.delete(key);
    if (changes.length || gone.length) for (const listener of this.listeners.changes) listener({ changes, gone });
    for (const picture of pictures) for (const listener of this.listeners.picture) listener(picture);
  }
}
