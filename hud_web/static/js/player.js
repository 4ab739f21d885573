// @ts-check
/**
 * Time: which moment the page shows. Live, or one of the kept minutes, standing still or playing. Live data goes on arriving
 * meanwhile; whoever shows values reads them from the store, which this turns to the moment.
 */

/** @import { Store } from "./store.js" */
/** @import { Frames, Frame, Episode } from "./frames.js" */

export const SPEEDS = [0.25, 0.5, 1, 2, 4];
/** Nearer to the edge than this is live. */
const LIVE_WITHIN_MS = 250;
/** Longer pauses of the frames (the learner's phases) are played in so long. */
const LONGEST_GAP_MS = 1000;
/** So near to an episode's beginning, one episode back means the one before. */
const AT_START_FRAMES = 2;
/** Frames fetched ahead. */
const PREFETCH = 16;

export class Player {
  /**
   * @param {Store} store @param {Frames} frames
   * @param {{showFrame: (frame: Frame | null) => void, goLive: () => void}} screen
   */
  constructor(store, frames, screen) {
    this.store = store;
    this.frames = frames;
    this.screen = screen;
    this.isPlaying = false;
    this.speed = 1;
    /** Playing stops here. @type {number | null} */
    this.stopAt = null;
    this.playedAt = 0;
    this.pastFor = "";
    /** @type {string | null} */
    this.shownId = null;
    store.on("cleared", () => this.live());
  }

  /** The moment shown; null: now. */
  get moment() {
    return this.store.moment;
  }

  /** The newest moment there is. */
  get end() {
    const { session } = this.store;
    if (session?.status === "live") return this.store.now();
    return Math.max(this.frames.all.at(-1)?.t ?? 0, this.store.timeline.changes.at(-1)?.t ?? 0) || (session?.ended_ms ?? this.store.now());
  }

  /** The oldest moment there is something of. */
  get start() {
    return Math.min(this.frames.all[0]?.t ?? Infinity, this.end - 1000);
  }

  /** @param {number} t */
  seek(t) {
    if (!this.frames.all.length) return;
    const end = this.end;
    if (t >= end - LIVE_WITHIN_MS) {
      this.live();
      return;
    }
    this.show(Math.max(this.start, t));
  }

  /** @param {number} t */
  show(t) {
    const isTurningBack = this.moment === null;
    this.store.show(t);
    const at = this.frames.indexAt(t);
    const frame = this.frames.all[Math.max(0, at)] ?? null;
    if (frame && frame.id !== this.shownId) {
      this.shownId = frame.id;
      this.screen.showFrame(frame);
    }
    if (isTurningBack) this.loadPast();
  }

  live() {
    this.isPlaying = false;
    this.stopAt = null;
    this.shownId = null;
    if (this.store.moment !== null) this.store.show(null);
    this.screen.goLive();
  }

  /** Hold the moment, or go on from it. */
  toggle() {
    if (this.moment === null) this.pause();
    else if (this.isPlaying) {
      this.isPlaying = false;
      this.store.emit("moment", this.moment);
    } else this.play();
  }

  pause() {
    this.isPlaying = false;
    const last = this.frames.all.at(-1);
    if (last) this.show(last.t);
  }

  /** @param {number | null} [stopAt] */
  play(stopAt = null) {
    if (this.moment === null) return;
    this.stopAt = stopAt;
    this.isPlaying = true;
    this.playedAt = performance.now();
    this.store.emit("moment", this.moment);
    requestAnimationFrame((now) => this.tick(now));
  }

  /** @param {number} now */
  tick(now) {
    if (!this.isPlaying || this.moment === null) return;
    let t = this.moment + Math.min(250, Math.max(0, now - this.playedAt)) * this.speed;
    this.playedAt = now;
    const at = this.frames.indexAt(t);
    const next = this.frames.all[at + 1];
    const shown = this.frames.all[at];
    if (next && shown && next.t - shown.t > LONGEST_GAP_MS && t - shown.t > LONGEST_GAP_MS * this.speed) t = next.t;
    if (this.stopAt !== null && t >= this.stopAt) {
      this.show(this.stopAt);
      this.isPlaying = false;
      this.stopAt = null;
      this.store.emit("moment", this.moment);
      return;
    }
    // Slower than life one never catches up with now; past the last frame there is nothing more to play.
    const isPlayedOut = !next && shown && t - shown.t > LONGEST_GAP_MS;
    if (isPlayedOut || t >= this.end - LIVE_WITHIN_MS) {
      this.live();
      return;
    }
    this.show(t);
    this.frames.prefetch(at + 1, Math.max(1, Math.round(this.speed)), PREFETCH);
    requestAnimationFrame((later) => this.tick(later));
  }

  /** One frame on or back. @param {1 | -1} direction */
  stepFrame(direction) {
    this.isPlaying = false;
    if (this.moment === null) this.pause();
    if (this.moment === null) return;
    const at = this.frames.indexAt(this.moment) + direction;
    const frame = this.frames.all[at];
    if (frame) this.show(frame.t);
    else if (direction === 1) this.live();
  }

  /** To the beginning of this episode, then of the one before; or of the next. @param {1 | -1} direction */
  stepEpisode(direction) {
    const list = this.frames.listEpisodes();
    const t = this.moment ?? this.end;
    if (direction === 1) {
      const next = list.find((episode) => episode.start > t);
      if (next) this.seek(next.start);
      else this.live();
      return;
    }
    const here = list.findLastIndex((episode) => episode.start <= t);
    const isAtStart = here >= 0 && this.frames.indexAt(t) - list[here].first <= AT_START_FRAMES;
    const wanted = list[isAtStart ? here - 1 : here];
    if (wanted) this.seek(wanted.start);
  }

  /** Play an episode from its beginning to its end. @param {Episode | null} episode */
  replay(episode) {
    if (!episode) return;
    this.show(episode.start);
    this.play(episode.end);
  }

  /** @param {number} speed one of SPEEDS */
  setSpeed(speed) {
    this.speed = speed;
    this.store.emit("moment", this.moment);
  }

  /** Fetch what the page has not seen itself: the index of frames, and the updates of the minutes before it was opened. */
  async loadPast() {
    const sid = this.store.session?.sid ?? "";
    const until = this.store.timeline.start;
    const shown = this.frames.all.find((frame) => frame.id === this.shownId);
    const shownAt = shown?.t;
    await this.frames.load(0);
    // What came with the same call before it may put it later: the moment goes with the frame.
    if (this.moment !== null && shown && shownAt !== undefined && shown.t !== shownAt) this.store.show(this.moment + shown.t - shownAt);
    const from = this.frames.all[0]?.t;
    if (!from || this.pastFor === sid) return;
    this.pastFor = sid;
    const answer = await this.frames.api().get("/api/export", {
      format: "json", from_ms: Math.floor(from) - 1000, to_ms: Math.ceil(Math.min(until, this.store.now() + 1000)),
    });
    if (!Array.isArray(answer) || this.store.session?.sid !== sid) return;
    for (const entry of answer) this.frames.learn(entry.data);
    this.store.takePast(answer);
  }
}
