// @ts-check
/** The small pictures of all envs. A click asks for an env to be shown; nothing changes by itself. */

import { byId, el } from "./dom.js";
import { envName } from "./format.js";
import { painter } from "./paint.js";

/** @import { Store } from "./store.js" */
/** @import { Picture } from "./types.js" */
/** @typedef {{env: [number, number], node: HTMLButtonElement, canvas: HTMLCanvasElement, next: Picture | null, decoding: boolean}} Cell */

const MOST_CELLS = 64;

export class Strip {
  /** @param {Store} store @param {(env: [number, number]) => void} onChoose */
  constructor(store, onChoose) {
    this.store = store;
    this.onChoose = onChoose;
    this.box = byId("strip");
    /** @type {Map<string, Cell>} */
    this.cells = new Map();
    store.on("thumbnail", (picture) => this.take(picture));
    store.on("cleared", () => this.clear());
    this.request = painter(() => this.paint(), 250);
    store.onEach("session frame", this.request);
    for (const picture of store.thumbnails.values()) this.take(picture);
  }

  clear() {
    this.cells.clear();
    this.box.replaceChildren();
    this.box.hidden = true;
  }

  /** @param {Picture} picture */
  take(picture) {
    if (!picture.env || !picture.bytes) return;
    const key = picture.env.join("/");
    let cell = this.cells.get(key);
    if (!cell) {
      if (this.cells.size >= MOST_CELLS) return;
      cell = this.make(picture.env);
      this.cells.set(key, cell);
      this.place();
    }
    cell.next = picture;
    if (!cell.decoding && !document.hidden) this.decode(cell);
  }

  /** @param {[number, number]} env */
  make(env) {
    const canvas = el("canvas", { "aria-hidden": "true", width: 60, height: 60 });
    const node = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.onChoose(env) }, canvas, el("span", { class: "name" }, envName(env)));
    return { env, node, canvas, next: null, decoding: false };
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

  /** Ask for the env at this place of the strip. @param {number} index from 0 */
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
        const bitmap = await createImageBitmap(new Blob([/** @type {ArrayBuffer} */ (picture.bytes)], { type: picture.mime }));
        if (cell.canvas.width !== bitmap.width) cell.canvas.width = bitmap.width;
        if (cell.canvas.height !== bitmap.height) cell.canvas.height = bitmap.height;
        cell.canvas.getContext("2d", { alpha: false })?.drawImage(bitmap, 0, 0);
        bitmap.close();
      } catch {
        // not a picture: the one before stays
      }
    }
    cell.decoding = false;
  }

  paint() {
    const { session, frame } = this.store;
    const shown = session?.reporter ?? frame?.env;
    const key = shown ? shown.join("/") : "";
    for (const [name, cell] of this.cells) {
      const pressed = String(name === key);
      if (cell.node.getAttribute("aria-pressed") !== pressed) cell.node.setAttribute("aria-pressed", pressed);
    }
  }
}
