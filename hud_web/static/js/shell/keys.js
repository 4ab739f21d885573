// @ts-check
/** The keyboard shortcuts: one table for the page and for its dialog. */

/**
 * @typedef {{keys: string, label: string, match: (event: KeyboardEvent) => boolean,
 *   run: (event: KeyboardEvent) => void}} Binding
 */

/** @param {string} key @param {{shift?: boolean, ctrl?: boolean}} [with_] */
export function pressed(key, { shift = false, ctrl = false } = {}) {
  return (/** @type {KeyboardEvent} */ event) =>
    event.key.toLowerCase() === key &&
    event.shiftKey === shift &&
    (event.ctrlKey || event.metaKey) === ctrl &&
    !event.altKey;
}

/** @param {Binding[]} bindings */
export function startKeys(bindings) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented && !event.key.startsWith("Arrow")) return;
    const focused = /** @type {HTMLElement} */ (event.target);
    // A closed dialog keeps the focus until the next frame.
    const target = focused.closest?.("dialog:not([open])") ? document.body : focused;
    const isTyping = target.matches?.(
      "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]",
    );
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
