// @ts-check
/**
 * The live frame: decodes it off the main thread, drops all but the newest, and draws once per animation frame at the
 * largest integer scale that fits. Shows the facts of the frame in two lines, above and below it.
 */

import { button, byId, el, fill, icon, setText } from "../ui/dom.js";
import { download } from "../ui/download.js";
import { embedded } from "../ui/embed.js";
import { bytes, cut, envName, latency, number, time, value } from "../ui/format.js";
import { channelUrl } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { apart } from "./frames.js";

/** @import { Store } from "../data/store.js" */
/** @import { Picture } from "../data/types.js" */
/**
 * @typedef {{id: string | null, t: number, time_ms: number, step: number | null, episode: number | null,
 *   env: [number, number] | null, blob: Blob | null}} Shot
 */

export const NAMES = {
  episode: ["episode", "episode_id", "episode_number"],
  step: ["step", "global_step", "env_step"],
  return: ["episode_reward", "episode_reward_so_far", "reward_sum", "episode_return", "return", "score"],
  action: ["action_name", "action", "last_action"],
  phase: ["phase"],
};
const MOST_KEYS = 10;
/** Height of the two lines of facts. */
const BANDS_PX = 56;
/** Fields of a picture's moment may arrive up to this time after the picture. */
const SETTLED_MS = 1_500;
/** A live run that sent fields and no picture for this time sends no pictures. */
const PICTURELESS_MS = 10_000;
/** Links to other channels that a page without a picture shows. */
const MOST_LINKS = 8;

export class Stage {
  /** @param {Store} store @param {import("./frames.js").Frames} frames */
  constructor(store, frames) {
    this.store = store;
    this.frames = frames;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("frame"));
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    this.screen = byId("screen");
    this.view = byId("view");
    this.placeholder = byId("placeholder");
    this.meta = byId("stage-meta");
    /** Live frames that are shown later, because they came in one call with the frame before. @type {Set<Shot>} */
    this.coming = new Set();
    /** The newest live frame, and the time at which it is shown. @type {Picture | null} */
    this.newest = null;
    this.newestAt = 0;
    /** @type {Shot | null} */
    this.next = null;
    /** @type {Shot | null} */
    this.shown = null;
    /** @type {{shot: Shot, bitmap: ImageBitmap} | null} */
    this.ready = null;
    /** The picture on the canvas, kept for drawing it at another size. @type {ImageBitmap | null} */
    this.bitmap = null;
    this.decoding = false;
    /**
     * The facts of a picture; `since`: the start of the recorded changes when they were read.
     * @type {{shot: Shot, at: number, since: number, facts: Record<string, any>} | null}
     */
    this.settled = null;
    /** The time since which a live run has sent fields without a picture. @type {number | null} */
    this.picturelessSince = null;
    /** @type {import("../data/types.js").Channel[]} */
    this.otherChannels = [];
    this.broken = 0;
    /** @type {() => void} */
    this.resolveFirst = () => {};
    this.firstDrawn = new Promise((resolve) => (this.resolveFirst = () => resolve(undefined)));
    /** @type {Map<string, HTMLElement>} */
    this.keys = new Map();
    this.facts = {
      episode: fact("EP"),
      step: fact("STEP"),
      return: fact("RETURN"),
      env: fact("", "end"),
      fps: fact("FPS", "end"),
      late: fact(""),
      phase: fact(""),
    };
    this.keyRow = el("div", { class: "keys", "aria-label": "Action", role: "img" });
    this.placeHud();
    this.requestDraw = painter(() => this.draw());
    this.requestHud = painter(() => this.paintHud(), 100);
    store.on("frame", (picture) => this.onFrame(picture));
    store.onEach("fields frame moment session connection", this.requestHud);
    setInterval(this.requestHud, 1000); // the frame rate falls while nothing comes
    store.on("cleared", () => this.clear());
    this.isLive = true;
    new ResizeObserver(() => this.fit()).observe(this.view);
    this.showPlaceholder("", "");
  }

  placeHud() {
    fill(byId("hud-top"), this.facts.episode.node, this.facts.step.node, this.facts.return.node, this.facts.env.node);
    fill(byId("hud-bottom"), this.keyRow, this.facts.fps.node, this.facts.late.node, this.facts.phase.node);
    fill(
      byId("stage-tools"),
      button("camera", "Save this frame as PNG", () => this.savePng(), { quiet: true, key: "s" }),
      button("full", "Full screen", () => this.toggleFull(), { quiet: true, key: "f" }),
    );
  }

  /** Show a live frame. @param {Picture} picture */
  onFrame(picture) {
    const blob = picture.bytes ? new Blob([picture.bytes], { type: picture.mime }) : null;
    this.frames.add(picture, blob ?? undefined);
    const now = performance.now();
    const wait = apart(picture, this.newest);
    this.newestAt = wait ? Math.max(now, this.newestAt + wait) : now;
    this.newest = picture;
    if (!this.isLive) return;
    const shot = { ...picture, t: picture.time_ms, blob };
    if (this.newestAt > now) {
      this.coming.add(shot);
      setTimeout(() => this.coming.delete(shot) && this.show(shot), this.newestAt - now);
    } else {
      this.coming.clear(); // a frame without a delay is newer than the queued ones
      this.show(shot);
    }
  }

  /** Show a kept frame. @param {import("./frames.js").Frame | null} frame */
  showFrame(frame) {
    this.isLive = false;
    this.coming.clear();
    if (frame) this.show({ ...frame, blob: this.frames.blobs.get(frame.id) ?? null });
  }

  goLive() {
    this.isLive = true;
    const picture = this.store.frame;
    if (picture && this.shown?.id !== picture.id)
      this.show({
        ...picture,
        t: picture.time_ms,
        blob: picture.bytes ? new Blob([picture.bytes], { type: picture.mime }) : null,
      });
    this.requestHud();
  }

  /** Show a picture as soon as it is decoded; a newer one replaces it meanwhile. @param {Shot} shot */
  show(shot) {
    this.next = shot;
    if (!this.decoding) this.decode();
  }

  async decode() {
    this.decoding = true;
    while (this.next) {
      const shot = this.next;
      this.next = null;
      try {
        const blob = shot.blob ?? (shot.id ? await this.frames.blob(shot.id) : null);
        if (!blob) continue;
        const bitmap = await createImageBitmap(blob);
        this.ready?.bitmap.close();
        this.ready = { shot: { ...shot, blob }, bitmap };
        this.requestDraw();
      } catch {
        this.broken++; // not a picture: the previous one stays
      }
    }
    this.decoding = false;
  }

  draw() {
    if (!this.ready) return;
    const { shot, bitmap } = this.ready;
    const before = this.bitmap;
    this.ready = null;
    this.bitmap = bitmap;
    if (before?.width !== bitmap.width || before.height !== bitmap.height || this.canvas.hidden) {
      this.canvas.hidden = false;
      this.placeholder.hidden = true;
      this.fit();
    }
    before?.close();
    this.copy();
    this.shown = shot;
    this.canvas.dataset.id = shot.id ?? "";
    this.resolveFirst();
    this.store.emit("drawn");
    this.paintHud(); // at once, so that picture and caption change together
  }

  /** Draw the picture on the canvas, pixel by pixel unless the canvas is smaller. */
  copy() {
    if (!this.bitmap) return;
    this.context.imageSmoothingEnabled = this.canvas.width < this.bitmap.width;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
  }

  /** Size the canvas: whole device pixels per picture pixel if the picture fits, else as large as possible. */
  fit() {
    const { canvas, screen, bitmap } = this;
    if (canvas.hidden || !bitmap) return;
    const ratio = devicePixelRatio || 1;
    // On a phone the page scrolls, and the picture decides the height.
    const isPhone = matchMedia("(max-width: 720px)").matches && !document.fullscreenElement && !embedded;
    const across = ((screen.clientWidth - 2) * ratio) / bitmap.width;
    const scaleFor = (/** @type {number} */ height) => {
      const room = Math.min(across, ((height - 2) * ratio) / bitmap.height);
      return room >= 1 ? Math.floor(room) : room;
    };
    const height = this.view.clientHeight;
    const beside = isPhone ? scaleFor(innerHeight * 0.62) : scaleFor(height - BANDS_PX);
    const over = isPhone ? 0 : scaleFor(height);
    const scale = Math.max(beside, over);
    if (!(scale > 0)) return;
    // The facts are above and below the picture, or over its edges if that makes room for a larger one.
    this.view.classList.toggle("over", over > beside);
    // The style sheet would drop pixels when it shrinks; so a canvas smaller than the picture has its displayed size.
    const own = Math.min(1, scale);
    const size = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * own)));
    canvas.style.width = `${(size[0] * scale) / own / ratio}px`;
    canvas.style.height = `${(size[1] * scale) / own / ratio}px`;
    if (canvas.width === size[0] && canvas.height === size[1]) return;
    [canvas.width, canvas.height] = size;
    this.copy();
  }

  clear() {
    this.next = this.newest = null;
    this.coming.clear();
    this.ready?.bitmap.close();
    this.ready = null;
    this.bitmap?.close();
    this.bitmap = null;
    this.shown = this.settled = this.picturelessSince = null;
    this.canvas.hidden = true;
    this.placeholder.hidden = false;
    this.keys.clear();
    fill(this.keyRow);
    this.requestHud();
  }

  paintHud() {
    const { store, facts, shown } = this;
    const find = (/** @type {readonly string[]} */ names) => store.leaves.find(names)?.value;
    const { episode, step, earned, action } = this.factsOf(shown);
    setText(facts.episode.text, value(episode, 16));
    setText(facts.step.text, number(step));
    setText(facts.return.text, number(earned, { sign: true }));
    setText(facts.env.text, shown?.env ? envName(shown.env) : "");
    const fps = this.isLive && shown ? store.frameRate.at(Date.now()) : 0;
    setText(facts.fps.text, fps ? fps.toFixed(1) : "—");
    setText(facts.late.text, !shown ? "" : this.isLive ? (fps ? latency(store.clock.latencyMs) : "") : time(shown.t));
    setText(facts.phase.text, value(find(NAMES.phase) ?? "", 24).replace("—", ""));
    this.paintKeys(action);
    const type = shown?.blob?.type.replace("image/", "") ?? "";
    const size = `${this.bitmap?.width}×${this.bitmap?.height}`;
    setText(this.meta, shown ? `${size} ${type} ${bytes(shown.blob?.size)}` : "");
    if (!shown) this.paintPlaceholder();
    this.arrange();
    const label = shown ? `Frame of episode ${value(episode, 16)}, step ${number(step)}` : "No frame yet";
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
  }

  /**
   * The facts of the picture: the fields at the time of its capture, without later changes.
   * @param {Shot | null} shown
   */
  factsOf(shown) {
    const { store } = this;
    if (!shown) {
      const find = (/** @type {readonly string[]} */ names) => store.leaves.find(names)?.value;
      const step = store.moment === null ? store.origin?.step : store.rewind.stepAt(store.moment);
      return {
        episode: find(NAMES.episode),
        step: step ?? find(NAMES.step),
        earned: find(NAMES.return),
        action: find(NAMES.action),
      };
    }
    const now = performance.now();
    const since = store.rewind.timeline.start;
    if (this.settled?.shot !== shown || this.settled.since !== since)
      this.settled = { shot: shown, at: now, since, facts: {} };
    // Fields of the same moment may arrive a little later. Then the facts are final, to save the search.
    if (!Object.keys(this.settled.facts).length || now - this.settled.at < SETTLED_MS) {
      const at = (/** @type {readonly string[]} */ names) => store.rewind.valueFor(names, shown);
      this.settled.facts = {
        episode: shown.episode ?? at(NAMES.episode),
        step: shown.step ?? at(NAMES.step),
        earned: at(NAMES.return),
        action: at(NAMES.action),
      };
    }
    return /** @type {any} */ (this.settled.facts);
  }

  /** @param {unknown} action */
  paintKeys(action) {
    const name = action === undefined ? "" : value(action, 18);
    if (name && !this.keys.has(name)) {
      if (this.keys.size >= MOST_KEYS) {
        const oldest = this.keys.keys().next().value ?? "";
        this.keys.get(oldest)?.remove();
        this.keys.delete(oldest);
      }
      const cap = el("span", { class: "keycap" }, name);
      this.keys.set(name, cap);
      this.keyRow.append(cap);
    }
    for (const [other, cap] of this.keys) cap.classList.toggle("on", other === name);
    this.keyRow.setAttribute("aria-label", name ? `Action ${name}` : "No action known");
  }

  paintPlaceholder() {
    const { session, snapshotSeen } = this.store;
    if (!snapshotSeen) this.showPlaceholder("", "");
    else if (!session?.sid)
      this.showPlaceholder(
        "Waiting for a run",
        "Start a training with HudCallbacks, or try it with: hud demo",
        this.otherChannels,
      );
    else if (session.status === "live" && !this.isPictureless())
      this.showPlaceholder(
        "No frame yet",
        "Frames start within a second, with the next step of the env that is shown.",
      );
    else if (session.status === "live")
      this.showPlaceholder(
        "This run sends no frames",
        this.reason() || "It sends metrics only: its environment may have no render_mode, or HUD_FRAMES is off.",
      );
    else
      this.showPlaceholder(
        "No frames kept",
        "The frames of this session are older than the retention period; its metrics and charts remain.",
      );
  }

  /** The publisher's reason for the missing picture; "" if it gave none. */
  reason() {
    const told = this.store.leaves.find(["no_picture"], (value) => typeof value === "string")?.value;
    return told ? cut(told, 300) : "";
  }

  /** Whether a live run sends fields and no picture. */
  isPictureless() {
    const { store } = this;
    const isSending = store.leaves.size > 0 && store.connection.state === "open" && !document.hidden;
    if (store.frame || !isSending) this.picturelessSince = null;
    else this.picturelessSince ??= Date.now();
    return (
      Boolean(this.reason()) || (this.picturelessSince !== null && Date.now() - this.picturelessSince > PICTURELESS_MS)
    );
  }

  /** Give the space of a missing picture to the vision LLM's panel or to the charts. */
  arrange() {
    const { store } = this;
    const hasFrames = this.shown !== null || store.frame !== null || this.frames.all.length > 0;
    const over = store.session?.status !== "live";
    const isSure = store.snapshotSeen && Boolean(store.session?.sid);
    let mode = "frames";
    if (!hasFrames && isSure) mode = store.vision ? "vision" : over || this.isPictureless() ? "none" : "frames";
    const main = byId("main");
    if (main.dataset.stage === mode) return;
    main.dataset.stage = mode;
    const vision = byId("vision");
    const place = document.querySelector(mode === "vision" ? ".left" : ".right");
    if (vision.parentElement !== place) place?.prepend(vision);
  }

  /**
   * @param {string} title @param {string} text @param {import("../data/types.js").Channel[]} [channels] that have a run
   */
  showPlaceholder(title, text, channels = []) {
    const key = [title, text, ...channels.map(({ name }) => name)].join("\n");
    if (this.placeholder.dataset.key === key) return;
    this.placeholder.dataset.key = key;
    const links = channels.slice(0, MOST_LINKS).map(({ name }) => el("a", { href: channelUrl(name) }, name));
    const rest = channels.length - links.length;
    fill(
      this.placeholder,
      title ? icon("game") : null,
      title ? el("strong", {}, title) : null,
      title ? el("span", {}, text) : null,
      links.length
        ? el(
            "nav",
            { "aria-label": "Channels with a run" },
            "Live on other channels: ",
            ...links,
            rest > 0 ? `and ${rest} more (Ctrl+K)` : null,
          )
        : null,
    );
  }

  /** @param {import("../data/types.js").Channel[]} channels that have a run while this one has none */
  showOtherChannels(channels) {
    this.otherChannels = channels;
    this.requestHud();
  }

  toggleFull() {
    const stage = byId("stage");
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen?.().catch(() => {}); // browsers refuse it without a click
  }

  savePng() {
    const { bitmap, shown } = this;
    if (!shown || !bitmap) return;
    const copy = document.createElement("canvas");
    const scale = Math.max(1, Math.floor(960 / Math.max(bitmap.width, bitmap.height)));
    copy.width = bitmap.width * scale;
    copy.height = bitmap.height * scale;
    const context = /** @type {CanvasRenderingContext2D} */ (copy.getContext("2d"));
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, 0, 0, copy.width, copy.height);
    const name = `hud-step-${shown.step ?? "unknown"}.png`;
    copy.toBlob((blob) => blob && download(blob, name), "image/png");
  }
}

/** @param {string} label @param {string} [className] */
function fact(label, className = "") {
  const text = el("b");
  return { node: el("span", { class: className || null }, label, text), text };
}
