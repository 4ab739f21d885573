// @ts-check
/**
 * The bar at the bottom: the kept minutes with their episodes, returns and marks, and the buttons that move through
 * them.
 */

import { lookOf } from "../ui/annotation-look.js";
import { button, byId, el, fill, icon, setText } from "../ui/dom.js";
import { clock, number, time } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { onTheme, theme } from "../ui/theme.js";
import { SPEEDS } from "./player.js";

/** @import { Player } from "./player.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Frames } from "./frames.js" */

const EVERY_MS = 120;
const RANGE_STEPS = 10_000;
/** The longest time between two episodes; a longer one is a gap in the frames. */
const LONGEST_BETWEEN_MS = 5_000;

export class Scrubber {
  /**
   * @param {{store: Store, player: Player, frames: Frames, onSave: (opener: HTMLElement) => void}} parts
   */
  constructor({ store, player, frames, onSave }) {
    this.store = store;
    this.player = player;
    this.frames = frames;
    this.isDragging = false;
    this.liveButton = el(
      "button",
      {
        type: "button",
        class: "live",
        "aria-pressed": "true",
        title: "Back to live (L)",
        "aria-keyshortcuts": "l",
        onclick: () => player.live(),
      },
      icon("live"),
      el("span", {}, "Live"),
    );
    this.playButton = button("pause", "Pause", () => player.toggle(), { quiet: true, key: "Space", class: "play" });
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.range = el("input", {
      type: "range",
      min: 0,
      max: RANGE_STEPS,
      value: RANGE_STEPS,
      step: 1,
      "aria-label": "Position in the recorded minutes",
    });
    this.track = el("div", { class: "track" }, this.canvas, this.range);
    this.where = el("output", { class: "where" });
    this.speed = el(
      "select",
      { "aria-label": "Speed", onchange: () => player.setSpeed(Number(this.speed.value)) },
      ...SPEEDS.map((speed) => el("option", { value: speed, selected: speed === 1 }, `${speed}×`)),
    );
    this.bestButton = button("star", "Best", () => player.replay(frames.best()));
    this.bestButton.title = "Replay the kept episode with the best return";
    this.lastButton = button("play", "Last", () => player.replay(frames.finished().at(-1) ?? null));
    this.lastButton.title = "Replay the last finished episode";
    this.saveButton = button("save", "Save", () => onSave(this.saveButton), { class: "save" });
    this.saveButton.title = "Save an episode as GIF, WebP or PNG";
    const bar = byId("bottom");
    bar.hidden = false;
    fill(
      bar,
      this.liveButton,
      el(
        "div",
        { class: "moves" },
        button("episodeBack", "Previous episode", () => player.stepEpisode(-1), {
          quiet: true,
          key: "Shift+ArrowLeft",
        }),
        button("back", "Previous frame", () => player.stepFrame(-1), { quiet: true, key: "ArrowLeft" }),
        this.playButton,
        button("forward", "Next frame", () => player.stepFrame(1), { quiet: true, key: "ArrowRight" }),
        button("episodeForward", "Next episode", () => player.stepEpisode(1), { quiet: true, key: "Shift+ArrowRight" }),
      ),
      this.track,
      this.where,
      this.speed,
      el("div", { class: "replays" }, this.bestButton, this.lastButton, this.saveButton),
    );
    this.range.addEventListener("input", () => player.seek(this.timeOf(Number(this.range.value) / RANGE_STEPS)));
    this.range.addEventListener("pointerdown", () => (this.isDragging = true));
    for (const name of ["pointerup", "pointercancel", "change"])
      this.range.addEventListener(name, () => (this.isDragging = false));
    this.range.addEventListener("keydown", (event) => {
      // Arrow keys move by frames (shell/main.js), not by the steps of the range.
      if (event.key.startsWith("Arrow")) event.preventDefault();
    });
    this.track.addEventListener("pointerenter", () => this.load(), { once: true });
    this.request = painter(() => this.paint(), EVERY_MS);
    store.onEach("frame moment cleared session fields", this.request);
    store.on("snapshot", () => setTimeout(() => this.load(), 400));
    document.addEventListener("visibilitychange", () => this.load()); // a hidden page gets no frames
    setInterval(this.request, 1000); // "now" advances while nothing comes
    onTheme(this.request);
    new ResizeObserver(this.request).observe(this.track);
    this.paint();
  }

  /** Fetch the index of kept frames: once per session, and after a gap. */
  async load() {
    if (document.hidden || !this.store.session?.sid) return;
    await this.player.loadFrames();
    this.store.rewind.addSteps({
      time_ms: this.frames.all.map(({ at }) => Math.floor(at)),
      step: this.frames.all.map(({ step }) => step),
    });
    const answer = await this.frames.api().history(["episode_return"]);
    const past = answer?.series?.episode_return;
    if (past) this.frames.addPastReturns(past.time_ms, past.value);
    this.request();
  }

  /** @param {number} share of the bar, 0 to 1 */
  timeOf(share) {
    const { start, end } = this.player;
    return start + share * (end - start);
  }

  paint() {
    const { player, store, frames } = this;
    const { start, end, moment } = player;
    const has = player.canRewind;
    const isLive = moment === null;
    const share = isLive ? 1 : Math.min(1, Math.max(0, (moment - start) / (end - start || 1)));
    this.range.disabled = !has;
    this.playButton.disabled = !has;
    if (!this.isDragging) this.range.value = String(Math.round(share * RANGE_STEPS));
    const over = Boolean(store.session?.sid) && store.session?.status !== "live";
    setText(/** @type {Element} */ (this.liveButton.lastElementChild), over ? "End" : "Live");
    this.liveButton.setAttribute("aria-pressed", String(isLive));
    this.liveButton.classList.toggle("primary", isLive && has && !over);
    const wanted = isLive || player.isPlaying ? "pause" : "play";
    if (this.playButton.dataset.shows !== wanted) {
      this.playButton.dataset.shows = wanted;
      fill(this.playButton, icon(wanted));
      this.playButton.setAttribute("aria-label", wanted === "pause" ? "Pause" : "Play");
    }
    const best = frames.best();
    this.bestButton.disabled = !best;
    this.lastButton.disabled = !frames.finished().length;
    this.saveButton.disabled = !frames.all.length;
    const episode = frames.episodeAt(moment ?? end);
    const parts = has
      ? [isLive ? (over ? "the end" : "now") : `−${clock(end - moment)}`, `of ${clock(end - start)} kept`]
      : ["nothing kept"];
    if (has && episode?.number !== null && episode) parts.push(`· ep ${number(episode.number)}`);
    if (this.speed.value !== String(player.speed)) this.speed.value = String(player.speed);
    setText(this.where, parts.join(" "));
    this.where.title = isLive ? "" : time(moment);
    this.range.setAttribute(
      "aria-valuetext",
      isLive ? "now" : `${clock(end - moment)} ago${episode?.number != null ? `, episode ${episode.number}` : ""}`,
    );
    this.draw(start, end, share, best);
  }

  /**
   * @param {number} start @param {number} end @param {number} share @param {import("./frames.js").Episode | null} best
   */
  draw(start, end, share, best) {
    const { canvas, frames } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.clearRect(0, 0, width, height);
    const x = (/** @type {number} */ t) => ((t - start) / (end - start || 1)) * width;
    const floor = height - 7 * ratio;
    context.fillStyle = theme("--line");
    context.fillRect(0, floor, width, 3 * ratio);
    if (frames.all.length) {
      this.drawEpisodes(context, x, floor, ratio, best);
      context.fillStyle = theme("--accent");
      context.fillRect(0, floor, share * width, 3 * ratio);
    }
    for (const annotation of this.store.annotations) {
      const { time_ms: ms } = annotation;
      const { tone, isMarked } = lookOf(annotation);
      if (ms < start || ms > end || !isMarked) continue;
      context.fillStyle = theme(`--${tone === "info" ? "cyan" : tone}`);
      context.beginPath();
      context.moveTo(x(ms), floor - 2 * ratio);
      context.lineTo(x(ms) - 4 * ratio, floor - 9 * ratio);
      context.lineTo(x(ms) + 4 * ratio, floor - 9 * ratio);
      context.fill();
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {(t: number) => number} x @param {number} floor
   * @param {number} ratio @param {import("./frames.js").Episode | null} best
   */
  drawEpisodes(context, x, floor, ratio, best) {
    const list = this.frames.listEpisodes();
    let low = 0;
    let high = 0;
    for (const { value } of list) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const room = floor - 4 * ratio;
    for (const [i, episode] of list.entries()) {
      const left = x(episode.start);
      // An episode of few frames extends to the next one, because not all of its frames were sent.
      const end = Math.max(episode.end, Math.min(list[i + 1]?.start ?? episode.end, episode.end + LONGEST_BETWEEN_MS));
      const right = Math.max(left + ratio, x(end) - ratio);
      if (episode.value !== null && high > low) {
        const size = Math.max(2 * ratio, ((episode.value - low) / (high - low)) * room);
        const colour = theme(episode === best ? "--series-4" : "--series-1");
        context.fillStyle = `${colour}2e`;
        context.fillRect(left, floor - size, right - left, size);
        context.fillStyle = colour;
        context.fillRect(left, floor - size, right - left, 1.5 * ratio);
      }
      context.fillStyle = theme("--border");
      context.fillRect(left, 2 * ratio, ratio, floor);
    }
  }
}
