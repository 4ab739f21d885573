// @ts-check
/** The newest picture of one run on a canvas: decoded off the main thread, and only while it is watched. */

import { fromBase64 } from "../server/base64.js";
import { el } from "../ui/dom.js";

/** @import { RunPicture } from "../runs/feed.js" */

/** A picture of a live run that is older than this shows its age: runs send at least one per second. */
const OLD_MS = 5_000;

export class Shot {
  /** @param {() => void} onReady a picture waits to be drawn */
  constructor(onReady) {
    this.onReady = onReady;
    this.canvas = el("canvas", { "aria-hidden": "true", hidden: true, width: 1, height: 1 });
    /** The newest picture that is not decoded yet. @type {RunPicture | null} */
    this.next = null;
    /** @type {{bitmap: ImageBitmap, timeMs: number} | null} */
    this.ready = null;
    /** The time at which the newest picture was captured, on the server's clock. */
    this.madeMs = 0;
    /** Of the picture on the canvas, on the writer's clock. @type {number | null} */
    this.drawnMs = null;
    this.isWatched = false;
    this.isDecoding = false;
    /** Whether the next picture may be as old as its capture says. */
    this.isFirst = true;
  }

  /**
   * Take the newest picture. The first one after a connection may be old; a later one has just been made, so a large
   * difference between the clocks is the fault of the writer's clock.
   * @param {RunPicture} picture @param {number} now on the server's clock
   */
  offer(picture, now) {
    this.next = picture;
    const age = now - picture.time_ms;
    this.madeMs = this.isFirst || (age > 0 && age < OLD_MS) ? picture.time_ms : now;
    this.isFirst = false;
    if (this.isWatched) this.decode();
  }

  /** @param {boolean} isWatched */
  watch(isWatched) {
    this.isWatched = isWatched;
    if (isWatched) this.decode();
  }

  /** A run that has ended has a last picture, not a new one. @param {boolean} isLive */
  setLive(isLive) {
    this.canvas.classList.toggle("past", !isLive);
  }

  async decode() {
    if (this.isDecoding) return;
    this.isDecoding = true;
    while (this.next && this.isWatched) {
      const { image, mime, time_ms: timeMs } = this.next;
      this.next = null;
      const bytes = fromBase64(image);
      try {
        if (!bytes) continue;
        const bitmap = await createImageBitmap(new Blob([bytes], { type: mime }));
        this.ready?.bitmap.close();
        this.ready = { bitmap, timeMs };
        this.onReady();
      } catch {
        // not a picture: the previous one stays
      }
    }
    this.isDecoding = false;
  }

  /** Draw the decoded picture; tells whether there was one. */
  draw() {
    if (!this.ready) return false;
    const { bitmap, timeMs } = this.ready;
    this.ready = null;
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    canvas.getContext("2d", { alpha: false })?.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.drawnMs = timeMs;
    canvas.dataset.timeMs = String(timeMs);
    if (canvas.hidden) canvas.hidden = false;
    return true;
  }

  /** The age of the newest picture, in milliseconds; 0 if it is new, or there is none. @param {number} now */
  oldMs(now) {
    const age = this.drawnMs === null ? 0 : now - this.madeMs;
    return age > OLD_MS ? age : 0;
  }
}
