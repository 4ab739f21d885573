// @ts-check
/** What happened, as lines of the event list and, where it matters, as toasts. Decides nothing: see alerts.js. */

import { button, byId, el, icon, say } from "./dom.js";
import { cut, time } from "./format.js";

/**
 * @typedef {{ms: number, tone: "ok" | "warn" | "error" | "accent" | "info" | "muted", icon: string, title: string,
 *   text?: string, kind?: "session" | "milestone" | "alert" | "episode", marked?: boolean}} Notice `marked`: on the time
 *   line, too
 */

const MOST_LINES = 200;
const MOST_TOASTS = 4;
const TOAST_MS = 8_000;

export class Notices {
  constructor() {
    this.list = byId("log");
    this.toasts = byId("toasts");
    /** @type {Notice[]} newest last */
    this.all = [];
    this.empty = el("li", { class: "empty" }, "Nothing yet.");
    this.list.append(this.empty);
  }

  /** Add a line. @param {Notice} notice @param {{toast?: boolean}} [options] */
  add(notice, { toast = false } = {}) {
    this.empty.remove();
    this.all.push(notice);
    if (this.all.length > MOST_LINES) this.all.shift();
    const text = cut(notice.text ? `${notice.title}: ${notice.text}` : notice.title, 400);
    this.list.prepend(el("li", { "data-tone": notice.tone }, el("time", {}, time(notice.ms)), icon(notice.icon), el("span", { class: "text", title: text }, text)));
    while (this.list.childElementCount > MOST_LINES) this.list.lastElementChild?.remove();
    say(byId("log-meta"), String(this.all.length));
    if (toast) this.toast(notice);
  }

  /** @param {Notice} notice */
  toast(notice) {
    const node = el("div", { class: "toast", "data-tone": notice.tone }, icon(notice.icon), el("strong", {}, cut(notice.title, 200)));
    if (notice.text) node.append(el("p", {}, cut(notice.text, 400)));
    const close = () => node.remove();
    node.append(button("close", "Dismiss", close, { quiet: true }));
    this.toasts.append(node);
    while (this.toasts.childElementCount > MOST_TOASTS) this.toasts.firstElementChild?.remove();
    setTimeout(close, TOAST_MS);
  }

  clear() {
    this.all = [];
    this.list.replaceChildren(this.empty);
    say(byId("log-meta"), "");
  }
}
