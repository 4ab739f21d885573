// @ts-check
/**
 * The policy's view of one step as the stream sends it (docs/protocol.md): read into lists of numbers and names, any of
 * which may be empty. Paints nothing.
 */

import { entryTime, isMapping, isNumber } from "./nested.js";

/** @import { Mind } from "./types.js" */

/**
 * Read one `mind` event, or one item of /api/mind.
 * @param {any} data @param {ArrayBuffer | null} bytes the decoded picture
 * @returns {Mind | null} null without an id
 */
export function toMind(data, bytes = null) {
  if (typeof data?.id !== "string") return null;
  const { id, step, episode, env, time_ms: made } = data;
  const timeMs = isNumber(made) ? made : 0;
  const parts = isMapping(data.reward_parts) ? Object.entries(data.reward_parts) : [];
  return {
    id,
    t: entryTime({ id, time_ms: timeMs }),
    time_ms: timeMs,
    step: isNumber(step) ? step : null,
    episode: isNumber(episode) ? episode : null,
    env: Array.isArray(env) ? [env[0], env[1]] : null,
    action: isNumber(data.action) ? data.action : Array.isArray(data.action) ? numbers(data.action) : null,
    actionName: textOf(data.action_name),
    actionNames: texts(data.action_names),
    probabilities: numbers(data.probabilities),
    mean: numbers(data.mean),
    deviation: numbers(data.deviation),
    qValues: numbers(data.q_values),
    value: numberOf(data.value),
    entropy: numberOf(data.entropy),
    observation: numbers(data.observation),
    observationNames: texts(data.observation_names),
    rewardParts: parts.filter((part) => isNumber(part[1])),
    advice: adviceOf(data.advice),
    bytes,
    mime: textOf(data.mime) ?? "image/png",
    hasPicture: data.has_image === true || bytes !== null,
  };
}

/**
 * The name of an action of a discrete policy, or of one dimension of a continuous one.
 * @param {Mind} mind @param {number} at
 */
export function actionName(mind, at) {
  return mind.actionNames[at] || String(at);
}

/** The index of the chosen action; −1 if it is unknown or no single one. @param {Mind} mind */
export function chosenAction(mind) {
  const count = Math.max(mind.probabilities.length, mind.qValues.length, mind.actionNames.length);
  if (typeof mind.action === "number")
    return Number.isInteger(mind.action) && mind.action >= 0 && mind.action < count ? mind.action : -1;
  return mind.actionName === null ? -1 : mind.actionNames.indexOf(mind.actionName);
}

/**
 * The actions to show: all of them in their order, or the ones with the greatest values first and the chosen one.
 * @param {(number | null)[]} values one for each action @param {number} chosen index of the chosen one, or −1
 * @param {number} most to show
 * @returns {number[]} their indices
 */
export function topActions(values, chosen, most) {
  const all = values.map((_, i) => i);
  if (all.length <= most) return all;
  all.sort((a, b) => (values[b] ?? -Infinity) - (values[a] ?? -Infinity));
  const top = all.slice(0, most);
  if (chosen >= 0 && chosen < values.length && !top.includes(chosen)) top[most - 1] = chosen;
  return top;
}

/**
 * The greatest entropy that a policy with as many actions can have, in nats; null for a continuous policy.
 * @param {Mind} mind
 */
export function mostEntropy(mind) {
  const count = mind.probabilities.length || (mind.mean.length ? 0 : mind.actionNames.length);
  return count > 1 ? Math.log(count) : null;
}

/**
 * The advice that came with a view, or a vision LLM's suggestion compared with the policy.
 * @param {Mind} mind @param {unknown} suggested by the newest call of the vision LLM
 * @returns {{action: string, probability: number | null, agrees: boolean | null, text: string | null} | null}
 */
export function adviceFor(mind, suggested) {
  if (mind.advice) return mind.advice;
  const action = textOf(suggested)?.trim();
  if (!action) return null;
  const at = mind.actionNames.findIndex((name) => isSame(name, action));
  const chosen = chosenAction(mind);
  const agrees =
    at >= 0 && chosen >= 0 ? at === chosen : mind.actionName === null ? null : isSame(mind.actionName, action);
  return { action, probability: mind.probabilities[at] ?? null, agrees, text: null };
}

/** @param {string} one @param {string} other */
function isSame(one, other) {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}

/** @param {unknown} told @returns {Mind["advice"]} */
function adviceOf(told) {
  if (!isMapping(told)) return null;
  const action = textOf(told.action);
  if (action === null) return null;
  return {
    action,
    probability: numberOf(told.probability),
    agrees: typeof told.agrees === "boolean" ? told.agrees : null,
    text: textOf(told.text),
  };
}

/** @param {unknown} told @returns {number | null} */
function numberOf(told) {
  return isNumber(told) ? told : null;
}

/** @param {unknown} told @returns {string | null} */
function textOf(told) {
  return typeof told === "string" ? told : isNumber(told) ? String(told) : null;
}

/** @param {unknown} told @returns {(number | null)[]} */
function numbers(told) {
  return Array.isArray(told) ? told.map(numberOf) : [];
}

/** @param {unknown} told @returns {string[]} */
function texts(told) {
  return Array.isArray(told) ? told.map((one) => textOf(one) ?? "") : [];
}
