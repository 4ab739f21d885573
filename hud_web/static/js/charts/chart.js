// @ts-check
/**
 * One chart: a few fields on one plot, smoothed or not, over step, time or episode, with the lines of other runs below
 * them. Draws with uPlot, and only in view.
 */

import uPlot from "../../vendor/uplot/uplot.js";
import { isNumber } from "../data/nested.js";
import { lastAt } from "../data/rings.js";
import { el, fill, setText } from "../ui/dom.js";
import { ABSENT, clock, cut, inDays, inTwo, number, time } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { theme } from "../ui/theme.js";
import { axisSize, axisText, axisTexts, clockTexts, SECONDS, unitTexts, WHOLE } from "./axes.js";
import { quantity, unitOf } from "./machine.js";
import { Overlay } from "./overlay.js";
import { colourOf, dashOf } from "./run-names.js";
import { inOrder, isDiscrete, restartsOf, smooth } from "./segments.js";

/** @import { Turn } from "../data/leaves.js" */
/** @import { Series } from "../data/rings.js" */
/** @import { Other } from "./compare.js" */
/** @import { Curve } from "./overlay.js" */
/** @import { Group } from "./run-names.js" */
/**
 * @typedef {{path: string, label: string, right?: boolean, rate?: boolean, isNamed?: boolean, series: Series,
 *   turns: () => Turn[], brokenAt: (moment: number | null) => Turn | null}} Line `isNamed`: its label says more than
 *   the title of the chart; `turns`: the times at which it became NaN or infinite, or a number again
 *
 * @typedef {"step" | "time" | "relative" | "episode"} Axis `time`: of day; `relative`: since the start of each run
 *
 * @typedef {{x: Axis, axis: () => Axis, smoothing: number, log: boolean, zoom: [number, number] | null,
 *   startMs: number, episodeAt: (timeMs: number) => number, stepAt: (timeMs: number) => number | null,
 *   moment: () => number | null, mark: {t: number, step: number | null} | null, others: (path: string) => Other[],
 *   groups: () => Group[], own: () => {key: string, name: string}, highlight: string | null,
 *   onZoom: (zoom: [number, number] | null) => void}} Scene the state that all charts share; `x`: the chosen axis;
 *   `axis`: the available one, relative time if no entry ever had a step; `mark`: of the evidence that a viewer chose;
 *   `own`: the run that the page shows; `highlight`: the key of the run or group that the viewer points at
 *
 * @typedef {{name: string, shown: string, colour: string, dash?: number, y?: number | null, right?: boolean,
 *   title?: string}} Told an entry of the legend, or a row at the pointer; `y`: its first value
 *
 * @typedef {{xs: number[], ys: number[], line: number, isNewest: boolean, isSmooth: boolean}} Part
 *   a line, or one segment of it, as a column of the plot's data: a restored run counts its steps again, and each pass
 *   over the same steps is a segment
 */

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
/** Nobody can follow a line that grows more often than 5 times a second, and each painting costs 1 to 2 ms. */
const EVERY_MS = 200;
/** A rate is computed over at least this time. */
const RATE_OVER_MS = 2_000;
/** A span below this share of the values is drawn as a flat line. */
const LEAST_SPAN = 1e-9;
/** Differences of larger doubles overflow, so charts leave them out; the table shows them. */
const MOST_VALUE = 1e150;
/** Entries of a legend that fit without scrolling. */
const LEGEND_FITS = 6;
/** Other runs whose values the legend shows; those of more runs, and of groups, are at the pointer only. */
const LEGEND_RUNS = 3;
/** The height of a row of values at the pointer, in pixels; and of the rows that there are always. */
const ROW_HEIGHT = 15;
const LEAST_ROWS = 4;
/** How the axes are called. */
export const AXIS_NAMES = { step: "step", time: "time", relative: "relative time", episode: "episode" };
/** A band that was too recent to compute again is repainted after this time. */
const STALE_MS = 1_000;
/** The share of opacity that is left to the run shown while the viewer points at another one. */
const FADED = 0.25;
const SYNC = uPlot.sync("hud");

export class Chart {
  /** @param {string} id @param {string} title @param {Scene} scene */
  constructor(id, title, scene) {
    this.id = id;
    this.title = title;
    this.scene = scene;
    /** @type {Line[]} */
    this.lines = [];
    /** Columns of the plot's data, in its order. @type {Part[]} */
    this.parts = [];
    this.overlay = new Overlay();
    /** The part of the x axis that is shown. @type {[number, number]} */
    this.span = [0, 1];
    /** The appearance of the columns; a change needs another plot. */
    this.shape = "";
    /** Where the steps began again. @type {number[]} */
    this.restarts = [];
    this.seen = false;
    this.drawn = "";
    /** The cursor of the plot before, in its pixels. */
    this.cursor = { left: -1, top: -1 };
    /** @type {any} */
    this.plot = null;
    this.heading = el("h3", { title }, ...inTwo(cut(title, 120)).map((part) => part && el("span", {}, part)));
    this.legend = el("p", { class: "legend" });
    this.tools = el("div", { class: "tools" });
    this.area = el("div", { class: "plot" });
    this.readout = el("dl", { class: "readout", hidden: true });
    this.empty = el("p", { class: "empty" }, "No points yet");
    this.node = el(
      "article",
      { class: "panel chart", tabindex: -1, "aria-label": cut(title, 120) },
      el("header", { class: "panel-head" }, this.heading, this.legend, this.tools),
      this.area,
      this.empty,
      this.readout,
    );
    this.request = painter(() => this.paint(), EVERY_MS);
    this.sizes = new ResizeObserver(() => {
      if (this.plot && this.area.clientWidth) this.plot.setSize(this.size());
    });
    this.sizes.observe(this.area);
  }

  /** @param {Line[]} lines */
  setLines(lines) {
    this.lines = lines;
    fill(this.legend);
    this.node.classList.toggle("multi", this.lines.length > 1);
    this.rebuild();
  }

  /** @param {boolean} seen */
  setSeen(seen) {
    this.seen = seen;
    if (seen) this.request();
  }

  /** Make the plot again, after a change of theme, scale or lines. */
  rebuild() {
    this.drop();
    this.drawn = "";
    this.request();
  }

  /** Remove the plot; its successor has the cursor at the same place. */
  drop() {
    if (!this.plot) return;
    const { left, top } = this.plot.cursor;
    this.cursor = { left, top };
    this.plot.destroy();
    this.plot = null;
  }

  size() {
    return { width: this.area.clientWidth, height: this.area.clientHeight };
  }

  paint() {
    if (!this.seen || !this.area.clientWidth || !this.area.clientHeight) return;
    const { scene } = this;
    const others = this.lines.map((line) => scene.others(line.path));
    const groups = others.some((some) => some.length) ? scene.groups() : [];
    const drawn = [
      scene.axis(),
      ...this.lines.map((line) => line.series.version),
      ...others.flat().map((other) => `${other.key} ${other.version} ${other.name}`),
      ...groups.map(({ key, keys }) => `${key} ${keys.join(" ")}`),
    ].join();
    if (drawn === this.drawn && this.plot && !this.overlay.isStale) return;
    this.drawn = drawn;
    const data = this.data();
    this.overlay.update({
      lines: this.lines,
      others,
      groups,
      own: {
        key: scene.own().key,
        segments: this.lines.map((_, i) => this.segmentsOf(i)),
        stamp: `${this.lines.map((line) => line.series.version).join(" ")} ${scene.axis()}`,
      },
      stamp: scene.axis(),
      smoothing: scene.smoothing,
      columns: (other, { rate }) => this.columns(other.series, other.startMs, rate, other),
    });
    if (this.overlay.isStale) setTimeout(this.request, STALE_MS);
    const shape = [
      ...this.parts.map(({ line, isNewest, isSmooth }) => [line, isNewest, isSmooth].join(" ")),
      this.overlay.shape,
      // The first points may be positive and the others not.
      ...(scene.log ? [false, true].map((right) => this.isPositive(this.sideOf(data, right), right)) : []),
    ].join();
    if (shape !== this.shape) {
      this.drop();
      this.shape = shape;
      fill(this.legend);
      this.node.classList.toggle("multi", this.lines.length > 1 || (this.overlay.curves.length > 0 && this.areFew));
    }
    this.empty.hidden = data[0].length > 0 || this.overlay.curves.length > 0;
    const isNew = !this.plot;
    if (isNew) this.plot = new /** @type {any} */ (uPlot)(this.options(data), data, this.area);
    else this.plot.setData(data, false);
    this.scaleX(data[0]);
    if (isNew && this.area.matches(":hover")) this.plot.setCursor(this.cursor);
    this.paintLegend(this.placeOf(this.plot));
  }

  /** @param {ArrayLike<number>} xs */
  scaleX(xs) {
    const { zoom } = this.scene;
    let [first, last] = this.overlay.extent();
    if (xs.length) {
      first = Math.min(first, xs[0]);
      last = Math.max(last, xs[xs.length - 1]);
    }
    if (zoom) this.span = zoom;
    else if (first > last) this.span = [0, 1];
    else if (first === last)
      this.span = [first - 1, first + 1]; // one point: only its mark has a text
    else this.span = [first, Math.max(last, first + Math.abs(first) * LEAST_SPAN)];
    this.plot.setScale("x", { min: this.span[0], max: this.span[1] });
  }

  /**
   * Columns for uPlot: x, then each part; with smoothing, the values of the lines and then the smoothed ones. Sets
   * `parts`.
   */
  data() {
    const { startMs, smoothing } = this.scene;
    this.restarts = [];
    /** @type {Part[]} */
    const raw = [];
    this.lines.forEach((line, number) => {
      const segments = this.columns(line.series, startMs, line.rate, null, line.rate ? [] : line.turns());
      segments.forEach(([xs, ys], i) =>
        raw.push({ xs, ys, line: number, isNewest: i === segments.length - 1, isSmooth: false }),
      );
      if (!number) this.restarts = segments.slice(1).map(([xs]) => xs[0]);
    });
    const [xs, ...columns] =
      raw.length === 1
        ? [raw[0].xs, raw[0].ys]
        : /** @type {any[]} */ (uPlot.join(raw.map((part) => /** @type {any} */ ([part.xs, part.ys]))));
    const smoothed = /** @type {[Part, any][]} */ ([]);
    const shown = /** @type {[Part, any][]} */ ([]);
    raw.forEach((part, i) => {
      shown.push([part, columns[i]]);
      if (smoothing > 0 && !isDiscrete(this.lines[part.line].path, part.ys))
        smoothed.push([{ ...part, isSmooth: true }, smooth(columns[i], smoothing)]);
    });
    const all = [...shown, ...smoothed];
    this.parts = all.map(([part]) => part);
    return [xs, ...all.map(([, column]) => column)];
  }

  /** The values of a line of the run shown. @param {number} line @returns {number[][][]} */
  segmentsOf(line) {
    return this.parts.filter((part) => part.line === line && !part.isSmooth).map(({ xs, ys }) => [xs, ys]);
  }

  /**
   * The points of a series on the chosen axis, in one segment for each pass over the same steps.
   * @param {Series} series @param {number} startMs @param {boolean} [rate] @param {Other | null} [other] whose they are
   * @param {Turn[]} [turns] where the line breaks
   * @returns {number[][][]} at least one segment
   */
  columns(series, startMs, rate = false, other = null, turns = []) {
    const episodeAt = other ? other.episodeAt : this.scene.episodeAt;
    const x = this.scene.axis();
    const stepOf = (/** @type {number} */ i) =>
      Number.isNaN(series.step[i]) && !other ? (this.scene.stepAt(series.time[i]) ?? NaN) : series.step[i];
    const xs = /** @type {number[]} */ ([]);
    const ys = /** @type {any[]} */ ([]); // numbers, and null at each gap
    let before = 0;
    let turn = 0;
    let isBroken = false;
    for (let i = 0; i < series.length; i++) {
      for (; turn < turns.length && turns[turn].t <= series.time[i]; turn++) isBroken ||= turns[turn].value !== "";
      const at =
        x === "step"
          ? stepOf(i)
          : x === "episode"
            ? episodeAt(series.time[i])
            : (series.time[i] - (x === "time" ? 0 : startMs)) / 1000;
      if (Number.isNaN(at)) continue;
      let y = series.value[i];
      if (rate) {
        const passed = series.time[i] - series.time[before];
        if (passed < RATE_OVER_MS) continue;
        y = ((stepOf(i) - stepOf(before)) * 1000) / passed;
        before = i;
        if (!(y >= 0)) continue; // restored from a checkpoint, or the step is unknown
      }
      if (Math.abs(y) > MOST_VALUE) continue;
      const last = xs[xs.length - 1];
      if (isBroken && last < at) (xs.push((last + at) / 2), ys.push(null)); // null ends one line and starts the next
      isBroken = false;
      xs.push(at);
      ys.push(y);
    }
    if (turns.at(-1)?.value && xs.length) {
      const last = this.xOfTurn(turns[turns.length - 1]);
      if (last > xs[xs.length - 1]) (xs.push(last), ys.push(null)); // the axis extends to the last gap
    }
    const starts = restartsOf(xs);
    return starts.map((start, i) => inOrder(xs.slice(start, starts[i + 1]), ys.slice(start, starts[i + 1])));
  }

  /** @param {any[]} data */
  options(data) {
    const font = `500 ${theme("--size-s")} ${theme("--font")}`;
    const axis = {
      font,
      stroke: theme("--muted"),
      grid: { stroke: theme("--grid"), width: 1 },
      ticks: { show: false },
      gap: 4,
    };
    const hasSmooth = (/** @type {Part} */ part) =>
      this.parts.some((one) => one.isSmooth && one.line === part.line && one.xs === part.xs);
    const line = (/** @type {Part} */ part) => ({
      label: this.lines[part.line].label,
      scale: this.lines[part.line].right ? "right" : "y",
      stroke:
        theme(COLOURS[part.line % COLOURS.length]) +
        (!part.isSmooth && hasSmooth(part) ? "55" : part.isNewest ? "" : "99"),
      width: 1, // 1.5 px lines cost a quarter of the rate
      points: { show: (/** @type {any} */ plot) => plot.data[0].length < 3, size: 5 },
      spanGaps: false, // undefined (no point at this x) joins, null makes a gap
    });
    const hasRight = this.lines.some((one) => one.right);
    const single = data[0].length === 1 && !this.overlay.curves.length ? data[0][0] : null;
    const unit = unitOf(this.lines[0]?.path ?? "");
    return {
      ...this.size(),
      padding: [8, hasRight ? 0 : 20, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: SYNC.key, scales: ["x", null] },
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: -1 },
      },
      scales: {
        x: { time: false },
        y: this.scale(this.sideOf(data, false), false),
        ...(hasRight ? { right: this.scale(this.sideOf(data, true), true) } : {}),
      },
      axes: [
        {
          ...axis,
          size: 24,
          space: this.scene.axis() === "time" ? 70 : 46,
          incrs: this.scene.axis() === "time" || this.scene.axis() === "relative" ? SECONDS : WHOLE,
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
            this.scene.axis() === "time"
              ? clockTexts(splits, single)
              : splits.map((x) => (single === null || x === single ? this.xText(x, true) : "")),
          ...(single === null ? {} : { splits: () => [single] }),
        },
        { ...axis, size: axisSize, space: 32, values: unit ? unitTexts(unit) : axisTexts },
        ...(hasRight
          ? [
              {
                ...axis,
                scale: "right",
                side: 1,
                size: axisSize,
                space: 32,
                stroke: theme(COLOURS[this.lines.findIndex((one) => one.right) % COLOURS.length]),
                grid: { show: false },
                values: axisTexts,
              },
            ]
          : []),
      ],
      series: [{}, ...this.parts.map(line)],
      hooks: {
        // uPlot reports the cursor later, perhaps of a plot that has a successor by then.
        setCursor: [(/** @type {any} */ plot) => plot === this.plot && this.paintLegend(this.placeOf(plot))],
        setSelect: [(/** @type {any} */ plot) => this.select(plot)],
        drawAxes: [(/** @type {any} */ plot) => this.overlay.draw(plot, this.scene.highlight)],
        draw: [(/** @type {any} */ plot) => this.drawMarks(plot)],
        ready: [(/** @type {any} */ plot) => plot.over.addEventListener("dblclick", () => this.scene.onZoom(null))],
      },
    };
  }

  /** The columns of the plot's data with this axis of values. @param {any[]} data @param {boolean} right */
  sideOf(data, right) {
    return data.slice(1).filter((_, i) => Boolean(this.lines[this.parts[i].line].right) === right);
  }

  /** Whether the logarithm of every value exists. @param {(number | null)[][]} columns @param {boolean} right */
  isPositive(columns, right) {
    return (
      columns.every((column) => column.every((y) => y === null || y === undefined || y > 0)) &&
      !(this.overlay.range(right, -Infinity, Infinity)[0] <= 0)
    );
  }

  /** @param {(number | null)[][]} columns @param {boolean} right */
  scale(columns, right) {
    /** With the lines of other runs. @returns {[number, number]} */
    const whole = (/** @type {number | null} */ low, /** @type {number | null} */ high) => {
      const [lowest, highest] = this.overlay.range(right, ...this.span);
      return [Math.min(low ?? Infinity, lowest), Math.max(high ?? -Infinity, highest)];
    };
    const calm = (/** @type {any} */ _, /** @type {number | null} */ from, /** @type {number | null} */ to) => {
      const [low, high] = whole(from, to);
      if (!isNumber(low) || !isNumber(high)) return [0, 1];
      // uPlot would add axis marks without end if doubles could not tell them apart.
      const size = Math.max(Math.abs(low), Math.abs(high));
      const pad = (high - low > size * LEAST_SPAN ? high - low : size || 1) * 0.06;
      return [low - pad, high + pad];
    };
    if (!this.scene.log) return { range: calm };
    const isPositive = this.isPositive(columns, right);
    const logarithmic = (/** @type {any} */ _, /** @type {number | null} */ from, /** @type {number | null} */ to) => {
      const [low, high] = whole(from, to);
      if (!isNumber(low) || !isNumber(high)) return [1, 10];
      return /** @type {any} */ (uPlot)[isPositive ? "rangeLog" : "rangeAsinh"](low, high, 10, true);
    };
    // asinh: a logarithm for both signs, if a value is zero or negative.
    return isPositive ? { distr: 3, range: logarithmic } : { distr: 4, asinh: 0.01, range: logarithmic };
  }

  /** @param {any} plot */
  select(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    this.scene.onZoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  /** Draw the moment that the page shows. */
  follow() {
    this.plot?.redraw(false, false);
    this.paintLegend(null);
  }

  /** Draw the run or group that the viewer points at stronger than the others. */
  light() {
    if (!this.plot || !this.overlay.curves.length) return;
    const { highlight, own } = this.scene;
    const isFaded = highlight !== null && highlight !== own().key;
    for (const series of this.plot.series.slice(1)) series.alpha = isFaded ? FADED : 1;
    this.plot.redraw(false, false);
  }

  /**
   * Draw upright lines at the moment shown, at restarts of the steps, and at values that are not finite.
   * @param {any} plot
   */
  drawMarks(plot) {
    for (const x of this.restarts) drawUpright(plot, x, theme("--muted"), [2, 4]);
    for (const line of this.lines)
      for (const turn of line.turns())
        if (turn.value) drawUpright(plot, this.xOfTurn(turn), theme("--error"), [5, 3], turn.value);
    const { mark } = this.scene;
    if (mark) drawUpright(plot, this.xOfTurn(mark), theme("--accent"), [8, 4]);
    const moment = this.scene.moment();
    if (moment !== null) drawUpright(plot, this.xOf(moment), theme("--cyan"), []);
  }

  /** The place of a time on the x axis. @param {number} timeMs */
  xOf(timeMs) {
    const { startMs, episodeAt, stepAt } = this.scene;
    const x = this.scene.axis();
    if (x === "time") return timeMs / 1000;
    if (x === "relative") return (timeMs - startMs) / 1000;
    if (x === "episode") return episodeAt(timeMs);
    return stepAt(timeMs) ?? NaN;
  }

  /** The place of an event on the x axis. @param {{t: number, step: number | null}} event */
  xOfTurn({ t, step }) {
    return this.scene.axis() === "step" && step !== null ? step : this.xOf(t);
  }

  /** @param {number} x @param {boolean} short */
  xText(x, short) {
    if (this.scene.axis() === "time") return inDays(x * 1000);
    if (this.scene.axis() === "relative")
      return short ? clock(x * 1000) : `${clock(x * 1000)} (${time(this.scene.startMs + x * 1000)})`;
    return short ? axisText(x, 1) : number(x);
  }

  /** The place of the point under the cursor, of any line; null without a cursor. @param {any} plot */
  placeOf({ cursor, data, posToVal }) {
    if (!(cursor.left >= 0)) return null;
    const at = posToVal(cursor.left, "x");
    const own = isNumber(cursor.idx) && data?.[0].length ? data[0][cursor.idx] : NaN;
    const other = this.overlay.nearest(at);
    const x = !(Math.abs(own - at) <= Math.abs(other - at)) && !Number.isNaN(other) ? other : own;
    return isNumber(x) ? x : null;
  }

  /**
   * The value of a line of the run shown: under the cursor, else at the moment shown.
   * @param {number} line @param {number | null} x under the cursor
   * @returns {number | null}
   */
  valueOf(line, x) {
    if (x !== null) return valueAt(this.segmentsOf(line), x);
    const moment = this.scene.moment();
    const { series, rate } = this.lines[line];
    if (moment !== null) {
      const at = series.indexAt(moment);
      if (!rate) return at >= 0 ? series.value[at] : null;
      const until = Object.assign(Object.create(series), { length: at + 1 });
      return this.columns(until, 0, rate).at(-1)?.[1].at(-1) ?? null;
    }
    return this.segmentsOf(line).at(-1)?.[1].at(-1) ?? null;
  }

  /** The lines of the run shown. @param {number | null} x under the cursor @returns {Told[]} */
  ownTold(x) {
    const isSingle = this.lines.length === 1 && this.overlay.curves.length > 0;
    return this.lines.map((line, number) => {
      const y = this.valueOf(number, x);
      const broken = x === null ? line.brokenAt(this.scene.moment()) : null;
      return {
        name: cut(isSingle && !line.isNamed ? this.scene.own().name : line.label, 24),
        title: cut(line.path, 300),
        shown: broken ? `${broken.value} since ${time(broken.t)}` : isNumber(y) ? quantity(line.path, y) : "",
        colour: COLOURS[number % COLOURS.length],
        dash: 0,
        y,
        right: Boolean(line.right),
      };
    });
  }

  /** The other runs and groups, each with the values of its lines. @param {number | null} x @returns {Told[]} */
  otherTold(x) {
    /** @type {Map<string, Curve[]>} */
    const byKey = new Map();
    for (const curve of this.overlay.curves) {
      const known = byKey.get(curve.key);
      if (known) known.push(curve);
      else byKey.set(curve.key, [curve]);
    }
    return [...byKey.values()].map((curves) => {
      const [first] = curves;
      const ys = this.lines.map((_, line) => {
        const curve = curves.find((one) => one.line === line);
        return curve ? (x === null ? newestOf(curve) : valueAt(curve.segments, x)) : null;
      });
      const texts = ys.map((y, line) => {
        const curve = curves.find((one) => one.line === line);
        return (
          quantity(this.lines[line].path, y) +
          (curve?.band && isNumber(y) ? spreadText(curve, x, this.lines[line].path) : "")
        );
      });
      return {
        name: cut(first.name, 24),
        title: first.band ? `${first.name}: mean ± standard deviation of ${first.members.length} runs` : first.name,
        shown: ys.some(isNumber) ? texts.join(" · ") : "",
        colour: colourOf(first.slot),
        dash: dashOf(first.slot),
        y: ys.find(isNumber) ?? null,
        right: curves[0].right,
      };
    });
  }

  /** Whether the legend has room for the other runs. */
  get areFew() {
    const { curves } = this.overlay;
    return new Set(curves.map(({ key }) => key)).size <= LEGEND_RUNS && !curves.some(({ band }) => band);
  }

  /** @param {number | null} x of the point under the cursor; null: of the moment, or the newest */
  paintLegend(x) {
    const own = this.ownTold(x);
    const isHere = x !== null && this.area.matches(":hover");
    const hasOthers = this.overlay.curves.length > 0;
    const others = isHere || this.areFew ? this.otherTold(x) : [];
    const entries = this.areFew ? [...own, ...others] : own;
    const isSingle = entries.length < 2;
    this.legend.tabIndex = entries.length > LEGEND_FITS ? 0 : -1; // the keyboard must reach a legend that scrolls
    entries.forEach(({ name, title, shown, colour, dash }, i) => {
      let item = this.legend.children[i];
      if (!item) {
        item = el("span", { title }, swatch(colour, dash ?? 0), el("span"));
        /** @type {HTMLElement} */ (item.lastElementChild).style.minWidth = isSingle
          ? ""
          : `${Math.round(name.length * 0.8 + 6)}ch`; // the entries must not move while their numbers change
        this.legend.append(item);
      }
      item.classList.toggle("absent", !shown);
      setText(
        /** @type {Element} */ (item.lastElementChild),
        (isSingle && !this.lines[0].isNamed && !hasOthers ? "" : `${name} `) + shown,
      );
    });
    if (x !== null) this.legend.title = `${AXIS_NAMES[this.scene.axis()]} ${this.xText(x, false)}`;
    this.paintReadout(isHere ? x : null, own, others);
  }

  /**
   * Show x and the values under the pointer, in the chart that contains the pointer: the run shown, then the other runs
   * in the order of their values, as many as fit around the one nearest to the pointer.
   * @param {number | null} x @param {Told[]} own @param {Told[]} [others]
   */
  paintReadout(x, own, others = []) {
    this.readout.hidden = x === null;
    if (x === null) return;
    const distance = (/** @type {Told} */ { y, right }) =>
      isNumber(y) ? Math.abs(this.plot.valToPos(y, right ? "right" : "y") - this.plot.cursor.top) : Infinity;
    const known = others.filter(({ shown }) => shown).sort((a, b) => (b.y ?? 0) - (a.y ?? 0));
    const nearest = [...own, ...known].reduce(
      (/** @type {Told | null} */ best, one) => (distance(one) < (best ? distance(best) : Infinity) ? one : best),
      null,
    );
    const fitting = Math.max(LEAST_ROWS, Math.floor(this.plot.height / ROW_HEIGHT) - own.length - 2);
    const first = Math.max(
      0,
      Math.min(known.length - fitting, known.findIndex((one) => one === nearest) - (fitting >> 1)),
    );
    const shown = known.slice(first, first + fitting);
    const row = (/** @type {Told} */ one) =>
      el(
        "div",
        { class: one === nearest && known.length ? "near" : null },
        el("dt", {}, one.colour && swatch(one.colour, one.dash ?? 0), one.name),
        el("dd", {}, one.shown || ABSENT),
      );
    const more = (/** @type {number} */ count, /** @type {string} */ where) =>
      count > 0 && el("div", { class: "more" }, el("dt", {}, `${count} ${where}`), el("dd"));
    fill(
      this.readout,
      el("div", {}, el("dt", {}, AXIS_NAMES[this.scene.axis()]), el("dd", {}, this.xText(x, false))),
      ...own.map(row),
      more(first, "above"),
      ...shown.map(row),
      more(known.length - first - shown.length, "below"),
    );
    // The plot knows its size: asking an element would lay out the page at each movement.
    const isLeft = this.plot.cursor.left > this.plot.bbox.width / (devicePixelRatio || 1) / 2;
    this.readout.classList.toggle("left", isLeft);
  }

  destroy() {
    this.sizes.disconnect();
    this.plot?.destroy();
    this.plot = null;
    fill(this.area);
    this.node.remove();
  }
}

/** A short piece of a line in its colour and dash. @param {string} colour custom property @param {number} dash */
export function swatch(colour, dash) {
  const mark = el("i", { class: `swatch dash-${dash}` });
  mark.style.color = `var(${colour})`;
  return mark;
}

/**
 * The value at a place: the newest pass over it counts; between two points, the earlier one.
 * @param {number[][][]} segments @param {number} x
 * @returns {number | null}
 */
function valueAt(segments, x) {
  const over = segments.findLast(([xs]) => xs.length && xs[0] <= x && x <= xs[xs.length - 1]);
  return over ? over[1][lastAt(over[0].length, (i) => over[0][i], x)] : null;
}

/** @param {Curve} curve */
function newestOf({ segments }) {
  return segments.at(-1)?.[1].findLast(isNumber) ?? null;
}

/**
 * The standard deviation and the number of runs of a group.
 * @param {Curve} curve @param {number | null} x null: at its newest place @param {string} path
 */
function spreadText({ band }, x, path) {
  if (!band) return "";
  const at = x === null ? band.mean.findLastIndex(isNumber) : lastAt(band.xs.length, (i) => band.xs[i], x);
  const [mean, high] = [band.mean[at], band.high[at]];
  return isNumber(mean) && isNumber(high) ? ` ± ${quantity(path, high - mean)} (${band.count[at]})` : "";
}

/**
 * @param {any} plot @param {number} x @param {string} colour @param {number[]} dash @param {string} [text] at its top
 */
function drawUpright(plot, x, colour, dash, text = "") {
  if (!isNumber(x)) return;
  const at = plot.valToPos(x, "x", true);
  const { top, height, left, width } = plot.bbox;
  if (at < left || at > left + width) return;
  const { ctx } = plot;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = ratio;
  ctx.setLineDash(dash.map((length) => length * ratio));
  ctx.beginPath();
  ctx.moveTo(at, top);
  ctx.lineTo(at, top + height);
  ctx.stroke();
  if (text) {
    ctx.font = `600 ${10 * ratio}px ${theme("--font")}`;
    ctx.fillStyle = colour;
    ctx.textAlign = at > left + width / 2 ? "right" : "left";
    ctx.fillText(text, at + (at > left + width / 2 ? -3 : 3) * ratio, top + 9 * ratio);
  }
  ctx.restore();
}
