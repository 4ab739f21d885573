// @ts-check
/**
 * The key figures: each tile shows the fields of a role, which the server chose and named, with a sparkline, the age of
 * an old value, and its change over a span that all tiles share.
 */

import { brokenAt, seriesOf } from "../data/leaves.js";
import { entryTime, isNumber } from "../data/nested.js";
import { Spark } from "../data/rings.js";
import { byId, el, fill, setText } from "../ui/dom.js";
import { cut, difference, duration, number, time } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { drawSpark } from "../ui/spark.js";
import { onTheme } from "../ui/theme.js";

/** @import { Leaf } from "../data/leaves.js" */
/** @import { Store } from "../data/store.js" */
/** @typedef {{label: string, roles: string[]}} Wanted the first role that the run has is shown, else `label` alone */
/** @typedef {{leaf: Leaf | null, path: string, label: string, value: unknown, spark: Spark | null}} Figure */

/** @type {Wanted[]} */
const TILES = [
  { label: "Episode return", roles: ["return"] },
  { label: "Episode length", roles: ["length"] },
  { label: "Env steps", roles: ["env_steps"] },
  { label: "Iteration", roles: ["iteration"] },
  { label: "Episodes", roles: ["episodes"] },
  { label: "Steps / s", roles: ["steps_per_s"] },
  { label: "Policy loss", roles: ["policy_loss", "total_loss", "value_loss"] },
  { label: "Entropy", roles: ["entropy", "q_value", "success_rate", "kl"] },
];
const PAST_POINTS = 2000;
/** Policies' figures that fit into a tile without scrolling. */
const FIGURES_FIT = 2;
/** Fields whose history one request fetches. */
const MOST_PAST_FIELDS = 40;
/** Tiles show the change since this time, or since the first known value. */
const CHANGE_OVER_MS = 60_000;
/** Steps per second are computed over this time. */
const RATE_OVER_MS = 20_000;
/** A value is old after this many times its usual interval, but at the earliest after LEAST_OLD_MS. */
const OLD_AFTER_INTERVALS = 3;
const LEAST_OLD_MS = 5_000;
/** A value that came once has no interval. */
const UNKNOWN_OLD_MS = 300_000;

/** The age of a value if it is older than usual; 0 otherwise. @param {Store} store @param {Leaf} leaf */
export function ageOf(store, { changedMs, usualMs }) {
  if (!changedMs || store.moment !== null) return 0;
  const { session } = store;
  const now = session?.status === "live" ? store.now() : Math.max(store.activity.lastEntryMs, session?.ended_ms ?? 0);
  const age = now - changedMs;
  return age > (usualMs ? Math.max(LEAST_OLD_MS, OLD_AFTER_INTERVALS * usualMs) : UNKNOWN_OLD_MS) ? age : 0;
}

/** "NaN since 12:58:50, step 51,200". @param {import("../data/leaves.js").Turn} turn */
export function brokenText({ t, step, value }) {
  return `${value} since ${time(t)}${step === null ? "" : `, step ${number(step)}`}`;
}

export class Tiles {
  /** @param {Store} store @param {() => import("../server/api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    this.steps = new Steps(store);
    /** Paths whose history was requested. @type {Set<string>} */
    this.asked = new Set();
    this.tiles = TILES.map((wanted) => {
      const value = el("dd", { class: "value" });
      const change = el("span", { class: "change" });
      const canvas = el("canvas", { "aria-hidden": "true" });
      const label = el("dt", {}, wanted.label);
      const node = el(
        "div",
        { class: "panel tile absent" },
        label,
        value,
        el("dd", { class: "side" }, canvas),
        el("dd", { class: "foot" }, change),
      );
      byId("tiles").append(node);
      return { wanted, node, label, value, change, canvas, drawn: "" };
    });
    const request = painter(() => this.paint(), 200);
    this.request = request;
    store.on("update", ({ origin, timeMs }) => this.steps.add(origin.step, timeMs));
    store.on("frame", (picture) => this.steps.add(picture.step, entryTime(picture)));
    store.on("cleared", () => {
      this.steps = new Steps(store);
      this.asked.clear();
    });
    store.onEach("fields frame cleared moment roles session", request);
    store.on("roles", () => this.loadPast());
    store.on("snapshot", () => {
      this.asked.clear();
      this.loadPast();
    });
    onTheme(() => {
      for (const tile of this.tiles) tile.drawn = "";
      request();
    });
    setInterval(() => document.hidden || request(), 1000); // values age while no data comes
    this.paint();
  }

  /** Fetch the points of each figure from before the page was opened. */
  async loadPast() {
    if (!this.store.snapshotSeen) return;
    const leaves = this.tiles
      .flatMap(({ wanted }) => this.figuresOf(wanted))
      .map(({ leaf }) => leaf)
      .filter((leaf) => leaf !== null);
    // The history of any field contains the steps.
    if (!leaves.length && !this.asked.size)
      leaves.push(...[...this.store.leaves.values()].filter((leaf) => isNumber(leaf.live)).slice(0, 1));
    const paths = leaves
      .map(({ path }) => path)
      .filter((path) => !this.asked.has(path))
      .slice(0, MOST_PAST_FIELDS);
    if (!paths.length) return;
    for (const path of paths) this.asked.add(path);
    const answer = await this.api().history(paths, PAST_POINTS);
    if (!answer) for (const path of paths) this.asked.delete(path);
    for (const leaf of leaves) {
      const past = answer?.series?.[leaf.path];
      if (!past?.time_ms.length || this.store.leaves.get(leaf.path) !== leaf) continue;
      const { time_ms: times, step, value } = past;
      const count = times.length;
      this.store.rewind.addSteps(past);
      this.store.activity.seen(times[count - 1]);
      leaf.spark = new Spark();
      leaf.spark.begin(times, value);
      seriesOf(leaf).prepend(times, step, value);
      if (leaf.changedMs < times[count - 1]) leaf.changedMs = times[count - 1];
      for (let i = Math.max(1, count - 10); i < count; i++)
        leaf.usualMs = Math.max(leaf.usualMs, times[i] - times[i - 1]);
    }
    this.request();
  }

  /**
   * The figures of a tile: the fields of the first role that the run has, one for each policy that has its own.
   * @param {Wanted} wanted
   * @returns {Figure[]}
   */
  figuresOf(wanted) {
    for (const role of wanted.roles) {
      const fields = this.store.fieldsOf(role);
      if (fields.length)
        return fields.map(({ leaf, label }) => ({
          leaf,
          path: leaf.path,
          label,
          value: leaf.value,
          spark: leaf.spark,
        }));
    }
    return [{ leaf: null, label: wanted.label, ...this.steps.of(wanted.label) }];
  }

  paint() {
    const all = this.tiles.map((tile) => this.figuresOf(tile.wanted));
    const span = this.spanOf(all.flat());
    this.tiles.forEach((tile, i) => this.paintTile(tile, all[i], span));
  }

  /** The moment shown, on Redis' clock. */
  shownMs() {
    const { activity, moment, session } = this.store;
    return moment ?? (session?.status === "live" ? this.store.now() : activity.lastEntryMs);
  }

  /** The span of all changes: a minute, or the whole seconds since the first known value. @param {Figure[]} figures */
  spanOf(figures) {
    let first = Infinity;
    for (const { leaf, spark } of figures) {
      if (leaf) first = Math.min(first, seriesOf(leaf).length ? seriesOf(leaf).time[0] : Infinity);
      else if (spark?.length) first = Math.min(first, spark.times[0]);
    }
    const known = Math.floor((this.shownMs() - first) / 1000) * 1000;
    return Math.min(CHANGE_OVER_MS, known);
  }

  /** @param {this["tiles"][number]} tile @param {Figure[]} figures @param {number} span */
  paintTile(tile, figures, span) {
    const [first] = figures;
    const several = figures.length > 1;
    const label = several ? first.label.replace(/ \([^()]*\)$/, "") : first.label;
    if (tile.label.title !== label) {
      tile.label.title = label;
      const at = label.lastIndexOf(" (");
      fill(
        tile.label,
        ...(at > 0
          ? [el("span", {}, cut(label.slice(0, at), 60)), el("span", { class: "which" }, cut(label.slice(at), 40))]
          : [cut(label, 60)]),
      );
    }
    const broken = figures.map(({ leaf }) => (leaf ? brokenAt(leaf, this.store.moment) : null));
    const texts = figures.map(({ value }, i) => broken[i]?.value ?? number(value, { short: true }));
    const isAbsent = figures.every(({ value }, i) => !broken[i] && !isNumber(value));
    tile.node.classList.toggle("absent", isAbsent);
    tile.node.classList.toggle("broken", broken.some(Boolean));
    tile.node.classList.toggle("several", several);
    tile.value.tabIndex = figures.length > FIGURES_FIT ? 0 : -1; // the keyboard must reach a list that scrolls
    if (several)
      fill(
        tile.value,
        ...figures.map(({ label: own }, i) =>
          el("span", {}, el("span", { class: "who" }, cut(policyOf(own), 60)), " ", texts[i]),
        ),
      );
    else setText(tile.value, texts[0]);
    tile.node.title = figures
      .filter((_, i) => texts[i] !== "—")
      .map(({ path, value }, i) => `${path}: ${broken[i] ? brokenText(/** @type {any} */ (broken[i])) : value}`)
      .join("\n");
    const age = several || broken[0] || !first.leaf || isAbsent ? 0 : ageOf(this.store, first.leaf);
    tile.node.classList.toggle("old", age > 0);
    if (broken.some(Boolean))
      setText(
        tile.change,
        broken
          .flatMap((turn, i) =>
            turn
              ? [
                  several
                    ? `${cut(policyOf(figures[i].label), 12)} since ${time(turn.t)}`
                    : brokenText({ ...turn, value: "" }).trim(),
                ]
              : [],
          )
          .join("; "),
      );
    else if (age) setText(tile.change, `${duration(age)} old`);
    else if (several || isAbsent) setText(tile.change, "");
    else this.paintChange(tile.change, first, span);
    const drawn = several ? "" : `${first.path} ${first.spark?.version}`;
    if (drawn !== tile.drawn) {
      tile.drawn = drawn;
      drawSpark(tile.canvas, several ? [] : (first.spark?.values ?? []), several ? 0 : (first.spark?.length ?? 0));
    }
  }

  /** @param {HTMLElement} node @param {Figure} figure @param {number} span in milliseconds */
  paintChange(node, { leaf, path, value, spark }, span) {
    const from = this.shownMs() - span;
    const before = leaf
      ? pointAt(seriesOf(leaf), from)
      : path === STEPS_PATH
        ? this.store.rewind.stepAt(from)
        : pointOf(spark, from);
    if (span < 1000 || !isNumber(before) || !isNumber(value)) {
      setText(node, "");
      return;
    }
    const change = value - before;
    setText(node, `${change === 0 ? "±0" : difference(change, value)} in ${span / 1000} s`);
    node.title = `against ${number(before)} at ${time(from)}`;
  }
}

/**
 * A series' value at a time: the last one before it.
 * @param {import("../data/rings.js").Series} series @param {number} t
 */
function pointAt(series, t) {
  const at = series.indexAt(t);
  return at < 0 ? undefined : series.value[at];
}

/** @param {Spark | null} spark @param {number} t */
function pointOf(spark, t) {
  let at = (spark?.length ?? 0) - 1;
  while (at >= 0 && spark && spark.times[at] > t) at--;
  return at < 0 ? undefined : spark?.values[at];
}

/** The policy's name in a label such as "Policy loss (red)". @param {string} label */
function policyOf(label) {
  return /\(([^()]*)\)$/.exec(label)?.[1] ?? label;
}

const STEPS_PATH = "steps of the updates";

/** The step and the steps per second, from the steps of updates and frames, for a run that logs no field for them. */
class Steps {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.step = new Spark();
    this.rate = new Spark();
    this.addedMs = 0;
  }

  /** @param {number | null} step @param {number} timeMs */
  add(step, timeMs) {
    if (step === null || timeMs - this.addedMs < 1000) return;
    this.addedMs = timeMs;
    this.step.add(step, timeMs);
    const rate = this.rateAt(timeMs);
    if (rate !== undefined) this.rate.add(rate, timeMs);
  }

  /** The figure of a tile at the moment shown. @param {string} label */
  of(label) {
    const t = this.store.moment ?? Infinity;
    if (label === "Env steps")
      return { path: STEPS_PATH, value: this.store.rewind.stepAt(t) ?? undefined, spark: this.step };
    if (label === "Steps / s")
      return { path: "from the steps of the updates", value: this.rateAt(t), spark: this.rate };
    return { path: "", value: undefined, spark: null };
  }

  /** Steps per second over about 20 s before a time, or since the last restart of the steps. @param {number} t */
  rateAt(t) {
    const { steps } = this.store.rewind;
    const last = steps.indexAt(t);
    if (last < 1) return undefined;
    const { time: times, value: made } = steps;
    const from = times[last] - RATE_OVER_MS;
    let first = last;
    let top = made[last];
    // A restored run counts steps again: its rate starts there. The writers of one run append slightly out of order.
    for (
      ;
      first && times[first] > from && made[first - 1] - made[first] <= Math.max(10, made[first - 1] / 100);
      first--
    )
      top = Math.max(top, made[first - 1]);
    const passed = times[last] - times[first];
    return passed >= 1000 && top > made[first] ? ((top - made[first]) * 1000) / passed : undefined;
  }
}
