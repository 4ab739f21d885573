// @ts-check
/**
 * A persistent event stream: opens an EventSource, reports its state, and replaces it when the browser gives it up.
 *
 * A browser reconnects by itself after a network error, with the Last-Event-ID header; after any status but 200 (a
 * router's 503) it gives up (WHATWG HTML §9.2.2). Then this class opens another one, after a wait with full jitter, and
 * passes the last id in the query, because an EventSource cannot send a header.
 */

import { serverUrl } from "./address.js";
import { parseJson } from "./json.js";

/** @import { ConnectionState } from "../data/types.js" */
/** @typedef {{state: ConnectionState, retryAt: number | null, detail: string | null}} ConnectionStatus */

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Heartbeats are comments, which a page cannot see; after this silence it sends a request to the server. */
const SILENCE_MS = 20_000;
const PROBE_TIMEOUT_MS = 5_000;

const REASONS = /** @type {Record<number, string>} */ ({
  401: "This HUD requires a viewing token: open the link that contains it again.",
  404: "This session does not exist, or its data has expired.",
  429: "Too many pages are open from this address.",
  503: "The server is shutting down or accepts no more viewers.",
});

export class EventStream {
  /**
   * @param {{events: string[], address: () => string, onEvent: (name: string, data: any) => void,
   *   onState: (status: ConnectionStatus) => void}} options
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
    const source = new EventSource(
      this.lastId ? `${address}&last_event_id=${encodeURIComponent(this.lastId)}` : address,
    );
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
    for (const name of this.events)
      source.addEventListener(name, (event) => this.onMessage(name, /** @type {MessageEvent} */ (event)));
    this.probeTimer = setInterval(() => this.probe(), SILENCE_MS / 2);
  }

  /** Open again after a change of the address; continues after the last event. */
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
  onMessage(name, event) {
    if (event.target !== this.source) return;
    this.lastEvent = Date.now();
    this.attempts = 0;
    if (event.lastEventId) this.lastId = event.lastEventId;
    let data;
    try {
      data = parseJson(event.data);
    } catch {
      return; // an incomplete event, or not one of HUD's
    }
    this.onEvent(name, data);
  }

  /** Find out why the stream was refused: an EventSource does not report the status, a plain request does. */
  async askWhy() {
    const source = this.source;
    this.retry("The server refused the stream.");
    let status = 0;
    try {
      status = (
        await fetch(this.address(), {
          method: "HEAD",
          signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
          cache: "no-store",
        })
      ).status;
    } catch {
      // no response: the connection broke, and the server refused nothing
    }
    if (this.source === source || !this.retryAt) return;
    const detail =
      REASONS[status] ??
      (status ? `The server refused the stream (${status}).` : "The connection to the server broke.");
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
      const answer = await fetch(serverUrl("health"), {
        signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
        cache: "no-store",
      });
      if (answer.ok) return;
    } catch {
      // no response
    }
    if (source === this.source) this.retry("The server does not answer.");
  }
}
