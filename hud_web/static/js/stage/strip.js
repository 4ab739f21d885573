// @ts-check
/** The thumbnails of all envs at the moment shown. A click requests that an env is shown. */

import { entryTime } from "../data/nested.js";
import { byId, el } from "../ui/dom.js";
import { envName } from "../ui/format.js";
import { painter } from "../ui/paint.js";

/** @import { Store } from "../data/store.js" */
/** @import { Picture } from "../data/types.js" */
/**
 * @typedef {{env: [number, number], node: HTMLButtonElement, canvas: HTMLCanvasElement, next: Picture | null,
 *   decoding: boolean, kept: Picture[], drawn: Picture | null}} Cell `kept`: thumbnails of some minutes, oldest first
 */

const MOST_CELLS = 64;
/** Thumbnails kept for the rewind, of all envs together: some minutes at one per second. */
const MOST_KEPT_BYTES = 12 * 1024 * 1024;

export class Strip {
  /**
   * @param {Store} store @param {import("./frames.js").Frames} frames
   * @param {(env: [number, number]) => void} onChoose
   */
  constructor(store, frames, onChoose) {
    this.store = store;
    this.frames = frames;
    this.keptBytes = 0;
    /** The cell of each kept thumbnail, in the order of arrival. @type {Cell[]} */
    this.order = [];
    this.onChoose = onChoose;
    this.box = byId("strip");
    /** @type {Map<string, Cell>} */
    this.cells = new Map();
    store.on("thumbnail", (picture) => this.onThumbnail(picture));
    store.on("cleared", () => this.clear());
    this.request = painter(() => this.paint(), 250);
    store.onEach("session frame", this.request);
    store.on("moment", () => this.follow());
    for (const picture of store.thumbnails.values()) this.onThumbnail(picture);
  }

  clear() {
    this.cells.clear();
    this.order = [];
    this.keptBytes = 0;
    this.box.replaceChildren();
    this.box.hidden = true;
  }

  /** @param {Picture} picture */
  onThumbnail(picture) {
    if (!picture.env || !picture.bytes) return;
    const key = picture.env.join("/");
    let cell = this.cells.get(key);
    if (!cell) {
      if (this.cells.size >= MOST_CELLS) return;
      cell = this.make(picture.env);
      this.cells.set(key, cell);
      this.place();
    }
    this.keep(cell, picture);
    if (this.store.moment === null) this.show(cell, picture);
  }

  /** @param {Cell} cell @param {Picture} picture */
  keep(cell, picture) {
    cell.kept.push(picture);
    this.order.push(cell);
    this.keptBytes += sizeOf(picture);
    while (this.keptBytes > MOST_KEPT_BYTES && this.order.length > 1) {
      const oldest = this.order.shift()?.kept.shift();
      if (oldest) this.keptBytes -= sizeOf(oldest);
    }
  }

  /** @param {Cell} cell @param {Picture} picture */
  show(cell, picture) {
    if (cell.drawn === picture) return;
    cell.drawn = picture;
    cell.next = picture;
    if (!cell.decoding && !document.hidden) this.decode(cell);
  }

  /** Show each env's thumbnail of the moment; an env without one is dimmed. */
  follow() {
    const { moment } = this.store;
    for (const cell of this.cells.values()) {
      const picture = moment === null ? cell.kept.at(-1) : cell.kept.findLast((one) => entryTime(one) <= moment);
      cell.node.classList.toggle("absent", !picture);
      if (picture) this.show(cell, picture);
    }
    this.request();
  }

  /** @param {[number, number]} env */
  make(env) {
    const canvas = el("canvas", { "aria-hidden": "true", width: 60, height: 60 });
    const node = el(
      "button",
      { type: "button", "aria-pressed": "false", onclick: () => this.onChoose(env) },
      canvas,
      el("span", { class: "name" }, envName(env)),
    );
    return { env, node, canvas, next: null, decoding: false, kept: [], drawn: null };
  }

  place() {
    const cells = [...this.cells.values()].sort((a, b) => a.env[0] - b.env[0] || a.env[1] - b.env[1]);
    cells.forEach((cell, i) => {
      const key = i < 9 ? ` (${i + 1})` : "";
      cell.node.title = `Show ${envName(cell.env)} from its next episode on${key}`;
      if (this.box.children[i] !== cell.node) this.box.insertBefore(cell.node, this.box.children[i] ?? null);
    });
    this.box.hidden = cells.length < 2;
    this.request();
  }

  /** Request the env at this place of the strip. @param {number} index from 0 */
  choose(index) {
    /** @type {HTMLButtonElement | undefined} */ (this.box.children[index])?.click();
  }

  /** @param {Cell} cell */
  async decode(cell) {
    cell.decoding = true;
    while (cell.next) {
      const picture = cell.next;
      cell.next = null;
      try {
        const bitmap = await createImageBitmap(
          new Blob([/** @type {ArrayBuffer} */ (picture.bytes)], { type: picture.mime }),
        );
        if (cell.canvas.width !== bitmap.width) cell.canvas.width = bitmap.width;
        if (cell.canvas.height !== bitmap.height) cell.canvas.height = bitmap.height;
        cell.canvas.getContext("2d", { alpha: false })?.drawImage(bitmap, 0, 0);
        bitmap.close();
      } catch {
        // not a picture: the previous one stays
      }
    }
    cell.decoding = false;
  }

  paint() {
    const { session, frame, moment } = this.store;
    const at = moment === null ? null : this.frames.all[this.frames.indexAt(moment)];
    const shown = moment === null ? (session?.reporter ?? frame?.env) : at?.env;
    const key = shown ? shown.join("/") : "";
    for (const [name, cell] of this.cells) {
      const pressed = String(name === key);
      if (cell.node.getAttribute("aria-pressed") !== pressed) cell.node.setAttribute("aria-pressed", pressed);
    }
  }
}

/** @param {Picture} picture */
function sizeOf(picture) {
  return picture.bytes?.byteLength ?? 0;
}
