// @ts-check
/** Fetches the server's channels, page by page. The picker and a page whose channel is empty use it. */

/** @import { Channel } from "../data/types.js" */

/** Channels of one response, and of all: nobody reads a longer list. */
const PER_ANSWER = 200;
const MOST = 2_000;

/**
 * Fetch all channels: those with a run first, each part in order of the newest activity.
 * @param {import("./api.js").Api} api
 * @returns {Promise<Channel[]>} empty where the server does not answer or has no index
 */
export async function fetchChannels(api) {
  /** @type {Channel[]} */
  const found = [];
  for (let offset = /** @type {number | null} */ (0); offset !== null && found.length < MOST;) {
    const answer = await api.get("api/channels", { limit: PER_ANSWER, offset });
    found.push(...(answer?.channels ?? []));
    offset = answer?.next_offset ?? null;
  }
  return found.sort((a, b) => Number(b.active) - Number(a.active)); // a stable sort keeps the server's order
}

/** The interval at which a page that waits for a run looks for runs on other channels. */
const LOOK_MS = 5_000;

/**
 * Watch for channels with a run while the page's channel has no session: each run of Tune has a channel of its own.
 * @param {import("../data/store.js").Store} store @param {() => import("./api.js").Api} api
 * @param {(channels: Channel[]) => void} onFound
 */
export function watchOtherChannels(store, api, onFound) {
  const look = async () => {
    if (store.session?.sid || !store.snapshotSeen || document.visibilityState === "hidden") return;
    const answer = await api().get("api/channels", { limit: PER_ANSWER });
    onFound((answer?.channels ?? []).filter((/** @type {Channel} */ { active }) => active));
  };
  store.on("snapshot", look);
  setInterval(look, LOOK_MS);
}
