// @ts-check
/** The order, the filter and the groups of the wall's runs. Runs that have ended come last in every order. */

import { durationOf, rankOf } from "../runs/look.js";

/** @import { Card } from "../runs/feed.js" */
/** @typedef {keyof typeof SORTS} Sort */
/** @typedef {keyof typeof GROUPS} Group */

/** The orders of cards: the largest value first, except for names. The words are those of the control. */
export const SORTS = /** @type {const} */ ({
  started: "Newest first",
  verdict: "Problems first",
  name: "Name",
  return: "Return",
  rate: "Steps per second",
  duration: "Duration",
});
export const GROUPS = /** @type {const} */ ({
  none: "No groups",
  channel: "Channel",
  env: "Environment",
  algorithm: "Algorithm",
  tag: "Tag",
  status: "Status",
});
/** Characters of a run that a filter searches: a pattern that backtracks takes time that grows with the text. */
const LONGEST_SEARCHED = 400;

const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** @type {Record<Sort, (card: Card, now: number) => number | null>} */
const KEYS = {
  started: ({ started_ms: started }) => started,
  verdict: (card) => -rankOf(card),
  name: () => 0,
  return: ({ return: made }) => made?.value ?? null,
  rate: ({ steps_per_s: rate }) => rate,
  duration: durationOf,
};

/**
 * Sort cards in place.
 * @template {{card: Card}} T
 * @param {T[]} all @param {Sort} by @param {number} now
 */
export function sortRuns(all, by, now) {
  const keyed = all.map((one) => ({ one, key: KEYS[by](one.card, now), over: isOver(one.card) }));
  keyed.sort((a, b) => a.over - b.over || (b.key ?? -Infinity) - (a.key ?? -Infinity) || compareNames(a.one, b.one));
  keyed.forEach(({ one }, i) => (all[i] = one));
  return all;
}

/** 1 for a run that came to its end: a crashed one still needs a look. @param {Card} card */
function isOver(card) {
  return Number(card.status !== "live" && rankOf(card) > 1);
}

/** @param {{card: Card}} a @param {{card: Card}} b */
function compareNames({ card: a }, { card: b }) {
  return names.compare(nameOf(a), nameOf(b)) || names.compare(a.channel, b.channel) || Number(b.sid) - Number(a.sid);
}

/** @param {Card} card */
export function nameOf({ name, channel }) {
  return name || channel;
}

/**
 * A filter by a regular expression, in the fields that the server's filter of runs searches, too.
 * @param {string} text as typed
 * @returns {{matches: (card: Card) => boolean, error: string}}
 */
export function filterOf(text) {
  if (!text) return { matches: () => true, error: "" };
  try {
    const pattern = new RegExp(text, "i");
    const isMatch = (/** @type {unknown} */ part) => pattern.test(String(part ?? "").slice(0, LONGEST_SEARCHED));
    return {
      matches: (card) =>
        [card.channel, card.name, card.info?.env, card.info?.algorithm, card.note, card.status].some(isMatch) ||
        isMatch(card.verdict?.text) ||
        card.tags.some(isMatch),
      error: "",
    };
  } catch (error) {
    const reason = String(/** @type {Error} */ (error).message).replace(/^Invalid regular expression: /, "");
    return { matches: () => true, error: `Not a regular expression: ${reason}` };
  }
}

/**
 * The name of a card's group: "team-a" of the channels "team-a-007" and "team-a-007~2".
 * @param {Card} card @param {Group} by
 */
export function groupOf(card, by) {
  switch (by) {
    case "channel":
      return card.channel.replace(/~\d+$/, "").replace(/(?<=.)-[^-]*$/, "");
    case "env":
    case "algorithm":
      return String(card.info?.[by] ?? "") || `no ${by === "env" ? "environment" : by}`;
    case "tag":
      return card.tags[0] ?? "no tag";
    case "status":
      return card.status;
    default:
      return "";
  }
}

/**
 * The groups of cards, by name; the cards keep their order.
 * @template {{card: Card}} T
 * @param {T[]} all @param {Group} by
 * @returns {Map<string, T[]>}
 */
export function groupRuns(all, by) {
  const groups = Map.groupBy(all, ({ card }) => groupOf(card, by));
  const isNone = (/** @type {string} */ name) => Number(name.startsWith("no "));
  return new Map([...groups].sort(([a], [b]) => isNone(a) - isNone(b) || names.compare(a, b)));
}
