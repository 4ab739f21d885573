// @ts-check
/** The view of the wall: its order, filter, groups and mode. The page's URL holds it, so that a link restores it. */

import { GROUPS, SORTS } from "./order.js";

/** @import { Group, Sort } from "./order.js" */
/** @typedef {{sort: Sort | "", filter: string, group: Group, kiosk: boolean}} View `sort`: "" is the default */

/** @param {string} [search] @returns {View} */
export function viewFromUrl(search = location.search) {
  const query = new URLSearchParams(search);
  const sort = query.get("sort") ?? "";
  const group = query.get("group") ?? "none";
  return {
    sort: Object.hasOwn(SORTS, sort) ? /** @type {Sort} */ (sort) : "",
    filter: query.get("filter") ?? "",
    group: Object.hasOwn(GROUPS, group) ? /** @type {Group} */ (group) : "none",
    kiosk: query.get("kiosk") === "1",
  };
}

/** The order of the cards: a kiosk, at which nobody scrolls, begins with the problems. @param {View} view */
export function sortOf({ sort, kiosk }) {
  return sort || (kiosk ? "verdict" : "started");
}

/** Write the view into the page's URL, and leave the other parts of the query, such as the theme. @param {View} view */
export function writeUrl({ sort, filter, group, kiosk }) {
  const query = new URLSearchParams(location.search);
  const parts = { sort, filter, group: group === "none" ? "" : group, kiosk: kiosk ? "1" : "" };
  for (const [name, value] of Object.entries(parts)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}
