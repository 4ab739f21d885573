// @ts-check
/** One chart: some fields on one plot, smoothed or not, over step, time or episode. Draws with uPlot, and only when seen. */

import uPlot from "../vendor/uplot/uplot.js";
import { el, fill, say } from "./dom.js";
import { clock, cut, isNumber, number, time } from "./format.js";
import { painter } from "./paint.js";
import { theme } from "./theme.js";

/** @import { Series } from "./rings.js" */
/** @typedef {{path: string, label: string, right?: boolean, rate?: boolean, series: Series}} Line */
/**
 * What all charts share.
 * @typedef {{x: "step" | "time" | "episode", smoothing: number, log: boolean, zoom: [number, number] | null,
 *   startMs: number, episodeAt: (timeMs: number) => number, stepAt: (timeMs: number) => number | null,
 *   moment: () => number | null, others: (path: string) => {name: string, startMs: number, series: Series}[],
 *   onZoom: (zoom: [number, number] | null) => void}} Scene
 */

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
/** Five times a second is as often as a line's growth can be followed; each painting costs 1 to 2 ms. */
const EVERY_MS = 200;
/** A rate is told over so long, at the least. */
const RATE_OVER_MS = 2_000;
/** Narrower spans, relative to the values, are drawn as one line. */
const LEAST_SPAN = 1e-9;
/** Beyond this the differences of doubles overflow; the table shows such values, a chart cannot. */
const MOST_VALUE = 1e150;
const SYNC = uPlot.sync("hud");

export class Chart {
  /** @param {string} id @param {string} title @param {Scene} scene */
  constructor(id, title, scene) {
    this.id = id;
    this.title = title;
    this.scene = scene;
    /** @type {Line[]} */
    this.lines = [];
    /** The lines of the sessions that are compared. @type {{name: string, startMs: number, series: Series, line: number}[]} */
    this.others = [];
    this.seen = false;
    this.drawn = "";
    /** @type {any} */
    this.plot = null;
    this.heading = el("h3", { title }, cut(title, 120));
    this.legend = el("p", { class: "legend" });
    this.tools = el("div", { class: "tools" });
    this.area = el("div", { class: "plot" });
    this.empty = el("p", { class: "empty" }, "No points yet");
    this.node = el("article", { class: "panel chart", "aria-label": cut(title, 120) }, el("header", { class: "panel-head" }, this.heading, this.legend, this.tools), this.area, this.empty);
    this.request = painter(() => this.paint(), EVERY_MS);
    this.sizes = new ResizeObserver(() => {
      if (this.plot && this.area.clientWidth) this.plot.setSize(this.size());
    });
    this.sizes.observe(this.area);
  }

  /** Add a line, or show another field in place of the one of this label. @param {Line} line */
  setLine(line) {
    const at = this.lines.findIndex((one) => one.label === line.label);
    if (at < 0) this.lines.push(line);
    else this.lines[at] = line;
    fill(this.legend);
    this.node.classList.toggle("multi", this.lines.length > 1);
    this.rebuild();
  }

  /** @param {boolean} seen */
  setSeen(seen) {
    this.seen = seen;
    if (seen) this.request();
  }

  /** Draw anew from the ground, after a change of theme, scale or lines. */
  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    this.drawn = "";
    this.request();
  }

  size() {
    return { width: this.area.clientWidth, height: this.area.clientHeight };
  }

  paint() {
    if (!this.seen || !this.area.clientWidth || !this.area.clientHeight) return;
    const drawn = this.lines.map((line) => line.series.version).join() + this.scene.x;
    if (drawn === this.drawn && this.plot) return;
    this.drawn = drawn;
    const others = this.lines.flatMap((line, i) => this.scene.others(line.path).map((other) => ({ ...other, line: i })));
    if (others.length !== this.others.length) {
      this.plot?.destroy();
      this.plot = null;
    }
    this.others = others;
    const data = this.data();
    this.empty.hidden = data[0].length > 0;
    if (!this.plot) {
      this.plot = new /** @type {any} */ (uPlot)(this.options(data), data, this.area);
      this.paintLegend(null);
    } else this.plot.setData(data, false);
    this.scaleX(data[0]);
    this.paintLegend(null);
  }

  /** @param {ArrayLike<number>} xs */
  scaleX(xs) {
    const zoom = this.scene.zoom;
    const last = xs.length - 1;
    if (zoom) this.plot.setScale("x", { min: zoom[0], max: zoom[1] });
    else if (last >= 0) this.plot.setScale("x", { min: xs[0], max: Math.max(xs[last], xs[0] + Math.max(10, Math.abs(xs[0]) * LEAST_SPAN)) });
    else this.plot.setScale("x", { min: 0, max: 1 });
  }

  /**
   * Columns for uPlot: x, then for each line its values, then their smoothed values where smoothing is on, then the same
   * fields of the sessions that are compared.
   */
  data() {
    const others = this.others;
    const tables = [...this.lines.map((line) => this.columns(line.series, this.scene.startMs, line.rate)), ...others.map((other) => this.columns(other.series, other.startMs, this.lines[other.line].rate))];
    const [xs, ...columns] = tables.length === 1 ? tables[0] : uPlot.join(tables);
    const weight = this.scene.smoothing;
    if (!weight) return [xs, ...columns];
    const own = columns.slice(0, this.lines.length);
    const smoothed = columns.map((/** @type {any} */ column) => smooth(column, weight));
    return [xs, ...own, ...smoothed];
  }

  /** @param {Series} series @param {number} startMs @param {boolean} [rate] */
  columns(series, startMs, rate = false) {
    const { x, episodeAt } = this.scene;
    const xs = /** @type {number[]} */ ([]);
    const ys = /** @type {number[]} */ ([]);
    let sorted = true;
    let before = 0;
    for (let i = 0; i < series.length; i++) {
      const at = x === "step" ? series.step[i] : x === "time" ? (series.time[i] - startMs) / 1000 : episodeAt(series.time[i]);
      if (Number.isNaN(at)) continue;
      let y = series.value[i];
      if (rate) {
        const passed = series.time[i] - series.time[before];
        if (passed < RATE_OVER_MS) continue;
        y = ((series.step[i] - series.step[before]) * 1000) / passed;
        before = i;
        if (!(y >= 0)) continue; // restored from a checkpoint, or no step known
      }
      if (xs.length && at < xs[xs.length - 1]) sorted = false; // a run restored from a checkpoint counts steps again
      if (Math.abs(y) > MOST_VALUE) continue;
      xs.push(at);
      ys.push(y);
    }
    if (sorted) return [xs, ys];
    const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b]);
    return [order.map((i) => xs[i]), order.map((i) => ys[i])];
  }

  /** @param {any[]} data */
  options(data) {
    const smoothed = this.scene.smoothing > 0;
    const font = `500 11px ${theme("--font")}`;
    const axis = { font, stroke: theme("--muted"), grid: { stroke: theme("--grid"), width: 1 }, ticks: { show: false }, gap: 4 };
    const line = (/** @type {Line} */ one, /** @type {number} */ i, /** @type {boolean} */ faint) => ({
      label: one.label,
      scale: one.right ? "right" : "y",
      stroke: theme(COLOURS[i % COLOURS.length]) + (faint ? "55" : ""),
      width: 1, // 1.5 px lines cost a quarter of the rate
      points: { show: (/** @type {any} */ plot) => plot.data[0].length < 3, size: 5 },
      spanGaps: true,
    });
    const faint = (/** @type {{line: number, name: string}} */ other) => ({ ...line(this.lines[other.line], other.line, false), label: other.name, stroke: `${theme(COLOURS[other.line % COLOURS.length])}77`, dash: [3, 3] });
    const hasRight = this.lines.some((one) => one.right);
    const columns = data.slice(1);
    const count = this.lines.length * (smoothed ? 2 : 1);
    const lineOf = (/** @type {number} */ i) => (i < count ? i % this.lines.length : (this.others[i - count]?.line ?? 0));
    const side = (/** @type {boolean} */ right) => columns.filter((_, i) => Boolean(this.lines[lineOf(i)]?.right) === right);
    return {
      ...this.size(),
      padding: [8, hasRight ? 0 : 16, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: SYNC.key, scales: ["x", null] },
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: -1 },
      },
      scales: { x: { time: false }, y: this.scale(side(false)), ...(hasRight ? { right: this.scale(side(true)) } : {}) },
      axes: [
        { ...axis, size: 24, space: 46, values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((x) => this.xText(x, true)) },
        { ...axis, size: 44, space: 32, values: (/** @type {any} */ _, /** @type {(number | null)[]} */ splits) => splits.map(axisText) },
        ...(hasRight ? [{ ...axis, scale: "right", side: 1, size: 44, space: 32, stroke: theme(COLOURS[this.lines.findIndex((one) => one.right) % COLOURS.length]), grid: { show: false }, values: (/** @type {any} */ _, /** @type {(number | null)[]} */ splits) => splits.map(axisText) }] : []),
      ],
      series: [{}, ...this.lines.map((one, i) => line(one, i, smoothed)), ...(smoothed ? this.lines.map((one, i) => line(one, i, false)) : []), ...this.others.map(faint)],
      hooks: {
        setCursor: [(/** @type {any} */ plot) => this.paintLegend(plot.cursor.idx)],
        setSelect: [(/** @type {any} */ plot) => this.select(plot)],
        draw: [(/** @type {any} */ plot) => this.drawMoment(plot)],
        ready: [(/** @type {any} */ plot) => plot.over.addEventListener("dblclick", () => this.scene.onZoom(null))],
      },
    };
  }

  /** @param {(number | null)[][]} columns */
  scale(columns) {
    const calm = (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => {
      if (!isNumber(low) || !isNumber(high)) return [0, 1];
      // Axis marks nearer to each other than doubles can tell apart would never end.
      const size = Math.max(Math.abs(low), Math.abs(high));
      const pad = (high - low > size * LEAST_SPAN ? high - low : size || 1) * 0.06;
      return [low - pad, high + pad];
    };
    if (!this.scene.log) return { range: calm };
    const positive = columns.every((column) => column.every((y) => y === null || y === undefined || y > 0));
    // Logarithm of both signs (asinh) where a value is zero or negative.
    return positive ? { distr: 3 } : { distr: 4, asinh: 0.01 };
  }

  /** @param {any} plot */
  select(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    this.scene.onZoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  /** The shared moment as an upright line. @param {any} plot */
  drawMoment(plot) {
    const moment = this.scene.moment();
    if (moment === null) return;
    const x = this.xOf(moment);
    if (!isNumber(x)) return;
    const left = plot.valToPos(x, "x", true);
    const { top, height, left: from, width } = plot.bbox;
    if (left < from || left > from + width) return;
    const { ctx } = plot;
    ctx.save();
    ctx.strokeStyle = theme("--cyan");
    ctx.lineWidth = devicePixelRatio || 1;
    ctx.beginPath();
    ctx.moveTo(left, top);
    ctx.lineTo(left, top + height);
    ctx.stroke();
    ctx.restore();
  }

  /** Where a time lies on the x axis. @param {number} timeMs */
  xOf(timeMs) {
    const { x, startMs, episodeAt, stepAt } = this.scene;
    if (x === "time") return (timeMs - startMs) / 1000;
    if (x === "episode") return episodeAt(timeMs);
    const step = stepAt(timeMs);
    if (step !== null) return step;
    const longest = this.lines.reduce((best, line) => (line.series.length > best.length ? line.series : best), this.lines[0].series);
    const at = longest.indexAt(timeMs);
    return at < 0 ? NaN : longest.step[at];
  }

  /** @param {number} x @param {boolean} short */
  xText(x, short) {
    if (this.scene.x === "time") return short ? clock(x * 1000) : `${clock(x * 1000)} (${time(this.scene.startMs + x * 1000)})`;
    return short ? axisText(x) : number(x);
  }

  /** @param {number | null | undefined} index of the point under the cursor; nothing: the newest */
  paintLegend(index) {
    const data = this.plot?.data ?? this.plot?._data;
    while (this.legend.childElementCount < this.lines.length) {
      const i = this.legend.childElementCount;
      const item = el("span", { title: cut(this.lines[i].path, 300) }, el("i"), el("span"));
      /** @type {HTMLElement} */ (item.firstElementChild).style.color = `var(${COLOURS[i % COLOURS.length]})`;
      this.legend.append(item);
    }
    this.lines.forEach((line, i) => {
      const y = index === null || index === undefined || !data ? undefined : data[i + 1]?.[index];
      const newest = data && data[i + 1]?.findLast(isNumber);
      const shown = isNumber(y) ? number(y) : isNumber(newest) ? number(newest) : "";
      const name = this.lines.length > 1 ? `${cut(line.label, 24)} ` : "";
      say(/** @type {Element} */ (this.legend.children[i].lastElementChild), name + shown);
    });
    if (isNumber(index) && data) this.legend.title = `${this.scene.x} ${this.xText(data[0][index], false)}`;
  }

  destroy() {
    this.sizes.disconnect();
    this.plot?.destroy();
    this.plot = null;
    fill(this.area);
    this.node.remove();
  }
}

/** Exponential moving average without the pull towards its first value. @param {(number | null)[]} column @param {number} weight */
function smooth(column, weight) {
  let mean = 0;
  let total = 0;
  return column.map((y) => {
    if (y === null || y === undefined) return null;
    mean = mean * weight + y * (1 - weight);
    total = total * weight + (1 - weight);
    return mean / total;
  });
}

/** @param {number | null} value */
function axisText(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size >= 1e12) return sign + size.toExponential(0).replace("e+", "e");
  if (size >= 1e9) return `${sign}${trim(size / 1e9)}G`;
  if (size >= 1e6) return `${sign}${trim(size / 1e6)}M`;
  if (size >= 1e4) return `${sign}${trim(size / 1e3)}k`;
  if (size !== 0 && size < 1e-3) return sign + size.toExponential(1).replace("e-", "e−").replace(".0", "");
  return sign + trim(size);
}

/** @param {number} size */
function trim(size) {
  return String(Number(size.toPrecision(4)));
}
