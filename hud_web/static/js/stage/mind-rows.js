// @ts-check
/** The parts of a policy's view as rows of bars, for the panel and for the overlay on the stage. */

import { actionName, chosenAction, topActions } from "../data/mind.js";
import { isNumber } from "../data/nested.js";
import { scaleOf } from "../ui/bars.js";
import { number, percent } from "../ui/format.js";

/** @import { Mind } from "../data/types.js" */
/** @import { Bars } from "../ui/bars.js" */
/** @typedef {Parameters<Bars["paint"]>} Painting rows, their scale, and the number of rows that are left out */

/**
 * The rows of the action probabilities; a policy that makes several choices at once has the rows of each.
 * @param {Mind} mind @param {number} most rows
 * @returns {Painting}
 */
export function probabilityRows(mind, most) {
  const { probabilities } = mind;
  const isOne = probabilities.length === 1;
  const mostOfOne = Math.max(1, Math.floor(most / probabilities.length));
  const rows = probabilities.flatMap((values, choice) => {
    const chosen = chosenAction(mind, choice);
    return topActions(values, chosen, mostOfOne).map((i) => ({
      name: isOne ? actionName(mind, i) : `${choice}: ${actionName(mind, i, choice)}`,
      value: values[i],
      text: percent(values[i]),
      isMarked: i === chosen,
    }));
  });
  return [rows, { low: 0, high: 1 }, probabilities.flat().length - rows.length];
}

/** @param {Mind} mind @param {number} most rows @returns {Painting} */
export function qRows(mind, most) {
  const { qValues } = mind;
  const chosen = chosenAction(mind);
  const rows = topActions(qValues, chosen, most).map((i) => ({
    name: actionName(mind, i),
    value: qValues[i],
    text: number(qValues[i]),
    isMarked: i === chosen,
  }));
  return [rows, scaleOf(qValues), qValues.length - rows.length];
}

/** @param {Mind} mind @param {number} most rows @returns {Painting} */
export function continuousRows(mind, most) {
  const { mean, deviation, action } = mind;
  const taken = Array.isArray(action) ? action : [action];
  const rows = mean.slice(0, most).map((value, i) => ({
    name: actionName(mind, i),
    value,
    spread: deviation[i] ?? null,
    point: taken[i] ?? null,
    text: isNumber(deviation[i]) ? `${number(value)} ± ${number(deviation[i])}` : number(value),
  }));
  const ends = rows.flatMap(({ value, spread, point }) =>
    isNumber(value) ? [value - (spread ?? 0), value + (spread ?? 0), point] : [point],
  );
  return [rows, scaleOf(ends), mean.length - rows.length];
}

/** @param {Mind} mind @param {number} most rows besides the sum @returns {Painting} */
export function rewardRows({ rewardParts }, most) {
  const row = (/** @type {string} */ name, /** @type {number} */ value, isTotal = false) => ({
    name,
    value,
    text: number(value, { sign: true }),
    isTotal,
  });
  const rows = rewardParts.slice(0, most).map(([name, value]) => row(name, value));
  const more = rewardParts.length - rows.length;
  if (rewardParts.length > 1)
    rows.push(
      row(
        "Sum",
        rewardParts.reduce((total, [, value]) => total + value, 0),
        true,
      ),
    );
  return [rows, scaleOf(rows.map(({ value }) => value)), more];
}
