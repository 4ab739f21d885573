// @ts-check
/**
 * The metrics table: every field with its newest value and a sparkline, or the updates in order. Only the rows in view
 * are elements, so 20,000 rows fit.
 */

import { histogramOf } from "../data/histograms.js";
import { brokenAt, hasChart } from "../data/leaves.js";
import { isNumber } from "../data/nested.js";
import { copyText } from "../ui/clipboard.js";
import { button, byId, el, fill, icon, setText } from "../ui/dom.js";
import { cut, duration, histogramText, inTwo, number, time, value } from "../ui/format.js";
import { matcher } from "../ui/match.js";
import { remember } from "../ui/memory.js";
import { kept, linkPart, urlNumber, urlPart } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { isMachine, quantity } from "../charts/machine.js";
import { drawSpark } from "../ui/spark.js";
import { onTheme } from "../ui/theme.js";
import { ageOf, brokenText } from "./tiles.js";

/** @import { Leaf } from "../data/leaves.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Change } from "../data/timeline.js" */
/** @typedef {"values" | "updates"} Mode */

const ROW_PX = 25;
const FRESH_MS = 1500;
/** Updates that the list of updates shows. */
const MOST_UPDATES = 2_000;
/** The shortest interval between two sorts by time: nobody can read rows that move more often. */
const SORT_MS = 1000;

export class Table {
  /**
   * @param {Store} store @param {() => import("../server/api.js").Api} api
   * @param {(path: string) => void} onOpen a field's chart is wanted
   */
  constructor(store, api, onOpen) {
    this.store = store;
    this.onOpen = onOpen;
    this.box = byId("table");
    this.sizer = el("div", { class: "sizer", role: "rowgroup" });
    this.box.append(this.sizer);
    /** @type {Mode} */
    this.mode = (urlPart("list") ?? kept("table.mode", "values")) === "updates" ? "updates" : "values";
    this.newestFirst = urlPart("newest") === "1" || kept("table.newest", false);
    /** The row at the top of the visible part, in a link. @type {number | null} */
    this.askedRow = urlNumber("row", 1, 1e9);
    this.isPaused = false;
    /** @type {(Leaf | Change)[]} */
    this.rows = [];
    this.stale = true;
    this.sortedAt = 0;
    /** Fields of the machine, which has charts of its own: the table lists them if the filter matches them. */
    this.unlisted = 0;
    /** @type {ReturnType<typeof makeRow>[]} */
    this.pool = [];
    this.filterField = el("input", {
      type: "search",
      placeholder: "filter",
      "aria-label": "Filter metrics by name",
      "aria-keyshortcuts": "/",
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => this.refilter(),
    });
    this.filterField.value = urlPart("find") ?? "";
    this.filterField.title = "Regular expressions, all of which must match: loss|kl$ or layer[0-3] norm";
    this.modeField = el(
      "select",
      {
        "aria-label": "List values or updates",
        onchange: () => this.setMode(/** @type {Mode} */ (this.modeField.value)),
      },
      ...["values", "updates"].map((mode) => el("option", { value: mode, selected: mode === this.mode }, mode)),
    );
    fill(byId("metrics-find"), this.filterField, this.modeField);
    this.order = button("down", "Newest first", () => this.setOrder(!this.newestFirst), {
      quiet: true,
      pressed: this.newestFirst,
    });
    this.pauseButton = button("pause", "Pause the table", () => this.setPaused(!this.isPaused), {
      quiet: true,
      pressed: false,
    });
    fill(
      byId("metrics-tools"),
      this.order,
      this.pauseButton,
      button("copy", "Copy the list", () => this.copy(), { quiet: true }),
      el(
        "a",
        {
          class: "button bare",
          href: "#",
          title: "Save all as CSV",
          "aria-label": "Save all metrics as CSV",
          onclick: (/** @type {Event} */ event) => {
            /** @type {HTMLAnchorElement} */ (event.currentTarget).href = api().address("api/export", {
              format: "csv",
            });
          },
          download: true,
        },
        icon("save"),
      ),
    );
    linkPart("find", () => this.filterField.value.trim());
    linkPart("list", () => (this.mode === "values" ? "" : this.mode));
    linkPart("newest", () => (this.newestFirst ? 1 : ""));
    linkPart("row", () => Math.round(this.box.scrollTop / ROW_PX) || "");
    this.request = painter(() => this.paint(), 200);
    this.box.addEventListener("click", (event) => this.open(this.rowOf(/** @type {Element} */ (event.target))));
    this.box.addEventListener("keydown", (event) => this.move(event));
    this.box.addEventListener("scroll", this.request, { passive: true });
    new ResizeObserver(this.request).observe(this.box);
    store.onEach("newLeaf cleared snapshot", () => this.refilter());
    store.onEach("fields moment", () =>
      this.mode === "updates" || this.newestFirst ? this.refilter() : this.request(),
    );
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
    const isAll = !this.filterField.value.trim();
    const has = matcher(this.filterField.value);
    const now = performance.now();
    if (this.mode === "values") {
      if (
        this.newestFirst &&
        isAll &&
        now - this.sortedAt < SORT_MS &&
        this.rows.length === this.store.leaves.size - this.unlisted
      )
        return;
      this.sortedAt = now;
      const rows = [];
      this.unlisted = 0;
      for (const leaf of this.store.leaves.values()) {
        if (isAll && isMachine(leaf.path)) this.unlisted++;
        else if (has(leaf.path)) rows.push(leaf);
      }
      rows.sort(
        this.newestFirst
          ? (a, b) => b.changedMs - a.changedMs || (a.path < b.path ? -1 : 1)
          : (a, b) => (a.path < b.path ? -1 : 1),
      );
      this.rows = rows;
    } else {
      const { changes, head } = this.store.rewind.timeline;
      const moment = this.store.moment ?? Infinity;
      const rows = [];
      for (let i = changes.length - 1; i >= head && rows.length < MOST_UPDATES; i--) {
        if (changes[i].t <= moment && (isAll || changes[i].paths.some(has))) rows.push(changes[i]);
      }
      this.rows = this.newestFirst ? rows : rows.reverse();
    }
    this.stale = false;
  }

  paint() {
    if (this.isPaused && this.pool.length && !this.stale) return;
    const { box } = this;
    const wasAtEnd =
      this.mode === "updates" &&
      !this.newestFirst &&
      box.scrollTop + box.clientHeight >= this.sizer.clientHeight - ROW_PX;
    if (this.stale && !(this.isPaused && this.mode === "updates" && this.rows.length)) this.select();
    const total = this.rows.length;
    const height = `${total * ROW_PX}px`;
    if (this.sizer.style.height !== height) {
      this.sizer.style.height = height;
      box.setAttribute("aria-rowcount", String(total));
      if (wasAtEnd && !this.isPaused) box.scrollTop = total * ROW_PX;
    }
    if (this.askedRow !== null && this.store.snapshotSeen && total) {
      box.scrollTop = this.askedRow * ROW_PX;
      this.askedRow = null;
    }
    const all = this.store.leaves.size + this.store.leaves.uncounted - this.unlisted;
    setText(
      byId("metrics-meta"),
      this.mode === "updates" ? `${total} updates` : all ? (total === all ? String(all) : `${total} of ${all}`) : "",
    );
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
      else paintLeaf(row, item, now, this.store);
    });
  }

  /** The index of an element's row; −1 for none. @param {Element} element */
  rowOf(element) {
    const row = element.closest(".row");
    return row ? Number(row.getAttribute("aria-rowindex")) - 1 : -1;
  }

  /** Show the chart of a row's field, if it is a number. @param {number} index */
  open(index) {
    const item = this.rows[index];
    if (item && "path" in item && hasChart(item) && !getSelection()?.toString()) this.onOpen(item.path);
  }

  /** Move between rows with the arrow keys; open a row's chart with Enter. @param {KeyboardEvent} event */
  move(event) {
    const here = this.rowOf(/** @type {Element} */ (event.target));
    if (event.key === "Enter") this.open(here);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: this.rows.length - 1 }[event.key];
    if (to === undefined || !this.rows[to]) return;
    event.preventDefault();
    const { box } = this;
    box.scrollTop = Math.min(to * ROW_PX, Math.max(box.scrollTop, (to + 1) * ROW_PX - box.clientHeight));
    this.paint();
    /** @type {HTMLElement | null} */ (box.querySelector(`.row:not([hidden])[aria-rowindex="${to + 1}"]`))?.focus({
      preventScroll: true,
    });
  }

  async copy() {
    const lines = this.rows.map((item) =>
      "paths" in item ? `${new Date(item.t).toISOString()}\t${textOf(item)}` : `${item.path}\t${item.value ?? ""}`,
    );
    await copyText(lines.join("\n"));
  }
}

function makeRow() {
  const above = el("span", { class: "above" });
  const own = el("span", { class: "own" });
  const tail = el("span", { class: "own tail" });
  const name = el("span", { class: "name", role: "rowheader" }, above, own, tail);
  const cell = el("span", { class: "value", role: "cell" });
  const canvas = el("canvas", { "aria-hidden": "true" });
  return {
    node: el("div", { class: "row", role: "row", tabindex: -1 }, name, cell, canvas),
    name,
    above,
    own,
    tail,
    cell,
    canvas,
    drawn: "",
  };
}

/** @param {ReturnType<typeof makeRow>} row @param {number} index */
function placeRow(row, index) {
  const at = `translateY(${index * ROW_PX}px)`;
  if (row.node.style.transform === at) return;
  row.node.style.transform = at;
  row.node.setAttribute("aria-rowindex", String(index + 1));
}

/** @param {ReturnType<typeof makeRow>} row @param {Leaf} leaf @param {number} now @param {Store} store */
function paintLeaf(row, leaf, now, store) {
  row.node.classList.remove("update");
  setText(row.above, cut(leaf.path.slice(0, leaf.path.length - leaf.name.length), 160));
  const [head, tail] = inTwo(cut(leaf.name, 160));
  setText(row.own, head);
  setText(row.tail, tail);
  if (row.name.title !== leaf.path) row.name.title = cut(leaf.path, 2000);
  const broken = leaf.turns && brokenAt(leaf, store.moment);
  const age = broken ? 0 : ageOf(store, leaf);
  setText(row.cell, broken ? `${broken.value} since ${time(broken.t)}` : shownOf(leaf));
  row.node.classList.toggle("broken", Boolean(broken));
  row.node.classList.toggle("old", age > 0);
  const full = broken
    ? brokenText(broken)
    : leaf.value === undefined
      ? ""
      : fullText(leaf.value) + (age ? ` (${duration(age)} old)` : "");
  if (row.cell.title !== full) row.cell.title = full;
  row.node.classList.toggle("opens", hasChart(leaf));
  row.node.classList.toggle("fresh", now - leaf.changedMs < FRESH_MS);
  const { spark } = leaf;
  const counts = spark ? null : histogramOf(leaf.value)?.counts;
  const drawn = counts ? `${leaf.path} ${counts}` : spark ? `${leaf.path} ${spark.version}` : "-";
  if (drawn !== row.drawn) {
    row.drawn = drawn;
    if (counts) drawSpark(row.canvas, counts, counts.length, "--series-1");
    else drawSpark(row.canvas, spark?.values ?? [], spark?.length ?? 0, "--series-2");
  }
}

/** A value for a tooltip. @param {unknown} now */
function fullText(now) {
  const histogram = histogramOf(now);
  if (!histogram) return cut(String(now), 2000);
  const { n, low, high, nan, infinite } = histogram;
  const odd = [nan && `${nan} NaN`, infinite && `${infinite} infinite`].filter(Boolean);
  return [`${histogramText(histogram)}: ${number(n)} values from ${number(low)} to ${number(high)}`, ...odd].join(", ");
}

/** A field's value as text, with its unit if it has one. @param {Leaf} leaf */
function shownOf({ path, value: now }) {
  return isNumber(now) ? quantity(path, now) : value(now, 80);
}

/** @param {ReturnType<typeof makeRow>} row @param {Change} change */
function paintChange(row, change) {
  row.node.classList.add("update");
  row.node.classList.remove("fresh", "opens", "broken", "old");
  row.drawn = "";
  setText(row.above, "");
  setText(row.own, time(change.t));
  setText(row.tail, "");
  row.name.title = new Date(change.t).toISOString();
  const text = textOf(change);
  setText(row.cell, text);
  if (row.cell.title !== text) row.cell.title = text;
}

/** @param {Change} change */
function textOf(change) {
  const parts = change.paths.slice(0, 30).map((path, i) => `${cut(path, 60)} ${value(change.values[i], 40)}`);
  if (change.paths.length > 30) parts.push(`and ${change.paths.length - 30} more`);
  return parts.join(" · ");
}
