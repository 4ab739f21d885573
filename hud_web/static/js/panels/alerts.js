// @ts-check
/**
 * Shows new findings of the server's monitor: as a toast, and as a browser notification if the viewer wants it and the
 * tab is hidden.
 */

import { lookOf } from "../ui/annotation-look.js";
import { recall, remember } from "../ui/memory.js";

/** @import { Annotation } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Notices, Notice } from "./notices.js" */

/** Kinds that interrupt the viewer; the others appear in the list of events only. */
const ALERTS = new Set([
  "non_finite",
  "collapse",
  "stall",
  "hung_phase",
  "steps_restarted",
  "env_runner_lost",
  "vision_failing",
]);
/** An older annotation came late, for example after another replica took over the monitor: only the list shows it. */
const NEWS_MS = 60_000;
/** Alerts of one kind within this time share one toast. */
const GATHER_MS = 300;

/** Whether the constructor works: on phones it throws. */
function canNotify() {
  try {
    new Notification("HUD", { body: "Alerts appear while this tab is hidden.", tag: "test", silent: true }).close();
    return true;
  } catch {
    return false;
  }
}

export class Alerts {
  /** @param {Store} store @param {Notices} notices */
  constructor(store, notices) {
    this.store = store;
    this.notices = notices;
    this.wantsNotifications =
      recall("alerts.notify", false) && "Notification" in globalThis && Notification.permission === "granted";
    /** @type {Annotation[]} */
    this.gathered = [];
    store.on("cleared", () => (this.gathered = []));
    store.on("annotation", (annotation) => this.onAnnotation(annotation));
  }

  /** @param {Annotation} annotation */
  onAnnotation(annotation) {
    if (!ALERTS.has(annotation.kind) || this.store.now() - annotation.time_ms > NEWS_MS) return;
    if (!this.gathered.length) setTimeout(() => this.show(), GATHER_MS);
    this.gathered.push(annotation);
  }

  show() {
    const gathered = this.gathered.splice(0);
    for (const kind of new Set(gathered.map((annotation) => annotation.kind))) {
      const [first, ...others] = gathered.filter((annotation) => annotation.kind === kind);
      const look = lookOf(first);
      const notice = {
        ms: first.time_ms,
        tone: look.tone,
        icon: look.icon,
        title: first.text,
        text: others.map(({ text }) => text).join(". "),
      };
      this.notices.toast(notice);
      this.notify(kind, notice);
    }
  }

  /** @param {boolean} wanted @returns {Promise<boolean>} whether they are on now */
  async setNotifications(wanted) {
    const allowed = wanted && "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
    this.wantsNotifications = allowed && canNotify();
    remember("alerts.notify", this.wantsNotifications);
    return this.wantsNotifications;
  }

  /**
   * Show a browser notification if the tab is hidden and the viewer wants notifications.
   * @param {string} key @param {Notice} notice
   */
  notify(key, notice) {
    if (!this.wantsNotifications || !document.hidden) return;
    try {
      new Notification(`HUD: ${notice.title}`, { body: notice.text ?? "", tag: key });
    } catch {
      this.wantsNotifications = false; // browsers of phones have the constructor, and it throws
      remember("alerts.notify", false);
    }
  }
}
