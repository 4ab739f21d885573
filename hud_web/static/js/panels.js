// @ts-check
/**
 * The panels beside the picture; loaded once that is on its way, so they never delay it. What a run may not have (a vision
 * LLM, a game that tells of itself) is loaded when it is there.
 */

import { Alerts } from "./alerts.js";
import { Charts } from "./charts.js";
import { GAME_FIELDS, LLM_FIELDS, PROGRESS_MARKS } from "./recipes.js";
import { Strip } from "./strip.js";
import { Table } from "./table.js";

/** @import { Api } from "./api.js" */
/** @import { Compare } from "./compare.js" */
/** @import { Frames } from "./frames.js" */
/** @import { Notices } from "./notices.js" */
/** @import { Store } from "./store.js" */

const GAME_MARKS = [...GAME_FIELDS, ...PROGRESS_MARKS];
const LLM_MARKS = Object.values(LLM_FIELDS).flat();

/**
 * @param {{store: Store, frames: Frames, notices: Notices, api: () => Api, compare: () => Compare | null,
 *   chooseEnv: (env: [number, number]) => void}} parts
 */
export function startPanels({ store, frames, notices, api, compare, chooseEnv }) {
  const panels = {
    charts: new Charts({ store, api, compare }),
    table: new Table(store, api),
    alerts: new Alerts(store, notices),
    strip: new Strip(store, chooseEnv),
  };
  when(store, "vision fields", hasVision, async () => new (await import("./vision.js")).Vision(store, api));
  when(store, "fields", hasGame, async () => new (await import("./game.js")).Game(store));
  return panels;
}

/** @param {Store} store */
const hasVision = (store) => store.vision !== null || LLM_MARKS.some((name) => store.leaves.has(name));

/** @param {Store} store */
const hasGame = (store) => store.branches.size > 0 || GAME_MARKS.some((name) => store.leaves.has(name));

/**
 * Do something once, as soon as something holds.
 * @param {Store} store @param {string} topics at which to look @param {(store: Store) => boolean} holds @param {() => void} act
 */
function when(store, topics, holds, act) {
  let isDone = false;
  const look = () => {
    if (isDone || !holds(store)) return;
    isDone = true;
    act();
  };
  store.onEach(topics, look);
  look();
}
