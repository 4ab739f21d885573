// @ts-check
/** The view of a session in the page's URL: "Copy link" writes it, and a page starts with it. */

/** @import { Selection } from "../data/types.js" */
/** @typedef {"t" | "x" | "log" | "smooth" | "zoom" | "find" | "charts" | "compare"} Part */

const asked = new URLSearchParams(location.search);

/** A part of the view in the page's URL; null if it has none. @param {Part} part @returns {string | null} */
export function urlPart(part) {
  return asked.get(part);
}

/**
 * A number in the page's URL, if it is between two bounds.
 * @param {Part} part @param {number} least @param {number} most
 * @returns {number | null}
 */
export function urlNumber(part, least, most) {
  const text = asked.get(part);
  const number = text === null || text === "" ? NaN : Number(text);
  return number >= least && number <= most ? number : null;
}

/**
 * The URL of a view.
 * @param {Selection} selection @param {Partial<Record<Part, string | number | null>>} parts empty ones are left out
 */
export function viewUrl({ channel, session }, parts) {
  const query = new URLSearchParams({ channel });
  if (session) query.set("session", session);
  for (const [name, value] of Object.entries(parts))
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  return `${location.origin}${location.pathname}?${query}`;
}

/** The page's URL for a channel, for links that can be opened in another tab. @param {string} name */
export function channelUrl(name) {
  const query = new URLSearchParams(location.search);
  query.delete("session");
  query.set("channel", name);
  return `?${query}`;
}
