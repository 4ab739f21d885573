// @ts-check
/**
 * The panels beside the picture; loaded once that is on its way, so they never delay it. What a run may not have (a vision
 * LLM, a game that tells of itself) is loaded when it is there.
 */

import { Alerts } from "./alerts.js";
import { Charts } from "./charts.js";
import { Strip } from "./strip.js";
import { Table } from "./table.js";

/** @import { Api } from "./api.js" */
/** @import { Compare } from "./compare.js" */
/** @import { Frames } from "./frames.js" */
/** @import { Notices } from "./notices.js" */
/** @import { Store } from "./store.js" */

/**
 * @param {{store: Store, frames: Frames, notices: Notices, api: () => Api, compare: () => Compare | null,
 *   chooseEnv: (env: [number, number]) => void}} parts
 */
export function startPanels({ store, frames, notices, api, compare, chooseEnv }) {
  const stepAt = (/** @type {number} */ timeMs) => frames.all[frames.indexAt(timeMs)]?.step ?? null;
  const panels = {
    charts: new Charts({ store, api, compare, stepAt }),
    table: new Table(store, api),
    alerts: new Alerts(store, notices),
    strip: new Strip(store, chooseEnv),
  };
  when(store, "vision snapshot", hasVision, async () => new (await import("./vision.js")).Vision(store, api));
  when(store, "fields", hasGame, async () => new (await import("./game.js")).Game(store));
  return panels;
}

/** @param {Store} store */
const hasVision = (store) => store.vision !== null;

/** @param {Store} store */
const hasGame = (store) => store.branches.size > 0 || store.leaves.has("location") || store.leaves.has("llm_scene_description");

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
