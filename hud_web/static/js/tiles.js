// @ts-check
/** The big figures: each finds its field among the names in use, and shows its value, its way and its change. */

import { byId, el, say } from "./dom.js";
import { isNumber, number, time } from "./format.js";
import { painter } from "./paint.js";
import { Spark } from "./rings.js";
import { drawSpark } from "./spark.js";
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

export class Tiles {
  /** @param {Store} store @param {() => import("./api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    this.stepRate = new StepRate();
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
    store.on("update", ({ origin, timeMs }) => this.stepRate.add(origin.step, timeMs));
    store.on("cleared", () => (this.stepRate = new StepRate()));
    store.onEach("fields cleared moment", request);
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
    if (!leaves.length) return;
    const answer = await this.api().history(leaves.map((leaf) => leaf.path), PAST_POINTS);
    for (const leaf of leaves) {
      const past = answer?.series?.[leaf.path];
      if (!past || this.store.leaves.get(leaf.path) !== leaf) continue;
      leaf.spark = new Spark();
      leaf.spark.begin(past.time_ms, past.value);
    }
    request();
  }

  paint() {
    for (const tile of this.tiles) {
      const leaf = this.store.find(tile.wanted.names, isNumber);
      const derived = tile.wanted.label === "Steps / s" && !leaf;
      const value = leaf ? leaf.value : derived ? this.stepRate.value() : undefined;
      const spark = leaf ? leaf.spark : derived ? this.stepRate.spark : null;
      say(tile.value, number(value, { short: true }));
      tile.node.title = leaf ? `${leaf.path}: ${leaf.value}` : derived ? "from the steps of the updates" : "";
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

/** Steps per second from the steps that updates carry, over some 20 s. */
class StepRate {
  constructor() {
    /** @type {{step: number, timeMs: number}[]} */
    this.points = [];
    this.spark = new Spark();
  }

  /** @param {number | null} step @param {number} timeMs */
  add(step, timeMs) {
    const last = this.points.at(-1);
    if (step === null || (last && (timeMs - last.timeMs < 1000 || step <= last.step))) return;
    this.points.push({ step, timeMs });
    if (this.points.length > 20) this.points.shift();
    const now = this.value();
    if (now !== undefined) this.spark.add(now, timeMs);
  }

  /** */
  value() {
    const first = this.points[0];
    const last = this.points.at(-1);
    return first && last && last.timeMs > first.timeMs ? ((last.step - first.step) * 1000) / (last.timeMs - first.timeMs) : undefined;
  }
}

