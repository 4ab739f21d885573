// @ts-check
/**
 * All charts: places every numeric field in a section, and shares zoom, cursor and scales between the charts. A chart
 * is made when it is first shown, so thousands of fields cost only thousands of names.
 */

import { brokenAt, columnsOf, hasChart, seriesOf } from "../data/leaves.js";
import { histogramOf } from "../data/histograms.js";
import { isNumber } from "../data/nested.js";
import { byId, el, icon, setText } from "../ui/dom.js";
import { embedded } from "../ui/embed.js";
import { cut } from "../ui/format.js";
import { matcher, unusableTerm } from "../ui/match.js";
import { kept, linkPart, listText, urlList, urlPart, urlNumber } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { onTheme } from "../ui/theme.js";
import { ChartBar } from "./chart-bar.js";
import { Chart } from "./chart.js";
import { addHandles } from "./handles.js";
import { HistogramChart } from "./histogram.js";
import { History } from "./history.js";
import { FIELD, Layout } from "./layout.js";
import { isMachine, machineSections, titleOf } from "./machine.js";
import { EPISODE_FIELDS, groupPaths, KEY_CHARTS } from "./recipes.js";
import { keyOf } from "./run-names.js";

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
/** Times at which a link's place in the list of charts is sought again. */
const AGAIN_MS = [200, 600, 1500, 3000];
const PINNED = "Pinned";
const KEY = "Key";
const FOUND = "Found";
const SPECIAL = new Set([KEY, PINNED, FOUND]);
const AXES = ["step", "time", "relative", "episode"];

export class Charts {
  /**
   * @param {{store: Store, api: () => import("../server/api.js").Api, compare: () => import("./compare.js").Compare |
   *   null}} parts
   */
  constructor({ store, api, compare }) {
    this.store = store;
    this.compare = compare;
    this.box = byId("chart-scroll");
    this.layout = new Layout();
    /** @type {Scene} */
    this.scene = {
      x: /** @type {any} */ (AXES.includes(urlPart("x") ?? "") ? urlPart("x") : kept("chart.x", "step")),
      smoothing: urlNumber("smooth", 0, 0.98) ?? kept("chart.smoothing", 0.6),
      log: urlPart("log") === null ? kept("chart.log", false) : urlPart("log") === "1",
      zoom: askedZoom(),
      startMs: 0,
      episodeAt: (timeMs) => this.episodeAt(timeMs),
      axis: () => (this.scene.x === "step" && !store.rewind.steps.length ? "relative" : this.scene.x),
      stepAt: (timeMs) => store.rewind.stepAt(timeMs),
      moment: () => store.moment,
      mark: askedMark(),
      others: (path) => compare()?.of(path) ?? [],
      groups: () => compare()?.groups() ?? [],
      own: () => ({ key: store.session ? keyOf(store.session) : "", name: this.ownName() }),
      highlight: null,
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
      () => {
        for (const chart of this.charts.values()) if (chart.seen) chart.light();
      },
      compare,
      () => this.search(),
      () => this.showMachine(!this.isMachineShown),
      () => this.openClosed(),
    );
    /** Whether the charts of the machine are shown instead of those of training. */
    this.isMachineShown = urlPart("machine") === "1";
    this.bar.find.value = urlPart("charts") ?? "";
    /** Paths of the fields with charts, in the order of their names. @type {string[]} */
    this.paths = [];
    /** Names of the sections in the order of the page, as a new page places them. @type {string[]} */
    this.places = [];
    /** More charts of a section than MOST_PER_SECTION, in a link. @type {Map<string, number>} */
    this.askedMore = new Map(
      (urlList("more") ?? []).map((text) => [text.slice(text.indexOf(" ") + 1), parseInt(text, 10) || 0]),
    );
    /** The chart at the top of the visible part and its distance from there in pixels, in a link. */
    this.askedTop = urlList("top");
    this.isScrollAsked = false;
    /** Contains the enlarged chart. */
    this.largeBox = el("div", { class: "chart-large", hidden: true });
    this.box.prepend(this.largeBox);
    /** Whether the viewer drags a chart: nothing else may move them. */
    this.isHeld = false;
    this.handles = /** @type {Map<Chart, ReturnType<typeof addHandles>>} */ (new Map());
    this.linkParts();
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
    store.on("session", (before) => {
      if (before?.sid !== store.session?.sid) this.compare()?.describe();
      this.showCompared();
    });
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

  /** The fields in `paths`. @type {Set<string>} */
  known = new Set();

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
      if (isNumber(value) || histogramOf(value)) for (const chart of this.byPath.get(path) ?? []) chart.request();
      else if (value !== null && typeof value === "object" && !Array.isArray(value)) this.touch(value, `${path}/`);
    }
  }

  // -- the place of each chart

  /** Show the charts of the fields whose names match the typed text, instead of all sections. */
  search() {
    const found = this.sections.get(FOUND);
    if (found) found.most = MOST_PER_SECTION;
    this.box.scrollTop = 0;
    if (this.layout.large !== null) this.enlarge(null);
    this.placeFound();
    this.showSections();
  }

  /** Show the chart of one field, enlarged. @param {string} path */
  open(path) {
    const chart = this.chart(FIELD + path);
    if (chart) this.enlarge(chart);
  }

  /** Let one chart fill the area of the charts; null: show all of them again. @param {Chart | null} chart */
  enlarge(chart) {
    const before = this.layout.large === null ? undefined : this.charts.get(this.layout.large);
    this.layout.enlarge(chart?.id ?? null);
    this.showSections();
    if (chart) chart.node.focus({ preventScroll: true });
    else if (before?.node.isConnected && before.node.closest(".chart-grid")) {
      before.node.scrollIntoView({ block: "nearest" });
      this.handles.get(before)?.grow.focus({ preventScroll: true });
    }
  }

  /** Return from the enlarged chart. @returns {boolean} whether there was one */
  shrink() {
    if (this.layout.large === null) return false;
    this.enlarge(null);
    return true;
  }

  /** Show the charts of the machine, or those of training. @param {boolean} isShown */
  showMachine(isShown) {
    this.isMachineShown = isShown;
    this.bar.setMachine(true, isShown);
    this.box.scrollTop = 0;
    this.layout.enlarge(null);
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
      return leaf && hasChart(leaf);
    });
    if (path === undefined) return false;
    this.scene.mark = at;
    this.bar.find.value = "";
    this.layout.enlarge(null);
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

  /** Whether the viewer looks for charts by name. */
  get isSearching() {
    return Boolean(this.bar.find.value.trim());
  }

  placeFound() {
    const text = this.bar.find.value.trim();
    const fits = matcher(text);
    const ids = text ? this.paths.filter(fits).map((path) => FIELD + path) : [];
    const exact = ids.indexOf(FIELD + text);
    if (exact > 0) ids.unshift(...ids.splice(exact, 1));
    this.section(FOUND).ids = ids;
    const term = unusableTerm(text);
    this.bar.setHint(term ? `“${cut(term, 20)}” is searched for as text: it is no regular expression` : "");
  }

  place() {
    if (this.isHeld) return;
    this.scene.startMs = this.store.session?.started_ms ?? this.scene.startMs;
    this.placeKey();
    const paths = [];
    for (const leaf of this.store.leaves.values()) if (hasChart(leaf)) paths.push(leaf.path);
    if (paths.length !== this.paths.length || paths.some((path) => !this.known.has(path))) {
      this.paths = byName(paths);
      this.known = new Set(paths);
    }
    this.placeFound();
    const groups = this.isMachineShown
      ? this.machineSections()
      : trainingSections(this.paths.filter((path) => !isMachine(path) && !this.isInKey(path)));
    this.bar.setMachine(this.store.leaves.branches.has("machine"), this.isMachineShown);
    for (const [name, section] of this.sections) if (!SPECIAL.has(name) && !groups.has(name)) section.ids = [];
    this.places = [...groups.keys()];
    if (!this.isMachineShown) groups.set(KEY, this.section(KEY).ids);
    this.layout.arrange(groups);
    for (const [name, ids] of groups) this.section(name).ids = ids;
    const wanted = this.places.map((name) => this.section(name).node); // the section "other" is last
    const stand = [...this.box.children].filter((node) => wanted.includes(/** @type {HTMLElement} */ (node)));
    if (wanted.some((node, i) => node !== stand[i])) this.box.append(...wanted); // moving nodes takes the focus away
    this.showSections();
  }

  /** Fill the sections that are shown, and hide the others. */
  showSections() {
    if (this.isHeld) return;
    const { isSearching, layout } = this;
    this.section(PINNED).ids = layout.pins.filter((id) => this.chart(id));
    const large = layout.large === null ? undefined : this.chart(layout.large);
    this.box.classList.toggle("large", Boolean(large));
    this.largeBox.hidden = !large;
    for (const node of [...this.largeBox.children]) if (node !== large?.node) node.remove();
    for (const [name, section] of this.sections) {
      const isAside = isSearching ? name !== FOUND : this.isMachineShown && SPECIAL.has(name);
      section.node.classList.toggle("aside", isAside);
      this.fillSection(name, section);
    }
    if (large) {
      if (!large.node.parentElement?.classList.contains("chart-large")) this.largeBox.append(large.node);
      this.visibility.observe(large.node);
      this.markHandles(large, true);
    }
    this.bar.setClosed([...layout.closed].filter((id) => this.chart(id)).length);
    const none = byId("no-charts");
    const isNamed = isSearching || embedded === "chart";
    const hasAny = isNamed ? isSearching && this.section(FOUND).ids.length > 0 : this.charts.size > 0;
    none.hidden = Boolean(large) || hasAny;
    setText(none, isNamed ? "No numeric field of this run has such a name." : "Charts appear with the first numbers.");
    this.markFieldKinds();
    this.scrollToAsked();
  }

  /**
   * Scroll to the chart that was at the top when the link was copied, once it is there, and again while the page comes
   * to rest: later texts and fields move it.
   */
  scrollToAsked() {
    const [id, apart] = this.askedTop ?? [];
    const node = this.charts.get(id)?.node;
    if (!node?.closest(".chart-grid")) return;
    if (!this.isScrollAsked) {
      this.isScrollAsked = true;
      for (const ms of AGAIN_MS) setTimeout(() => this.scrollToAsked(), ms);
      for (const topic of ["wheel", "pointerdown", "keydown"])
        addEventListener(topic, () => (this.askedTop = null), { once: true, capture: true });
    }
    this.sizeRows(); // the first layout has another height
    this.box.scrollTop += node.getBoundingClientRect().top - this.box.getBoundingClientRect().top - Number(apart || 0);
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
    if (!leaf || !hasChart(leaf)) return undefined;
    const isHistogram = !isNumber(leaf.live) && !leaf.turns;
    const title = isMachine(leaf.path) ? titleOf(leaf.name) : leaf.name;
    const chart = this.makeChart(id, title, isHistogram ? HistogramChart : Chart);
    chart.heading.title = leaf.path;
    const above = leaf.path.slice(0, leaf.path.length - leaf.name.length);
    chart.heading.dataset.above = cut(above, 120); // shown outside of the section of that name
    chart.setLines([this.lineOf(leaf, leaf.name, isHistogram ? { series: columnsOf(leaf) } : {})]);
    this.connect(leaf.path, chart);
    return chart;
  }

  /** @param {string} id @param {string} title @param {typeof Chart} [Kind] */
  makeChart(id, title, Kind = Chart) {
    const chart = new Kind(id, title, this.scene);
    this.handles.set(chart, addHandles(chart, this.actions));
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
    const isFirst = like.length < OPEN_SECTIONS + (isMachine(name) ? 0 : 2);
    const open = this.layout.open.get(name) ?? (SPECIAL.has(name) || isFirst);
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
        { class: `chart-section ${name === FOUND ? "found" : name === PINNED ? "pinned" : ""}` },
        el("h3", { class: name === KEY ? "sr" : null }, toggle),
        grid,
        more,
      ),
      grid,
      open,
      count,
      more,
      most: Math.max(MOST_PER_SECTION, this.askedMore.get(name) ?? 0),
    };
    more.addEventListener("click", () => {
      section.most += MOST_PER_SECTION;
      this.fillSection(name, section);
    });
    toggle.addEventListener("click", () => {
      section.open = !section.open;
      this.layout.setOpen(name, section.open);
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
    // A section that is not shown keeps its charts, except those that are found.
    if (section.node.classList.contains("aside")) return;
    const { pins, closed, large } = this.layout;
    // A chart has one place: enlarged, in the search results, among the pinned charts, or in its section.
    const isFree = (/** @type {string} */ id) =>
      id !== large && (name === FOUND || (!closed.has(id) && (name === PINNED || !pins.includes(id))));
    const ids = section.ids.filter(isFree);
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
      this.markHandles(chart, false);
      const { above = "" } = chart.heading.dataset;
      chart.node.classList.toggle("away", above !== "" && above !== `${name}/`);
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
    for (const id of this.layout.spans.keys()) {
      const chart = this.charts.get(id);
      if (chart?.node.isConnected) this.sizeChart(chart);
    }
  }

  // -- changes of the layout

  /** @type {import("./handles.js").Actions} */
  actions = {
    pin: (chart) => {
      this.layout.pin(chart.id, !this.layout.pins.includes(chart.id));
      this.showSections();
    },
    enlarge: (chart) => this.enlarge(this.layout.large === chart.id ? null : chart),
    close: (chart) => this.close(chart, !this.layout.closed.has(chart.id)),
    step: (chart, by) => this.step(chart, by),
    drop: (chart, target, isAfter) => {
      const other = this.byNode.get(target);
      if (other) this.moveBeside(chart, other, isAfter);
    },
    resize: (chart, columns, rows) => {
      this.layout.resize(chart.id, columns, rows);
      this.sizeChart(chart);
    },
    spanOf: (chart) => this.layout.spanOf(chart.id),
    columns: (chart) => gridColumns(chart.node),
    hold: (isHeld) => {
      this.isHeld = isHeld;
      if (!isHeld) this.arrange();
    },
  };

  /** Hide a chart, or show it again. @param {Chart} chart @param {boolean} isClosed */
  close(chart, isClosed) {
    const next = /** @type {HTMLElement | null} */ (chart.node.nextElementSibling ?? chart.node.previousElementSibling);
    this.layout.close(chart.id, isClosed);
    this.showSections();
    if (isClosed && !this.isSearching) (next ?? this.box).focus({ preventScroll: true });
  }

  /** The dialog that lists the closed charts. */
  async openClosed() {
    const { openDialog } = await import("../ui/dialogs.js");
    const charts = [...this.layout.closed].map((id) => this.chart(id)).filter((chart) => chart !== undefined);
    openDialog("closed", "Closed charts", (done) => [
      el("p", { class: "muted" }, "Choose a chart to show it in its section again."),
      el(
        "div",
        { class: "choices" },
        ...charts.map((chart) =>
          el(
            "button",
            {
              type: "button",
              title: chart.id.startsWith(FIELD) ? cut(chart.id.slice(FIELD.length), 300) : null,
              onclick: (/** @type {Event} */ event) => {
                this.close(chart, false);
                /** @type {HTMLElement} */ (event.currentTarget).remove();
                if (!charts.some(({ id }) => this.layout.closed.has(id))) done();
              },
            },
            cut(chart.title, 60),
          ),
        ),
      ),
      el(
        "div",
        { class: "choices" },
        el(
          "button",
          {
            type: "button",
            class: "primary",
            onclick: () => {
              for (const chart of charts) this.layout.close(chart.id, false);
              this.showSections();
              done();
            },
          },
          "Show all",
        ),
      ),
    ]);
  }

  /** Move a chart to the place before or after the next one that is shown. @param {Chart} chart @param {1 | -1} by */
  step(chart, by) {
    const nodes = [...this.box.querySelectorAll(".chart-section:not(.aside) > .chart-grid:not([hidden]) > .chart")];
    const other = this.byNode.get(nodes[nodes.indexOf(chart.node) + by]);
    if (!other) return;
    // From the edge of a section it goes to the near edge of the next one.
    const isSame = other.node.parentElement === chart.node.parentElement;
    this.moveBeside(chart, other, isSame ? by > 0 : by < 0);
  }

  /** @param {Chart} chart @param {Chart} other @param {boolean} isAfter */
  moveBeside(chart, other, isAfter) {
    const grid = other.node.parentElement;
    const [name] = [...this.sections].find(([, section]) => section.grid === grid) ?? [];
    if (name === undefined || name === FOUND) return;
    const next = isAfter ? this.byNode.get(/** @type {Element} */ (other.node.nextElementSibling)) : other;
    const before = next === chart ? this.byNode.get(/** @type {Element} */ (chart.node.nextElementSibling)) : next;
    this.layout.move(chart.id, before?.id ?? null, name, name === PINNED);
    this.place();
    chart.node.scrollIntoView({ block: "nearest" });
    const nodes = [...(chart.node.parentElement?.children ?? [])];
    setText(byId("announce"), `${chart.title}: place ${nodes.indexOf(chart.node) + 1} of ${nodes.length} in ${name}`);
  }

  /** Show the state of a chart's controls. @param {Chart} chart @param {boolean} isLarge */
  markHandles(chart, isLarge) {
    const handles = this.handles.get(chart);
    if (!handles) return;
    const { pin, grip, grow, close, corner } = handles;
    pin.setAttribute("aria-pressed", String(this.layout.pins.includes(chart.id)));
    rename(grow, isLarge ? "Back to the other charts (Esc)" : "Enlarge", isLarge ? "shrink" : "full");
    const isClosed = this.layout.closed.has(chart.id);
    rename(close, isClosed ? "Show this chart in its section again" : "Close this chart", isClosed ? "eye" : "close");
    close.hidden = corner.hidden = isLarge;
    grip.hidden = isLarge || Boolean(chart.node.closest(".found"));
    this.sizeChart(chart);
  }

  /** @param {Chart} chart */
  sizeChart(chart) {
    const [columns, rows] = this.layout.spanOf(chart.id);
    const { style } = chart.node;
    const column = columns > 1 ? `span ${Math.min(columns, gridColumns(chart.node))}` : "";
    if (style.gridColumn !== column) style.gridColumn = column;
    const row = rows > 1 ? `span ${rows}` : "";
    if (style.gridRow !== row) style.gridRow = row;
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
      this.compare()?.want(paths);
    }
  }

  seenPaths() {
    return [...this.charts.values()]
      .filter((chart) => chart.seen)
      .flatMap((chart) => chart.lines.map((line) => line.path));
  }

  /** Register the parts of the charts that a link carries. */
  linkParts() {
    const { scene } = this;
    linkPart("x", () => (scene.x === "step" ? "" : scene.x));
    linkPart("log", () => (scene.log ? 1 : ""));
    linkPart("smooth", () => (scene.smoothing === 0.6 ? "" : scene.smoothing));
    linkPart("zoom", () => scene.zoom?.map((place) => Number(place.toPrecision(15))).join("~") ?? "");
    linkPart("mark", () => (scene.mark ? listText([scene.mark.t, scene.mark.step ?? ""]) : ""));
    linkPart("charts", () => this.bar.find.value.trim());
    linkPart("machine", () => (this.isMachineShown ? 1 : ""));
    linkPart("compare", () => [...(this.compare()?.chosen ?? [])].join());
    linkPart("group", () => this.compare()?.by ?? "");
    // A new page opens the first sections in the order of their names.
    const changed = (/** @type {boolean} */ isOpen) => () =>
      listText(
        [...this.sections]
          .filter(([name, { ids, open }]) => {
            const place = this.places.indexOf(name);
            const isUsual = SPECIAL.has(name) || (place >= 0 && place < OPEN_SECTIONS);
            return ids.length && open === isOpen && open !== isUsual;
          })
          .map(([name]) => name),
      );
    linkPart("open", changed(true));
    linkPart("shut", changed(false));
    linkPart("more", () =>
      listText(
        [...this.sections]
          .filter(([, { most }]) => most > MOST_PER_SECTION)
          .map(([name, { most }]) => `${most} ${name}`),
      ),
    );
    linkPart("top", () => {
      if (!this.box.scrollTop || this.layout.large !== null) return "";
      const { top } = this.box.getBoundingClientRect();
      const first = [...this.box.querySelectorAll(".chart-section:not(.aside) .chart")].find(
        (node) => node.getBoundingClientRect().bottom > top + 8,
      );
      const id = first && this.byNode.get(first)?.id;
      return id ? listText([id, Math.round(first.getBoundingClientRect().top - top)]) : "";
    });
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

  /** Draw the compared runs, and list them in the bar. */
  showCompared() {
    const compare = this.compare();
    this.bar.showRuns(this.scene.own());
    compare?.want(this.seenPaths());
    this.requestSeen();
  }

  /** Draw new points of compared runs. */
  requestSeen() {
    for (const chart of this.charts.values()) if (chart.seen) chart.request();
  }

  /** The name of the run shown among the compared ones. */
  ownName() {
    const { session } = this.store;
    return (session && this.compare()?.names().get(keyOf(session))) || session?.name || "this run";
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
    this.handles.clear();
    this.paths = [];
    this.known.clear();
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

/**
 * Names in order, "layer2" before "layer10". Comparing padded texts takes a tenth of the time of Intl.Collator, which
 * matters for 20,000 fields.
 * @param {string[]} paths
 */
function byName(paths) {
  return paths
    .map((path) => [path.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0")), path])
    .sort(([a, one], [b, two]) => (a < b ? -1 : a > b ? 1 : one < two ? -1 : 1))
    .map(([, path]) => path);
}

/** The columns of the grid that a chart is in. @param {HTMLElement} node */
function gridColumns(node) {
  const grid = node.closest(".chart-grid");
  return grid ? getComputedStyle(grid).gridTemplateColumns.split(" ").length : 1;
}

/** @param {HTMLElement} control @param {string} label @param {string} iconName */
function rename(control, label, iconName) {
  if (control.getAttribute("aria-label") === label) return;
  control.setAttribute("aria-label", label);
  control.title = label;
  control.replaceChildren(icon(iconName));
}

/** The ids of the charts of fields by section. @param {string[]} paths @returns {Map<string, string[]>} */
function trainingSections(paths) {
  return new Map([...groupPaths(paths)].map(([name, group]) => [name, group.map((path) => FIELD + path)]));
}

/** The mark of the evidence in the page's address. @returns {{t: number, step: number | null} | null} */
function askedMark() {
  const [t, step] = urlList("mark") ?? [];
  return Number(t) > 0 ? { t: Number(t), step: step ? Number(step) : null } : null;
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
