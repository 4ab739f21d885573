// @ts-check
/** Dialogs over the page; Escape, their button or a click beside them closes them. */

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
    el(
      "header",
      { class: "panel-head" },
      el("h2", { id: `dialog-${name}` }, title),
      el("div", { class: "tools" }, button("close", "Close", close, { quiet: true })),
    ),
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
 * Ask for the token that write access needs; it stays in this page's memory.
 * @param {string} why
 * @returns {Promise<string | null>} null where the viewer would rather not
 */
export function askForToken(why) {
  return new Promise((resolve) => {
    const field = el("input", { type: "password", autocomplete: "off", "aria-label": "Token", required: true });
    const dialog = openDialog("token", "Token", (close) => [
      el("p", {}, why),
      el(
        "form",
        {
          class: "token-form",
          onsubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            resolve(field.value.trim() || null);
            close();
          },
        },
        field,
        el("button", { type: "submit", class: "primary" }, "Use token"),
      ),
      el("p", { class: "muted" }, "It stays in this page’s memory until the page is closed."),
    ]);
    dialog.addEventListener("close", () => resolve(null));
    field.focus();
  });
}

/**
 * Ask for the token and act with it, until the server accepts one.
 * @param {() => Promise<number>} act returns the HTTP status
 * @param {(token: string) => void} setToken
 * @param {string} why the server wants a token
 * @returns {Promise<number | null>} the last status; null if the viewer closed the dialog
 */
export async function actWithToken(act, setToken, why) {
  let status = 401;
  for (let tries = 0; status === 401 && tries < 3; tries++) {
    const token = await askForToken(tries ? "That token was not accepted." : why);
    if (!token) return null;
    setToken(token);
    status = await act();
  }
  return status;
}
