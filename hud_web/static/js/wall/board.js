// @ts-check
/**
 * The tiles of all runs: makes and removes them, puts them in order, and paints those in view.
 *
 * A tile that is placed again keeps its elements. All changes of one moment are painted in one animation frame.
 */

import { el } from "../ui/dom.js";
import { painter } from "../ui/paint.js";
import { isInTrouble } from "../runs/look.js";
import { filterOf, groupRuns, sortRuns } from "./order.js";
import { Tile } from "./tile.js";
import { sortOf } from "./view.js";

/** @import { RunFeed } from "../runs/feed.js" */
/** @import { View } from "./view.js" */
/** @typedef {{all: number, shown: number, live: number, problems: number}} Counts `live`, `problems`: of those shown */

/** Texts and curves: the stream brings changes twice a second. */
const PAINT_MS = 250;
/** Pictures: those that come together are decoded within this time, and are drawn in one animation frame. */
const DRAW_MS = 50;
/** Values change all the time; tiles change places this often at most, so that a reader can follow. */
const SORT_MS = 3_000;
/** Tiles keep their places for this time after the pointer moved over them: the viewer may be about to click. */
const POINTED_MS = 4_000;

export class Board {
  /**
   * @param {RunFeed} feed @param {HTMLElement} node @param {View} view
   * @param {import("./kiosk.js").Kiosk} kiosk @param {(counts: Counts) => void} onCounts
   */
  constructor(feed, node, view, kiosk, onCounts) {
    this.feed = feed;
    this.node = node;
    this.view = view;
    this.kiosk = kiosk;
    this.onCounts = onCounts;
    this.filter = filterOf(view.filter);
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    /**
     * The lists of the groups, by name.
     * @type {Map<string, {section: HTMLElement, title: HTMLElement, list: HTMLElement}>}
     */
    this.groups = new Map();
    this.mustArrange = false;
    this.arrangedAt = 0;
    this.pointedAt = -Infinity;
    this.request = painter(() => this.paint(), PAINT_MS);
    this.requestDraw = painter(() => this.draw(), DRAW_MS);
    this.watch = new IntersectionObserver((entries) => this.onIntersect(entries), { rootMargin: "20% 0px" });
    /** @type {WeakMap<Element, Tile>} */
    this.tileOf = new WeakMap();
    feed.on("runs", () => this.onRuns());
    feed.on("changes", (all) => this.onChanges(all));
    feed.on("picture", (picture) => this.tiles.get(picture.run)?.shot.offer(picture, feed.now()));
    for (const type of ["pointermove", "pointerdown", "focusin"])
      node.addEventListener(type, () => (this.pointedAt = performance.now()), { passive: true });
    setInterval(() => this.tick(), 1_000);
  }

  /** @param {View} view */
  setView(view) {
    this.view = view;
    this.filter = filterOf(view.filter);
    this.arrangeSoon();
  }

  /** Put the tiles in order with the next painting. */
  arrangeSoon() {
    this.mustArrange = true;
    this.request();
  }

  onRuns() {
    for (const [key, card] of this.feed.runs) this.take(key, card);
    for (const [key, { shot }] of this.tiles) {
      shot.isFirst = true;
      if (!this.feed.runs.has(key)) this.remove(key);
    }
    this.arrangeSoon();
  }

  /** @param {Parameters<import("../runs/feed.js").Listeners["changes"]>[0]} all */
  onChanges({ changes, gone }) {
    for (const { key, card, fields, isNew } of changes) {
      this.take(key, card);
      if (isNew || fields.includes("status")) this.mustArrange = true;
    }
    for (const key of gone) this.remove(key);
    if (gone.length) this.mustArrange = true;
    this.request();
  }

  /** @param {string} key @param {import("../runs/feed.js").Card} card */
  take(key, card) {
    let tile = this.tiles.get(key);
    if (!tile) {
      tile = new Tile(key, card, this.requestDraw);
      this.tiles.set(key, tile);
      this.tileOf.set(tile.node, tile);
      tile.paint(this.feed.now());
      this.watch.observe(tile.node);
    }
    tile.card = card;
    tile.isStale = true;
  }

  /** @param {string} key */
  remove(key) {
    const tile = this.tiles.get(key);
    if (!tile) return;
    this.watch.unobserve(tile.node);
    tile.remove();
    this.tiles.delete(key);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  onIntersect(entries) {
    for (const { target, isIntersecting } of entries) this.tileOf.get(target)?.set({ isInView: isIntersecting });
    this.request();
  }

  tick() {
    if (document.hidden) return;
    const now = performance.now();
    const isDue = now - this.arrangedAt > SORT_MS && now - this.pointedAt > POINTED_MS;
    if (isDue && !this.view.kiosk && sortOf(this.view) !== "started") this.mustArrange = true;
    for (const tile of this.tiles.values()) if (tile.isWatched) tile.isStale = true;
    this.request();
  }

  paint() {
    if (this.mustArrange) this.arrange();
    const now = this.feed.now();
    for (const tile of this.tiles.values()) {
      if (!tile.isWatched) continue;
      if (tile.isStale) tile.paint(now);
      tile.curve.draw();
    }
  }

  draw() {
    for (const tile of this.tiles.values()) tile.drawShot();
  }

  arrange() {
    this.mustArrange = false;
    this.arrangedAt = performance.now();
    const matching = [...this.tiles.values()].filter(({ card }) => this.filter.matches(card));
    const tiles = sortRuns(matching, sortOf(this.view), this.feed.now());
    const groups = groupRuns(tiles, this.view.kiosk ? "none" : this.view.group);
    for (const [name, { section }] of this.groups) {
      if (groups.has(name)) continue;
      section.remove();
      this.groups.delete(name);
    }
    let at = 0;
    for (const [name, members] of groups) {
      const { section, title, list } = this.group(name);
      const count = `${members.length} run${members.length === 1 ? "" : "s"}`;
      if (name) title.replaceChildren(name, " ", el("span", { class: "muted" }, count));
      section.style.setProperty("--count", name ? String(members.length) : ""); // small groups share a row
      if (this.node.children[at] !== section) this.node.insertBefore(section, this.node.children[at] ?? null);
      at++;
      place(
        list,
        members.map(({ node }) => node),
      );
    }
    if (this.view.kiosk) this.kiosk.place(tiles);
    else
      for (const tile of tiles) {
        tile.node.hidden = false;
        tile.set({ isNext: false });
      }
    this.onCounts({
      all: this.tiles.size,
      shown: tiles.length,
      live: tiles.filter(({ card }) => card.status === "live").length,
      problems: tiles.filter(({ card }) => isInTrouble(card)).length,
    });
  }

  /** @param {string} name "" for all runs in one list */
  group(name) {
    let group = this.groups.get(name);
    if (!group) {
      const title = el("h2", { class: name ? null : "sr" }, "Runs");
      const list = el("ul", { class: "tiles-of-runs" });
      group = { section: el("section", { class: "group" }, title, list), title, list };
      this.groups.set(name, group);
    }
    return group;
  }
}

/**
 * Make these nodes the children of a list, in this order; nodes in place are not touched.
 * @param {HTMLElement} list @param {HTMLElement[]} nodes
 */
function place(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(/** @type {HTMLElement} */ (child))) child.remove();
  let next = list.firstElementChild;
  for (const node of nodes) {
    if (next === node) next = next.nextElementSibling;
    else list.insertBefore(node, next);
  }
}
