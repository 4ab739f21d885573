// @ts-check
/**
 * The places of numeric fields: key charts by the roles that the server gives to fields, and a section by path or
 * prefix for all other fields.
 */

/**
 * @typedef {{roles?: string[], names?: string[], right?: boolean, rate?: boolean}} RecipeLine `roles`: the first role
 *   that the run has is drawn; `names`: top-level fields without a role; `right`: with an axis on the right; `rate`:
 *   the rate of the field's steps instead of its value
 *
 * @typedef {{id: string, title: string, lines: RecipeLine[]}} Recipe
 */

/** @type {Recipe[]} */
export const KEY_CHARTS = [
  {
    id: "return",
    title: "Episode return",
    lines: [{ roles: ["return"] }, { roles: ["return_max"] }, { roles: ["return_min"] }],
  },
  {
    id: "loss",
    title: "Loss",
    lines: [{ roles: ["policy_loss"] }, { roles: ["total_loss"] }, { roles: ["value_loss"], right: true }],
  },
  { id: "entropy", title: "Entropy · KL", lines: [{ roles: ["entropy"] }, { roles: ["kl"], right: true }] },
  {
    id: "speed",
    title: "Steps / s",
    lines: [{ roles: ["steps_per_s"] }, { roles: ["iteration", "env_steps"], rate: true }],
  },
  { id: "length", title: "Episode length", lines: [{ roles: ["length"] }] },
  { id: "q", title: "Q value", lines: [{ roles: ["q_value"] }] },
  { id: "success", title: "Success rate", lines: [{ roles: ["success_rate"] }] },
  {
    id: "llm",
    title: "Vision LLM",
    lines: [{ names: ["llm_alignment", "alignment"] }, { names: ["llm_success_rate", "vlm_success_rate"] }],
  },
  { id: "explained", title: "Explained variance", lines: [{ roles: ["explained_variance"] }] },
  { id: "lr", title: "Learning rate", lines: [{ roles: ["learning_rate"] }] },
];

/**
 * Fields for the axis of episodes: counts of the whole run come before counts of one env, which begin when it is first
 * watched.
 */
export const EPISODE_FIELDS = ["num_episodes_lifetime", "episodes_total", "episode", "episode_number", "episode_id"];

/** Fields that games log, flat or nested. One of them, or any nested field, opens the game's panel. */
export const GAME_FIELDS = [
  "location",
  "position",
  "health",
  "hearts",
  "room_id",
  "room",
  "level",
  "lives",
  "score",
  "inventory",
];

/** First parts of the names that trainers log: these fields do not describe the game. */
export const TRAINER_FIELDS = new RegExp(
  "^(timers?|time|info|learners?|env_runners|sampler_results|train\\w*|eval\\w*|rollout|loss(es)?|perf\\w*|charts|" +
    "rewards?|stats|replay\\w*|sys|machine|counters|fault_tolerance|config|policy|learning|custom_metrics)$",
  "i",
);

/** Fields that the old HUD called training progress, and the fields that only its clients send. */
export const PROGRESS_FIELDS = ["episode_id", "epoch", "episode", "global_step", "episode_reward", "episode_length"];
export const PROGRESS_MARKS = ["epoch", "episode_id"];

/** Fields that a run logs about its vision LLM, with or without a call. */
export const LLM_FIELDS = {
  suggestion: ["llm_suggestion", "suggestion"],
  scene: ["llm_scene_description", "scene_description"],
  calls: ["llm_calls", "vlm_calls", "vision_calls"],
  success: ["llm_success_rate", "vlm_success_rate", "success_rate"],
  alignment: ["llm_alignment", "alignment", "llm_agreement"],
  bonus: ["alignment_bonus"],
};

/** A prefix or a parent path with fewer fields gets no section. */
const LEAST_IN_SECTION = 3;
/** With more sections a section needs more fields: nobody reads thousands of headings, and each costs time. */
const MOST_SECTIONS = 200;
export const REST = "other";

/**
 * Sort fields into sections: by their parent path, or a path above it if few fields share the parent path, else by the
 * first part of their names, else "other", which comes last.
 * @param {string[]} paths
 * @returns {Map<string, string[]>}
 */
export function groupPaths(paths) {
  for (let least = LEAST_IN_SECTION; ; least *= 4) {
    const groups = grouped(paths, least);
    if (groups.size <= MOST_SECTIONS || least > paths.length) return groups;
  }
}

/** @param {string[]} paths @param {number} least fields of a section @returns {Map<string, string[]>} */
function grouped(paths, least) {
  /** Fields below each path and of each prefix. @type {Map<string, number>} */
  const counts = new Map();
  const count = (/** @type {string} */ name) => counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const path of paths) {
    const slash = path.lastIndexOf("/");
    if (slash <= 0) count(beginning(path));
    for (let end = slash; end > 0; end = path.lastIndexOf("/", end - 1)) count(path.slice(0, end));
  }
  const isLarge = (/** @type {string} */ name) => (counts.get(name) ?? 0) >= least;
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  const rest = [];
  for (const path of paths) {
    let end = path.lastIndexOf("/");
    const isNested = end > 0;
    while (isNested && !isLarge(path.slice(0, end))) {
      const above = path.lastIndexOf("/", end - 1);
      if (above <= 0) break;
      end = above;
    }
    const name = isNested ? path.slice(0, end) : beginning(path);
    // A nested field has a section even if it is alone, as long as there are few.
    if (!isLarge(name) && !(isNested && least === LEAST_IN_SECTION)) rest.push(path);
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
