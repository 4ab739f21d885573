// @ts-check
/**
 * Where a numeric field finds its place: the key charts by the names that RL code uses, and a section by path or prefix for
 * everything else.
 */

/**
 * @typedef {{names: string[], label: string, right?: boolean, rate?: boolean}} RecipeLine `right`: with an axis of its own
 *   on the right; `rate`: of the steps at which the field came, not its value
 * @typedef {{id: string, title: string, lines: RecipeLine[]}} Recipe
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

/** What the axis of episodes counts: those of the whole run before those of one env, which begin when it was first looked at. */
export const EPISODE_FIELDS = ["num_episodes_lifetime", "episodes_total", "episode", "episode_number", "episode_id"];

/** Fields that a game tells of itself, flat or nested; one of them, or any nested one, brings the game's panel. */
export const GAME_FIELDS = ["location", "position", "health", "hearts", "room_id", "room", "level", "lives", "score", "inventory"];

/** What the HUD of old called training progress, and the fields that only its clients send. */
export const PROGRESS_FIELDS = ["episode_id", "epoch", "episode", "global_step", "episode_reward", "episode_length"];
export const PROGRESS_MARKS = ["epoch", "episode_id"];

/** What a run tells of its vision LLM, call or no call. */
export const LLM_FIELDS = {
  suggestion: ["llm_suggestion", "suggestion"],
  scene: ["llm_scene_description", "scene_description"],
  calls: ["llm_calls", "vlm_calls", "vision_calls"],
  success: ["llm_success_rate", "vlm_success_rate", "success_rate"],
  alignment: ["llm_alignment", "alignment", "llm_agreement"],
  bonus: ["alignment_bonus"],
};

/** Fewer fields with the same beginning of their names make no section of their own. */
const LEAST_IN_SECTION = 3;
export const REST = "other";

/**
 * Sort fields into sections: by the path above them, else by the first part of their names, else "other", which is last.
 * @param {string[]} paths
 * @returns {Map<string, string[]>}
 */
export function groupPaths(paths) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const path of paths) counts.set(beginning(path), (counts.get(beginning(path)) ?? 0) + 1);
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  const rest = [];
  for (const path of paths) {
    const slash = path.lastIndexOf("/");
    const name = slash > 0 ? path.slice(0, slash) : beginning(path);
    if (slash <= 0 && (counts.get(name) ?? 0) < LEAST_IN_SECTION) rest.push(path);
    else if (groups.has(name)) groups.get(name)?.push(path);
    else groups.set(name, [path]);
  }
  if (rest.length) groups.set(REST, [...(groups.get(REST) ?? []), ...rest]);
  return groups;
}

/** @param {string} path */
function beginning(path) {
  const end = path.search(/[_.:/-]/);
  return end > 1 ? path.slice(0, end) : REST;
}
