// @ts-check
/**
 * One stream of a channel for any number of pages: connects, heals, decodes, and hands each event to every listener.
 *
 * Runs in a SharedWorker where there is one (feed-worker.js), so tabs share a connection, and in the page otherwise. Keeps
 * what a snapshot holds, so a tab that comes later is filled at once. Paints nothing and knows no element.
 */

import { Link } from "./link.js";
import { merge } from "./nested.js";

/** @import { Message, Fields, Picture } from "./types.js" */
/** @typedef {{send: (message: Message[]) => void, visible: boolean, queue: Message[]}} Listener */

const EVENTS = ["session", "snapshot", "training_update", "vision_update", "thumbnail", "status", "reset"];
/** A hidden page gets what it missed this often: often enough for alerts, seldom enough to cost nothing. */
const HIDDEN_FLUSH_MS = 10_000;
/** With all pages hidden for so long, the stream goes on without frames, so training need not render any. */
const FRAMELESS_AFTER_MS = 15_000;
const LONGEST_QUEUE = 5_000;

export class Feed {
  /** @param {{channel: string, session: string}} what */
  constructor({ channel, session }) {
    this.what = { channel, session };
    /** @type {Map<number, Listener>} */
    this.listeners = new Map();
    this.nextId = 1;
    /** @type {Map<string, Message>} the newest of each kind that a later tab needs */
    this.kept = new Map();
    /** @type {Fields} */
    this.state = {};
    /** @type {Picture | null} */
    this.frame = null;
    /** @type {Picture | null} */
    this.vision = null;
    this.frameless = false;
    this.link = new Link({ events: EVENTS, address: () => this.address(), onEvent: (name, data) => this.take(name, data), onState: (state) => this.tell({ kind: "link", ...state }) });
    this.flushTimer = 0;
    this.framelessTimer = 0;
  }

  address() {
    const query = new URLSearchParams({ channel: this.what.channel });
    if (this.what.session) query.set("session", this.what.session);
    if (this.frameless) query.set("frames", "0");
    return `/stream?${query}`;
  }

  /**
   * Add a page; it is told at once all that is known.
   * @param {(messages: Message[]) => void} send
   * @param {boolean} visible
   * @returns {number} its id
   */
  add(send, visible) {
    const id = this.nextId++;
    this.listeners.set(id, { send, visible, queue: [] });
    if (this.listeners.size === 1) this.link.open();
    send(this.known());
    this.setVisible(id, visible);
    return id;
  }

  /** @param {number} id */
  remove(id) {
    this.listeners.delete(id);
    if (!this.listeners.size) this.link.close();
    else this.plan();
  }

  /** @param {number} id @param {boolean} visible */
  setVisible(id, visible) {
    const listener = this.listeners.get(id);
    if (!listener) return;
    if (visible && !listener.visible) {
      this.flush(listener);
      if (this.frame) listener.send([{ kind: "picture", picture: this.frame }]);
    }
    listener.visible = visible;
    this.plan();
  }

  plan() {
    const all = [...this.listeners.values()];
    const anyVisible = all.some((listener) => listener.visible);
    clearTimeout(this.framelessTimer);
    if (anyVisible) this.setFrameless(false);
    else this.framelessTimer = setTimeout(() => this.setFrameless(true), FRAMELESS_AFTER_MS);
    const anyHidden = all.some((listener) => !listener.visible);
    if (anyHidden && !this.flushTimer) {
      this.flushTimer = setInterval(() => {
        for (const listener of this.listeners.values()) this.flush(listener);
      }, HIDDEN_FLUSH_MS);
    } else if (!anyHidden) {
      clearInterval(this.flushTimer);
      this.flushTimer = 0;
    }
  }

  /** @param {boolean} frameless */
  setFrameless(frameless) {
    if (this.frameless === frameless) return;
    this.frameless = frameless;
    if (this.listeners.size) this.link.reopen();
  }

  /** @param {Listener} listener */
  flush(listener) {
    if (!listener.queue.length) return;
    listener.send(listener.queue);
    listener.queue = [];
  }

  /** @returns {Message[]} */
  known() {
    const messages = [...this.kept.values()];
    const session = this.kept.get("session");
    if (session?.kind === "session" && this.snapshotSeen) {
      messages.push({ kind: "snapshot", session: session.session, state: this.state, frame: this.frame, vision: this.vision, viewers: null, serverTimeMs: null });
    }
    return messages;
  }

  /** @param {string} name @param {any} data */
  take(name, data) {
    if (name === "session") this.tell({ kind: "session", session: data });
    else if (name === "snapshot") this.takeSnapshot(data);
    else if (name === "training_update") {
      const { _hud: origin, ...fields } = data;
      merge(this.state, fields);
      this.tell({ kind: "update", fields, origin: origin ?? { id: "", stream: "metrics", step: null, time_ms: Date.now(), writer: "" } });
    } else if (name === "vision_update") {
      const picture = toPicture(data, data.source === "vlm" ? "vlm" : "env");
      if (!picture) return;
      if (picture.source === "vlm") this.vision = picture;
      else this.frame = picture;
      this.tell({ kind: "picture", picture });
    } else if (name === "thumbnail") {
      const picture = toPicture(data, "thumbnail");
      if (picture) this.tell({ kind: "picture", picture });
    } else if (name === "status") this.tell({ kind: "status", redis: data.redis, detail: data.detail ?? null, viewers: data.viewers ?? null, serverTimeMs: data.server_time_ms ?? null });
    else if (name === "reset") this.tell({ kind: "reset", reason: data.reason ?? null });
  }

  /** @param {any} data */
  takeSnapshot(data) {
    this.snapshotSeen = true;
    this.state = data.state ?? {};
    this.frame = data.frame ? toPicture(data.frame, "env") : null;
    this.vision = data.vision ? toPicture(data.vision, "vlm") : null;
    if (data.session) this.kept.set("session", { kind: "session", session: data.session });
    this.tell({ kind: "snapshot", session: data.session, state: this.state, frame: this.frame, vision: this.vision, viewers: data.viewers ?? null, serverTimeMs: data.server_time_ms ?? null });
  }

  /** @param {Message} message */
  tell(message) {
    if (message.kind === "link" || message.kind === "session" || message.kind === "status") this.kept.set(message.kind, message);
    for (const listener of this.listeners.values()) {
      if (listener.visible) listener.send([message]);
      else if (message.kind === "update" || message.kind === "picture") this.hold(listener, message);
      else {
        this.flush(listener);
        listener.send([message]);
      }
    }
  }

  /**
   * Keep a message for a hidden page; of live frames it needs none.
   * @param {Listener} listener @param {Message} message
   */
  hold(listener, message) {
    if (message.kind === "picture" && message.picture.source !== "vlm") return;
    listener.queue.push(message);
    if (listener.queue.length > LONGEST_QUEUE) this.flush(listener);
  }
}

/**
 * @param {any} data one `vision_update`
 * @param {Picture["source"]} source
 * @returns {Picture | null} null where there is neither a picture nor an id to fetch it by
 */
function toPicture(data, source) {
  const bytes = typeof data.image === "string" && data.image ? fromBase64(data.image) : null;
  if (!bytes && !data.id) return null;
  return {
    source,
    bytes,
    id: data.id ?? null,
    mime: typeof data.mime === "string" ? data.mime : "image/jpeg",
    step: data.step ?? null,
    episode: data.episode ?? null,
    env: Array.isArray(data.env) ? [data.env[0], data.env[1]] : null,
    time_ms: data.time_ms ?? Date.now(),
    response_time: data.response_time ?? null,
    prompt: data.prompt ?? null,
    response: data.response ?? null,
    extra: data.extra ?? null,
  };
}

/** @param {string} text @returns {ArrayBuffer | null} null where it is not base64 */
function fromBase64(text) {
  try {
    // The native decoder is some ten times faster; browsers of before 2025 lack it.
    const native = /** @type {any} */ (Uint8Array).fromBase64;
    if (native) return native.call(Uint8Array, text).buffer;
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes.buffer;
  } catch {
    return null;
  }
}
