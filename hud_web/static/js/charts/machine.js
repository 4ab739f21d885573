// @ts-check
/**
 * The charts of the machine: fields below `machine/`, one section for each process and node, and one that compares all
 * processes. Fields of one thing and one unit, such as the bytes read and written, share a chart.
 */

import { number } from "../ui/format.js";

/** @import { Leaf } from "../data/leaves.js" */
/**
 * @typedef {{id: string, title: string, lines: {leaf: Leaf, label: string}[]}} MachineChart
 *
 * @typedef {{suffix: string, unit: string, scaled: boolean}} Unit `scaled`: with a prefix such as M or G
 */

const PREFIX = "machine/";
/** The title of the section that compares the processes. */
export const ALL = "All processes";
/** Lines of one chart that a viewer can tell apart. */
const MOST_LINES = 12;

/** @type {Unit[]} the longer suffix first */
const UNITS = [
  { suffix: "_bytes_per_s", unit: "B/s", scaled: true },
  { suffix: "_bytes", unit: "B", scaled: true },
  { suffix: "_percent", unit: "%", scaled: false },
  { suffix: "_watts", unit: "W", scaled: false },
  { suffix: "_celsius", unit: "°C", scaled: false },
];

/** The order of the charts in a section, by the first words of their fields; other charts follow. */
const ORDER = ["cpu", "memory", "use", "disk", "network", "children"];

/** Words that are written in capitals. */
const SHORT = new Set(["cpu", "gpu", "io", "ram", "rss"]);

/** Whether a path belongs to the machine. @param {string} path */
export function isMachine(path) {
  return path.startsWith(PREFIX) || path === "machine";
}

/** The unit of a field of the machine; null for other fields. @param {string} path @returns {Unit | null} */
export function unitOf(path) {
  return (path.startsWith(PREFIX) && UNITS.find(({ suffix }) => path.endsWith(suffix))) || null;
}

/** A value with its field's unit: "3.1 GB", "41.2 %". @param {string} path @param {unknown} value */
export function quantity(path, value) {
  const unit = unitOf(path);
  if (!unit || typeof value !== "number" || !Number.isFinite(value)) return number(value);
  return withUnit(value, unit);
}

/**
 * @param {number} value @param {Unit} unit
 * @param {(value: number) => string} [write] the number without its unit
 */
export function withUnit(value, { unit, scaled }, write = (one) => String(Number(one.toPrecision(3)))) {
  const size = Math.abs(value);
  const power = scaled && size >= 1000 ? Math.min(4, Math.floor(Math.log10(size) / 3)) : 0;
  return `${write(value / 1000 ** power).replace("-", "−")} ${["", "k", "M", "G", "T"][power]}${unit}`;
}

/** "CPU" of "cpu_percent", "Disk read" of "disk_read_bytes_per_s". @param {string} name */
export function titleOf(name) {
  const suffix = UNITS.find((one) => name.endsWith(one.suffix))?.suffix ?? "";
  const words = name.slice(0, name.length - suffix.length).split("_");
  const title = words.map((word) => (SHORT.has(word) ? word.toUpperCase() : word)).join(" ");
  return title.charAt(0).toUpperCase() + title.slice(1);
}

/**
 * The charts of the machine by the title of their section: all processes first, then each node and process.
 * @param {Iterable<Leaf>} leaves numeric ones
 * @returns {Map<string, MachineChart[]>}
 */
export function machineSections(leaves) {
  /** owner → thing and unit → fields @type {Map<string, Map<string, Leaf[]>>} */
  const owners = new Map();
  for (const leaf of leaves) {
    if (!leaf.path.startsWith(PREFIX)) continue;
    const owner = leaf.path.slice(PREFIX.length, leaf.path.lastIndexOf("/"));
    const thing = `${firstWord(leaf.name)}${unitOf(leaf.path)?.unit ?? `/${leaf.name}`}`;
    const things = owners.get(owner) ?? new Map();
    if (!owners.has(owner)) owners.set(owner, things);
    things.set(thing, [...(things.get(thing) ?? []), leaf]);
  }
  /** @type {Map<string, MachineChart[]>} */
  const sections = new Map();
  const processes = [...owners.keys()].filter((owner) => !owner.startsWith("node "));
  if (processes.length > 1) sections.set(ALL, compared(processes, owners));
  for (const owner of [...owners.keys()].sort(byKind))
    sections.set(
      owner,
      [...(owners.get(owner) ?? [])]
        .sort(([, a], [, b]) => rankOf(a[0].name) - rankOf(b[0].name))
        .map(([thing, fields]) => ({
          id: `${PREFIX}${owner}/${thing}`,
          title: titleOf(fields.length > 1 ? firstWord(fields[0].name) : fields[0].name),
          lines: fields.map((leaf) => ({ leaf, label: titleOf(leaf.name) })),
        })),
    );
  return sections;
}

/** @param {string} name */
function firstWord(name) {
  return name.split("_", 1)[0];
}

/** @param {string} name */
function rankOf(name) {
  const rank = ORDER.indexOf(firstWord(name));
  return rank < 0 ? ORDER.length : rank;
}

/**
 * One chart of each thing with a line for each process.
 * @param {string[]} processes @param {Map<string, Map<string, Leaf[]>>} owners
 */
function compared(processes, owners) {
  const charts = /** @type {MachineChart[]} */ ([]);
  for (const thing of ["memoryB", "cpu%"]) {
    const lines = processes.sort(byKind).flatMap((label) => {
      const leaf = owners.get(label)?.get(thing)?.[0];
      return leaf ? [{ leaf, label }] : [];
    });
    const title = thing === "cpu%" ? "CPU" : "Memory";
    if (lines.length > 1) charts.push({ id: `${PREFIX}${thing}`, title, lines: lines.slice(0, MOST_LINES) });
  }
  return charts;
}

/**
 * Nodes before processes, the driver first, "env runner 2" before "env runner 10".
 * @param {string} a @param {string} b
 */
function byKind(a, b) {
  const rank = (/** @type {string} */ one) => (one.startsWith("node ") ? 0 : one === "driver" ? 1 : 2);
  return rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true });
}
