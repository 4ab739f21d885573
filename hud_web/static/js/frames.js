// @ts-check
/**
 * The kept minutes of frames: an index of all, in order of time, and the pictures that were seen or fetched, up to a bound.
 *
 * Knows the episodes that the frames belong to. Live frames come from the stream, older ones by their immutable address.
 */

import { isNumber } from "./format.js";
import { entryTime } from "./store.js";

/** @import { Picture } from "./types.js" */
/** @import { Api } from "./api.js" */
/** @typedef {{id: string, t: number, at: number, time_ms: number, step: number | null, episode: number | null,
 *   env: [number, number] | null}} Frame `t`: when it is seen; `at`: when it was appended; `time_ms`: taken */
/** @typedef {{number: number | null, env: string, first: number, start: number, end: number, value: number | null}} Episode
 *  `first`: index of its first frame; `value`: its return, where known */

const MOST_FRAMES = 24_000;
const MOST_BLOB_BYTES = 32 * 1024 * 1024;
/** An episode's return is logged this near to its last frame. */
const MATCH_MS = 1_500;
/** Blobs of this many frames are on their way at once; a browser opens six connections. */
const MOST_FETCHES = 4;
/** Frames of one call are shown no further apart than this. */
const LONGEST_APART_MS = 150;

export class Frames {
  /** @param {() => Api} api */
  constructor(api) {
    this.api = api;
    /** @type {Frame[]} oldest first */
    this.all = [];
    /** @type {Map<string, Blob>} the least recently used first */
    this.blobs = new Map();
    this.blobBytes = 0;
    /** @type {Map<string, Promise<Blob | null>>} */
    this.coming = new Map();
    /** @type {Episode[]} */
    this.episodes = [];
    /** Frames that `episodes` covers. */
    this.listed = 0;
    /** Returns by episode number, as updates told them. @type {Map<number, number>} */
    this.returns = new Map();
    this.version = 0;
  }

  clear() {
    this.all = [];
    this.blobs.clear();
    this.blobBytes = 0;
    this.coming.clear();
    this.returns.clear();
    this.changed();
  }

  /** A frame came live. @param {Picture} picture @param {Blob} [blob] */
  add(picture, blob) {
    if (!picture.id) return;
    const at = frameTime(picture);
    const last = this.all.at(-1);
    if (last && (at < last.at || last.id === picture.id)) return;
    const frame = { id: picture.id, t: at, at, time_ms: picture.time_ms, step: picture.step, episode: picture.episode, env: picture.env };
    frame.t = seenAt(frame, last);
    this.all.push(frame);
    if (blob) this.remember(picture.id, blob);
    this.version++;
    if (this.all.length <= MOST_FRAMES) return;
    for (const frame of this.all.splice(0, MOST_FRAMES / 8)) this.drop(frame.id);
    this.changed();
  }

  /** Fetch the index of what is kept and join it with what came live. @param {number} fromMs */
  async load(fromMs) {
    const answer = await this.api().get("/api/frames", { from_ms: Math.max(0, Math.floor(fromMs)) });
    if (!Array.isArray(answer?.frames)) return;
    const oldest = answer.frames.length ? frameTime(answer.frames[0]) : Infinity;
    const known = new Map(this.all.filter((frame) => frame.at >= oldest || this.blobs.has(frame.id)).map((frame) => [frame.id, frame]));
    for (const { id, time_ms, step, episode, env } of answer.frames) {
      const at = frameTime({ id, time_ms });
      if (typeof id === "string" && !known.has(id)) known.set(id, { id, t: at, at, time_ms, step: step ?? null, episode: episode ?? null, env: env ?? null });
    }
    this.all = [...known.values()].sort((a, b) => a.at - b.at).slice(-MOST_FRAMES);
    this.all.forEach((frame, i) => (frame.t = seenAt(frame, this.all[i - 1])));
    this.changed();
  }

  /** The order or the numbers of the frames changed. */
  changed() {
    this.listed = 0;
    this.version++;
  }

  /** Index of the last frame at or before a time; −1 before the first. @param {number} t */
  indexAt(t) {
    let low = 0;
    let high = this.all.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.all[middle].t <= t) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** @param {string} id @param {Blob} blob */
  remember(id, blob) {
    this.drop(id);
    this.blobs.set(id, blob);
    this.blobBytes += blob.size;
    for (const oldest of this.blobs.keys()) {
      if (this.blobBytes <= MOST_BLOB_BYTES) break;
      this.drop(oldest);
    }
  }

  /** @param {string} id */
  drop(id) {
    const blob = this.blobs.get(id);
    if (!blob) return;
    this.blobs.delete(id);
    this.blobBytes -= blob.size;
  }

  /** A frame's picture, from memory or from the server. @param {string} id */
  async blob(id) {
    const known = this.blobs.get(id);
    if (known) return known;
    let coming = this.coming.get(id);
    if (!coming) {
      coming = this.fetch(id).finally(() => this.coming.delete(id));
      this.coming.set(id, coming);
    }
    return coming;
  }

  /** @param {string} id */
  async fetch(id) {
    const blob = await this.api().blob(`/api/frames/${encodeURIComponent(id)}`);
    if (blob) this.remember(id, blob);
    return blob;
  }

  /** Fetch what will be shown next. @param {number} from index @param {number} every @param {number} count */
  prefetch(from, every, count) {
    for (let i = 0, at = from; i < count && at < this.all.length && this.coming.size < MOST_FETCHES; i++, at += every) {
      const { id } = this.all[at];
      if (!this.blobs.has(id)) this.blob(id);
    }
  }

  /** @param {Record<string, any>} fields of an update */
  learn(fields) {
    const value = fields.episode_return ?? fields.episode_reward ?? fields.return ?? fields.score;
    const episode = fields.episode ?? fields.episode_number ?? fields.episode_id;
    if (!isNumber(value) || !isNumber(episode)) return;
    if (this.returns.get(episode) === value) return;
    this.returns.delete(episode);
    this.returns.set(episode, value);
    if (this.returns.size > 2000) this.returns.delete(/** @type {number} */ (this.returns.keys().next().value));
  }

  /**
   * Returns from the run's history, matched with the episodes that ended then.
   * @param {ArrayLike<number>} times @param {ArrayLike<number | null>} values
   */
  learnPast(times, values) {
    for (const episode of this.finished()) {
      if (episode.number === null || this.returns.has(episode.number)) continue;
      let nearest = -1;
      for (let i = 0; i < times.length; i++) {
        if (nearest < 0 || Math.abs(times[i] - episode.end) < Math.abs(times[nearest] - episode.end)) nearest = i;
      }
      const value = values[nearest];
      if (nearest >= 0 && isNumber(value) && Math.abs(times[nearest] - episode.end) < MATCH_MS) this.returns.set(episode.number, value);
    }
  }

  /** The episodes of the kept frames, oldest first. */
  listEpisodes() {
    if (!this.listed) this.episodes = [];
    const list = this.episodes;
    for (; this.listed < this.all.length; this.listed++) {
      const frame = this.all[this.listed];
      const last = list.at(-1);
      const env = frame.env?.join("/") ?? "";
      if (last && last.number === frame.episode && last.env === env) last.end = frame.t;
      else list.push({ number: frame.episode, env, first: this.listed, start: frame.t, end: frame.t, value: null });
    }
    for (const episode of list) if (episode.number !== null) episode.value = this.returns.get(episode.number) ?? null;
    return list;
  }

  /** The finished episode with the best return. */
  best() {
    let best = null;
    for (const episode of this.finished()) {
      if (episode.value !== null && (!best || episode.value > /** @type {number} */ (best.value))) best = episode;
    }
    return best;
  }

  /** Episodes with both ends kept, the first and the running one left out. */
  finished() {
    const list = this.listEpisodes();
    // The oldest kept episode has lost its beginning, unless it is all there is.
    return list.slice(list.length > 2 ? 1 : 0, -1);
  }

  /** @param {number} t */
  episodeAt(t) {
    const list = this.listEpisodes();
    for (let i = list.length - 1; i >= 0; i--) if (list[i].start <= t) return list[i];
    return null;
  }
}

/**
 * How long after the one before a frame is to be seen, where both came with one call of a publisher, which gathers those of
 * a fifth of a second: as long as lay between them when they were taken. 0 where it came by itself.
 * @param {{id: string | null, time_ms: number}} picture @param {{id: string | null, time_ms: number} | null | undefined} before
 */
export function apart(picture, before) {
  const together = before && entryTime(picture) - entryTime(before) <= 1;
  return together ? Math.min(LONGEST_APART_MS, Math.max(0, picture.time_ms - before.time_ms)) : 0;
}

/** @param {Frame} frame @param {Frame | undefined} before */
function seenAt(frame, before) {
  if (!before) return frame.at;
  // Each frame needs a moment of its own.
  return Math.max(frame.at, before.t + (apart(frame, before) || 0.001));
}

/**
 * When a frame was appended. Those of one batch have one millisecond between them, and each needs a moment of its own.
 * @param {{id: string | null, time_ms: number}} frame
 */
function frameTime(frame) {
  return entryTime(frame) + Math.min(999, Number(frame.id?.split("-")[1]) || 0) / 1000;
}
