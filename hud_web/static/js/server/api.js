// @ts-check
/**
 * Requests to the server's JSON endpoints. Every call may return null: an older server, no data yet, or no connection.
 */

import { serverUrl } from "./address.js";
import { parseJson } from "./json.js";

/** @import { PastHistograms } from "../data/histograms.js" */
/** @import { Roles, Selection } from "../data/types.js" */
/** @typedef {{step: (number | null)[], time_ms: number[], value: (number | null)[]}} Points of one field, by time */

/** The bearer token stays in this page's memory: it is never stored, and never part of an address. */
let token = "";

/** @param {string} value */
export function setToken(value) {
  token = value;
}

export class Api {
  /** @param {Selection} selection */
  constructor(selection) {
    this.selection = selection;
    this.abort = new AbortController();
  }

  /** Abort the requests that are under way. */
  stop() {
    this.abort.abort();
  }

  /** @param {string} path @param {Record<string, string | number | string[]>} [query] a list repeats its name */
  address(path, query = {}) {
    const all = new URLSearchParams();
    if (this.selection.channel) all.set("channel", this.selection.channel);
    if (this.selection.session) all.set("session", this.selection.session);
    for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) all.append(name, String(one));
    return serverUrl(`${path}?${all}`);
  }

  /**
   * @param {string} path @param {Record<string, string | number | string[]>} [query]
   * @returns {Promise<any>} null without a response
   */
  async get(path, query = {}) {
    try {
      const answer = await fetch(this.address(path, query), { signal: this.abort.signal, headers: authorization() });
      return answer.ok ? parseJson(await answer.text()) : null;
    } catch {
      return null;
    }
  }

  /**
   * Fetch a picture; the browser's cache holds the ones that were fetched before.
   * @param {string} path
   * @returns {Promise<Blob | null>}
   */
  async blob(path) {
    try {
      const answer = await fetch(this.address(path), { signal: this.abort.signal, headers: authorization() });
      return answer.ok ? await answer.blob() : null;
    } catch {
      return null;
    }
  }

  /**
   * Fetch the points of these fields over the whole run, down-sampled by the server.
   * @param {string[]} fields @param {number} [points]
   * @returns {Promise<{series: Record<string, Points>, histograms?: Record<string, PastHistograms>, fields: string[],
   *   roles?: Roles} | null>}
   */
  history(fields, points = 2000) {
    return this.get("api/history", { field: fields, points });
  }

  /**
   * Request the env to show.
   * @param {readonly [number, number]} env
   * @returns {Promise<number>} the HTTP status, 0 without one
   */
  async chooseReporter([worker, index]) {
    try {
      const answer = await fetch(this.address("api/reporter"), {
        method: "POST",
        headers: { "Content-Type": "application/json", ...authorization() },
        body: JSON.stringify({ worker_index: worker, env_index: index }),
      });
      return answer.status;
    } catch {
      return 0;
    }
  }
}

/** @returns {Record<string, string>} */
export function authorization() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}
