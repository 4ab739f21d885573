// @ts-check
/** The keyboard: one table of what each key does, used by the page and by its sheet. */

import { openDialog } from "./dialogs.js";
import { el } from "./dom.js";

/** @typedef {{keys: string, what: string, match: (event: KeyboardEvent) => boolean, run: (event: KeyboardEvent) => void}} Binding */

/** @param {string} key @param {{shift?: boolean, ctrl?: boolean}} [with_] */
export function pressed(key, { shift = false, ctrl = false } = {}) {
  return (/** @type {KeyboardEvent} */ event) => event.key.toLowerCase() === key && event.shiftKey === shift && (event.ctrlKey || event.metaKey) === ctrl && !event.altKey;
}

/** @param {Binding[]} bindings */
export function startKeys(bindings) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented && !event.key.startsWith("Arrow")) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]");
    const isPressing = target.matches?.("button, a, summary") && (event.key === " " || event.key === "Enter");
    const inDialog = target.closest?.("dialog");
    for (const binding of bindings) {
      if (!binding.match(event)) continue;
      if ((isTyping || isPressing || inDialog) && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      binding.run(event);
      return;
    }
  });
}

/** @param {Binding[]} bindings */
export function openKeySheet(bindings) {
  openDialog("keys", "Keyboard", () => [
    el("dl", { class: "keys-sheet" }, ...bindings.map(({ keys, what }) => el("div", {}, el("dt", {}, ...keys.split(" or ").flatMap((one, i) => [i ? " or " : null, ...(one === "+" ? [one] : one.split("+")).flatMap((key, j) => [j ? "+" : null, el("kbd", {}, key)])])), el("dd", {}, what)))),
    el("p", { class: "muted" }, "Drag across a chart to zoom all of them; double-click to see the whole run again."),
  ]);
}
