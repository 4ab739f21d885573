// @ts-check
/** Downloads of generated files. */

import { el } from "./dom.js";

/** Start the download of a file. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 30_000);
}
