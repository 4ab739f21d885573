// @ts-check
/**
 * The view in the page's URL. Each part of the page registers what a link must carry of it (`linkPart`), "Copy link"
 * writes all parts that differ from their defaults, and a page starts with them.
 */

import { recall } from "./memory.js";

/** @import { Selection } from "../data/types.js" */

const asked = new URLSearchParams(location.search);
/** Marks a copied link: a part that it lacks has its default, whatever this browser remembers. */
const MARK = "view";
const isLink = asked.has(MARK);
/** What writes each part, by its name in the URL. @type {Map<string, () => string | number | null>} */
const writers = new Map();

/** A part of the view in the page's URL; null if it has none. @param {string} name @returns {string | null} */
export function urlPart(name) {
  return asked.get(name);
}

/**
 * A number in the page's URL, if it is between two bounds.
 * @param {string} name @param {number} least @param {number} most
 * @returns {number | null}
 */
export function urlNumber(name, least, most) {
  const text = asked.get(name);
  const number = text === null || text === "" ? NaN : Number(text);
  return number >= least && number <= most ? number : null;
}

/** A list in the page's URL, as `listText` writes it; null if it has none. @param {string} name */
export function urlList(name) {
  const text = asked.get(name);
  if (text === null) return null;
  try {
    return text ? text.split(",").map(decodeURIComponent) : [];
  } catch {
    return null;
  }
}

/** A list as the text of a part. @param {Iterable<string | number>} items */
export function listText(items) {
  return [...items].map((item) => String(item).replace(/[%,]/g, encodeURIComponent)).join(",");
}

/**
 * A choice that this browser remembers; in a copied link its default.
 * @template T @param {string} name in the memory @param {T} fallback
 */
export function kept(name, fallback) {
  return isLink ? fallback : recall(name, fallback);
}

/**
 * Register a part of the view for links.
 * @param {string} name in the URL @param {() => string | number | null} write "" or null: the default, left out
 */
export function linkPart(name, write) {
  writers.set(name, write);
}

/**
 * The URL of the view. It names the session and the moment, or neither and follows the channel.
 * @param {Selection} selection @param {number | null} t the moment shown, in Unix milliseconds; null: now
 */
export function viewUrl({ channel, session }, t) {
  const parts = /** @type {[string, string | number | null][]} */ ([
    ["channel", channel],
    ["session", session],
    ["t", session ? t : null],
    [MARK, 1],
    ...[...writers].map(([name, write]) => [name, write()]),
  ]);
  const query = parts
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name}=${readable(String(value))}`);
  return `${location.origin}${location.pathname}?${query.join("&")}`;
}

/** A text in a query, with the characters that need no escape there (RFC 3986, section 3.4). @param {string} text */
function readable(text) {
  return encodeURIComponent(text).replace(/%(?:2F|3A|2C|40|24|3B)/g, decodeURIComponent);
}

/**
 * The page's URL for a channel or a session, for links that can be opened in another tab.
 * @param {string} name @param {string} [session] "" follows the channel
 */
export function channelUrl(name, session = "") {
  const query = new URLSearchParams(location.search);
  query.delete("session");
  query.delete("t");
  query.set("channel", name);
  if (session) query.set("session", session);
  return `?${query}`;
}
