// @ts-check
/** Asks the server's JSON endpoints. Every call may answer null: an older server, no data yet, or no connection. */

/** The bearer token stays in this page's memory: it is never stored, and never part of an address. */
let token = "";

/** @param {string} value */
export function setToken(value) {
  token = value;
}

export class Api {
  /** @param {{channel: string, session: string}} what */
  constructor(what) {
    this.what = what;
    this.abort = new AbortController();
  }

  /** Nothing that is still under way will be answered. */
  stop() {
    this.abort.abort();
  }

  /** @param {string} path @param {Record<string, string | number>} [query] */
  address(path, query = {}) {
    const all = new URLSearchParams({ channel: this.what.channel });
    if (this.what.session) all.set("session", this.what.session);
    for (const [name, value] of Object.entries(query)) all.set(name, String(value));
    return `${path}?${all}`;
  }

  /**
   * @param {string} path @param {Record<string, string | number>} [query]
   * @returns {Promise<any>} null where there is no answer
   */
  async get(path, query = {}) {
    try {
      const answer = await fetch(this.address(path, query), { signal: this.abort.signal, headers: authorization() });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /**
   * A picture; one that was fetched before comes from the browser's cache.
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
   * The whole run's points of these fields, down-sampled by the server.
   * @param {string[]} fields @param {number} [points]
   * @returns {Promise<{series: Record<string, {step: (number | null)[], time_ms: number[], value: (number | null)[]}>, fields: string[]} | null>}
   */
  history(fields, points = 2000) {
    return this.get("/api/history", { fields: fields.join(","), points });
  }

  /** Which env to show. @param {readonly [number, number]} env @returns {Promise<number>} the HTTP status, 0 without one */
  async chooseReporter([worker, index]) {
    try {
      const answer = await fetch(this.address("/api/reporter"), {
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
function authorization() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}
