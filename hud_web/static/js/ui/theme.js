// @ts-check
/** The themes: dark, light and high contrast; chosen by hand, else by the system's preference. */

import { remember } from "./memory.js";
import { kept, linkPart, urlPart } from "./page-url.js";

export const THEMES = /** @type {const} */ (["dark", "light", "contrast"]);

/** @type {Map<string, string>} */
const colours = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/** The value of a custom property in the current theme. @param {string} property */
export function theme(property) {
  let colour = colours.get(property);
  if (colour === undefined) {
    colour = getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    colours.set(property, colour);
  }
  return colour;
}

/** Call back when the theme has changed. @param {() => void} listener */
export function onTheme(listener) {
  listeners.add(listener);
}

/** @param {string} name one of THEMES */
export function setTheme(name) {
  remember("theme", name);
  apply(name);
}

export function currentTheme() {
  return document.documentElement.dataset.theme ?? "dark";
}

/** @param {string} name */
function apply(name) {
  if (!THEMES.includes(/** @type {any} */ (name))) return;
  document.documentElement.dataset.theme = name;
  colours.clear();
  document.querySelector('meta[name="theme-color"]')?.setAttribute("content", theme("--bg"));
  for (const listener of listeners) listener();
}

/** Apply the theme of the URL (`?theme=`), of an earlier visit, or of the system. */
export function startTheme() {
  const asked = urlPart("theme") ?? kept("theme", "");
  linkPart("theme", currentTheme);
  if (asked) apply(asked);
  else if (matchMedia("(prefers-contrast: more)").matches) apply("contrast");
}
