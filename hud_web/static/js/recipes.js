// @ts-check
/**
 * Where a numeric field finds its place: the key charts by the names that RL code uses, and a section by path or prefix for
 * everything else.
 */

/**
 * @typedef {{id: string, title: string, lines: {names: string[], label: string, right?: boolean, rate?: boolean}[]}} Recipe
 *   `right`: with an axis of its own on the right; `rate`: of the steps at which the field came, not its value
 */

/** @type {Recipe[]} */
export const KEY_CHARTS = [
  {
    id: "return", title: "Episode return",
    lines: [
      { names: ["episode_return_mean", "episode_reward_mean", "episode_return", "episode_reward"], label: "mean" },
      { names: ["episode_return_max", "episode_reward_max"], label: "max" },
      { names: ["episode_return_min", "episode_reward_min"], label: "min" },
    ],
  },
  {
    id: "loss", title: "Loss",
    lines: [
      { names: ["policy_loss", "actor_loss", "total_loss", "loss"], label: "policy" },
      { names: ["vf_loss", "critic_loss", "value_loss", "qf_loss"], label: "value", right: true },
    ],
  },
  {
    id: "entropy", title: "Entropy · KL",
    lines: [
      { names: ["entropy", "policy_entropy"], label: "entropy" },
      { names: ["mean_kl_loss", "kl", "kl_divergence", "approx_kl"], label: "KL", right: true },
    ],
  },
  { id: "speed", title: "Steps per second", lines: [{ names: ["env_steps_per_s", "steps_per_s", "num_env_steps_sampled_lifetime_throughput", "steps_per_second", "sps"], label: "steps/s" }, { names: ["iteration", "training_iteration", "global_step"], label: "steps/s", rate: true }] },
  { id: "length", title: "Episode length", lines: [{ names: ["episode_len_mean", "episode_length_mean", "episode_length", "episode_len"], label: "mean" }] },
  {
    id: "llm", title: "Vision LLM",
    lines: [
      { names: ["llm_alignment", "alignment"], label: "aligned" },
      { names: ["llm_success_rate", "vlm_success_rate"], label: "ok" },
    ],
  },
  { id: "explained", title: "Explained variance", lines: [{ names: ["vf_explained_var", "explained_variance"], label: "" }] },
  { id: "lr", title: "Learning rate", lines: [{ names: ["default_optimizer_learning_rate", "learning_rate", "cur_lr", "lr"], label: "" }] },
];

/** Fields that only count or name; they get a chart in their section, and none of the key ones. */
export const EPISODE_FIELDS = ["episode", "episode_id", "episode_number", "num_episodes_lifetime"];

/**
 * The section that a field belongs to: the path above it, else the first part of its name.
 * @param {string} path
 */
export function sectionOf(path) {
  const slash = path.lastIndexOf("/");
  if (slash > 0) return path.slice(0, slash);
  const cutAt = path.search(/[_.:-]/);
  return cutAt > 1 ? path.slice(0, cutAt) : "other";
}
