// @ts-check
/**
 * Watches for what a viewer must not miss: losses that are no numbers, a stalled run, a return that collapses, a vision LLM
 * that fails, milestones and best episodes. Says so through notices; the limits are the viewer's (settings.js).
 */

import { duration, isNumber, milliseconds, number, percent } from "./format.js";
import { recall, remember } from "./memory.js";
import { isMapping } from "./nested.js";
import { stateOf } from "./status.js";

/** @import { Store } from "./store.js" */
/** @import { Notices, Notice } from "./notices.js" */

/** @typedef {{stalledS: number, collapsePercent: number, vlmOkPercent: number, vlmSlowS: number}} Limits */

export const DEFAULT_LIMITS = /** @type {Limits} */ ({ stalledS: 30, collapsePercent: 50, vlmOkPercent: 80, vlmSlowS: 10 });

const LOSS = /(^|[/_])loss$|entropy$|(^|[/_])kl$|grad_norm/i;
const RETURN = ["episode_return_mean", "episode_reward_mean"];
/** Iterations before a fall of the return says anything. */
const LEAST_ITERATIONS = 10;

export class Alerts {
  /** Kinds that are raised now, so each is said once. @type {Set<string>} */
  raised = new Set();
  /** Loss-like fields, and how many iterations have carried them. @type {Map<string, number>} */
  losses = new Map();
  /** Truth values inside nested fields. @type {Map<string, boolean>} */
  flags = new Map();
  iterations = 0;
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
    setInterval(() => this.lookAtClock(), 1000);
  }

  clear() {
    this.raised.clear();
    this.losses.clear();
    this.flags.clear();
    this.iterations = this.failures = 0;
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
    if (this.wantsNotifications && document.hidden) new Notification(`HUD: ${notice.title}`, { body: notice.text ?? "", tag: key });
  }

  /** @param {string} key */
  settle(key) {
    this.raised.delete(key);
  }

  /** @param {Record<string, any>} fields @param {import("./types.js").Origin} origin @param {number} ms */
  look(fields, origin, ms) {
    if (origin.stream === "iterations") this.lookAtIteration(fields, ms);
    this.lookAtFlags(fields, "", ms, 0);
    const value = fields.episode_return;
    if (isNumber(value) && (this.bestEpisode === null || value > this.bestEpisode)) {
      if (this.bestEpisode !== null) this.notices.add({ ms, tone: "ok", icon: "star", kind: "episode", title: `Best episode: return ${number(value)}`, marked: true });
      this.bestEpisode = value;
    }
  }

  /** @param {Record<string, any>} fields @param {number} ms */
  lookAtIteration(fields, ms) {
    this.iterations++;
    const missing = [];
    for (const [name, seen] of this.losses) if (!(name in fields) && seen >= 2) missing.push(name);
    for (const name of Object.keys(fields)) {
      if (LOSS.test(name) && isNumber(fields[name])) this.losses.set(name, (this.losses.get(name) ?? 0) + 1);
    }
    // A value that is not finite is never sent; so one that iterations carried and this one lacks was NaN or infinite.
    if (missing.length) this.raise("loss", { ms, tone: "error", icon: "error", title: "Loss is not a number", text: `${missing.slice(0, 4).join(", ")}: NaN, infinite or missing in this iteration` });
    else this.settle("loss");
    const name = RETURN.find((one) => isNumber(fields[one]));
    if (name) this.lookAtReturn(fields[name], ms);
  }

  /** @param {number} value @param {number} ms */
  lookAtReturn(value, ms) {
    this.smoothReturn = this.smoothReturn === null ? value : this.smoothReturn * 0.7 + value * 0.3;
    this.bestReturn = Math.max(this.bestReturn, this.smoothReturn);
    if (this.iterations < LEAST_ITERATIONS) return;
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
    const { vlmSlowS, vlmOkPercent } = this.limits;
    const error = picture.extra?.error;
    this.failures = error ? this.failures + 1 : 0;
    if (this.failures >= 3) this.raise("vlm", { ms, tone: "warn", icon: "eye", title: "The vision LLM fails", text: `${this.failures} calls in a row: ${String(error).slice(0, 160)}` });
    else if (!error) this.settle("vlm");
    if (isNumber(picture.response_time) && picture.response_time > vlmSlowS * 1000) this.raise("vlm-slow", { ms, tone: "warn", icon: "eye", title: "The vision LLM is slow", text: milliseconds(picture.response_time) });
    else this.settle("vlm-slow");
    const rate = this.store.find(["llm_success_rate", "vlm_success_rate"], isNumber)?.live;
    if (!isNumber(rate)) return;
    const share = rate <= 1 ? rate * 100 : rate;
    if (share < vlmOkPercent) this.raise("vlm-rate", { ms, tone: "warn", icon: "eye", title: "The vision LLM’s success rate is low", text: percent(rate) });
    else this.settle("vlm-rate");
  }

  lookAtClock() {
    const now = Date.now();
    const { store } = this;
    const quiet = store.lastDataMs ? now - store.lastDataMs : 0;
    const state = stateOf(store, { paused: false, takenOverAt: 0, now });
    if (state.word === "STALLED" && quiet > this.limits.stalledS * 1000) {
      this.raise("stalled", { ms: store.now() - quiet, tone: "warn", icon: "stalled", title: "The run has stalled", text: `no data for ${duration(quiet)}` });
    } else if (state.word === "LIVE" || state.word === "LEARNING") this.settle("stalled");
  }
}
