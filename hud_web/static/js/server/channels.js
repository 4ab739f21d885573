// @ts-check
/** Finds channels with a run, for a page whose channel has none. */

/** @import { Channel } from "../data/types.js" */

/** The interval at which a page that waits for a run looks for runs on other channels. */
const LOOK_MS = 5_000;
/** The newest channels, of which the page shows those with a run. */
const MOST = 200;

/**
 * Watch for channels with a run while the page's channel has no session: each run of Tune has a channel of its own.
 * @param {import("../data/store.js").Store} store @param {() => import("./api.js").Api} api
 * @param {(channels: Channel[]) => void} onFound
 */
export function watchOtherChannels(store, api, onFound) {
  const look = async () => {
    if (store.session?.sid || !store.snapshotSeen || document.visibilityState === "hidden") return;
    const answer = await api().get("api/channels", { limit: MOST });
    onFound((answer?.channels ?? []).filter((/** @type {Channel} */ { active }) => active));
  };
  store.on("snapshot", look);
  setInterval(look, LOOK_MS);
}
