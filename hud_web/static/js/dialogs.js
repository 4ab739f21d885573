// @ts-check
/** Dialogs: opened over the page, closed by Escape, by their button or by a click beside them. */

import { add, button, el } from "./dom.js";
import { loadSheet } from "./sheet.js";

/** @import { Child } from "./dom.js" */

await loadSheet("dialogs");

/**
 * Open a dialog, or close it if it is open already.
 * @param {string} name one dialog of each name at a time
 * @param {string} title
 * @param {(close: () => void) => Child[]} content
 * @returns {HTMLDialogElement}
 */
export function openDialog(name, title, content) {
  const open = /** @type {HTMLDialogElement | null} */ (document.querySelector(`dialog[data-name="${name}"]`));
  if (open) {
    open.close();
    return open;
  }
  const body = el("div", { class: "body" });
  const close = () => dialog.close();
  const dialog = el(
    "dialog",
    { "data-name": name, "aria-labelledby": `dialog-${name}` },
    el("header", { class: "panel-head" }, el("h2", { id: `dialog-${name}` }, title), el("div", { class: "tools" }, button("close", "Close", close, { quiet: true }))),
    body,
  );
  add(body, content(close));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask for the token that writing needs; it stays in this page's memory.
 * @param {string} why
 * @returns {Promise<string | null>} null where the viewer would rather not
 */
export function askForToken(why) {
  return new Promise((resolve) => {
    const field = el("input", { type: "password", autocomplete: "off", "aria-label": "Token", required: true });
    const dialog = openDialog("token", "Token", (close) => [
      el("p", {}, why),
      el("form", { class: "token-form", onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        resolve(field.value.trim() || null);
        close();
      } }, field, el("button", { type: "submit", class: "primary" }, "Use it")),
      el("p", { class: "muted" }, "It is kept in this page’s memory only, and is gone when the page is closed."),
    ]);
    dialog.addEventListener("close", () => resolve(null));
    field.focus();
  });
}
