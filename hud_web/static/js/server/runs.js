// @ts-check
/** Requests about the runs of all channels: their list, and changes of their labels. */

import { serverUrl } from "./address.js";
import { authorization } from "./api.js";
import { parseJson } from "./json.js";

/** @import { Card } from "../runs/feed.js" */
/**
 * @typedef {Card & {columns?: Record<string, unknown>}} Run `columns`: the requested values of the configuration and of
 *   the results
 *
 * @typedef {{runs: Run[], total: number, columns: {name: string, runs: number}[], error: string, isViewOnly: boolean,
 *   isAway: boolean}} RunsAnswer `error`: why there are no runs, in words; `isAway`: the server may answer later;
 *   `isViewOnly`: it refuses changes from this address
 *
 * @typedef {{status: number, detail: string, run: Run | null}} Written `status`: of HTTP, 0 without an answer
 */

const AWAY = "The server does not answer.";

/**
 * Fetch a part of the list of runs.
 * @param {URLSearchParams} query of api/runs @param {AbortSignal} [signal]
 * @returns {Promise<RunsAnswer | null>} null if it was aborted
 */
export async function fetchRuns(query, signal) {
  const none = { runs: [], total: 0, columns: [], isViewOnly: false, isAway: false };
  try {
    const answer = await fetch(serverUrl(`api/runs?${query}`), { signal, headers: authorization() });
    const isViewOnly = answer.headers.get("HUD-Access") === "view";
    const body = parseJson(await answer.text());
    if (!answer.ok)
      return { ...none, isViewOnly, isAway: answer.status >= 429, error: body.detail ?? body.error ?? AWAY };
    return { runs: body.runs, total: body.total, columns: body.columns ?? [], error: "", isViewOnly, isAway: false };
  } catch {
    return signal?.aborted ? null : { ...none, isAway: true, error: AWAY };
  }
}

/**
 * Change the labels of a run.
 * @param {{channel: string, sid: string}} run @param {{tags?: string[], note?: string, pinned?: boolean}} labels
 */
export function labelRun(run, labels) {
  return write("api/runs/label", { channel: run.channel, session: run.sid, ...labels });
}

/** Delete a run that is not live, with all its data. @param {{channel: string, sid: string}} run */
export function deleteRun(run) {
  return write("api/runs/delete", { channel: run.channel, session: run.sid });
}

/** @param {string} path @param {object} body @returns {Promise<Written>} */
async function write(path, body) {
  try {
    const answer = await fetch(serverUrl(path), {
      method: "POST",
      headers: { "Content-Type": "application/json", ...authorization() },
      body: JSON.stringify(body),
    });
    const told = parseJson(await answer.text());
    return { status: answer.status, detail: told.detail ?? told.error ?? "", run: told.sid ? told : null };
  } catch {
    return { status: 0, detail: AWAY, run: null };
  }
}
