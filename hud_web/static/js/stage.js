// @ts-check
/**
 * The live frame: decoded off the main thread, newest wins, drawn once per animation frame at the largest integer scale
 * that fits; and the thin line of facts above and below it.
 */

import { button, byId, el, fill, icon, say } from "./dom.js";
import { download } from "./download.js";
import { bytes, envName, number, time, value } from "./format.js";
import { apart } from "./frames.js";
import { painter } from "./paint.js";
import { latencyText } from "./status.js";

/** @import { Store } from "./store.js" */
/** @import { Picture } from "./types.js" */
/** @typedef {{id: string | null, t: number, step: number | null, episode: number | null, env: [number, number] | null, blob: Blob | null}} Shot */

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
    /** Live frames that wait for their moment, since they came together with the one before. @type {Set<Shot>} */
    this.coming = new Set();
    /** The newest live frame, and when it is shown. @type {Picture | null} */
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
    this.broken = 0;
    /** @type {() => void} */
    this.tellFirst = () => {};
    this.firstDrawn = new Promise((resolve) => (this.tellFirst = () => resolve(undefined)));
    /** @type {Map<string, HTMLElement>} */
    this.keys = new Map();
    this.facts = { episode: fact("EP"), step: fact("STEP"), return: fact("RETURN"), env: fact("", "end"), fps: fact("FPS", "end"), late: fact(""), phase: fact("") };
    this.keyRow = el("div", { class: "keys", "aria-label": "Action", role: "img" });
    this.placeHud();
    this.requestDraw = painter(() => this.draw());
    this.requestHud = painter(() => this.paintHud(), 100);
    store.on("frame", (picture) => this.take(picture));
    store.onEach("fields frame moment session link", this.requestHud);
    setInterval(this.requestHud, 1000); // what comes per second falls while nothing comes
    store.on("cleared", () => this.clear());
    this.isLive = true;
    new ResizeObserver(() => this.fit()).observe(this.view);
    this.say("", "");
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

  /** A live frame came. @param {Picture} picture */
  take(picture) {
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
      this.coming.clear(); // what came by itself is newer than what still waits
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
    if (picture && this.shown?.id !== picture.id) this.show({ ...picture, t: picture.time_ms, blob: picture.bytes ? new Blob([picture.bytes], { type: picture.mime }) : null });
    this.requestHud();
  }

  /** Show a picture as soon as it is decoded; one that comes meanwhile takes its place. @param {Shot} shot */
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
        this.broken++; // not a picture: the one before stays
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
    this.tellFirst();
    this.requestHud();
  }

  /** Draw the picture on the canvas, pixel by pixel unless the canvas has fewer of them. */
  copy() {
    if (!this.bitmap) return;
    this.context.imageSmoothingEnabled = this.canvas.width < this.bitmap.width;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
  }

  /** Size the canvas: whole device pixels per picture pixel where it fits, else as large as fits. */
  fit() {
    const { canvas, screen, bitmap } = this;
    if (canvas.hidden || !bitmap) return;
    const ratio = devicePixelRatio || 1;
    // On a phone the page scrolls, and the picture decides the height.
    const isPhone = matchMedia("(max-width: 720px)").matches && !document.fullscreenElement;
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
    // The facts stand above and below the picture, or over its edges where that makes room for a larger one.
    this.view.classList.toggle("over", over > beside);
    // Shrinking by the style sheet drops pixels; so a canvas smaller than the picture has the size at which it is seen.
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
    this.shown = null;
    this.canvas.hidden = true;
    this.placeholder.hidden = false;
    this.keys.clear();
    fill(this.keyRow);
    this.requestHud();
  }

  paintHud() {
    const { store, facts, shown } = this;
    const find = (/** @type {readonly string[]} */ names) => store.find(names)?.value;
    const episode = shown?.episode ?? find(NAMES.episode);
    const step = shown?.step ?? store.origin?.step ?? find(NAMES.step);
    say(facts.episode.text, value(episode, 16));
    say(facts.step.text, number(step));
    say(facts.return.text, number(find(NAMES.return), { sign: true }));
    say(facts.env.text, shown?.env ? envName(shown.env) : "");
    const fps = this.isLive && shown ? store.frameRate.at(Date.now()) : 0;
    say(facts.fps.text, fps ? fps.toFixed(1) : "—");
    say(facts.late.text, !shown ? "" : this.isLive ? (fps ? latencyText(store) : "") : time(shown.t));
    say(facts.phase.text, value(find(NAMES.phase) ?? "", 24).replace("—", ""));
    this.paintKeys(find(NAMES.action));
    const size = shown ? `${this.bitmap?.width}×${this.bitmap?.height} ${(shown.blob?.type ?? "").replace("image/", "")} ${bytes(shown.blob?.size)}` : "";
    say(this.meta, size);
    if (!shown) this.paintPlaceholder();
    const label = shown ? `Frame of episode ${value(episode, 16)}, step ${number(step)}` : "No frame yet";
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
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
    if (!snapshotSeen) this.say("", "");
    else if (!session?.sid) this.say("Waiting for a run", "Start a training with HudCallbacks, or try it with: hud demo");
    else if (session.status === "live") this.say("No frame yet", "They start within a second of the page being open, with the next step of the env that is shown.");
    else this.say("No frames kept", "This session’s frames are past their keeping time; its metrics and charts are here.");
  }

  /** @param {string} title @param {string} text */
  say(title, text) {
    if (this.placeholder.dataset.title === title) return;
    this.placeholder.dataset.title = title;
    fill(this.placeholder, title ? icon("game") : null, title ? el("strong", {}, title) : null, title ? el("span", {}, text) : null);
  }

  toggleFull() {
    const stage = byId("stage");
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen?.().catch(() => {}); // refused without a click: nothing to do about it
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
