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
    actionNames: perChoice(data.action_names, texts),
    probabilities: perChoice(data.probabilities, numbers),
    mean: numbers(data.mean),
    deviation: numbers(data.deviation),
    qValues: numbers(data.q_values),
    value: numberOf(data.value),
    entropy: numberOf(data.entropy),
    observation: numbers(data.observation),
    observationNames: texts(data.observation_names),
    observationNote: textOf(data.observation_note),
    observationTiles: numbers(data.observation_tiles),
    observationRange: numbers(data.observation_range),
    rewardParts: parts.filter((part) => isNumber(part[1])),
    advice: adviceOf(data.advice),
    bytes,
    mime: textOf(data.mime) ?? "image/png",
    hasPicture: data.has_image === true || bytes !== null,
  };
}

/**
 * The name of an action of a discrete policy, or of one component of a continuous one.
 * @param {Mind} mind @param {number} at @param {number} [choice] of a policy that makes several choices at once
 */
export function actionName(mind, at, choice = 0) {
  return mind.actionNames[choice]?.[at] || String(at);
}

/**
 * The index of the action that was chosen; −1 if it is unknown.
 * @param {Mind} mind @param {number} [choice] of a policy that makes several choices at once
 */
export function chosenAction(mind, choice = 0) {
  const { action, actionName: name, qValues } = mind;
  const names = mind.actionNames[choice] ?? [];
  const count = Math.max(mind.probabilities[choice]?.length ?? 0, qValues.length, names.length);
  const told = Array.isArray(action) ? action[choice] : action;
  if (isNumber(told)) return Number.isInteger(told) && told >= 0 && told < count ? told : -1;
  return name === null ? -1 : names.indexOf(name);
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
 * The greatest entropy that the policy can have, in nats: log n for n actions, summed over its choices; null for a
 * continuous policy.
 * @param {Mind} mind
 */
export function mostEntropy(mind) {
  const choices = mind.probabilities.length || mind.mean.length ? mind.probabilities : mind.actionNames;
  const most = choices.reduce((sum, { length }) => sum + Math.log(Math.max(1, length)), 0);
  return most > 0 ? most : null;
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
  if (mind.actionNames.length > 1) return { action, probability: null, agrees: null, text: null };
  const at = mind.actionNames[0]?.findIndex((name) => isSame(name, action)) ?? -1;
  const chosen = chosenAction(mind);
  const agrees =
    at >= 0 && chosen >= 0 ? at === chosen : mind.actionName === null ? null : isSame(mind.actionName, action);
  return { action, probability: mind.probabilities[0]?.[at] ?? null, agrees, text: null };
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

/**
 * One list for each choice; most policies make one.
 * @template T
 * @param {unknown} told @param {(told: unknown) => T[]} read
 * @returns {T[][]}
 */
function perChoice(told, read) {
  if (!Array.isArray(told) || !told.length) return [];
  return told.every((one) => Array.isArray(one)) ? told.map(read) : [read(told)];
}
