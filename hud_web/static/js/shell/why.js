// @ts-check
/**
 * Answers "why": the line with the verdict, the evidence of its clauses, and the dialogs of the run's processes and of
 * its configuration, which are loaded at first use.
 */

import { button } from "../ui/dom.js";
import { chooseTab } from "./tabs.js";
import { VerdictLine } from "./verdict.js";

/** @import { Api } from "../server/api.js" */
/** @import { Clause } from "../data/types.js" */
/** @import { Frames } from "../stage/frames.js" */
/** @import { Store } from "../data/store.js" */
/** @typedef {Awaited<ReturnType<typeof import("./panels.js").startPanels>>} Panels */

/** Evidence that is younger is on the page already: a click on it must not stop the live display. */
const NEWS_MS = 10_000;
/** Annotations whose details the dialog of processes has. */
const OF_PROCESSES = new Set(["process_died", "process_lost", "process_back", "restarted", "session_lapsed"]);

/**
 * @param {{store: Store, frames: Frames, panels: Promise<Panels>, api: () => Api, seek: (timeMs: number) => void,
 *   compared: () => string}} parts `compared`: sid of the session that the charts are compared with, "" for none
 */
export function startWhy({ store, frames, panels, api, seek, compared }) {
  const processes = button("server", "Processes", () => openProcesses());
  processes.hidden = true;
  const configuration = button("sliders", "Configuration", () => openConfiguration(), { key: "C" });
  new VerdictLine(store, showEvidence, [processes, configuration]);
  const showButton = async () => {
    const { reports } = await panels;
    processes.hidden = !reports.any;
    processes.dataset.tone = reports.hasLoss ? "error" : "muted";
  };
  store.onEach("reports cleared", showButton);
  panels.then(showButton);

  async function openProcesses() {
    const [{ openProcesses: open }, { charts, reports }] = await Promise.all([
      import("../panels/processes.js"),
      panels,
    ]);
    open(store, reports, ({ fields, time_ms: t, step }) => {
      chooseTab("charts");
      charts.reveal(fields, { t, step });
    });
  }

  async function openConfiguration() {
    const { openConfiguration: open } = await import("../panels/configuration.js");
    open(api(), store.session?.sid ?? "", compared());
  }

  /** Show the chart, the moment or the event that a clause names. @param {Clause} clause */
  async function showEvidence({ fields, pattern, time_ms: timeMs, step, entry_id: entry }) {
    const { charts, events } = await panels;
    const event = store.annotations.findLast((one) => one.time_ms === timeMs && one.entry_id === entry);
    if (pattern === "thread_died" || (event && OF_PROCESSES.has(event.kind))) return openProcesses();
    const isKept = timeMs !== null && frames.all.length > 0 && frames.all[0].t <= timeMs;
    const isNews = store.session?.status === "live" && timeMs !== null && store.now() - timeMs < NEWS_MS;
    if (timeMs !== null && isKept && !isNews) seek(timeMs);
    if (charts.reveal(fields, timeMs === null ? null : { t: timeMs, step })) chooseTab("charts");
    else if (event && events.reveal(event.id)) chooseTab("watch");
  }

  return { openConfiguration };
}
