// @ts-check
/**
 * All charts: gives every numeric field its place, and shares zoom, cursor and scales between them. A chart is made when it
 * is first shown, so thousands of fields cost thousands of names and no more.
 */

import { Chart } from "./chart.js";
import { ChartBar } from "./chart-bar.js";
import { button, byId, el, fill, icon, say } from "./dom.js";
import { cut, isNumber } from "./format.js";
import { recall, remember } from "./memory.js";
import { painter } from "./paint.js";
import { Past } from "./past.js";
import { EPISODE_FIELDS, groupPaths, KEY_CHARTS } from "./recipes.js";
import { onTheme } from "./theme.js";

/** @import { Store, Leaf } from "./store.js" */
/** @import { Scene } from "./chart.js" */
/** @import { RecipeLine } from "./recipes.js" */
/** @typedef {{ids: string[], node: HTMLElement, grid: HTMLElement, open: boolean, count: HTMLElement}} Section */

/** Charts of one section shown at once. */
const MOST_PER_SECTION = 48;
/** Sections beyond these start closed. */
const OPEN_SECTIONS = 5;
/** "layer2" before "layer10". */
const BY_NAME = new Intl.Collator("en", { numeric: true });
const PINNED = "Pinned";
const KEY = "Key";
/** What the id of a chart of one field begins with. */
const FIELD = "field:";

export class Charts {
  /**
   * @param {{store: Store, api: () => import("./api.js").Api, compare: () => import("./compare.js").Compare | null}} parts
   */
  constructor({ store, api, compare }) {
    this.store = store;
    this.compare = compare;
    this.box = byId("chart-scroll");
    /** Charts that the viewer pinned, by id, in the order chosen. @type {string[]} */
    this.pins = recall("chart.pins", []);
    /** @type {Scene} */
    this.scene = {
      x: recall("chart.x", "step"),
      smoothing: recall("chart.smoothing", 0.6),
      log: recall("chart.log", false),
      zoom: null,
      startMs: 0,
      episodeAt: (timeMs) => this.episodeAt(timeMs),
      axis: () => (this.scene.x === "step" && !store.steps.length ? "time" : this.scene.x),
      stepAt: (timeMs) => store.stepAt(timeMs),
      moment: () => store.moment,
      others: (path) => compare()?.of(path) ?? [],
      onZoom: (zoom) => this.zoom(zoom),
    };
    /** @type {Map<string, Chart>} by id */
    this.charts = new Map();
    /** @type {Map<string, Section>} by name */
    this.sections = new Map();
    /** @type {Map<string, Set<Chart>>} path → charts that show it */
    this.byPath = new Map();
    /** @type {Map<Element, Chart>} */
    this.byNode = new Map();
    this.past = new Past(store, api, (path) => this.byPath.get(path)?.forEach((chart) => chart.request()));
    this.bar = new ChartBar(this.scene, () => this.rebuild(), (sessions) => this.setCompared(sessions));
    this.sight = new IntersectionObserver((entries) => this.see(entries), { root: this.box, rootMargin: "120px" });
    const arrange = painter(() => this.place(), 400);
    this.arrange = arrange;
    store.on("newLeaf", arrange);
    store.on("update", ({ fields }) => this.touch(fields, ""));
    store.on("cleared", () => this.clear());
    store.on("snapshot", () => this.reload());
    store.on("moment", () => this.redraw());
    onTheme(() => this.rebuild());
    new ResizeObserver(() => this.sizeRows()).observe(this.box);
    if (store.snapshotSeen) {
      arrange();
      this.reload();
    }
  }

  /** @param {[number, number] | null} zoom */
  zoom(zoom) {
    this.scene.zoom = zoom;
    this.bar.paint();
    for (const chart of this.charts.values()) {
      chart.drawn = "";
      chart.request();
    }
  }

  rebuild() {
    for (const chart of this.charts.values()) chart.rebuild();
  }

  redraw() {
    for (const chart of this.charts.values()) if (chart.seen) chart.follow();
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

  // -- where charts stand

  place() {
    this.scene.startMs = this.store.session?.started_ms ?? this.scene.startMs;
    this.placeKey();
    const free = [];
    for (const leaf of this.store.leaves.values()) {
      if (isNumber(leaf.live) && !this.isInKey(leaf.path)) free.push(leaf.path);
    }
    const groups = groupPaths(free.sort(BY_NAME.compare));
    for (const [name, section] of this.sections) if (name !== KEY && name !== PINNED && !groups.has(name)) section.ids = [];
    for (const [name, paths] of groups) this.section(name).ids = paths.map((path) => FIELD + path);
    const wanted = [...groups.keys()].map((name) => this.section(name).node); // the rest is last
    const stand = [...this.box.children].filter((node) => wanted.includes(/** @type {HTMLElement} */ (node)));
    if (wanted.some((node, i) => node !== stand[i])) this.box.append(...wanted); // moving them takes the focus away
    this.section(PINNED).ids = this.pins.filter((id) => this.chart(id));
    for (const [name, section] of this.sections) this.fillSection(name, section);
    byId("no-charts").hidden = this.charts.size > 0;
    this.sizeRows();
  }

  /** @param {string} path */
  isInKey(path) {
    for (const chart of this.byPath.get(path) ?? []) if (!chart.id.startsWith(FIELD) && !chart.lines.some((line) => line.path === path && line.rate)) return true;
    return false;
  }

  placeKey() {
    for (const recipe of KEY_CHARTS) {
      for (const wanted of recipe.lines) {
        const leaf = this.store.find(wanted.names, isNumber);
        if (leaf) this.placeLine(recipe, wanted, leaf);
      }
    }
    this.section(KEY).ids = KEY_CHARTS.map((recipe) => recipe.id).filter((id) => this.charts.has(id));
  }

  /** @param {{id: string, title: string}} recipe @param {RecipeLine} wanted @param {Leaf} leaf */
  placeLine(recipe, wanted, leaf) {
    const chart = this.charts.get(recipe.id) ?? this.makeChart(recipe.id, recipe.title);
    const label = wanted.label || leaf.name;
    const old = chart.lines.find((line) => line.label === label);
    if (old?.path === leaf.path) return;
    if (old) {
      // What a run says of its own speed goes before what its steps tell.
      if (wanted.rate && !old.rate) return;
      // A better name for the same thing came: the mean of all envs after one env's own return.
      this.byPath.get(old.path)?.delete(chart);
    }
    const line = { path: leaf.path, label, right: wanted.right, rate: wanted.rate, series: this.store.watch(leaf) };
    chart.setLine(line);
    this.connect(leaf.path, chart);
  }

  /** The chart of this id, made if it is a field's and the field is there. @param {string} id */
  chart(id) {
    const known = this.charts.get(id);
    if (known || !id.startsWith(FIELD)) return known;
    const leaf = this.store.leaves.get(id.slice(FIELD.length));
    if (!leaf || !isNumber(leaf.live)) return undefined;
    const chart = this.makeChart(id, leaf.name);
    chart.heading.title = leaf.path;
    chart.setLine({ path: leaf.path, label: leaf.name, series: this.store.watch(leaf) });
    this.connect(leaf.path, chart);
    return chart;
  }

  /** @param {string} id @param {string} title */
  makeChart(id, title) {
    const chart = new Chart(id, title, this.scene);
    fill(
      chart.tools,
      button("left", "Earlier among the pinned", () => this.movePin(chart, -1), { quiet: true }),
      button("right", "Later among the pinned", () => this.movePin(chart, 1), { quiet: true }),
      button("pin", "Pin to the top", () => this.togglePin(chart), { quiet: true, pressed: false }),
    );
    this.charts.set(id, chart);
    this.byNode.set(chart.node, chart);
    return chart;
  }

  /** @param {string} path @param {Chart} chart */
  connect(path, chart) {
    const set = this.byPath.get(path);
    if (set) set.add(chart);
    else this.byPath.set(path, new Set([chart]));
    if (chart.seen) this.past.want([path]);
  }

  /** @param {string} name */
  section(name) {
    const known = this.sections.get(name);
    if (known) return known;
    const isSpecial = name === KEY || name === PINNED;
    const open = isSpecial || this.sections.size < OPEN_SECTIONS + 2;
    const grid = el("div", { class: "chart-grid", hidden: !open });
    const count = el("span", { class: "muted" });
    const toggle = el("button", { type: "button", class: "bare", "aria-expanded": String(open) }, icon("caret"), el("span", { class: "text" }, cut(name, 80)), count);
    const section = { ids: [], node: el("section", { class: "chart-section" }, el("h3", { class: name === KEY ? "sr" : null }, toggle), grid), grid, open, count };
    toggle.addEventListener("click", () => {
      section.open = !section.open;
      toggle.setAttribute("aria-expanded", String(section.open));
      grid.hidden = !section.open;
      this.fillSection(name, section);
    });
    if (name === PINNED) this.box.prepend(section.node);
    else this.box.append(section.node);
    this.sections.set(name, section);
    return section;
  }

  /** @param {string} name @param {Section} section */
  fillSection(name, section) {
    const ids = name === PINNED ? section.ids : section.ids.filter((id) => !this.pins.includes(id));
    section.node.hidden = !ids.length;
    say(section.count, ids.length > MOST_PER_SECTION ? `${MOST_PER_SECTION} of ${ids.length}` : String(ids.length));
    if (!section.open) return;
    const shown = ids.slice(0, MOST_PER_SECTION).map((id) => this.chart(id)).filter((chart) => chart !== undefined);
    shown.forEach((chart, i) => {
      if (section.grid.children[i] !== chart.node) section.grid.insertBefore(chart.node, section.grid.children[i] ?? null);
      this.sight.observe(chart.node);
      const isPinned = name === PINNED;
      const [left, right, pin] = chart.tools.children;
      pin.setAttribute("aria-pressed", String(isPinned));
      for (const mover of [left, right]) /** @type {HTMLElement} */ (mover).hidden = !isPinned || ids.length < 2;
    });
    for (const node of [...section.grid.children].slice(shown.length)) node.remove();
  }

  /** Three rows of charts fill the height. */
  sizeRows() {
    const height = this.box.clientHeight;
    const rows = height > 560 ? 3 : height > 360 ? 2 : 1;
    const room = Math.max(150, Math.min(320, Math.floor((height - (rows - 1) * 8) / rows)));
    if (height && innerWidth > 720) this.box.style.setProperty("--chart-height", `${room}px`);
    else this.box.style.removeProperty("--chart-height");
  }

  /** Keep a chart at the top, or let it go back to its place. @param {Chart} chart */
  togglePin(chart) {
    const at = this.pins.indexOf(chart.id);
    if (at < 0) this.pins.push(chart.id);
    else this.pins.splice(at, 1);
    remember("chart.pins", this.pins);
    this.place();
  }

  /** @param {Chart} chart @param {1 | -1} by places in the order of the pinned ones */
  movePin(chart, by) {
    const at = this.pins.indexOf(chart.id);
    const to = at + by;
    if (at < 0 || to < 0 || to >= this.pins.length) return;
    [this.pins[at], this.pins[to]] = [this.pins[to], this.pins[at]];
    remember("chart.pins", this.pins);
    this.place();
    /** @type {HTMLElement | null} */ (chart.tools.children[by < 0 ? 0 : 1])?.focus(); // moving it took the focus away
  }

  // -- what they show

  /** @param {IntersectionObserverEntry[]} entries */
  see(entries) {
    for (const entry of entries) {
      const chart = this.byNode.get(entry.target);
      if (!chart) continue;
      chart.setSeen(entry.isIntersecting);
      if (!entry.isIntersecting) continue;
      const paths = chart.lines.map((line) => line.path);
      this.past.want(paths);
      this.compare()?.load(paths).then((came) => came && chart.rebuild());
    }
  }

  seenPaths() {
    return [...this.charts.values()].filter((chart) => chart.seen).flatMap((chart) => chart.lines.map((line) => line.path));
  }

  /** After a snapshot: what came while the page was away is in the server's history. */
  reload() {
    this.past.forget();
    this.past.want(this.seenPaths());
    const episode = this.store.find(EPISODE_FIELDS, isNumber);
    if (!episode) return;
    this.store.watch(episode); // for the axis of episodes
    this.past.want([episode.path]);
  }

  /** Sessions to compare with were chosen. */
  async showCompared() {
    const compare = this.compare();
    this.bar.setCompared(compare ? [...compare.all.values()].map((one) => one.session) : []);
    await compare?.load(this.seenPaths());
    this.rebuild();
  }

  /** @param {import("./types.js").Session[]} sessions */
  setCompared(sessions) {
    this.compare()?.choose(sessions);
    this.showCompared();
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
    this.past.forget();
    this.scene.zoom = null;
    this.scene.startMs = this.store.session?.started_ms ?? 0;
    this.bar.paint();
    byId("no-charts").hidden = false;
  }
}
