// @ts-check
/**
 * All charts: places every numeric field in a section, and shares zoom, cursor and scales between the charts. A chart
 * is made when it is first shown, so thousands of fields cost only thousands of names.
 */

import { brokenAt, seriesOf } from "../data/leaves.js";
import { isNumber } from "../data/nested.js";
import { button, byId, el, fill, icon, setText } from "../ui/dom.js";
import { cut } from "../ui/format.js";
import { matcher } from "../ui/match.js";
import { recall, remember } from "../ui/memory.js";
import { urlPart, urlNumber } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { onTheme } from "../ui/theme.js";
import { ChartBar } from "./chart-bar.js";
import { Chart } from "./chart.js";
import { History } from "./history.js";
import { isMachine, machineSections, titleOf } from "./machine.js";
import { EPISODE_FIELDS, groupPaths, KEY_CHARTS } from "./recipes.js";

/** @import { Leaf } from "../data/leaves.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Scene } from "./chart.js" */
/** @import { Recipe } from "./recipes.js" */
/**
 * @typedef {{ids: string[], node: HTMLElement, grid: HTMLElement, open: boolean, count: HTMLElement, more: HTMLElement,
 *   most: number}} Section `most`: the number of charts shown
 */

/** Charts of one section shown at first, and added by each click on "more". */
const MOST_PER_SECTION = 48;
/** Further sections start closed. */
const OPEN_SECTIONS = 5;
/** "layer2" before "layer10". */
const BY_NAME = new Intl.Collator("en", { numeric: true });
const PINNED = "Pinned";
const KEY = "Key";
const FOUND = "Found";
/** The prefix of the id of a chart of one field. */
const FIELD = "field:";
const SPECIAL = new Set([KEY, PINNED, FOUND]);
const AXES = ["step", "time", "episode"];

export class Charts {
  /**
   * @param {{store: Store, api: () => import("../server/api.js").Api, compare: () => import("./compare.js").Compare |
   *   null}} parts
   */
  constructor({ store, api, compare }) {
    this.store = store;
    this.compare = compare;
    this.box = byId("chart-scroll");
    /** Charts that the viewer pinned, by id, in the order chosen. @type {string[]} */
    this.pins = recall("chart.pins", []);
    /** @type {Scene} */
    this.scene = {
      x: /** @type {any} */ (AXES.includes(urlPart("x") ?? "") ? urlPart("x") : recall("chart.x", "step")),
      smoothing: urlNumber("smooth", 0, 0.98) ?? recall("chart.smoothing", 0.6),
      log: urlPart("log") === null ? recall("chart.log", false) : urlPart("log") === "1",
      zoom: askedZoom(),
      startMs: 0,
      episodeAt: (timeMs) => this.episodeAt(timeMs),
      axis: () => (this.scene.x === "step" && !store.rewind.steps.length ? "time" : this.scene.x),
      stepAt: (timeMs) => store.rewind.stepAt(timeMs),
      moment: () => store.moment,
      mark: null,
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
    this.history = new History(store, api, (path) => this.byPath.get(path)?.forEach((chart) => chart.request()));
    this.bar = new ChartBar(
      this.scene,
      () => this.rebuild(),
      (session) => this.stopComparing(session),
      () => this.search(),
      () => this.showMachine(!this.isMachineShown),
    );
    /** Whether the charts of the machine are shown instead of those of training. */
    this.isMachineShown = false;
    this.bar.find.value = urlPart("charts") ?? "";
    this.visibility = new IntersectionObserver((entries) => this.onVisibility(entries), {
      root: this.box,
      rootMargin: "120px",
    });
    const arrange = painter(() => this.place(), 400);
    this.arrange = arrange;
    store.onEach("newLeaf roles", arrange);
    store.on("turned", (path) =>
      this.byPath.has(path) ? this.byPath.get(path)?.forEach((chart) => chart.request()) : arrange(),
    );
    store.on("update", ({ fields }) => this.touch(fields, ""));
    store.on("cleared", () => this.clear());
    store.on("snapshot", () => this.reload());
    store.on("session", () => this.bar.setCompared(this.compare()?.drawn ?? []));
    store.onEach("snapshot frame", () =>
      byId("main").dataset.fields !== "numbers" || !this.charts.size ? arrange() : undefined,
    );
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

  /**
   * Request a repaint of the charts that show a field of an update.
   * @param {Record<string, any>} fields @param {string} prefix
   */
  touch(fields, prefix) {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      const path = prefix + name;
      if (isNumber(value)) for (const chart of this.byPath.get(path) ?? []) chart.request();
      else if (value !== null && typeof value === "object" && !Array.isArray(value)) this.touch(value, `${path}/`);
    }
  }

  // -- the place of each chart

  /** Show the charts of the fields whose names match the typed text, instead of all sections. */
  search() {
    const found = this.sections.get(FOUND);
    if (found) found.most = MOST_PER_SECTION;
    this.box.scrollTop = 0;
    this.place();
  }

  /** Show the chart of one field. @param {string} path */
  open(path) {
    this.bar.find.value = path;
    this.search();
    this.bar.find.focus();
  }

  /** Show the charts of the machine, or those of training. @param {boolean} isShown */
  showMachine(isShown) {
    this.isMachineShown = isShown;
    this.bar.setMachine(true, isShown);
    this.box.scrollTop = 0;
    this.place();
  }

  /**
   * Show the chart of the first of these fields that the run has, with a mark at a time.
   * @param {string[]} paths @param {{t: number, step: number | null} | null} at
   * @returns {boolean} whether there is one
   */
  reveal(paths, at) {
    const path = paths.find((one) => {
      const leaf = this.store.leaves.get(one);
      return leaf && (isNumber(leaf.live) || leaf.turns);
    });
    if (path === undefined) return false;
    this.scene.mark = at;
    this.bar.find.value = "";
    if (this.isMachineShown !== isMachine(path)) this.showMachine(isMachine(path));
    else this.place();
    const known = [...(this.byPath.get(path) ?? [])];
    const chart = known.find(({ node }) => node.isConnected && node.checkVisibility());
    if (!chart) {
      this.open(path);
      this.redraw();
      return true;
    }
    for (const { node } of this.charts.values()) node.classList.toggle("evidence", node === chart.node);
    chart.node.scrollIntoView({ block: "nearest" });
    chart.node.focus({ preventScroll: true });
    this.redraw();
    return true;
  }

  /** @returns {boolean} whether something is looked for */
  placeFound() {
    const text = this.bar.find.value.trim();
    const section = this.section(FOUND);
    section.ids = [];
    if (text) {
      const fits = matcher(text);
      const paths = [...this.store.leaves.values()]
        .filter((leaf) => (isNumber(leaf.live) || leaf.turns) && fits(leaf.path))
        .map((leaf) => leaf.path);
      section.ids = paths
        .sort((a, b) => Number(b === text) - Number(a === text) || BY_NAME.compare(a, b))
        .map((path) => FIELD + path);
    }
    return Boolean(text);
  }

  place() {
    this.scene.startMs = this.store.session?.started_ms ?? this.scene.startMs;
    this.placeKey();
    const isSearching = this.placeFound();
    const free = [];
    for (const leaf of this.store.leaves.values()) {
      if ((isNumber(leaf.live) || leaf.turns) && !isMachine(leaf.path) && !this.isInKey(leaf.path))
        free.push(leaf.path);
    }
    const groups = this.isMachineShown ? this.machineSections() : trainingSections(free.sort(BY_NAME.compare));
    this.bar.setMachine(this.store.leaves.branches.has("machine"), this.isMachineShown);
    for (const [name, section] of this.sections) if (!SPECIAL.has(name) && !groups.has(name)) section.ids = [];
    for (const [name, ids] of groups) this.section(name).ids = ids;
    const wanted = [...groups.keys()].map((name) => this.section(name).node); // the section "other" is last
    const stand = [...this.box.children].filter((node) => wanted.includes(/** @type {HTMLElement} */ (node)));
    if (wanted.some((node, i) => node !== stand[i])) this.box.append(...wanted); // moving nodes takes the focus away
    this.section(PINNED).ids = this.pins.filter((id) => this.chart(id));
    for (const [name, section] of this.sections) {
      const isAside = isSearching ? name !== FOUND : this.isMachineShown && SPECIAL.has(name);
      section.node.classList.toggle("aside", isAside);
      this.fillSection(name, section);
    }
    const none = byId("no-charts");
    none.hidden = isSearching ? this.section(FOUND).ids.length > 0 : this.charts.size > 0;
    setText(
      none,
      isSearching ? "No numeric field of this run has such a name." : "Charts appear with the first numbers.",
    );
    this.markFieldKinds();
    this.sizeRows();
  }

  /** The ids of the charts of the machine by section; makes the charts. @returns {Map<string, string[]>} */
  machineSections() {
    const numeric = [...this.store.leaves.values()].filter((leaf) => isNumber(leaf.live));
    const ids = new Map();
    for (const [title, charts] of machineSections(numeric)) {
      const name = `machine/${title}`;
      for (const { id, title: heading, lines } of charts) this.placeLines({ id, title: heading }, lines);
      this.section(name, title);
      ids.set(
        name,
        charts.map(({ id }) => id),
      );
    }
    return ids;
  }

  /** @param {string} path */
  isInKey(path) {
    for (const chart of this.byPath.get(path) ?? [])
      if (!chart.id.startsWith(FIELD) && !chart.lines.some((line) => line.path === path && line.rate)) return true;
    return false;
  }

  placeKey() {
    for (const recipe of KEY_CHARTS) this.placeLines(recipe, this.linesOf(recipe));
    this.section(KEY).ids = KEY_CHARTS.map((recipe) => recipe.id).filter((id) => this.charts.get(id)?.lines.length);
  }

  /** The lines of a key chart: one for each field of its roles. @param {Recipe} recipe */
  linesOf(recipe) {
    const lines = [];
    for (const { roles = [], names = [], right, rate } of recipe.lines) {
      // A run's own field for its speed comes before the rate of its steps.
      if (rate && lines.length) continue;
      const role = roles.find((one) => this.store.fieldsOf(one).length);
      const named = names
        .map((path) => this.store.leaves.get(path))
        .filter((leaf) => leaf && isNumber(leaf.live))
        .slice(0, 1);
      const fields = role
        ? this.store.fieldsOf(role)
        : named.map((leaf) => ({ leaf: /** @type {Leaf} */ (leaf), label: /** @type {Leaf} */ (leaf).name }));
      for (const { leaf, label } of fields)
        lines.push({ leaf, label: rate ? recipe.title : shortLabel(label, recipe.title), right, rate });
    }
    // Without a line on the left, its axis would have marks of nothing.
    return lines.every(({ right }) => right) ? lines.map((line) => ({ ...line, right: false })) : lines;
  }

  /**
   * @param {{id: string, title: string}} recipe
   * @param {{leaf: Leaf, label: string, right?: boolean, rate?: boolean}[]} wanted
   */
  placeLines(recipe, wanted) {
    const known = this.charts.get(recipe.id);
    if (!wanted.length && !known) return;
    const chart = known ?? this.makeChart(recipe.id, recipe.title);
    if (
      wanted.length === chart.lines.length &&
      wanted.every(({ leaf, label }, i) => chart.lines[i].path === leaf.path && chart.lines[i].label === label)
    )
      return;
    for (const { path } of chart.lines) this.byPath.get(path)?.delete(chart);
    chart.setLines(
      wanted.map(({ leaf, label, right, rate }) =>
        this.lineOf(leaf, label, { right, rate, isNamed: label !== recipe.title }),
      ),
    );
    for (const { leaf } of wanted) this.connect(leaf.path, chart);
  }

  /**
   * @param {Leaf} leaf @param {string} label @param {Partial<import("./chart.js").Line>} [more]
   * @returns {import("./chart.js").Line}
   */
  lineOf(leaf, label, more = {}) {
    return {
      path: leaf.path,
      label,
      series: seriesOf(leaf),
      turns: () => leaf.turns ?? [],
      brokenAt: (moment) => brokenAt(leaf, moment),
      ...more,
    };
  }

  /** The chart of this id; a field's chart is made if the field exists. @param {string} id */
  chart(id) {
    const known = this.charts.get(id);
    if (known || !id.startsWith(FIELD)) return known;
    const leaf = this.store.leaves.get(id.slice(FIELD.length));
    if (!leaf || (!isNumber(leaf.live) && !leaf.turns)) return undefined;
    const chart = this.makeChart(id, isMachine(leaf.path) ? titleOf(leaf.name) : leaf.name);
    chart.heading.title = leaf.path;
    chart.setLines([this.lineOf(leaf, leaf.name)]);
    this.connect(leaf.path, chart);
    return chart;
  }

  /** @param {string} id @param {string} title */
  makeChart(id, title) {
    const chart = new Chart(id, title, this.scene);
    fill(
      chart.tools,
      button("left", "Move before the previous pinned chart", () => this.movePin(chart, -1), { quiet: true }),
      button("right", "Move after the next pinned chart", () => this.movePin(chart, 1), { quiet: true }),
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
    if (chart.seen) this.history.want([path]);
  }

  /** @param {string} name @param {string} [title] */
  section(name, title = name) {
    const known = this.sections.get(name);
    if (known) return known;
    const like = [...this.sections.keys()].filter((one) => isMachine(one) === isMachine(name));
    const open = SPECIAL.has(name) || like.length < OPEN_SECTIONS + (isMachine(name) ? 0 : 2);
    const grid = el("div", { class: "chart-grid", hidden: !open });
    const count = el("span", { class: "muted" });
    const toggle = el(
      "button",
      { type: "button", class: "bare", "aria-expanded": String(open) },
      icon("caret"),
      el("span", { class: "text" }, cut(title, 80)),
      count,
    );
    const more = el("button", { type: "button", class: "more", hidden: true }, `${MOST_PER_SECTION} more`);
    const section = {
      ids: /** @type {string[]} */ ([]),
      node: el(
        "section",
        { class: "chart-section" },
        el("h3", { class: name === KEY ? "sr" : null }, toggle),
        grid,
        more,
      ),
      grid,
      open,
      count,
      more,
      most: MOST_PER_SECTION,
    };
    more.addEventListener("click", () => {
      section.most += MOST_PER_SECTION;
      this.fillSection(name, section);
    });
    toggle.addEventListener("click", () => {
      section.open = !section.open;
      toggle.setAttribute("aria-expanded", String(section.open));
      grid.hidden = !section.open;
      this.fillSection(name, section);
    });
    if (name === PINNED || name === FOUND) this.box.prepend(section.node);
    else this.box.append(section.node);
    this.sections.set(name, section);
    return section;
  }

  /** @param {string} name @param {Section} section */
  fillSection(name, section) {
    const isSearching = Boolean(this.bar.find.value.trim());
    // A chart has one place: in the search results, else among the pinned charts, else in its section.
    const found = isSearching && name !== FOUND ? new Set(this.sections.get(FOUND)?.ids) : null;
    const ids = section.ids.filter(
      (id) => !found?.has(id) && (name === PINNED || name === FOUND || !this.pins.includes(id)),
    );
    section.node.hidden = !ids.length;
    setText(section.count, ids.length > section.most ? `${section.most} of ${ids.length}` : String(ids.length));
    section.more.hidden = !section.open || ids.length <= section.most;
    if (!section.open) return;
    const shown = ids
      .slice(0, section.most)
      .map((id) => this.chart(id))
      .filter((chart) => chart !== undefined);
    shown.forEach((chart, i) => {
      if (section.grid.children[i] !== chart.node)
        section.grid.insertBefore(chart.node, section.grid.children[i] ?? null);
      this.visibility.observe(chart.node);
      const isPinned = name === PINNED;
      const [left, right, pin] = chart.tools.children;
      pin.setAttribute("aria-pressed", String(this.pins.includes(chart.id)));
      for (const mover of [left, right]) /** @type {HTMLElement} */ (mover).hidden = !isPinned || ids.length < 2;
    });
    for (const node of [...section.grid.children].slice(shown.length)) node.remove();
  }

  /** Size the rows so that three of them fill the height. */
  sizeRows() {
    const height = this.box.clientHeight;
    const rows = height > 560 ? 3 : height > 360 ? 2 : 1;
    const room = Math.max(150, Math.min(640, Math.floor((height - (rows - 1) * 8) / rows)));
    if (height && innerWidth > 720) this.box.style.setProperty("--chart-height", `${room}px`);
    else this.box.style.removeProperty("--chart-height");
  }

  /** Pin a chart to the top, or return it to its section. @param {Chart} chart */
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

  // -- the content of the charts

  /** @param {IntersectionObserverEntry[]} entries */
  onVisibility(entries) {
    for (const entry of entries) {
      const chart = this.byNode.get(entry.target);
      if (!chart) continue;
      chart.setSeen(entry.isIntersecting);
      if (!entry.isIntersecting) continue;
      const paths = chart.lines.map((line) => line.path);
      this.history.want(paths);
      this.compare()
        ?.load(paths)
        .then((came) => came && chart.request());
    }
  }

  seenPaths() {
    return [...this.charts.values()]
      .filter((chart) => chart.seen)
      .flatMap((chart) => chart.lines.map((line) => line.path));
  }

  /** The settings of the charts, for a link. */
  view() {
    const { x, log, smoothing, zoom } = this.scene;
    return {
      x,
      log: log ? 1 : 0,
      smooth: smoothing,
      zoom: zoom?.map((place) => Number(place.toPrecision(12))).join("~") ?? null,
      charts: this.bar.find.value.trim(),
      compare: [...(this.compare()?.chosen ?? [])].join(),
    };
  }

  /** Fetch the points that came while the page was disconnected, after a snapshot. */
  reload() {
    this.history.forget();
    this.history.want(this.seenPaths());
    const episode = this.episodeLeaf();
    if (!episode) return;
    seriesOf(episode); // for the axis of episodes
    this.history.want([episode.path]);
  }

  /** Draw the sessions that were chosen for comparison. */
  async showCompared() {
    const compare = this.compare();
    this.bar.setCompared(compare?.drawn ?? []);
    await compare?.load(this.seenPaths());
    for (const chart of this.charts.values()) chart.request();
  }

  /** Draw the new points of compared sessions that are live. */
  async refreshCompared() {
    if (await this.compare()?.refresh(this.seenPaths()))
      for (const chart of this.charts.values()) if (chart.seen) chart.request();
  }

  /** @param {import("../data/types.js").Session} session that is no longer compared */
  stopComparing(session) {
    this.compare()?.remove(session);
    this.showCompared();
  }

  /** The field that counts episodes, for the axis of episodes. */
  episodeLeaf() {
    return this.store.fieldsOf("episodes")[0]?.leaf ?? this.store.leaves.find(EPISODE_FIELDS, isNumber);
  }

  /** @param {number} timeMs @returns {number} NaN where unknown */
  episodeAt(timeMs) {
    const series = this.episodeLeaf()?.series;
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
    this.history.forget();
    this.scene.zoom = this.scene.mark = null;
    this.isMachineShown = false;
    this.scene.startMs = this.store.session?.started_ms ?? 0;
    this.bar.paint();
    byId("no-charts").hidden = false;
    this.markFieldKinds();
  }

  /**
   * Tell the style sheet which fields exist: a run without numbers needs no space for charts, and one without fields
   * needs none for the table.
   */
  markFieldKinds() {
    const { store } = this;
    const isKnown = store.snapshotSeen && Boolean(store.session?.sid) && store.frame !== null;
    byId("main").dataset.fields = !isKnown || this.charts.size ? "numbers" : store.leaves.size ? "texts" : "none";
  }
}

/** The ids of the charts of fields by section. @param {string[]} paths @returns {Map<string, string[]>} */
function trainingSections(paths) {
  return new Map([...groupPaths(paths)].map(([name, group]) => [name, group.map((path) => FIELD + path)]));
}

/** The range of the x axis in the page's address. @returns {[number, number] | null} */
function askedZoom() {
  const [from, to] = (urlPart("zoom") ?? "").split("~").map(Number);
  return from < to ? [from, to] : null;
}

/**
 * A line's name beside the chart's title: "mean" of "Episode return (mean)".
 * @param {string} label @param {string} title
 */
function shortLabel(label, title) {
  return label.startsWith(`${title} (`) && label.endsWith(")") ? label.slice(title.length + 2, -1) : label;
}
