// @ts-check
/**
 * Toasts: notices of the moment, shown for some seconds. The list of events keeps the events of the run (events.js).
 */

import { button, byId, el, icon } from "../ui/dom.js";
import { cut } from "../ui/format.js";

/**
 * @typedef {{ms: number, tone: "ok" | "warn" | "error" | "accent" | "info" | "muted", icon: string, title: string,
 *   text?: string}} Notice
 */

const MOST_TOASTS = 4;
const TOAST_MS = 8_000;

export class Notices {
  constructor() {
    this.toasts = byId("toasts");
  }

  /** @param {Notice} notice */
  toast(notice) {
    const node = el(
      "div",
      { class: "toast", "data-tone": notice.tone },
      icon(notice.icon),
      el("strong", {}, cut(notice.title, 200)),
    );
    if (notice.text) node.append(el("p", {}, cut(notice.text, 400)));
    const close = () => node.remove();
    node.append(button("close", "Dismiss", close, { quiet: true }));
    this.toasts.append(node);
    while (this.toasts.childElementCount > MOST_TOASTS) this.toasts.firstElementChild?.remove();
    setTimeout(close, TOAST_MS);
  }

  /** Remove the notices of the session before. */
  clear() {
    this.toasts.replaceChildren();
  }
}
