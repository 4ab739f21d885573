// @ts-check
/** Loads the style sheet of a panel that is loaded on demand. */

import { el } from "./dom.js";

/** @param {string} name of a file in css/ @returns {Promise<unknown>} done when it applies, or cannot be had */
export function loadSheet(name) {
  const link = el("link", { rel: "stylesheet", href: new URL(`../../css/${name}.css`, import.meta.url).href });
  const isDone = new Promise((resolve) => (link.onload = link.onerror = resolve));
  document.head.append(link);
  return isDone;
}
