// @ts-check
/**
 * The metrics table: every field with its newest value and its way, or the updates as they came. Only the rows in view are
 * elements, so 20,000 fit.
 */

import { button, byId, el, fill, icon, say } from "./dom.js";
import { cut, inTwo, time, value } from "./format.js";
import { recall, remember } from "./memory.js";
import { painter } from "./paint.js";
import { drawSpark } from "./spark.js";
import { onTheme } from "./theme.js";

/** @import { Store, Leaf } from "./store.js" */
/** @import { Change } from "./timeline.js" */
/** @typedef {"values" | "updates"} Mode */

const ROW_PX = 25;
const FRESH_MS = 1500;
/** Updates that the log reaches back. */
const MOST_UPDATES = 2_000;
/** Newest first sorts anew this often at most: rows that jump faster cannot be read. */
const SORT_MS = 1000;

export class Table {
  /** @param {Store} store @param {() => import("./api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.box = byId("table");
    this.sizer = el("div", { class: "sizer", role: "rowgroup" });
    this.box.append(this.sizer);
    /** @type {Mode} */
    this.mode = recall("table.mode", /** @type {string} */ ("values")) === "updates" ? "updates" : "values";
    this.newestFirst = recall("table.newest", false);
    this.isPaused = false;
    /** @type {(Leaf | Change)[]} */
    this.rows = [];
    this.stale = true;
    this.sortedAt = 0;
    /** @type {ReturnType<typeof makeRow>[]} */
    this.pool = [];
    this.filterField = el("input", { type: "search", placeholder: "filter", "aria-label": "Filter metrics by name", "aria-keyshortcuts": "/", spellcheck: "false", autocomplete: "off", oninput: () => this.refilter() });
    this.modeField = el("select", { "aria-label": "What to list", onchange: () => this.setMode(/** @type {Mode} */ (this.modeField.value)) }, ...["values", "updates"].map((mode) => el("option", { value: mode, selected: mode === this.mode }, mode)));
    fill(byId("metrics-find"), this.filterField, this.modeField);
    this.order = button("down", "Newest first", () => this.setOrder(!this.newestFirst), { quiet: true, pressed: this.newestFirst });
    this.pauseButton = button("pause", "Hold the table", () => this.setPaused(!this.isPaused), { quiet: true, pressed: false });
    fill(byId("metrics-tools"), this.order, this.pauseButton, button("copy", "Copy what is listed", () => this.copy(), { quiet: true }),
      el("a", { class: "button bare", href: "#", title: "Save all as CSV", "aria-label": "Save all metrics as CSV", onclick: (/** @type {Event} */ event) => {
        /** @type {HTMLAnchorElement} */ (event.currentTarget).href = api().address("/api/export", { format: "csv" });
      }, download: true }, icon("save")));
    this.request = painter(() => this.paint(), 200);
    this.box.addEventListener("scroll", this.request, { passive: true });
    new ResizeObserver(this.request).observe(this.box);
    store.onEach("newLeaf cleared snapshot", () => this.refilter());
    store.onEach("fields moment", () => this.mode === "updates" || this.newestFirst ? this.refilter() : this.request());
    this.request();
    onTheme(() => {
      for (const row of this.pool) row.drawn = "";
      this.request();
    });
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode;
    remember("table.mode", mode);
    this.box.scrollTop = 0;
    this.refilter();
  }

  /** @param {boolean} newestFirst */
  setOrder(newestFirst) {
    this.newestFirst = newestFirst;
    remember("table.newest", newestFirst);
    this.order.setAttribute("aria-pressed", String(newestFirst));
    this.sortedAt = 0;
    this.refilter();
  }

  /** @param {boolean} isPaused */
  setPaused(isPaused) {
    this.isPaused = isPaused;
    this.pauseButton.setAttribute("aria-pressed", String(isPaused));
    this.refilter();
  }

  refilter() {
    this.stale = true;
    this.request();
  }

  select() {
    const words = this.filterField.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (/** @type {string} */ text) => words.every((word) => text.toLowerCase().includes(word));
    const now = performance.now();
    if (this.mode === "values") {
      if (this.newestFirst && !words.length && now - this.sortedAt < SORT_MS && this.rows.length === this.store.leaves.size) return;
      this.sortedAt = now;
      const rows = [];
      for (const leaf of this.store.leaves.values()) if (has(leaf.path)) rows.push(leaf);
      rows.sort(this.newestFirst ? (a, b) => b.changedMs - a.changedMs || (a.path < b.path ? -1 : 1) : (a, b) => (a.path < b.path ? -1 : 1));
      this.rows = rows;
    } else {
      const { changes, head } = this.store.timeline;
      const moment = this.store.moment ?? Infinity;
      const rows = [];
      for (let i = changes.length - 1; i >= head && rows.length < MOST_UPDATES; i--) {
        if (changes[i].t <= moment && (!words.length || changes[i].paths.some(has))) rows.push(changes[i]);
      }
      this.rows = this.newestFirst ? rows : rows.reverse();
    }
    this.stale = false;
  }

  paint() {
    if (this.isPaused && this.pool.length && !this.stale) return;
    const { box } = this;
    const wasAtEnd = this.mode === "updates" && !this.newestFirst && box.scrollTop + box.clientHeight >= this.sizer.clientHeight - ROW_PX;
    if (this.stale && !(this.isPaused && this.mode === "updates" && this.rows.length)) this.select();
    const total = this.rows.length;
    const height = `${total * ROW_PX}px`;
    if (this.sizer.style.height !== height) {
      this.sizer.style.height = height;
      box.setAttribute("aria-rowcount", String(total));
      if (wasAtEnd && !this.isPaused) box.scrollTop = total * ROW_PX;
    }
    const all = this.store.leaves.size + this.store.uncounted;
    say(byId("metrics-meta"), this.mode === "updates" ? `${total} updates` : all ? (total === all ? String(all) : `${total} of ${all}`) : "");
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_PX) - 2);
    const count = Math.min(total - first, Math.ceil(box.clientHeight / ROW_PX) + 4);
    while (this.pool.length < count) {
      const row = makeRow();
      this.pool.push(row);
      this.sizer.append(row.node);
    }
    const now = this.store.now();
    this.pool.forEach((row, i) => {
      row.node.hidden = i >= count;
      if (i >= count) return;
      const item = this.rows[first + i];
      placeRow(row, first + i);
      if ("paths" in item) paintChange(row, item);
      else paintLeaf(row, item, now);
    });
  }

  async copy() {
    const lines = this.rows.map((item) => ("paths" in item ? `${new Date(item.t).toISOString()}\t${textOf(item)}` : `${item.path}\t${item.value ?? ""}`));
    try {
      await navigator.clipboard.writeText(lines.join("\n"));
    } catch {
      const area = el("textarea", { class: "sr" }, lines.join("\n")); // without a secure context there is no clipboard API
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
}

function makeRow() {
  const above = el("span", { class: "above" });
  const own = el("span", { class: "own" });
  const tail = el("span", { class: "own tail" });
  const name = el("span", { class: "name", role: "rowheader" }, above, own, tail);
  const cell = el("span", { class: "value", role: "cell" });
  const canvas = el("canvas", { "aria-hidden": "true" });
  return { node: el("div", { class: "row", role: "row" }, name, cell, canvas), name, above, own, tail, cell, canvas, drawn: "" };
}

/** @param {ReturnType<typeof makeRow>} row @param {number} index */
function placeRow(row, index) {
  const at = `translateY(${index * ROW_PX}px)`;
  if (row.node.style.transform === at) return;
  row.node.style.transform = at;
  row.node.setAttribute("aria-rowindex", String(index + 1));
}

/** @param {ReturnType<typeof makeRow>} row @param {Leaf} leaf @param {number} now */
function paintLeaf(row, leaf, now) {
  row.node.classList.remove("update");
  say(row.above, cut(leaf.path.slice(0, leaf.path.length - leaf.name.length), 160));
  const [head, tail] = inTwo(cut(leaf.name, 160));
  say(row.own, head);
  say(row.tail, tail);
  if (row.name.title !== leaf.path) row.name.title = cut(leaf.path, 2000);
  say(row.cell, value(leaf.value, 80));
  const full = leaf.value === undefined ? "" : cut(String(leaf.value), 2000);
  if (row.cell.title !== full) row.cell.title = full;
  row.node.classList.toggle("fresh", now - leaf.changedMs < FRESH_MS);
  const spark = leaf.spark;
  const drawn = spark ? `${leaf.path} ${spark.version}` : "-";
  if (drawn !== row.drawn) {
    row.drawn = drawn;
    drawSpark(row.canvas, spark?.values ?? [], spark?.length ?? 0, "--series-2");
  }
}

/** @param {ReturnType<typeof makeRow>} row @param {Change} change */
function paintChange(row, change) {
  row.node.classList.add("update");
  row.node.classList.remove("fresh");
  row.drawn = "";
  say(row.above, "");
  say(row.own, time(change.t));
  say(row.tail, "");
  row.name.title = new Date(change.t).toISOString();
  const text = textOf(change);
  say(row.cell, text);
  if (row.cell.title !== text) row.cell.title = text;
}

/** @param {Change} change */
function textOf(change) {
  const parts = change.paths.slice(0, 30).map((path, i) => `${cut(path, 60)} ${value(change.values[i], 40)}`);
  if (change.paths.length > 30) parts.push(`and ${change.paths.length - 30} more`);
  return parts.join(" · ");
}
