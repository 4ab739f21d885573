// @ts-check
/** Loads the style sheet of a panel that is loaded on demand. */

import { el } from "./dom.js";

/** @type {Map<string, Promise<unknown>>} */
const sheets = new Map();

/** @param {string} name of a file in css/ @returns {Promise<unknown>} done when it applies, or cannot be had */
export function loadSheet(name) {
  const known = sheets.get(name);
  if (known) return known;
  const link = el("link", { rel: "stylesheet", href: new URL(`../../css/${name}.css`, import.meta.url).href });
  const isDone = new Promise((resolve) => (link.onload = link.onerror = resolve));
  document.head.append(link);
  sheets.set(name, isDone);
  return isDone;
}
