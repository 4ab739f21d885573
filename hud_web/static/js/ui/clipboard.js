// @ts-check
/** Copies text. */

import { el } from "./dom.js";

/** @param {string} text @returns {Promise<boolean>} whether it was copied */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard API without a secure context. Inside a dialog, only its own elements can be selected.
    const area = el("textarea", { class: "sr", "aria-hidden": "true" }, text);
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}
