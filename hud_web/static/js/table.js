// @ts-check
/** The metrics table: every leaf with its newest value and its way. Only the rows in view are elements, so 20,000 fit. */

import { byId, el, say } from "./dom.js";
import { cut, value } from "./format.js";
import { painter } from "./paint.js";
import { drawSpark } from "./spark.js";
import { onTheme } from "./theme.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Leaf} Leaf */

const ROW_PX = 25;
const FRESH_MS = 1500;

export class Table {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.box = byId("table");
    this.sizer = el("div", { class: "sizer", role: "rowgroup" });
    this.box.append(this.sizer);
    this.filterField = el("input", { type: "search", placeholder: "filter", "aria-label": "Filter metrics by name", "aria-keyshortcuts": "/", spellcheck: "false", autocomplete: "off" });
    byId("metrics-find").append(this.filterField);
    /** @type {Leaf[]} */
    this.rows = [];
    this.stale = true;
    /** @type {ReturnType<typeof makeRow>[]} */
    this.pool = [];
    this.request = painter(() => this.paint(), 200);
    this.filterField.addEventListener("input", () => this.refilter());
    this.box.addEventListener("scroll", this.request, { passive: true });
    new ResizeObserver(this.request).observe(this.box);
    store.on("newLeaf", () => this.refilter());
    store.on("cleared", () => this.refilter());
    store.on("snapshot", () => this.refilter());
    store.on("fields", this.request);
    store.on("moment", this.request);
    onTheme(() => {
      for (const row of this.pool) row.drawn = "";
      this.request();
    });
  }

  refilter() {
    this.stale = true;
    this.request();
  }

  select() {
    const words = this.filterField.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [];
    for (const leaf of this.store.leaves.values()) {
      const path = leaf.path.toLowerCase();
      if (words.every((word) => path.includes(word))) rows.push(leaf);
    }
    rows.sort((a, b) => (a.path < b.path ? -1 : 1));
    this.rows = rows;
    this.stale = false;
    this.sizer.style.height = `${rows.length * ROW_PX}px`;
    this.box.setAttribute("aria-rowcount", String(rows.length));
    const all = this.store.leaves.size + this.store.uncounted;
    say(byId("metrics-meta"), all ? (rows.length === all ? String(all) : `${rows.length} of ${all}`) : "");
  }

  paint() {
    if (this.stale) this.select();
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - 2);
    const count = Math.min(this.rows.length - first, Math.ceil(this.box.clientHeight / ROW_PX) + 4);
    while (this.pool.length < count) {
      const row = makeRow();
      this.pool.push(row);
      this.sizer.append(row.node);
    }
    const now = this.store.now();
    this.pool.forEach((row, i) => {
      row.node.hidden = i >= count;
      if (i < count) paintRow(row, this.rows[first + i], first + i, now);
    });
  }
}

function makeRow() {
  const above = el("span", { class: "above" });
  const own = el("span", { class: "own" });
  const name = el("span", { class: "name", role: "rowheader" }, above, own);
  const cell = el("span", { class: "value", role: "cell" });
  const canvas = el("canvas", { "aria-hidden": "true" });
  return { node: el("div", { class: "row", role: "row" }, name, cell, canvas), name, above, own, cell, canvas, drawn: "" };
}

/** @param {ReturnType<typeof makeRow>} row @param {Leaf} leaf @param {number} index @param {number} now */
function paintRow(row, leaf, index, now) {
  row.node.style.transform = `translateY(${index * ROW_PX}px)`;
  row.node.setAttribute("aria-rowindex", String(index + 1));
  say(row.above, cut(leaf.path.slice(0, leaf.path.length - leaf.name.length), 160));
  say(row.own, cut(leaf.name, 160));
  row.name.title = cut(leaf.path, 2000);
  say(row.cell, value(leaf.value, 80));
  row.cell.title = cut(String(leaf.value), 2000);
  row.node.classList.toggle("fresh", now - leaf.changedMs < FRESH_MS);
  const spark = leaf.spark;
  const drawn = spark ? `${leaf.path} ${spark.length} ${spark.each} ${spark.times[Math.max(0, spark.length - 1)]}` : "";
  if (drawn !== row.drawn) {
    row.drawn = drawn;
    drawSpark(row.canvas, spark?.values ?? [], spark?.length ?? 0, "--series-2");
  }
}

