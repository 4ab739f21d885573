// @ts-check
/** The panels beside the picture; loaded once that is on its way, so they never delay it. */

import { Alerts } from "./alerts.js";
import { Charts } from "./charts.js";
import { Game } from "./game.js";
import { Strip } from "./strip.js";
import { Table } from "./table.js";
import { Vision } from "./vision.js";

/**
 * @param {{store: import("./store.js").Store, frames: import("./frames.js").Frames,
 *   notices: import("./notices.js").Notices, api: () => import("./api.js").Api,
 *   compare: () => import("./compare.js").Compare | null, chooseEnv: (env: [number, number]) => void}} parts
 */
export function startPanels({ store, frames, notices, api, compare, chooseEnv }) {
  const stepAt = (/** @type {number} */ timeMs) => frames.all[frames.indexAt(timeMs)]?.step ?? null;
  const panels = {
    charts: new Charts({ store, api, compare, stepAt }),
    table: new Table(store, api),
    alerts: new Alerts(store, notices),
    strip: new Strip(store, chooseEnv),
  };
  new Vision(store, api);
  new Game(store);
  return panels;
}
