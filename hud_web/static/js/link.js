// @ts-check
/**
 * One EventSource that is always there again: opens it, says how it stands, and makes a new one when it is closed for good.
 *
 * A browser reconnects by itself after a network error, with the Last-Event-ID header; after any answer but 200 (a router's
 * 503) it gives up (WHATWG HTML §9.2.2). Then this makes a new one, after a full-jitter wait, and passes the last id in
 * the query, since an EventSource cannot be given a header.
 */

/** @typedef {{state: "connecting" | "open" | "down", retryAt: number | null, detail: string | null}} LinkStatus */

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Heartbeats are comments, which a page cannot see; so after this silence it asks whether the server is there at all. */
const SILENCE_MS = 20_000;
const PROBE_TIMEOUT_MS = 5_000;

const REASONS = /** @type {Record<number, string>} */ ({
  401: "This HUD needs its link: open the link with the viewing token once more.",
  404: "There is no such session (any more).",
  429: "Too many pages are open from this address.",
  503: "The server is going away or cannot take more viewers.",
});

export class Link {
  /**
   * @param {{events: string[], address: () => string, onEvent: (name: string, data: any) => void,
   *   onState: (status: LinkStatus) => void}} options
   */
  constructor({ events, address, onEvent, onState }) {
    this.events = events;
    this.address = address;
    this.onEvent = onEvent;
    this.onState = onState;
    /** @type {EventSource | null} */
    this.source = null;
    this.lastId = "";
    this.attempts = 0;
    this.retryTimer = 0;
    /** @type {number | null} */
    this.retryAt = null;
    this.probeTimer = 0;
    this.lastEvent = 0;
  }

  open() {
    this.close();
    this.retryAt = null;
    const address = this.address();
    const source = new EventSource(this.lastId ? `${address}&last_event_id=${encodeURIComponent(this.lastId)}` : address);
    this.source = source;
    this.onState({ state: "connecting", retryAt: null, detail: null });
    source.onopen = () => {
      this.lastEvent = Date.now();
      this.onState({ state: "open", retryAt: null, detail: null });
    };
    source.onerror = () => {
      if (source !== this.source) return;
      if (source.readyState === EventSource.CLOSED) this.askWhy();
      else this.onState({ state: "down", retryAt: null, detail: "The connection to the server broke." });
    };
    for (const name of this.events) source.addEventListener(name, (event) => this.take(name, /** @type {MessageEvent} */ (event)));
    this.probeTimer = setInterval(() => this.probe(), SILENCE_MS / 2);
  }

  /** Open again, for an address that has changed; goes on after the last event. */
  reopen() {
    this.open();
  }

  close() {
    clearTimeout(this.retryTimer);
    clearInterval(this.probeTimer);
    this.source?.close();
    this.source = null;
  }

  /** @param {string} name @param {MessageEvent} event */
  take(name, event) {
    if (event.target !== this.source) return;
    this.lastEvent = Date.now();
    this.attempts = 0;
    if (event.lastEventId) this.lastId = event.lastEventId;
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return; // half an event, or not one of ours
    }
    this.onEvent(name, data);
  }

  /** An EventSource does not tell why it was refused; a plain request does. */
  async askWhy() {
    const source = this.source;
    this.retry("The server refused the stream.");
    let status = 0;
    try {
      status = (await fetch(this.address(), { method: "HEAD", signal: AbortSignal.timeout(PROBE_TIMEOUT_MS), cache: "no-store" })).status;
    } catch {
      // nobody answered: the connection broke, nothing was refused
    }
    if (this.source === source || !this.retryAt) return;
    const detail = REASONS[status] ?? (status ? `The server refused the stream (${status}).` : "The connection to the server broke.");
    this.onState({ state: "down", retryAt: this.retryAt, detail });
  }

  /** @param {string} detail */
  retry(detail) {
    this.close();
    const most = Math.min(LONGEST_WAIT_MS, SHORTEST_WAIT_MS * 2 ** ++this.attempts);
    const wait = SHORTEST_WAIT_MS + Math.random() * (most - SHORTEST_WAIT_MS);
    this.retryAt = Date.now() + wait;
    this.onState({ state: "down", retryAt: this.retryAt, detail });
    this.retryTimer = setTimeout(() => this.open(), wait);
  }

  async probe() {
    const source = this.source;
    if (!source || source.readyState !== EventSource.OPEN || Date.now() - this.lastEvent < SILENCE_MS) return;
    try {
      const answer = await fetch("/health", { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS), cache: "no-store" });
      if (answer.ok) return;
    } catch {
      // falls through: nobody answered
    }
    if (source === this.source) this.retry("The server does not answer.");
  }
}
