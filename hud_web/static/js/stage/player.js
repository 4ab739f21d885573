// @ts-check
/**
 * The moment that the page shows: live, or one of the stored minutes, paused or playing. Live data continues to arrive
 * meanwhile; the panels read values from the store, which this module sets to the moment.
 */

import { entryTime } from "../data/nested.js";
import { linkPart, urlNumber } from "../ui/page-url.js";

/** @import { Store } from "../data/store.js" */
/** @import { Frames, Frame, Episode } from "./frames.js" */

export const SPEEDS = [0.25, 0.5, 1, 2, 4];
/** A moment within this time of the newest one is live. */
const LIVE_WITHIN_MS = 250;
/** Longer gaps between frames (the learner's phases) are played in this time. */
const LONGEST_GAP_MS = 1000;
/** Within this many frames of an episode's start, "previous episode" means the one before it. */
const AT_START_FRAMES = 2;
/** A run without frames is rewound by its fields, up to this time; an "episode" then has a fixed length. */
const WITHOUT_FRAMES_MS = 300_000;
const WITHOUT_EPISODES_MS = 10_000;
/**
 * If the first kept frame is within this time of the run's start, all fields are fetched: some are logged only once.
 */
const NEAR_START_MS = 60_000;
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
    this.speed = SPEEDS.find((speed) => speed === urlNumber("speed", 0, 9)) ?? 1;
    linkPart("speed", () => (this.speed === 1 ? "" : this.speed));
    /** The moment at which playing stops. @type {number | null} */
    this.stopAt = null;
    /**
     * A moment before the oldest known frame; it is shown once the index of older frames is loaded.
     * @type {number | null}
     */
    this.wanted = null;
    /** The index of older frames while it loads; steps back wait for it. @type {Promise<void> | null} */
    this.indexing = null;
    this.playedAt = 0;
    this.pastFor = "";
    /** @type {string | null} */
    this.shownId = null;
    store.on("cleared", () => this.live());
    store.on("snapshot", () => this.loadNewest());
  }

  /** The moment shown; null: now. */
  get moment() {
    return this.store.moment;
  }

  /** The newest moment. */
  get end() {
    const { session } = this.store;
    if (session?.status === "live") return this.store.now();
    return (
      Math.max(this.frames.all.at(-1)?.t ?? 0, this.store.rewind.timeline.changes.at(-1)?.t ?? 0) ||
      (session?.ended_ms ?? this.store.now())
    );
  }

  /** Milliseconds from the moment shown to the newest one; 0 for now. */
  get behind() {
    return this.moment === null ? 0 : this.end - this.moment;
  }

  /** The oldest moment with data; for a run without frames, some minutes before its end. */
  get start() {
    const withoutFrames = Math.max(this.store.session?.started_ms ?? 0, this.end - WITHOUT_FRAMES_MS);
    return Math.min(this.frames.all[0]?.t ?? withoutFrames, this.end - 1000);
  }

  /** Whether the run has data to rewind to. */
  get canRewind() {
    return this.frames.all.length > 0 || (this.store.leaves.size > 0 && Boolean(this.store.session?.sid));
  }

  /** @param {number} t @param {boolean} [isExact] the moment of a link, which may be just before the newest one */
  seek(t, isExact = false) {
    if (!this.canRewind) return;
    const end = this.end;
    if (!isExact && t >= end - LIVE_WITHIN_MS) {
      this.live();
      return;
    }
    this.wanted = t < this.start ? t : null;
    this.show(Math.max(this.start, t));
  }

  /** @param {number} t */
  show(t) {
    const isTurningBack = this.moment === null;
    this.store.show(t);
    const at = this.frames.indexAt(t);
    const frame = this.frames.all[Math.max(0, at)] ?? null;
    if (!frame || frame.id !== this.shownId) {
      this.shownId = frame?.id ?? null;
      this.screen.showFrame(frame); // also null: the first live frame must not appear at an earlier moment
    }
    if (isTurningBack) this.loadPast();
  }

  live() {
    this.isPlaying = false;
    this.stopAt = this.wanted = null;
    this.shownId = null;
    this.store.show(null);
    this.screen.goLive();
  }

  /** Pause, or resume from the moment shown. */
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
    else if (this.canRewind) this.show(Math.min(this.end, this.store.rewind.timeline.changes.at(-1)?.t ?? this.end));
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
    // Below speed 1, playing never reaches now; after the last frame there is nothing left to play.
    const isPlayedOut = !next && shown && t - shown.t > LONGEST_GAP_MS;
    if (isPlayedOut || t >= this.end - LIVE_WITHIN_MS) {
      this.live();
      return;
    }
    this.show(t);
    this.frames.prefetch(at + 1, Math.max(1, Math.round(this.speed)), PREFETCH);
    requestAnimationFrame((later) => this.tick(later));
  }

  /**
   * Show the next or previous frame; the next or previous update if the run has no frames.
   * @param {1 | -1} direction
   */
  stepFrame(direction) {
    this.isPlaying = false;
    const wasLive = this.moment === null;
    if (wasLive) this.pause();
    if (this.moment === null) return;
    if (!this.frames.all.length) {
      const { changes, head } = this.store.rewind.timeline;
      const moment = this.moment;
      const change =
        direction === 1
          ? changes.slice(head).find(({ t }) => t > moment)
          : changes.findLast(({ t }, i) => i >= head && t < moment);
      if (change) this.show(change.t);
      else if (direction === 1) this.live();
      return;
    }
    const at = this.frames.indexAt(this.moment) + direction;
    const frame = this.frames.all[at];
    if (frame) this.show(frame.t);
    else if (direction === 1) this.live();
    else this.indexing?.then(() => this.stepFrame(direction));
  }

  /** Show the start of this episode, then of the previous one; or of the next one. @param {1 | -1} direction */
  stepEpisode(direction) {
    if (direction === -1 && this.moment === null) this.pause();
    if (direction === -1 && this.indexing) {
      this.indexing.then(() => this.stepEpisode(direction));
      return;
    }
    const list = this.frames.listEpisodes();
    const t = this.moment ?? this.end;
    if (!list.length) {
      this.seek(t + direction * WITHOUT_EPISODES_MS);
      return;
    }
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

  /** Fetch the index of the stored frames, and show the one of the moment: it may have been unknown. */
  async loadFrames() {
    const shown = this.frames.all.find((frame) => frame.id === this.shownId);
    const shownAt = shown?.t ?? 0;
    const indexing = this.frames.load(0);
    this.indexing = indexing;
    await indexing;
    if (this.indexing === indexing) this.indexing = null;
    if (this.moment === null) return;
    // Frames of the same batch may change the frame's time: the moment moves with the frame.
    const moved = shown && shown.id === this.shownId ? shown.t - shownAt : 0;
    this.show(this.wanted === null ? this.moment + moved : Math.max(this.start, this.wanted));
  }

  /** Fetch the data from before the page was opened: the index of frames, and the updates of those minutes. */
  async loadPast() {
    const sid = this.store.session?.sid ?? "";
    const until = this.store.rewind.timeline.start;
    await this.loadFrames();
    const began = this.store.session?.started_ms ?? 0;
    const first = this.frames.all[0]?.t ?? this.start;
    const from = first - began < NEAR_START_MS ? began : first;
    if (!from || this.pastFor === sid) return;
    if (await this.loadFields(from, until)) this.pastFor = sid;
  }

  /**
   * Fetch the updates of some minutes.
   * @param {number} from @param {number} until
   * @returns {Promise<boolean>} whether they came
   */
  async loadFields(from, until) {
    const sid = this.store.session?.sid ?? "";
    const answer = await this.frames.api().get("api/export", {
      format: "json",
      from_ms: Math.floor(from) - 1000,
      to_ms: Math.ceil(Math.min(until, this.store.now() + 1000)),
    });
    if (!Array.isArray(answer) || this.store.session?.sid !== sid) return false;
    const entries = answer.filter(({ stream }) => stream === "metrics" || stream === "iterations");
    for (const entry of entries) this.frames.addReturnOf(entry.data, entryTime(entry));
    this.store.addPast(entries);
    return true;
  }

  /** Fetch the updates around the newest picture: the fields of the snapshot may be newer than the picture. */
  loadNewest() {
    const { frame } = this.store;
    const { timeline } = this.store.rewind;
    if (frame && timeline.start > entryTime(frame)) this.loadFields(entryTime(frame), timeline.start);
  }
}
