// @ts-check
/** The big figures: each finds its field among the names in use, and shows its value, its way and its change. */

import { byId, el, say } from "./dom.js";
import { isNumber, number, time } from "./format.js";
import { painter } from "./paint.js";
import { Spark } from "./rings.js";
import { drawSpark } from "./spark.js";
import { entryTime } from "./store.js";
import { onTheme } from "./theme.js";

/** @import { Store } from "./store.js" */

const TILES = [
  { label: "Episode return", names: ["episode_return_mean", "episode_reward_mean", "last_return", "episode_return", "episode_reward"] },
  { label: "Episode length", names: ["episode_len_mean", "episode_length_mean", "episode_length", "episode_len"] },
  { label: "Env steps", names: ["num_env_steps_sampled_lifetime", "global_step", "env_steps", "timesteps_total", "step"], counts: true },
  { label: "Iteration", names: ["training_iteration", "iteration", "epoch"], counts: true },
  { label: "Episodes", names: ["num_episodes_lifetime", "episodes_total", "episode", "episode_id"], counts: true },
  { label: "Steps / s", names: ["env_steps_per_s", "steps_per_s", "num_env_steps_sampled_lifetime_throughput", "steps_per_second", "sps"] },
  { label: "Policy loss", names: ["policy_loss", "actor_loss", "total_loss", "loss"] },
  { label: "Entropy", names: ["entropy", "policy_entropy"] },
];
const PAST_POINTS = 40;
/** A change is told against the value of so long ago. */
const CHANGE_OVER_MS = 60_000;
/** Steps per second are told over so long. */
const RATE_OVER_MS = 20_000;

export class Tiles {
  /** @param {Store} store @param {() => import("./api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    this.steps = new Steps(store);
    this.tiles = TILES.map((wanted) => {
      const value = el("dd", { class: "value" });
      const change = el("span", { class: "change" });
      const canvas = el("canvas", { "aria-hidden": "true" });
      const label = el("dt", {}, wanted.label);
      const node = el("div", { class: "panel tile" }, label, value, el("dd", { class: "side" }, canvas, change));
      byId("tiles").append(node);
      return { wanted, node, label, value, change, canvas, drawn: -1 };
    });
    const request = painter(() => this.paint(), 200);
    store.on("update", ({ origin, timeMs }) => this.steps.add(origin.step, timeMs));
    store.on("frame", (picture) => this.steps.add(picture.step, entryTime(picture)));
    store.on("cleared", () => (this.steps = new Steps(store)));
    store.onEach("fields frame cleared moment", request);
    store.on("snapshot", () => this.loadPast(request));
    onTheme(() => {
      for (const tile of this.tiles) tile.drawn = -1;
      request();
    });
    this.paint();
  }

  /** The way of each figure from before the page was opened. @param {() => void} request */
  async loadPast(request) {
    const leaves = this.tiles.map((tile) => this.store.find(tile.wanted.names, isNumber)).filter((leaf) => leaf !== null);
    // Any field's history tells the steps.
    if (!leaves.length) leaves.push(...[...this.store.leaves.values()].filter((leaf) => isNumber(leaf.live)).slice(0, 1));
    if (!leaves.length) return;
    const answer = await this.api().history(leaves.map((leaf) => leaf.path), PAST_POINTS);
    for (const leaf of leaves) {
      const past = answer?.series?.[leaf.path];
      if (past) this.store.learnSteps(past);
      if (!past || this.store.leaves.get(leaf.path) !== leaf) continue;
      leaf.spark = new Spark();
      leaf.spark.begin(past.time_ms, past.value);
    }
    request();
  }

  paint() {
    for (const tile of this.tiles) {
      const leaf = this.store.find(tile.wanted.names, isNumber);
      const { value, spark, path } = leaf ?? this.steps.of(tile.wanted.label);
      say(tile.value, number(value, { short: true }));
      tile.node.title = value === undefined ? "" : `${path}: ${value}`;
      tile.node.classList.toggle("absent", !isNumber(value));
      this.paintChange(tile.change, value, spark, Boolean(tile.wanted.counts));
      const drawn = spark ? spark.version : 0;
      if (drawn !== tile.drawn) {
        tile.drawn = drawn;
        drawSpark(tile.canvas, spark?.values ?? [], spark?.length ?? 0);
      }
    }
  }

  /** @param {HTMLElement} node @param {unknown} value @param {Spark | null} spark @param {boolean} counts whole numbers only */
  paintChange(node, value, spark, counts) {
    if (!spark?.length || !isNumber(value)) {
      say(node, "");
      return;
    }
    const wantedMs = spark.times[spark.length - 1] - CHANGE_OVER_MS;
    let at = spark.length - 1;
    while (at > 0 && spark.times[at] > wantedMs) at--;
    const before = counts ? Math.round(spark.values[at]) : spark.values[at];
    const change = value - before;
    say(node, change === 0 ? "±0" : number(change, { short: true, sign: true }));
    node.title = `against ${number(before)} at ${time(spark.times[at])}`;
  }
}

/** What the steps of updates and frames tell where a run has no field for it: the step, and the steps per second. */
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

  /** A tile's figure at the moment shown. @param {string} label */
  of(label) {
    const t = this.store.moment ?? Infinity;
    if (label === "Env steps") return { path: "steps of the updates", value: this.store.stepAt(t) ?? undefined, spark: this.step };
    if (label === "Steps / s") return { path: "from the steps of the updates", value: this.rateAt(t), spark: this.rate };
    return { path: "", value: undefined, spark: null };
  }

  /** Steps per second over some 20 s before a time. @param {number} t */
  rateAt(t) {
    const { steps } = this.store;
    const last = steps.indexAt(t);
    if (last < 1) return undefined;
    const first = Math.max(0, steps.indexAt(steps.time[last] - RATE_OVER_MS));
    const passed = steps.time[last] - steps.time[first];
    const made = steps.value[last] - steps.value[first];
    return passed >= 1000 && made > 0 ? (made * 1000) / passed : undefined;
  }
}
