// @ts-check
/**
 * The panels beside the picture, loaded after the picture is requested so that they never delay it. Panels that only
 * some runs need (a vision LLM, a policy's view, a game that logs fields) are loaded when their data arrives.
 */

import { isMachine } from "../charts/machine.js";
import { Charts } from "../charts/charts.js";
import { GAME_FIELDS, LLM_FIELDS, PROGRESS_MARKS } from "../charts/recipes.js";
import { Strip } from "../stage/strip.js";
import { Alerts } from "../panels/alerts.js";
import { Events } from "../panels/events.js";
import { Reports } from "../panels/reports.js";
import { Table } from "../panels/table.js";
import { MindLoader } from "./mind.js";
import { chooseTab } from "./tabs.js";

/** @import { Api } from "../server/api.js" */
/** @import { Compare } from "../charts/compare.js" */
/** @import { Frames } from "../stage/frames.js" */
/** @import { Notices } from "../panels/notices.js" */
/** @import { Stage } from "../stage/stage.js" */
/** @import { Store } from "../data/store.js" */

const GAME_MARKS = [...GAME_FIELDS, ...PROGRESS_MARKS];
const LLM_MARKS = Object.values(LLM_FIELDS).flat();

/**
 * @param {{store: Store, frames: Frames, stage: Stage, notices: Notices, api: () => Api, compare: () => Compare | null,
 *   chooseEnv: (env: [number, number]) => void, seek: (timeMs: number) => void}} parts
 */
export function startPanels({ store, frames, stage, notices, api, compare, chooseEnv, seek }) {
  const charts = new Charts({ store, api, compare });
  /** @type {import("../panels/vision.js").Vision | null} */
  let vision = null;
  const panels = {
    charts,
    mind: new MindLoader(store, api, stage, () => vision?.suggestion()),
    table: new Table(store, api, (path) => {
      chooseTab("charts");
      charts.open(path);
    }),
    events: new Events(store, api, seek),
    alerts: new Alerts(store, notices),
    reports: new Reports(store, api),
    strip: new Strip(store, frames, chooseEnv),
  };
  when(store, "vision fields", hasVision, async () => {
    vision = new (await import("../panels/vision.js")).Vision(store, api);
  });
  when(store, "mind", hasMind, () => panels.mind.load());
  when(store, "fields", hasGame, async () => new (await import("../panels/game.js")).Game(store));
  return panels;
}

/** @param {Store} store */
const hasVision = (store) => store.vision !== null || LLM_MARKS.some((name) => store.leaves.has(name));

/** @param {Store} store */
const hasMind = (store) => store.mind !== null;

/** @param {Store} store */
const hasGame = (store) =>
  [...store.leaves.branches].some((path) => !isMachine(path)) || GAME_MARKS.some((name) => store.leaves.has(name));

/**
 * Act once, as soon as a condition holds.
 * @param {Store} store @param {string} topics at which to look @param {(store: Store) => boolean} holds
 * @param {() => void} act
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
