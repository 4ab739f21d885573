// @ts-check
/**
 * One stream of a channel for any number of pages: connects, reconnects, decodes, and sends each event to each page.
 *
 * Runs in a SharedWorker if the browser has one (feed-worker.js), so that tabs share a connection, and in the page
 * otherwise. Keeps the content of a snapshot, so that a later tab has it at once. Uses no element of the page.
 */

import { toMind } from "../data/mind.js";
import { entryTime, merge } from "../data/nested.js";
import { toReport } from "../data/reports.js";
import { serverUrl } from "./address.js";
import { fromBase64 } from "./base64.js";
import { EventStream } from "./event-stream.js";

/** @import { Fields, Message, Mind, Picture, Selection } from "../data/types.js" */
/**
 * @typedef {{send: (message: Message[]) => void, visible: boolean, queue: Message[], activityMs: number}} Listener a
 *   page; `activityMs`: the time of its last message of activity
 */

const EVENTS = [
  "session",
  "snapshot",
  "training_update",
  "vision_update",
  "mind",
  "annotation",
  "report",
  "thumbnail",
  "status",
  "reset",
];
/**
 * The interval at which a hidden page gets its queued messages: short enough for alerts, and too long to cost anything.
 */
const HIDDEN_FLUSH_MS = 10_000;
/**
 * If all pages are hidden for this time, the stream continues without frames, so that training need not render them.
 */
const FRAMELESS_AFTER_MS = 15_000;
const LONGEST_QUEUE = 5_000;
/**
 * The interval at which a hidden page is told that the run sends, so that its title does not call a healthy run
 * stalled.
 */
const ACTIVITY_EVERY_MS = 1_000;

export class Feed {
  /** @param {Selection} selection */
  constructor({ channel, session }) {
    this.selection = { channel, session };
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
    /** @type {Mind | null} */
    this.mind = null;
    /** @type {import("../data/types.js").Roles} */
    this.roles = {};
    /**
     * Fields that are not finite now, by path.
     * @type {Record<string, {value: string, time_ms: number, step: number | null}>}
     */
    this.notFinite = {};
    /** @type {import("../data/types.js").Rhythm | null} */
    this.rhythm = null;
    /** @type {import("../data/types.js").Verdict | null} */
    this.verdict = null;
    /** Of the session that the verdict judges. @type {string | null} */
    this.sid = null;
    this.frameless = false;
    /** The time at which fields last came, on this clock. */
    this.updatedMs = 0;
    /**
     * The time at which the newest entry was appended, on Redis' clock; null while it is unknown.
     * @type {number | null}
     */
    this.entryMs = null;
    this.activityTimer = 0;
    this.stream = new EventStream({
      events: EVENTS,
      address: () => this.address(),
      onEvent: (name, data) => this.onEvent(name, data),
      onState: (state) => this.broadcast({ kind: "connection", ...state }),
    });
    this.flushTimer = 0;
    this.framelessTimer = 0;
  }

  address() {
    const query = new URLSearchParams({ channel: this.selection.channel });
    if (this.selection.session) query.set("session", this.selection.session);
    if (this.frameless) query.set("frames", "0");
    return serverUrl(`stream?${query}`);
  }

  /**
   * Add a page, and send it the current state.
   * @param {(messages: Message[]) => void} send @param {boolean} visible
   * @returns {number} its id
   */
  add(send, visible) {
    const id = this.nextId++;
    this.listeners.set(id, { send, visible, queue: [], activityMs: 0 });
    if (this.listeners.size === 1) this.stream.open();
    send(this.snapshotMessages());
    this.setVisible(id, visible);
    return id;
  }

  /** @param {number} id */
  remove(id) {
    this.listeners.delete(id);
    if (!this.listeners.size) this.stream.close();
    else this.schedule();
  }

  /** @param {number} id @param {boolean} visible */
  setVisible(id, visible) {
    const listener = this.listeners.get(id);
    if (!listener) return;
    if (visible && !listener.visible) {
      this.flush(listener);
      if (this.mind) listener.send([{ kind: "mind", mind: this.mind }]);
      if (this.frame) listener.send([{ kind: "picture", picture: this.frame }]);
    }
    listener.visible = visible;
    this.schedule();
  }

  schedule() {
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
    clearInterval(this.activityTimer);
    // A run that sends only frames now sends nothing, because no page wants frames: its session shows when it ends.
    if (frameless && Date.now() - this.updatedMs > FRAMELESS_AFTER_MS) {
      this.activityTimer = setInterval(() => {
        this.entryMs = null;
        for (const listener of this.listeners.values()) this.sendActivity(listener);
      }, ACTIVITY_EVERY_MS);
    }
    if (this.listeners.size) this.stream.reopen();
  }

  /** @param {Listener} listener */
  flush(listener) {
    if (!listener.queue.length) return;
    listener.send(listener.queue);
    listener.queue = [];
  }

  /** @returns {Message[]} */
  snapshotMessages() {
    const messages = [...this.kept.values()];
    const session = this.kept.get("session");
    if (session?.kind === "session" && this.snapshotSeen) messages.push(this.snapshot(session.session, null, null));
    return messages;
  }

  /**
   * All data of the run.
   * @param {any} session @param {number | null} viewers @param {number | null} serverTimeMs
   * @returns {Message}
   */
  snapshot(session, viewers, serverTimeMs) {
    const { state, notFinite, roles, rhythm, verdict, frame, vision, mind } = this;
    return {
      kind: "snapshot",
      session,
      state,
      notFinite,
      roles,
      rhythm,
      verdict,
      frame,
      vision,
      mind,
      viewers,
      serverTimeMs,
    };
  }

  /** @param {string} name @param {any} data */
  onEvent(name, data) {
    if (name === "session") {
      if (data.sid !== this.sid) this.verdict = null;
      this.sid = data.sid;
      this.broadcast({ kind: "session", session: data });
    } else if (name === "snapshot") this.onSnapshot(data);
    else if (name === "training_update") {
      const { _hud: origin, ...fields } = data;
      merge(this.state, fields);
      if (isOfTraining(origin)) this.updatedMs = Date.now();
      if (origin?.roles) this.roles = origin.roles;
      this.broadcast({
        kind: "update",
        fields,
        origin: origin ?? { id: "", stream: "metrics", step: null, time_ms: Date.now(), writer: "" },
      });
    } else if (name === "vision_update") {
      const picture = toPicture(data, data.source === "vlm" ? "vlm" : "env");
      if (!picture) return;
      if (picture.source === "vlm") this.vision = picture;
      else this.frame = picture;
      this.broadcast({ kind: "picture", picture });
    } else if (name === "mind") {
      const mind = toMind(data, imageOf(data));
      if (!mind) return;
      this.mind = mind;
      this.broadcast({ kind: "mind", mind });
    } else if (name === "thumbnail") {
      const picture = toPicture(data, "thumbnail");
      if (picture) this.broadcast({ kind: "picture", picture });
    } else if (name === "annotation") {
      for (const path of data.fields) {
        if (data.kind === "non_finite")
          this.notFinite[path] = { value: data.value, time_ms: data.time_ms, step: data.step };
        else if (data.kind === "finite_again") delete this.notFinite[path];
      }
      this.broadcast({ kind: "annotation", annotation: data });
    } else if (name === "report") this.broadcast({ kind: "report", report: toReport(data) });
    else if (name === "status") {
      this.rhythm = data.rhythm ?? this.rhythm;
      this.verdict = data.verdict ?? this.verdict;
      this.broadcast({
        kind: "status",
        redis: data.redis,
        detail: data.detail ?? null,
        rhythm: this.rhythm,
        verdict: this.verdict,
        viewers: data.viewers ?? null,
        serverTimeMs: data.server_time_ms ?? null,
      });
    }
    if (name === "reset") this.broadcast({ kind: "reset", reason: data.reason ?? null });
  }

  /** @param {any} data */
  onSnapshot(data) {
    this.snapshotSeen = true;
    this.state = data.state ?? {};
    this.notFinite = data.not_finite ?? {};
    this.roles = data.roles ?? {};
    this.rhythm = data.rhythm ?? null;
    this.verdict = data.verdict ?? null;
    this.frame = data.frame ? toPicture(data.frame, "env") : null;
    this.vision = data.vision ? toPicture(data.vision, "vlm") : null;
    this.mind = data.mind ? toMind(data.mind, imageOf(data.mind)) : null;
    this.sid = data.session?.sid ?? this.sid;
    if (data.session) this.kept.set("session", { kind: "session", session: data.session });
    this.broadcast(this.snapshot(data.session, data.viewers ?? null, data.server_time_ms ?? null));
  }

  /** @param {Message} message */
  broadcast(message) {
    if (message.kind === "update" && isOfTraining(message.origin)) this.entryMs = entryTime(message.origin);
    else if (message.kind === "picture" && message.picture.source !== "thumbnail")
      this.entryMs = entryTime(message.picture);
    if (message.kind === "connection" || message.kind === "session" || message.kind === "status")
      this.kept.set(message.kind, message);
    for (const listener of this.listeners.values()) {
      if (listener.visible) listener.send([message]);
      else if (message.kind === "mind") this.sendActivity(listener);
      else if (message.kind === "update" || message.kind === "picture") this.enqueue(listener, message);
      else {
        this.flush(listener);
        listener.send([message]);
      }
    }
  }

  /** Tell a hidden page that the run sends. @param {Listener} listener */
  sendActivity(listener) {
    const now = Date.now();
    if (now - listener.activityMs < ACTIVITY_EVERY_MS) return;
    listener.activityMs = now;
    listener.send([{ kind: "activity", timeMs: this.entryMs }]);
  }

  /**
   * Queue a message for a hidden page, which needs no live frames.
   * @param {Listener} listener @param {Extract<Message, {kind: "update" | "picture"}>} message
   */
  enqueue(listener, message) {
    const isActivity =
      message.kind === "update" ? isOfTraining(message.origin) : message.picture.source !== "thumbnail";
    if (isActivity) this.sendActivity(listener);
    if (message.kind === "picture" && message.picture.source !== "vlm") return;
    listener.queue.push(message);
    if (listener.queue.length > LONGEST_QUEUE) this.flush(listener);
  }
}

/**
 * Whether an update shows that training goes on: the use of the machine is reported by a process that hangs, too.
 * @param {import("../data/types.js").Origin | undefined} origin
 */
function isOfTraining(origin) {
  return origin?.stream !== "machine";
}

/**
 * @param {any} data one `vision_update`
 * @param {Picture["source"]} source
 * @returns {Picture | null} null without a picture and without an id to fetch it by
 */
function toPicture(data, source) {
  const bytes = imageOf(data);
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

/** The bytes of an event's picture. @param {any} data */
function imageOf(data) {
  return typeof data.image === "string" && data.image ? fromBase64(data.image) : null;
}
