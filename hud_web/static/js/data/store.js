// @ts-check
/**
 * The page's model of a run: the session, the connection, the fields, the newest pictures. Reads the feed's messages,
 * notifies its listeners by topic, and paints nothing.
 */

import { Activity } from "./activity.js";
import { ServerClock } from "./clock.js";
import { Leaves } from "./leaves.js";
import { entryTime } from "./nested.js";
import { Rewind } from "./rewind.js";
import { Rate } from "./rings.js";
import { Topics } from "./topics.js";

/** @import { Leaf, Turn } from "./leaves.js" */
/**
 * @import { Annotation, ConnectionState, Fields, Message, Mind, Origin, Picture, Roles, Session,
 *   Verdict } from "./types.js"
 */
/**
 * @typedef {"connection" | "session" | "status" | "fields" | "newLeaf" | "frame" | "thumbnail" | "vision" | "reset"
 *   | "snapshot" | "update" | "moment" | "cleared" | "roles" | "annotation" | "turned" | "report"
 *   | "reports" | "annotations" | "verdict" | "mind" | "drawn" | "calls"} Topic
 */

/** Symbols of the values that are not finite, by their names on the wire. @type {Record<string, string>} */
const SYMBOLS = { Infinity: "∞", "-Infinity": "−∞" };

/** Kinds of annotations whose entries may be reports, or the use of the machine: training may stand still. */
const NO_ACTIVITY = /^(process_|restarted|alert|symptom)/;

/** @extends {Topics<Topic>} */
export class Store extends Topics {
  /** @type {{state: ConnectionState, retryAt: number | null, detail: string | null, since: number}} */
  connection = { state: "connecting", retryAt: null, detail: null, since: Date.now() };
  /** @type {{redis: string, detail: string | null}} */
  status = { redis: "ok", detail: null };
  /** @type {number | null} */
  viewers = null;
  clock = new ServerClock();
  /** @type {Session | null} */
  session = null;
  leaves = new Leaves();
  rewind = new Rewind(this.leaves);
  activity = new Activity();
  /** @type {Picture | null} */
  frame = null;
  /** @type {Picture | null} */
  vision = null;
  /** The policy's newest view. @type {Mind | null} */
  mind = null;
  /** The annotations that the server's monitor wrote, in order of time. @type {Annotation[]} */
  annotations = [];
  /** The monitor's newest judgement of the run. @type {Verdict | null} */
  verdict = null;
  /** The fields of each role, as the server decided. @type {Roles} */
  roles = {};
  /** The newest of each env. @type {Map<string, Picture>} */
  thumbnails = new Map();
  frameRate = new Rate();
  /** @type {Origin | null} */
  origin = null;
  /** @type {Set<string>} */
  writers = new Set();
  snapshotSeen = false;

  constructor() {
    super();
    this.leaves.onNew = (leaf) => this.emit("newLeaf", leaf);
  }

  /** The moment shown, on Redis' clock; null: now. */
  get moment() {
    return this.rewind.moment;
  }

  /** This moment on the server's clock. */
  now() {
    return this.clock.now();
  }

  /** Remove all data of the run; the state of the connection stays. */
  clear() {
    this.leaves.clear();
    this.rewind.clear();
    this.activity = new Activity();
    this.frame = this.vision = this.mind = this.origin = this.verdict = this.clock.latencyMs = null;
    this.roles = {};
    this.annotations = [];
    this.thumbnails.clear();
    this.frameRate = new Rate();
    this.writers.clear();
    this.snapshotSeen = false;
  }

  /** @param {Message} message */
  onMessage(message) {
    if (message.kind === "update") this.onUpdate(message.fields, message.origin);
    else if (message.kind === "picture") this.onPicture(message.picture);
    else if (message.kind === "activity")
      this.activity.seen(message.timeMs ?? (this.session?.status === "live" ? this.now() : 0));
    else if (message.kind === "annotation") {
      this.applyAnnotation(message.annotation); // the list of events may not be loaded yet
      this.emit("annotation", message.annotation);
    } else if (message.kind === "report") this.emit("report", message.report);
    else if (message.kind === "mind") this.onMind(message.mind);
    else if (message.kind === "session") this.onSession(message.session);
    else if (message.kind === "snapshot") this.onSnapshot(message);
    else if (message.kind === "connection") {
      const { state, retryAt, detail } = message;
      const since = this.connection.state === state ? this.connection.since : Date.now();
      this.connection = { state, retryAt, detail, since };
      this.emit("connection");
    } else if (message.kind === "status") {
      this.status = { redis: message.redis, detail: message.detail };
      this.viewers = message.viewers ?? this.viewers;
      this.clock.sync(message.serverTimeMs);
      this.activity.setRhythm(message.rhythm, this.leaves.get("phase")?.live);
      this.setVerdict(message.verdict);
      this.emit("status");
    } else if (message.kind === "reset") this.emit("reset", message.reason);
  }

  /** @param {Session} session */
  onSession(session) {
    const before = this.session;
    this.session = session;
    if (before && before.sid && session.sid && before.sid !== session.sid) {
      this.clear();
      this.emit("cleared");
    }
    this.setRoles(session.roles);
    this.emit("session", before);
  }

  /** @param {Extract<Message, {kind: "snapshot"}>} message */
  onSnapshot(message) {
    const { leaves } = this;
    if (message.session) this.onSession(message.session);
    this.viewers = message.viewers ?? this.viewers;
    this.clock.sync(message.serverTimeMs);
    const missing = new Set(leaves.keys());
    const isFirst = !missing.size;
    const isLive = this.moment === null;
    // After a gap the differences count as one change at this moment.
    this.rewind.record(this.now(), null, (change) => {
      leaves.merge(message.state, { timeMs: 0, step: null, change: isFirst ? null : change, isLive, missing });
      for (const path of Object.keys(message.notFinite)) missing.delete(path);
      for (const path of missing) leaves.delete(path);
      for (const [path, { value, time_ms: t, step }] of Object.entries(message.notFinite))
        this.addTurn(path, { t, step, value: SYMBOLS[value] ?? value });
    });
    this.snapshotSeen = true;
    this.activity.setRhythm(message.rhythm, leaves.get("phase")?.live);
    this.setRoles(message.roles);
    this.setVerdict(message.verdict);
    if (message.frame) this.onPicture(message.frame, true);
    if (message.vision) this.onPicture(message.vision, true);
    if (message.mind) this.onMind(message.mind);
    this.emit("snapshot");
    this.emit("fields");
  }

  /** @param {Fields} fields @param {Origin} origin */
  onUpdate(fields, origin) {
    const timeMs = entryTime(origin);
    const { step } = origin;
    this.origin = origin;
    if (origin.stream !== "machine") this.activity.seenIn(fields.phase, this.leaves.get("phase")?.live, timeMs);
    this.clock.sync(timeMs); // no entry arrives before it was appended
    if (origin.writer) this.writers.add(origin.writer);
    if (step !== null) this.rewind.steps.addStep(timeMs, step);
    if (!this.frame) this.clock.measure(origin);
    this.emit("update", { fields, origin, timeMs });
    const isLive = this.moment === null;
    this.rewind.record(timeMs, step, (change) => this.leaves.merge(fields, { timeMs, step, change, isLive }));
    this.setRoles(origin.roles);
    this.emit("fields");
  }

  /** @param {Picture} picture @param {boolean} [fromSnapshot] it may be old, so its time does not set the clock */
  onPicture(picture, fromSnapshot = false) {
    const timeMs = entryTime(picture);
    if (picture.source === "thumbnail") {
      if (picture.env) this.thumbnails.set(picture.env.join("/"), picture);
      this.emit("thumbnail", picture);
      return;
    }
    this.activity.seen(timeMs);
    if (picture.source === "vlm") {
      this.vision = picture;
      this.emit("vision", picture);
      return;
    }
    if (!fromSnapshot) {
      this.frameRate.count(Date.now());
      this.clock.sync(timeMs);
      this.clock.measure(picture);
    }
    if (picture.step !== null) this.rewind.steps.addStep(timeMs, picture.step);
    this.frame = picture;
    this.emit("frame", picture);
  }

  /** @param {Mind} mind */
  onMind(mind) {
    this.activity.seen(mind.t);
    this.mind = mind;
    this.emit("mind", mind);
  }

  /** Apply the facts of an annotation to the model. @param {Annotation} annotation */
  applyAnnotation({ kind, time_ms: timeMs, step, fields, entry_id: entry, value }) {
    if (entry && !NO_ACTIVITY.test(kind)) this.activity.seen(timeMs);
    if (kind !== "non_finite" && kind !== "finite_again") return;
    for (const path of fields) this.addTurn(path, { t: timeMs, step, value: SYMBOLS[value ?? ""] ?? value ?? "" });
  }

  /** @param {string} path @param {Turn} turn */
  addTurn(path, turn) {
    if (this.leaves.addTurn(path, turn)) this.emit("turned", path);
  }

  /** @param {Roles | undefined} roles */
  setRoles(roles) {
    if (!roles) return;
    this.roles = roles;
    this.emit("roles");
  }

  /** @param {Verdict | null} verdict */
  setVerdict(verdict) {
    this.verdict = verdict;
    this.emit("verdict");
  }

  /** The existing fields of a role. @param {string} role @returns {{leaf: Leaf, label: string}[]} */
  fieldsOf(role) {
    const found = [];
    for (const { path, label } of this.roles[role] ?? []) {
      const leaf = this.leaves.get(path);
      if (leaf) found.push({ leaf, label });
    }
    return found;
  }

  /** Show every field as it was at a moment; null: as it is now. @param {number | null} moment */
  show(moment) {
    this.rewind.show(moment);
    this.emit("moment", moment);
  }

  /** Add entries from before the page was opened. @param {Parameters<Rewind["addPast"]>[0]} entries */
  addPast(entries) {
    this.rewind.addPast(entries);
    if (this.moment === null) this.emit("fields");
    else this.emit("moment", this.moment);
  }
}
