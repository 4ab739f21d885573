// @ts-check
/** Names, looks and groups of the runs that are drawn together. No DOM. */

/** @import { Fields, Session } from "../data/types.js" */
/**
 * @typedef {Session & {tags?: string[], columns?: Fields}} Run of /api/runs; `columns`: values by "config.PATH"
 *
 * @typedef {{key: string, name: string, keys: string[], slot: number}} Group of runs; `keys`: CHANNEL:SID of each;
 *   `slot`: its colour
 */

/** Each run has a different colour or dash. */
export const MOST_COMPARED = 24;
const COLOURS = 8;
/** The dashes of the second and of the third run with a colour. */
export const DASHES = [[], [7, 4], [2, 3]];
/** A name's ending that tells a seed: "ppo-seed3", "ppo_s3", "ppo seed=3". Other numbers may be a hyperparameter. */
const SEED = /[-_ ./:(#]+(?:seed|run|rep|trial|s)[-_ =:#]*\d+\)?$/i;

/** The name of a run in an address: CHANNEL:SID. @param {{channel: string, sid: string | null}} run */
export function keyOf({ channel, sid }) {
  return `${channel}:${sid ?? ""}`;
}

/**
 * The runs that an address names: "CHANNEL:SID,CHANNEL:SID", or "SID~SID" of one channel, the form of earlier versions.
 * @param {string} text @param {string} channel of the second form
 * @returns {string[]} CHANNEL:SID
 */
export function readKeys(text, channel) {
  const names = text.includes(":") ? text.split(",") : text.split("~").map((sid) => `${channel}:${sid}`);
  return [...new Set(names)].filter((name) => /^[^:,]+:[0-9]+$/.test(name));
}

/** The custom property of a run's colour. @param {number} slot */
export function colourOf(slot) {
  return `--run-${(slot % COLOURS) + 1}`;
}

/** Which of DASHES a run has. @param {number} slot */
export function dashOf(slot) {
  return Math.floor(slot / COLOURS) % DASHES.length;
}

/**
 * A name for each run that no other one has: with the channel or the end of the SID if two runs have the same name.
 * @param {Session[]} runs
 * @returns {Map<string, string>} by CHANNEL:SID
 */
export function distinctNames(runs) {
  const plain = (/** @type {Session} */ run) => run.name || "unnamed run";
  const end = (/** @type {Session} */ { sid }) => `…${String(sid).slice(-5)}`;
  const names = new Map();
  for (const run of runs) {
    const same = runs.filter((one) => plain(one) === plain(run) && keyOf(one) !== keyOf(run));
    const isChannelEnough = same.every(({ channel }) => channel !== run.channel);
    const more = !same.length ? "" : isChannelEnough ? ` (${run.channel})` : ` ${end(run)}`;
    names.set(keyOf(run), plain(run) + more);
  }
  return names;
}

/**
 * The groups of at least two runs. A run with several tags is in several groups.
 * @param {Run[]} runs @param {string} by "name", "tag" or "config.PATH"; "" for no groups
 * @returns {Group[]} in the order of their first runs
 */
export function groupsOf(runs, by) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const run of runs)
    for (const name of marksOf(run, by)) {
      const group = groups.get(name) ?? { key: `group ${name}`, name, keys: [], slot: 0 };
      group.keys.push(keyOf(run));
      groups.set(name, group);
    }
  return [...groups.values()].filter(({ keys }) => keys.length > 1);
}

/** @param {Run} run @param {string} by @returns {string[]} */
function marksOf(run, by) {
  if (by === "name") return run.name ? [run.name.replace(SEED, "") || run.name] : [];
  if (by === "tag") return run.tags ?? [];
  const value = by && run.columns?.[by];
  if (value === undefined || value === null || value === "") return [];
  return [`${by.replace(/^config\./, "")} ${typeof value === "object" ? JSON.stringify(value) : value}`];
}
