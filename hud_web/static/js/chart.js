// @ts-check
/** One chart: some fields on one plot, smoothed or not, over step, time or episode. Draws with uPlot, and only when seen. */

import uPlot from "../vendor/uplot/uplot.js";
import { el, fill, say } from "./dom.js";
import { clock, cut, inTwo, isNumber, number, time } from "./format.js";
import { painter } from "./paint.js";
import { theme } from "./theme.js";

/** @import { Series } from "./rings.js" */
/** @typedef {{path: string, label: string, right?: boolean, rate?: boolean, series: Series}} Line */
/** @typedef {"step" | "time" | "episode"} Axis */
/**
 * What all charts share. `x` is what was chosen, `axis` what there is: the time where nothing ever told a step.
 * @typedef {{x: Axis, axis: () => Axis, smoothing: number, log: boolean, zoom: [number, number] | null,
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
/** Steps and episodes are whole; marks of time are where clocks have theirs. */
const WHOLE = Array.from({ length: 48 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));
const SECONDS = [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((n) => n * 60), ...[1, 2, 3, 6, 12, 24].map((n) => n * 3600), ...WHOLE.slice(1, 16).map((n) => n * 86_400)];
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
    this.heading = el("h3", { title }, ...inTwo(cut(title, 120)).map((part) => part && el("span", {}, part)));
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
    const drawn = this.lines.map((line) => line.series.version).join() + this.scene.axis();
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
    const tables = [...this.lines.map((line) => this.columns(line.series, this.scene.startMs, line.rate)), ...others.map((other) => this.columns(other.series, other.startMs, this.lines[other.line].rate, false))];
    const [xs, ...columns] = tables.length === 1 ? tables[0] : uPlot.join(tables);
    const weight = this.scene.smoothing;
    if (!weight) return [xs, ...columns];
    const own = columns.slice(0, this.lines.length);
    const smoothed = columns.map((/** @type {any} */ column) => smooth(column, weight));
    return [xs, ...own, ...smoothed];
  }

  /** @param {Series} series @param {number} startMs @param {boolean} [rate] @param {boolean} [isOwn] not of another session */
  columns(series, startMs, rate = false, isOwn = true) {
    const { episodeAt, stepAt } = this.scene;
    const x = this.scene.axis();
    const stepOf = (/** @type {number} */ i) => (Number.isNaN(series.step[i]) && isOwn ? (stepAt(series.time[i]) ?? NaN) : series.step[i]);
    const xs = /** @type {number[]} */ ([]);
    const ys = /** @type {number[]} */ ([]);
    let sorted = true;
    let before = 0;
    for (let i = 0; i < series.length; i++) {
      const at = x === "step" ? stepOf(i) : x === "time" ? (series.time[i] - startMs) / 1000 : episodeAt(series.time[i]);
      if (Number.isNaN(at)) continue;
      let y = series.value[i];
      if (rate) {
        const passed = series.time[i] - series.time[before];
        if (passed < RATE_OVER_MS) continue;
        y = ((stepOf(i) - stepOf(before)) * 1000) / passed;
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
      padding: [8, hasRight ? 0 : 20, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: SYNC.key, scales: ["x", null] },
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: -1 },
      },
      scales: { x: { time: false }, y: this.scale(side(false)), ...(hasRight ? { right: this.scale(side(true)) } : {}) },
      axes: [
        { ...axis, size: 24, space: 46, incrs: this.scene.axis() === "time" ? SECONDS : WHOLE, values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((x) => this.xText(x, true)) },
        { ...axis, size: axisSize, space: 32, values: axisTexts },
        ...(hasRight ? [{ ...axis, scale: "right", side: 1, size: axisSize, space: 32, stroke: theme(COLOURS[this.lines.findIndex((one) => one.right) % COLOURS.length]), grid: { show: false }, values: axisTexts }] : []),
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

  /** Show the moment that the page shows. */
  follow() {
    this.plot?.redraw(false, false);
    this.paintLegend(null);
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
    const { startMs, episodeAt, stepAt } = this.scene;
    const x = this.scene.axis();
    if (x === "time") return (timeMs - startMs) / 1000;
    if (x === "episode") return episodeAt(timeMs);
    return stepAt(timeMs) ?? NaN;
  }

  /** @param {number} x @param {boolean} short */
  xText(x, short) {
    if (this.scene.axis() === "time") return short ? clock(x * 1000) : `${clock(x * 1000)} (${time(this.scene.startMs + x * 1000)})`;
    return short ? axisText(x, 1) : number(x);
  }

  /** Index of the last point at the moment that the page shows; nothing while that is now. @param {any} data */
  indexOfMoment(data) {
    const moment = this.scene.moment();
    if (moment === null || !data) return undefined;
    const x = this.xOf(moment);
    return isNumber(x) ? data[0].findLastIndex((/** @type {number} */ at) => at <= x) : undefined;
  }

  /** @param {number | null | undefined} index of the point under the cursor; nothing: of the moment, or the newest */
  paintLegend(index) {
    const data = this.plot?.data ?? this.plot?._data;
    while (this.legend.childElementCount < this.lines.length) {
      const i = this.legend.childElementCount;
      const item = el("span", { title: cut(this.lines[i].path, 300) }, el("i"), el("span"));
      /** @type {HTMLElement} */ (item.firstElementChild).style.color = `var(${COLOURS[i % COLOURS.length]})`;
      this.legend.append(item);
    }
    const at = isNumber(index) ? index : this.indexOfMoment(data);
    this.lines.forEach((line, i) => {
      const y = data && lastNumber(data[i + 1], at ?? data[0].length - 1);
      const shown = isNumber(y) ? number(y) : "";
      this.legend.children[i].classList.toggle("absent", !shown);
      const name = this.lines.length > 1 ? `${cut(line.label, 24)} ` : "";
      say(/** @type {Element} */ (this.legend.children[i].lastElementChild), name + shown);
    });
    if (isNumber(index) && data) this.legend.title = `${this.scene.axis()} ${this.xText(data[0][index], false)}`;
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

/** @param {ArrayLike<number | null>} column @param {number} from @returns {number | null} the last number at or before */
function lastNumber(column, from) {
  for (let i = from; i >= 0; i--) if (isNumber(column[i])) return column[i];
  return null;
}

/** @param {any} _plot @param {(number | null)[]} splits @param {number} _axis @param {number} _space @param {number} apart */
function axisTexts(_plot, splits, _axis, _space, apart) {
  return splits.map((value) => axisText(value, apart));
}

/** As wide as the longest mark; digits of this font are 7 px wide. @param {any} _plot @param {string[] | null} texts */
function axisSize(_plot, texts) {
  return Math.max(44, 14 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
}

/** A mark, with as many digits as tell it from its neighbours. @param {number | null} value @param {number} apart from the next mark */
function axisText(value, apart) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  const digits = Math.min(12, Math.max(2, Math.floor(Math.log10(size)) - Math.floor(Math.log10(apart || size)) + 2));
  if (size >= 1e12 || size < 1e-3) return sign + size.toExponential(digits - 1).replace(/\.?0*e/, "e").replace("e+", "e").replace("e-", "e−");
  const [unit, letter] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  return sign + Number((size / unit).toPrecision(digits)) + letter;
}
