// @ts-check
/**
 * Watches for what a viewer must not miss: losses that are no numbers, a stalled run, a return that collapses, a vision LLM
 * that fails, milestones and best episodes. Says so through notices; the limits are the viewer's (settings.js).
 */

import { duration, isNumber, milliseconds, number, percent } from "./format.js";
import { recall, remember } from "./memory.js";
import { eachLeaf, isMapping } from "./nested.js";
import { stateOf } from "./status.js";

/** @import { Store } from "./store.js" */
/** @import { Notices, Notice } from "./notices.js" */

/** @typedef {{stalledS: number, collapsePercent: number, vlmOkPercent: number, vlmSlowS: number}} Limits */

export const DEFAULT_LIMITS = /** @type {Limits} */ ({ stalledS: 30, collapsePercent: 50, vlmOkPercent: 80, vlmSlowS: 10 });

const LOSS = /loss|entropy|(^|[/_.])kl([/_.]|$)|grad(ient)?_norm/i;
const MEANS = new Set(["episode_return_mean", "episode_reward_mean"]);
const RATE = ["llm_success_rate", "vlm_success_rate"];
const CALLS = ["llm_calls", "vlm_calls", "vision_calls"];
/** Returns that are known before a fall says anything. */
const LEAST_RETURNS = 10;
/** Share of the newest value in the smoothed return; single episodes differ more than means of many do. */
const MEAN_SHARE = 0.3;
const EPISODE_SHARE = 0.1;

export class Alerts {
  /** Kinds that are raised now, so each is said once. @type {Set<string>} */
  raised = new Set();
  /** Loss-like fields that were NaN or infinite when they came last. @type {Set<string>} */
  broken = new Set();
  /** Truth values inside nested fields. @type {Map<string, boolean>} */
  flags = new Map();
  /** Returns seen: means, or single episodes as long as there was no mean. */
  returns = 0;
  hasMeans = false;
  /** Calls of the vision LLM in a row that failed. */
  failures = 0;
  /** @type {number | null} */
  smoothReturn = null;
  bestReturn = -Infinity;
  /** @type {number | null} */
  bestEpisode = null;

  /** @param {Store} store @param {Notices} notices */
  constructor(store, notices) {
    this.store = store;
    this.notices = notices;
    this.limits = { ...DEFAULT_LIMITS, ...recall("alerts.limits", {}) };
    this.wantsNotifications = recall("alerts.notify", false) && "Notification" in globalThis && Notification.permission === "granted";
    store.on("cleared", () => this.clear());
    store.on("update", ({ fields, origin, timeMs }) => this.look(fields, origin, timeMs));
    store.on("vision", (picture) => this.lookAtVision(picture));
    store.onEach("fields vision", () => this.lookAtRate());
    setInterval(() => this.lookAtClock(), 1000);
  }

  clear() {
    this.raised.clear();
    this.broken.clear();
    this.flags.clear();
    this.returns = this.failures = 0;
    this.hasMeans = false;
    this.smoothReturn = this.bestEpisode = null;
    this.bestReturn = -Infinity;
  }

  /** @param {Limits} limits */
  setLimits(limits) {
    this.limits = limits;
    remember("alerts.limits", limits);
  }

  /** @param {boolean} wanted @returns {Promise<boolean>} whether they are on now */
  async setNotifications(wanted) {
    const allowed = wanted && "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
    this.wantsNotifications = allowed;
    remember("alerts.notify", allowed);
    return allowed;
  }

  /** Say it once, until it is over. @param {string} key @param {Omit<Notice, "kind" | "marked">} notice */
  raise(key, notice) {
    if (this.raised.has(key)) return;
    this.raised.add(key);
    this.notices.add({ ...notice, kind: "alert", marked: true }, { toast: true });
    this.notify(key, notice);
  }

  /** Tell a viewer who looks elsewhere, if that is wanted. @param {string} key @param {Omit<Notice, "kind" | "marked">} notice */
  notify(key, notice) {
    if (this.wantsNotifications && document.hidden) new Notification(`HUD: ${notice.title}`, { body: notice.text ?? "", tag: key });
  }

  /** @param {string} key */
  settle(key) {
    this.raised.delete(key);
  }

  /** @param {Record<string, any>} fields @param {import("./types.js").Origin} origin @param {number} ms */
  look(fields, origin, ms) {
    for (const path of origin.not_finite ?? []) if (LOSS.test(path)) this.broken.add(path);
    const seen = /** @type {{mean?: number, single?: number}} */ ({});
    eachLeaf(fields, "", (path, value) => {
      if (!isNumber(value)) return;
      this.broken.delete(path);
      const name = path.slice(path.lastIndexOf("/") + 1);
      if (MEANS.has(name)) seen.mean = value;
      else if (name === "episode_return") seen.single = value;
    });
    if (this.broken.size) this.raise("loss", { ms, tone: "error", icon: "error", title: "Loss is not a number", text: `${[...this.broken].slice(0, 4).join(", ")}: NaN or infinite` });
    else this.settle("loss");
    this.hasMeans ||= seen.mean !== undefined;
    if (seen.mean !== undefined) this.lookAtReturn(seen.mean, MEAN_SHARE, ms);
    else if (seen.single !== undefined && !this.hasMeans) this.lookAtReturn(seen.single, EPISODE_SHARE, ms);
    if (seen.single !== undefined) this.lookAtEpisode(seen.single, ms);
    this.lookAtFlags(fields, "", ms, 0);
  }

  /** @param {number} value @param {number} ms */
  lookAtEpisode(value, ms) {
    if (this.bestEpisode !== null && value <= this.bestEpisode) return;
    if (this.bestEpisode !== null) this.notices.add({ ms, tone: "ok", icon: "star", kind: "episode", title: `Best episode: return ${number(value)}`, marked: true });
    this.bestEpisode = value;
  }

  /** @param {number} value @param {number} share of this value in the smoothed one @param {number} ms */
  lookAtReturn(value, share, ms) {
    this.smoothReturn = this.smoothReturn === null ? value : this.smoothReturn * (1 - share) + value * share;
    if (++this.returns < LEAST_RETURNS) return;
    this.bestReturn = Math.max(this.bestReturn, this.smoothReturn);
    const fall = this.bestReturn - this.smoothReturn;
    const scale = Math.abs(this.bestReturn) || 1;
    if (fall > (scale * this.limits.collapsePercent) / 100) {
      this.raise("collapse", { ms, tone: "error", icon: "down", title: "The return collapses", text: `${number(this.smoothReturn)}, from ${number(this.bestReturn)} at its best` });
    } else if (fall < (scale * this.limits.collapsePercent) / 200) this.settle("collapse");
  }

  /** Truth values that turn true are milestones. @param {Record<string, any>} fields @param {string} prefix @param {number} ms @param {number} depth */
  lookAtFlags(fields, prefix, ms, depth) {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (isMapping(value)) {
        if (depth < 3) this.lookAtFlags(value, `${prefix}${name}/`, ms, depth + 1);
      } else if (typeof value === "boolean" && prefix) {
        const path = prefix + name;
        const before = this.flags.get(path);
        if (this.flags.size < 500) this.flags.set(path, value);
        if (value && before === false) this.notices.add({ ms, tone: "ok", icon: "check", kind: "milestone", marked: true, title: `Milestone ${name.replaceAll("_", " ")}` });
      }
    }
  }

  /** @param {import("./types.js").Picture} picture */
  lookAtVision(picture) {
    const ms = this.store.now();
    const { vlmSlowS } = this.limits;
    const error = picture.extra?.error;
    this.failures = error ? this.failures + 1 : 0;
    if (this.failures >= 3) this.raise("vlm", { ms, tone: "warn", icon: "eye", title: "The vision LLM fails", text: `${this.failures} calls in a row: ${String(error).slice(0, 160)}` });
    else if (!error) this.settle("vlm");
    if (isNumber(picture.response_time) && picture.response_time > vlmSlowS * 1000) this.raise("vlm-slow", { ms, tone: "warn", icon: "eye", title: "The vision LLM is slow", text: milliseconds(picture.response_time) });
    else this.settle("vlm-slow");
  }

  /** The success rate that the run tells of itself. */
  lookAtRate() {
    const rate = this.store.find(RATE, isNumber)?.live;
    // Before the first call a rate of 0 says nothing.
    if (!isNumber(rate) || this.store.find(CALLS, isNumber)?.live === 0) return;
    const share = rate <= 1 ? rate * 100 : rate;
    if (share < this.limits.vlmOkPercent) this.raise("vlm-rate", { ms: this.store.now(), tone: "warn", icon: "eye", title: "The vision LLM’s success rate is low", text: percent(rate) });
    else this.settle("vlm-rate");
  }

  lookAtClock() {
    const now = Date.now();
    const { store } = this;
    const quiet = now - (store.lastDataMs || store.link.since);
    const state = stateOf(store, { paused: false, takenOverAt: 0, now });
    if (state.word === "STALLED" && quiet > this.limits.stalledS * 1000) {
      this.raise("stalled", { ms: store.now() - quiet, tone: "warn", icon: "stalled", title: "The run has stalled", text: `no data for ${duration(quiet)}` });
    } else if (state.word === "LIVE" || state.word === "LEARNING") this.settle("stalled");
  }
}
