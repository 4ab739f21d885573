// @ts-check
/** All charts: gives every numeric field its place, shares zoom, cursor and scales between them, and loads their past. */

import { Chart } from "./chart.js";
import { button, byId, el, fill, icon } from "./dom.js";
import { cut, isNumber } from "./format.js";
import { recall, remember } from "./memory.js";
import { painter } from "./paint.js";
import { EPISODE_FIELDS, KEY_CHARTS, sectionOf } from "./recipes.js";
import { onTheme } from "./theme.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Leaf} Leaf */
/** @typedef {import("./chart.js").Scene} Scene */
/** @typedef {{name: string, charts: Chart[], node: HTMLElement, grid: HTMLElement, open: boolean, count: HTMLElement}} Section */

/** Charts of one section made at once; thousands of fields must not become thousands of canvases. */
const MOST_PER_SECTION = 48;
/** Sections beyond these start closed. */
const OPEN_SECTIONS = 4;

export class Charts {
  /**
   * @param {{store: Store, api: () => import("./api.js").Api, compare: () => import("./compare.js").Compare | null,
   *   stepAt: (timeMs: number) => number | null}} parts
   */
  constructor({ store, api, compare, stepAt }) {
    this.store = store;
    this.api = api;
    this.compare = compare;
    /** Charts that the viewer pinned, by id, in the order chosen. @type {string[]} */
    this.pins = recall("chart.pins", []);
    this.box = byId("chart-scroll");
    /** @type {Scene} */
    this.scene = {
      x: recall("chart.x", "step"),
      smoothing: recall("chart.smoothing", 0.6),
      log: recall("chart.log", false),
      zoom: null,
      startMs: 0,
      episodeAt: (timeMs) => this.episodeAt(timeMs),
      stepAt,
      moment: () => store.moment,
      others: (path) => compare()?.of(path) ?? [],
      onZoom: (zoom) => this.zoom(zoom),
    };
    /** @type {Map<string, Chart>} */
    this.charts = new Map();
    /** @type {Map<string, Section>} */
    this.sections = new Map();
    /** @type {Map<string, Set<Chart>>} path → charts that show it */
    this.byPath = new Map();
    /** @type {Map<Element, Chart>} */
    this.byNode = new Map();
    /** @type {Set<string>} */
    this.wantedHistory = new Set();
    this.historyTimer = 0;
    this.sight = new IntersectionObserver((entries) => this.see(entries), { root: this.box, rootMargin: "120px" });
    this.unzoom = el("button", { type: "button", hidden: true, onclick: () => this.zoom(null) }, "whole run");
    /** Paths whose past is here or on its way. @type {Set<string>} */
    this.loaded = new Set();
    this.makeBar();
    this.arrange = painter(() => this.place(), 400);
    /** @type {Leaf[]} */
    this.unplaced = [];
    /** Paths that lost their place in a key chart. @type {Set<string>} */
    this.displaced = new Set();
    store.on("newLeaf", (leaf) => {
      this.unplaced.push(leaf);
      this.arrange();
    });
    store.on("update", ({ fields }) => this.touch(fields, ""));
    store.on("cleared", () => this.clear());
    store.on("snapshot", () => this.reload());
    store.on("moment", () => this.redraw());
    onTheme(() => this.rebuild());
    new ResizeObserver(() => this.sizeRows()).observe(this.box);
  }

  makeBar() {
    const choose = el("select", { "aria-label": "Horizontal axis", onchange: () => this.set("x", choose.value) }, ...["step", "time", "episode"].map((x) => el("option", { value: x, selected: x === this.scene.x }, x)));
    const slider = el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: this.scene.smoothing, "aria-label": "Smoothing", oninput: () => this.set("smoothing", Number(slider.value)) });
    const log = el("button", { type: "button", "aria-pressed": String(this.scene.log), title: "Logarithmic values", onclick: () => {
      this.set("log", !this.scene.log);
      log.setAttribute("aria-pressed", String(this.scene.log));
    } }, "log");
    fill(byId("chart-bar"), el("h2", { class: "eyebrow" }, "Charts"), el("span", { class: "space" }), el("label", {}, "over", choose), el("label", {}, "smooth", slider), log, this.unzoom);
  }

  /** @param {"x" | "smoothing" | "log"} name @param {any} value */
  set(name, value) {
    /** @type {any} */ (this.scene)[name] = value;
    remember(`chart.${name}`, value);
    if (name === "x") this.zoom(null);
    this.rebuild();
  }

  /** @param {[number, number] | null} zoom */
  zoom(zoom) {
    this.scene.zoom = zoom;
    this.unzoom.hidden = zoom === null;
    for (const chart of this.charts.values()) {
      chart.drawn = "";
      chart.request();
    }
  }

  rebuild() {
    for (const chart of this.charts.values()) chart.rebuild();
  }

  redraw() {
    for (const chart of this.charts.values()) if (chart.seen) chart.plot?.redraw(false, false);
  }

  /** Ask for a repaint of the charts that show a field of an update. @param {Record<string, any>} fields @param {string} prefix */
  touch(fields, prefix) {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      const path = prefix + name;
      if (isNumber(value)) for (const chart of this.byPath.get(path) ?? []) chart.request();
      else if (value !== null && typeof value === "object" && !Array.isArray(value)) this.touch(value, `${path}/`);
    }
  }

  place() {
    const leaves = this.unplaced.filter((leaf) => isNumber(leaf.value) && this.store.leaves.get(leaf.path) === leaf);
    this.unplaced = [];
    this.scene.startMs = this.store.session?.started_ms ?? this.scene.startMs;
    this.placeKey();
    for (const path of this.displaced) {
      const leaf = this.store.leaves.get(path);
      if (leaf && !this.byPath.get(path)?.size) leaves.push(leaf);
    }
    this.displaced.clear();
    for (const leaf of leaves) if (!this.byPath.get(leaf.path)?.size) this.placeLeaf(leaf);
    this.placePins();
    for (const section of this.sections.values()) this.fillSection(section);
    this.sizeRows();
  }

  /** Pinned charts stand in a section of their own, above all others. */
  placePins() {
    const pinned = this.pins.map((id) => this.charts.get(id)).filter((chart) => chart !== undefined);
    const section = pinned.length || this.sections.has("Pinned") ? this.section("Pinned") : null;
    if (section) {
      section.charts = pinned;
      section.node.hidden = !pinned.length;
    }
    for (const chart of this.charts.values()) {
      const isPinned = this.pins.includes(chart.id);
      const [left, right, pin] = chart.tools.children;
      pin.setAttribute("aria-pressed", String(isPinned));
      for (const mover of [left, right]) /** @type {HTMLElement} */ (mover).hidden = !isPinned || pinned.length < 2;
    }
  }

  placeKey() {
    for (const recipe of KEY_CHARTS) {
      for (const wanted of recipe.lines) {
        // What a run says of its own speed goes before what its steps tell.
        if (wanted.rate && this.charts.get(recipe.id)?.lines.some((line) => !line.rate)) continue;
        const leaf = this.store.find(wanted.names, isNumber);
        if (!leaf) continue;
        let chart = this.charts.get(recipe.id);
        if (chart?.lines.some((line) => line.path === leaf.path)) continue;
        const label = wanted.label || leaf.name;
        const old = chart?.lines.find((line) => line.label === label);
        if (chart && old) {
          // A better name for the same thing came: the mean of all envs after one env's own return.
          this.byPath.get(old.path)?.delete(chart);
          this.displaced.add(old.path);
          chart.replaceLine({ ...old, path: leaf.path, rate: wanted.rate, series: this.store.watch(leaf) });
          this.remember(leaf.path, chart);
          continue;
        }
        if (this.byPath.get(leaf.path)?.size && !chart && !wanted.rate) continue;
        if (!chart) {
          chart = this.makeChart(recipe.id, recipe.title);
          const section = this.section("Key");
          section.charts.push(chart);
          const order = KEY_CHARTS.map((one) => one.id);
          section.charts.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
        }
        this.addLine(chart, leaf, label, wanted.right, wanted.rate);
      }
    }
  }

  /** @param {Leaf} leaf */
  placeLeaf(leaf) {
    const section = this.section(sectionOf(leaf.path));
    const chart = this.makeChart(`field:${leaf.path}`, leaf.name);
    chart.heading.title = leaf.path;
    section.charts.push(chart);
    this.addLine(chart, leaf, leaf.name, false);
  }

  /** @param {string} id @param {string} title */
  makeChart(id, title) {
    const chart = new Chart(id, title, this.scene);
    const pin = button("pin", "Pin to the top", () => this.togglePin(chart), { quiet: true, pressed: this.pins.includes(id) });
    const left = button("left", "Earlier among the pinned", () => this.movePin(chart, -1), { quiet: true });
    const right = button("right", "Later among the pinned", () => this.movePin(chart, 1), { quiet: true });
    fill(chart.tools, left, right, pin);
    this.charts.set(id, chart);
    this.byNode.set(chart.node, chart);
    return chart;
  }

  /** @param {Chart} chart @param {Leaf} leaf @param {string} label @param {boolean} [right] @param {boolean} [rate] */
  addLine(chart, leaf, label, right, rate) {
    chart.addLine({ path: leaf.path, label, right, rate, series: this.store.watch(leaf) });
    this.remember(leaf.path, chart);
  }

  /** @param {string} path @param {Chart} chart */
  remember(path, chart) {
    const set = this.byPath.get(path);
    if (set) set.add(chart);
    else this.byPath.set(path, new Set([chart]));
    if (chart.seen) this.loadPast([path]);
  }

  /** Keep a chart at the top, or let it go back to its place. @param {Chart} chart */
  togglePin(chart) {
    const at = this.pins.indexOf(chart.id);
    if (at < 0) this.pins.push(chart.id);
    else this.pins.splice(at, 1);
    this.savePins();
  }

  /** @param {Chart} chart @param {1 | -1} by places in the order of the pinned ones */
  movePin(chart, by) {
    const at = this.pins.indexOf(chart.id);
    const to = at + by;
    if (at < 0 || to < 0 || to >= this.pins.length) return;
    [this.pins[at], this.pins[to]] = [this.pins[to], this.pins[at]];
    this.savePins();
    /** @type {HTMLElement | null} */ (chart.tools.querySelector("button"))?.focus();
  }

  savePins() {
    remember("chart.pins", this.pins);
    this.arrange();
  }

  /** Sessions to compare with were chosen. */
  async showCompared() {
    const paths = [...this.charts.values()].filter((chart) => chart.seen).flatMap((chart) => chart.lines.map((line) => line.path));
    await this.compare()?.load(paths);
    this.rebuild();
  }

  /** @param {string} name @returns {Section} */
  section(name) {
    let section = this.sections.get(name);
    if (section) return section;
    const open = this.sections.size < OPEN_SECTIONS;
    const grid = el("div", { class: "chart-grid", hidden: !open });
    const count = el("span", { class: "muted" });
    const toggle = el("button", { type: "button", class: "bare", "aria-expanded": String(open) }, icon("caret"), el("span", { class: "text" }, cut(name, 80)), count);
    const made = { name, charts: [], node: el("section", { class: "chart-section" }, el("h3", {}, toggle), grid), grid, open, count };
    toggle.addEventListener("click", () => {
      made.open = !made.open;
      toggle.setAttribute("aria-expanded", String(made.open));
      grid.hidden = !made.open;
      this.fillSection(made);
    });
    if (name === "Pinned") this.box.prepend(made.node);
    else if (name === "Key") {
      made.node.firstElementChild?.classList.add("sr");
      const pinned = this.sections.get("Pinned")?.node;
      if (pinned) pinned.after(made.node);
      else this.box.prepend(made.node);
    } else this.box.append(made.node);
    this.sections.set(name, made);
    return made;
  }

  /** @param {Section} section */
  fillSection(section) {
    const charts = section.name === "Pinned" ? section.charts : section.charts.filter((chart) => !this.pins.includes(chart.id));
    const total = charts.length;
    if (section.name !== "Pinned") section.node.hidden = !total;
    section.count.textContent = total > MOST_PER_SECTION ? `${MOST_PER_SECTION} of ${total}` : String(total);
    if (!section.open) return;
    charts.slice(0, MOST_PER_SECTION).forEach((chart, i) => {
      if (section.grid.children[i] === chart.node) return;
      section.grid.insertBefore(chart.node, section.grid.children[i] ?? null);
      this.sight.observe(chart.node);
    });
    // What was pinned meanwhile stands elsewhere by now; what is over the bound leaves.
    for (const node of [...section.grid.children].slice(Math.min(total, MOST_PER_SECTION))) {
      const chart = this.byNode.get(node);
      if (chart && !this.pins.includes(chart.id)) node.remove();
    }
  }

  /** Three rows of charts fill the height. */
  sizeRows() {
    const height = this.box.clientHeight;
    const rows = height > 560 ? 3 : height > 360 ? 2 : 1;
    const room = Math.max(150, Math.min(320, Math.floor((height - (rows - 1) * 8) / rows)));
    if (height && innerWidth > 720) this.box.style.setProperty("--chart-height", `${room}px`);
    else this.box.style.removeProperty("--chart-height");
  }

  /** @param {IntersectionObserverEntry[]} entries */
  see(entries) {
    for (const entry of entries) {
      const chart = this.byNode.get(entry.target);
      if (!chart) continue;
      chart.setSeen(entry.isIntersecting);
      if (!entry.isIntersecting) continue;
      const paths = chart.lines.map((line) => line.path);
      this.loadPast(paths);
      this.compare()?.load(paths).then((came) => came && chart.rebuild());
    }
  }

  /** Ask for the points before the page was opened, for all charts that came into view at once. @param {string[]} paths */
  loadPast(paths) {
    for (const path of paths) if (!this.loaded.has(path)) this.wantedHistory.add(path);
    clearTimeout(this.historyTimer);
    if (this.wantedHistory.size) this.historyTimer = setTimeout(() => this.fetchPast(), 60);
  }

  async fetchPast() {
    const paths = [...this.wantedHistory].slice(0, 40);
    for (const path of paths) this.wantedHistory.delete(path);
    for (const path of paths) this.loaded.add(path);
    const answer = await this.api().history(paths);
    for (const path of paths) {
      const past = answer?.series?.[path];
      const leaf = this.store.leaves.get(path);
      if (!past || !leaf?.series) continue;
      leaf.series.prepend(past.time_ms, past.step, past.value);
      for (const chart of this.byPath.get(path) ?? []) chart.request();
    }
    if (this.wantedHistory.size) this.historyTimer = setTimeout(() => this.fetchPast(), 60);
  }

  /** After a snapshot: what came while the page was away is in the server's history. */
  reload() {
    this.loaded = new Set();
    for (const chart of this.charts.values()) if (chart.seen) this.loadPast(chart.lines.map((line) => line.path));
    const episode = this.store.find(EPISODE_FIELDS, isNumber);
    if (episode) {
      this.store.watch(episode);
      this.loadPast([episode.path]);
    }
  }

  /** @param {number} timeMs @returns {number} NaN where unknown */
  episodeAt(timeMs) {
    const series = this.store.find(EPISODE_FIELDS, isNumber)?.series;
    const at = series ? series.indexAt(timeMs) : -1;
    return series && at >= 0 ? series.value[at] : NaN;
  }

  clear() {
    for (const chart of this.charts.values()) chart.destroy();
    for (const section of this.sections.values()) section.node.remove();
    this.charts.clear();
    this.sections.clear();
    this.byPath.clear();
    this.byNode.clear();
    this.wantedHistory.clear();
    this.loaded = new Set();
    this.unplaced = [];
    this.scene.zoom = null;
    this.scene.startMs = this.store.session?.started_ms ?? 0;
  }
}
