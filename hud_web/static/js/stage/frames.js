// @ts-check
/**
 * The kept minutes of frames: an index in order of time, a bounded cache of pictures, and the episodes of the frames.
 *
 * Live frames come from the stream, older ones from their immutable URLs.
 */

import { entryPlace, entryTime, isNumber } from "../data/nested.js";
import { lastAt } from "../data/rings.js";

/** @import { Picture } from "../data/types.js" */
/** @import { Api } from "../server/api.js" */
/**
 * @typedef {{id: string, t: number, at: number, time_ms: number, step: number | null, episode: number | null,
 *   env: [number, number] | null}} Frame `t`: the time at which it is shown; `at`: appended; `time_ms`: captured
 *
 * @typedef {{t: number, env: string, value: number, isFinal: boolean}} Return `t`: the time of its entry; `env`: "" if
 *   unknown; `isFinal`: the episode has ended
 *
 * @typedef {{number: number | null, env: string, first: number, start: number, end: number,
 *   value: number | null}} Episode `first`: index of its first frame; `value`: its return, if known
 */

const MOST_FRAMES = 24_000;
const MOST_BLOB_BYTES = 32 * 1024 * 1024;
/** An episode's return is logged within this time of its last frame. */
const MATCH_MS = 1_500;
/** A return may be appended this much before the first frame of its episode: pictures take longer to send. */
const EARLY_MS = 200;
/** Returns kept for one episode number, which several envs may use. */
const MOST_TOLD = 64;
/** Pictures fetched at the same time; a browser opens six connections. */
const MOST_FETCHES = 4;
/** The longest interval at which frames of one call are shown. */
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
    /**
     * Returns by episode number. Several envs may use one number, so each return has its time.
     * @type {Map<number, Return[]>}
     */
    this.returns = new Map();
    this.isMatched = false;
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

  /** Add a live frame. @param {Picture} picture @param {Blob} [blob] */
  add(picture, blob) {
    if (!picture.id) return;
    const at = frameTime(picture);
    const last = this.all.at(-1);
    if (last && (at < last.at || last.id === picture.id)) return;
    const frame = {
      id: picture.id,
      t: at,
      at,
      time_ms: picture.time_ms,
      step: picture.step,
      episode: picture.episode,
      env: picture.env,
    };
    frame.t = seenAt(frame, last);
    this.all.push(frame);
    if (blob) this.remember(picture.id, blob);
    this.version++;
    if (this.all.length <= MOST_FRAMES) return;
    for (const frame of this.all.splice(0, MOST_FRAMES / 8)) this.drop(frame.id);
    this.changed();
  }

  /** Fetch the index of the stored frames and merge it with the live ones. @param {number} fromMs */
  async load(fromMs) {
    const answer = await this.api().get("api/frames", { from_ms: Math.max(0, Math.floor(fromMs)) });
    if (!Array.isArray(answer?.frames)) return;
    const oldest = answer.frames.length ? frameTime(answer.frames[0]) : Infinity;
    const known = new Map(
      this.all.filter((frame) => frame.at >= oldest || this.blobs.has(frame.id)).map((frame) => [frame.id, frame]),
    );
    for (const { id, time_ms, step, episode, env } of answer.frames) {
      const at = frameTime({ id, time_ms });
      if (typeof id === "string" && !known.has(id))
        known.set(id, { id, t: at, at, time_ms, step: step ?? null, episode: episode ?? null, env: env ?? null });
    }
    this.all = [...known.values()].sort((a, b) => a.at - b.at).slice(-MOST_FRAMES);
    this.all.forEach((frame, i) => (frame.t = seenAt(frame, this.all[i - 1])));
    this.changed();
  }

  /** Discard the list of episodes, because the frames changed. */
  changed() {
    this.listed = 0;
    this.isMatched = false;
    this.version++;
  }

  /** Index of the last frame at or before a time; −1 before the first. @param {number} t */
  indexAt(t) {
    return lastAt(this.all.length, (i) => this.all[i].t, t);
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
    const blob = await this.api().blob(`api/frames/${encodeURIComponent(id)}`);
    if (blob) this.remember(id, blob);
    return blob;
  }

  /**
   * Fetch the frames that playing shows next.
   * @param {number} from index @param {number} every @param {number} count
   */
  prefetch(from, every, count) {
    for (let i = 0, at = from; i < count && at < this.all.length && this.coming.size < MOST_FETCHES; i++, at += every) {
      const { id } = this.all[at];
      if (!this.blobs.has(id)) this.blob(id);
    }
  }

  /** @param {Record<string, any>} fields of an update @param {number} t when it was appended */
  addReturnOf(fields, t) {
    const value = fields.episode_return ?? fields.episode_reward ?? fields.return ?? fields.score;
    const episode = fields.episode ?? fields.episode_number ?? fields.episode_id;
    if (!isNumber(value) || !isNumber(episode)) return;
    const { worker_index: worker, env_index: index } = fields;
    const env = isNumber(worker) && isNumber(index) ? `${worker}/${index}` : "";
    this.addReturn(episode, { t, env, value, isFinal: isNumber(fields.episode_return) });
  }

  /** @param {number} number @param {Return} told */
  addReturn(number, told) {
    const all = this.returns.get(number) ?? [];
    const last = all.at(-1);
    // A running episode logs its return again and again: the newest one is enough.
    if (last && !last.isFinal && last.env === told.env && told.t - last.t < MATCH_MS) all.pop();
    all.push(told);
    if (all.length > MOST_TOLD) all.shift();
    this.returns.delete(number);
    this.returns.set(number, all);
    if (this.returns.size > 2000) this.returns.delete(/** @type {number} */ (this.returns.keys().next().value));
    this.isMatched = false;
  }

  /** Match each episode with the return that was logged nearest to its end. A return belongs to one episode. */
  match() {
    if (this.isMatched) return;
    this.isMatched = true;
    /** @type {Map<number, Episode[]>} */
    const byNumber = new Map();
    for (const episode of this.episodes) {
      episode.value = null;
      if (episode.number === null) continue;
      const same = byNumber.get(episode.number);
      if (same) same.push(episode);
      else byNumber.set(episode.number, [episode]);
    }
    for (const [number, episodes] of byNumber) {
      const all = this.returns.get(number) ?? [];
      const near = (/** @type {Return} */ told, /** @type {(episode: Episode) => number} */ away) => {
        const fits = episodes.filter(
          (episode) =>
            (!told.env || !episode.env || told.env === episode.env) &&
            told.t >= episode.start - EARLY_MS &&
            told.t - episode.end < MATCH_MS,
        );
        return fits.sort((one, other) => away(one) - away(other) || other.start - one.start)[0];
      };
      for (const told of all) {
        const episode = told.isFinal ? undefined : near(told, ({ end }) => Math.max(0, told.t - end));
        if (episode) episode.value = told.value;
      }
      /** @type {Map<Episode, number>} */
      const nearest = new Map();
      for (const told of all) {
        const away = ({ end = 0 }) => Math.abs(told.t - end);
        const episode = told.isFinal ? near(told, away) : undefined;
        if (!episode || away(episode) > (nearest.get(episode) ?? Infinity)) continue;
        nearest.set(episode, away(episode));
        episode.value = told.value;
      }
    }
  }

  /**
   * Add returns from the run's history to the episodes that ended at their times.
   * @param {ArrayLike<number>} times @param {ArrayLike<number | null>} values
   */
  addPastReturns(times, values) {
    for (const episode of this.finished()) {
      if (episode.number === null || episode.value !== null) continue;
      let nearest = -1;
      for (let i = 0; i < times.length; i++) {
        if (nearest < 0 || Math.abs(times[i] - episode.end) < Math.abs(times[nearest] - episode.end)) nearest = i;
      }
      const value = values[nearest];
      if (nearest >= 0 && isNumber(value) && Math.abs(times[nearest] - episode.end) < MATCH_MS)
        this.addReturn(episode.number, { t: episode.end, env: episode.env, value, isFinal: true });
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
      this.isMatched = false;
      if (last && last.number === frame.episode && last.env === env) last.end = frame.t;
      else list.push({ number: frame.episode, env, first: this.listed, start: frame.t, end: frame.t, value: null });
    }
    this.match();
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

  /** The episodes whose first and last frames are kept: all but the first and the running one. */
  finished() {
    const list = this.listEpisodes();
    // The oldest kept episode may lack its start, unless few episodes are kept.
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
 * The interval between a frame and the one before, if both came in one call of a publisher, which sends the frames of
 * 0.2 s together: the time between their captures. 0 if the frame came alone.
 * @param {{id: string | null, time_ms: number}} picture
 * @param {{id: string | null, time_ms: number} | null | undefined} before
 */
export function apart(picture, before) {
  const together = before && entryTime(picture) - entryTime(before) <= 1;
  return together ? Math.min(LONGEST_APART_MS, Math.max(0, picture.time_ms - before.time_ms)) : 0;
}

/** @param {Frame} frame @param {Frame | undefined} before */
function seenAt(frame, before) {
  if (!before) return frame.at;
  // Two frames must not have the same time.
  return Math.max(frame.at, before.t + (apart(frame, before) || 0.001));
}

/**
 * The time at which a frame was appended. Frames of one batch may share a millisecond, so their counters make the times
 * different.
 * @param {{id: string | null, time_ms: number}} frame
 */
function frameTime(frame) {
  return entryTime(frame) + Math.min(999, entryPlace(frame.id)) / 1000;
}
