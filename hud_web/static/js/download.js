// @ts-check
/** Hands files to the viewer. */

import { el } from "./dom.js";

/** Hand a file to the viewer. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 30_000);
}
