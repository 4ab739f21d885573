// @ts-check
/**
 * The URLs of the server, relative to this module: they are right below any path prefix, in the page and in its
 * workers.
 */

const BASE = new URL("../../../", import.meta.url);

/** The URL of an endpoint. @param {string} path without a slash in front, such as "api/state" @returns {string} */
export function serverUrl(path) {
  return new URL(path, BASE).href;
}
