// @ts-check
/**
 * What the page knows of a run: the merged state as leaves by path, the session, the connection, the newest pictures. Owns
 * the rule that nothing missing overwrites a value. Tells its listeners by topic and paints nothing.
 */

import { isNumber } from "./format.js";
import { eachLeaf, isMapping } from "./nested.js";
import { Rate, Series, Spark } from "./rings.js";
import { Timeline } from "./timeline.js";

/** @import { Message, Fields, Origin, Session, Picture } from "./types.js" */

/**
 * @typedef {{path: string, name: string, value: any, live: any, changedMs: number, spark: Spark | null,
 *   series: Series | null}} Leaf `path` joined by "/"; `value`: at the moment shown, undefined where it was not there yet;
 *   `live`: the newest
 *
 * @typedef {"link" | "session" | "status" | "fields" | "newLeaf" | "frame" | "thumbnail" | "vision" | "reset" | "snapshot"
 *   | "update" | "moment" | "cleared"} Topic
 */

/** Past this many fields of one run, further ones are counted and not kept: a page of 100,000 rows serves nobody. */
const MOST_LEAVES = 20_000;

export class Store {
  /** @type {Map<Topic, Set<(detail?: any) => void>>} */
  listeners = new Map();
  /** @type {{state: import("./types.js").LinkState, retryAt: number | null, detail: string | null, since: number}} */
  link = { state: "connecting", retryAt: null, detail: null, since: Date.now() };
  /** @type {{redis: string, detail: string | null}} */
  status = { redis: "ok", detail: null };
  /** @type {number | null} */
  viewers = null;
  /** Server clock minus this clock; the most seen, since a late answer only takes away. @type {number | null} */
  offsetMs = null;
  /** @type {Session | null} */
  session = null;
  /** @type {Map<string, Leaf>} */
  leaves = new Map();
  /** Name in lower case → paths whose last step it is. @type {Map<string, string[]>} */
  byName = new Map();
  /** Paths that hold mappings. @type {Set<string>} */
  branches = new Set();
  /** Fields past MOST_LEAVES. */
  uncounted = 0;
  /** @type {Picture | null} */
  frame = null;
  /** @type {Picture | null} */
  vision = null;
  /** When something of the run came last, on this clock; 0 before. */
  lastDataMs = 0;
  /** The newest of each env. @type {Map<string, Picture>} */
  thumbnails = new Map();
  frameRate = new Rate();
  /** @type {Origin | null} */
  origin = null;
  /** @type {Set<string>} */
  writers = new Set();
  snapshotSeen = false;
  timeline = new Timeline();
  /** The moment shown, in Redis' clock; null: now. @type {number | null} */
  moment = null;
  /** @type {import("./timeline.js").Change | null} */
  change = null;
  /** Which step it was at what time, as far as anything told. */
  steps = new Series();
  /** From the making of the newest live picture or value to its arrival here. @type {number | null} */
  latencyMs = null;

  /** Forget everything of the run; the connection's state stays. */
  clear() {
    this.leaves.clear();
    this.byName.clear();
    this.branches.clear();
    this.uncounted = 0;
    this.frame = this.vision = this.origin = this.latencyMs = null;
    this.lastDataMs = 0;
    this.thumbnails.clear();
    this.frameRate = new Rate();
    this.writers.clear();
    this.steps = new Series();
    this.snapshotSeen = false;
    this.timeline.clear();
    this.moment = null;
  }

  /** @param {Topic} topic @param {(detail?: any) => void} listener */
  on(topic, listener) {
    let set = this.listeners.get(topic);
    if (!set) this.listeners.set(topic, (set = new Set()));
    set.add(listener);
  }

  /** @param {string} topics separated by spaces @param {() => void} listener */
  onEach(topics, listener) {
    for (const topic of topics.split(" ")) this.on(/** @type {Topic} */ (topic), listener);
  }

  /** @param {Topic} topic @param {any} [detail] */
  emit(topic, detail) {
    for (const listener of this.listeners.get(topic) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        console.error(error); // one panel's mistake must not stop the others
      }
    }
  }

  /** @param {Message} message */
  take(message) {
    if (message.kind === "update") this.takeUpdate(message.fields, message.origin);
    else if (message.kind === "picture") this.takePicture(message.picture);
    else if (message.kind === "session") this.takeSession(message.session);
    else if (message.kind === "snapshot") this.takeSnapshot(message);
    else if (message.kind === "link") {
      const since = this.link.state === message.state ? this.link.since : Date.now();
      this.link = { state: message.state, retryAt: message.retryAt, detail: message.detail, since };
      this.emit("link");
    } else if (message.kind === "status") {
      this.status = { redis: message.redis, detail: message.detail };
      this.viewers = message.viewers ?? this.viewers;
      this.takeClock(message.serverTimeMs);
      this.emit("status");
    } else if (message.kind === "reset") this.emit("reset", message.reason);
  }

  /** @param {number | null} serverTimeMs */
  takeClock(serverTimeMs) {
    if (!isNumber(serverTimeMs)) return;
    const offset = serverTimeMs - Date.now();
    this.offsetMs = this.offsetMs === null ? offset : Math.max(this.offsetMs, offset);
  }

  /** This moment on the server's clock. */
  now() {
    return Date.now() + (this.offsetMs ?? 0);
  }

  /** @param {Session} session */
  takeSession(session) {
    const before = this.session;
    this.session = session;
    if (before && before.sid && session.sid && before.sid !== session.sid) {
      this.clear();
      this.emit("cleared");
    }
    this.emit("session", before);
  }

  /** @param {Extract<Message, {kind: "snapshot"}>} message */
  takeSnapshot(message) {
    if (message.session) this.takeSession(message.session);
    this.viewers = message.viewers ?? this.viewers;
    this.takeClock(message.serverTimeMs);
    const had = new Set(this.leaves.keys());
    // After a gap the differences count as one change at this moment.
    this.change = had.size ? { t: this.now(), paths: [], values: [], before: [] } : null;
    this.walk(message.state, "", 0, null, had);
    for (const path of had) this.forget(path);
    if (this.change) this.timeline.add(this.change);
    this.change = null;
    this.snapshotSeen = true;
    if (message.frame) this.takePicture(message.frame, true);
    if (message.vision) this.takePicture(message.vision, true);
    this.emit("snapshot");
    this.emit("fields");
  }

  /** @param {Fields} fields @param {Origin} origin */
  takeUpdate(fields, origin) {
    const timeMs = entryTime(origin);
    this.origin = origin;
    this.lastDataMs = Date.now();
    this.takeClock(timeMs); // nothing arrives before it was appended
    if (origin.writer) this.writers.add(origin.writer);
    if (origin.step !== null) this.steps.add(timeMs, origin.step, origin.step);
    if (!this.frame) this.measure(origin);
    this.emit("update", { fields, origin, timeMs });
    this.change = { t: timeMs, paths: [], values: [], before: [] };
    this.walk(fields, "", timeMs, origin, null);
    this.timeline.add(this.change);
    this.change = null;
    this.emit("fields");
  }

  /** @param {Picture} picture @param {boolean} [fromSnapshot] it may be old, so it says nothing about now */
  takePicture(picture, fromSnapshot = false) {
    if (picture.source === "thumbnail") {
      if (picture.env) this.thumbnails.set(picture.env.join("/"), picture);
      this.emit("thumbnail", picture);
      return;
    }
    if (!fromSnapshot) this.lastDataMs = Date.now();
    if (picture.source === "vlm") {
      this.vision = picture;
      this.emit("vision", picture);
      return;
    }
    if (!fromSnapshot) {
      this.frameRate.count(Date.now());
      this.takeClock(entryTime(picture));
      this.measure(picture);
    }
    if (picture.step !== null) this.steps.add(entryTime(picture), picture.step, picture.step);
    this.frame = picture;
    this.emit("frame", picture);
  }

  /** Smooth, since one number that jumps 20 times a second is read by nobody. @param {{id: string | null, time_ms: number}} entry */
  measure(entry) {
    let late = this.now() - entry.time_ms;
    if (late < 0) late = this.now() - entryTime(entry); // the writer's clock is ahead; Redis' may fit better
    this.latencyMs = this.latencyMs === null || late < 0 ? late : this.latencyMs * 0.8 + late * 0.2;
  }

  /**
   * @param {Fields} fields @param {string} prefix @param {number} timeMs 0 where unknown
   * @param {Origin | null} origin @param {Set<string> | null} seen paths are taken out of it
   */
  walk(fields, prefix, timeMs, origin, seen) {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (value === null || value === undefined) continue;
      const path = prefix + name;
      if (isMapping(value)) {
        if (this.leaves.has(path)) this.forget(path);
        this.branches.add(path);
        this.walk(value, `${path}/`, timeMs, origin, seen);
      } else {
        seen?.delete(path);
        this.put(path, value, timeMs, origin);
      }
    }
  }

  /** @param {string} path @param {any} value @param {number} timeMs @param {Origin | null} origin */
  put(path, value, timeMs, origin) {
    let leaf = this.leaves.get(path);
    let isNew = false;
    if (!leaf) {
      if (this.leaves.size >= MOST_LEAVES) {
        this.uncounted++;
        return;
      }
      if (this.branches.delete(path)) for (const other of [...this.leaves.keys()]) if (other.startsWith(`${path}/`)) this.forget(other);
      // Names may hold slashes themselves, as RLlib's flattened results do; what counts is the last step.
      const name = path.slice(path.lastIndexOf("/") + 1) || path;
      leaf = { path, name, value: undefined, live: undefined, changedMs: timeMs, spark: null, series: null };
      this.leaves.set(path, leaf);
      const key = name.toLowerCase();
      const same = this.byName.get(key);
      if (same) same.push(path);
      else this.byName.set(key, [path]);
      isNew = true;
    }
    if (this.change && (timeMs || leaf.live !== value)) {
      this.change.paths.push(path);
      this.change.values.push(value);
      this.change.before.push(leaf.live);
    }
    leaf.live = value;
    if (this.moment === null) leaf.value = value;
    if (isNew) this.emit("newLeaf", leaf);
    if (!timeMs) return;
    leaf.changedMs = timeMs;
    if (isNumber(value)) {
      (leaf.spark ??= new Spark()).add(value, timeMs);
      leaf.series?.add(timeMs, origin?.step ?? null, value);
    }
  }

  /** @param {string} path */
  forget(path) {
    const leaf = this.leaves.get(path);
    if (!leaf) return;
    this.leaves.delete(path);
    const key = leaf.name.toLowerCase();
    const rest = this.byName.get(key)?.filter((other) => other !== path) ?? [];
    if (rest.length) this.byName.set(key, rest);
    else this.byName.delete(key);
  }

  /**
   * The leaf of the first of these names that exists; a name of one step matches the last step of any path, the shortest
   * path first.
   * @param {readonly string[]} names in lower case
   * @param {(value: any) => boolean} [fits]
   * @returns {Leaf | null}
   */
  find(names, fits = (value) => value !== undefined) {
    for (const name of names) {
      const exact = this.leaves.get(name);
      if (exact && fits(exact.value)) return exact;
      const paths = this.byName.get(name);
      if (!paths) continue;
      let best = null;
      for (const path of paths) {
        const leaf = this.leaves.get(path);
        if (leaf && fits(leaf.value) && (!best || path.length < best.path.length)) best = leaf;
      }
      if (best) return best;
    }
    return null;
  }

  /** Show every field as it was at a moment; null: as it is now. @param {number | null} moment */
  show(moment) {
    if (this.moment === null) this.timeline.begin();
    if (moment === null) for (const leaf of this.leaves.values()) leaf.value = leaf.live;
    else {
      this.timeline.walk(moment, (path, value) => {
        const leaf = this.leaves.get(path);
        if (leaf) leaf.value = value;
      });
    }
    this.moment = moment;
    this.emit("moment", moment);
  }

  /**
   * Take in entries from before the page was opened, as the export brings them.
   * @param {{id: string, time_ms: number, data: Fields}[]} entries
   */
  takePast(entries) {
    const older = entries.map((entry) => {
      const paths = /** @type {string[]} */ ([]);
      const values = /** @type {any[]} */ ([]);
      eachLeaf(entry.data, "", (path, value) => {
        paths.push(path);
        values.push(value);
      });
      return { t: entryTime(entry), paths, values };
    });
    older.sort((a, b) => a.t - b.t);
    this.timeline.prepend(older);
    if (this.moment === null) return;
    const moment = this.moment;
    for (const leaf of this.leaves.values()) leaf.value = leaf.live;
    this.moment = null;
    this.show(moment);
  }

  /**
   * The step at a time, or the first one known; null where nothing ever told one.
   * @param {number} timeMs
   * @returns {number | null}
   */
  stepAt(timeMs) {
    const { steps } = this;
    return steps.length ? steps.value[Math.max(0, steps.indexAt(timeMs))] : null;
  }

  /** What a field's history tells of the steps. @param {{time_ms: number[], step: (number | null)[]}} past */
  learnSteps({ time_ms: times, step }) {
    const { steps } = this;
    if (times.length && (!steps.length || times[0] < steps.time[0])) steps.prepend(times, step, step);
  }

  /** Keep a field's points from now on, for a chart. @param {Leaf} leaf */
  watch(leaf) {
    return (leaf.series ??= new Series());
  }
}

/**
 * When an entry was appended, in the clock that all entries of a channel share: Redis' (the id's first part).
 * @param {{id: string | null, time_ms: number}} entry
 */
export function entryTime(entry) {
  const millis = entry.id ? Number.parseInt(entry.id, 10) : NaN;
  return Number.isFinite(millis) && millis > 1e11 ? millis : entry.time_ms;
}
