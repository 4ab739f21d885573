// @ts-check
/**
 * One chart: a few fields on one plot, smoothed or not, over step, time or episode. Draws with uPlot, and only in view.
 */

import uPlot from "../../vendor/uplot/uplot.js";
import { isNumber } from "../data/nested.js";
import { lastAt } from "../data/rings.js";
import { el, fill, setText } from "../ui/dom.js";
import { ABSENT, clock, cut, inTwo, number, time } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { theme } from "../ui/theme.js";
import { axisSize, axisText, axisTexts, SECONDS, unitTexts, WHOLE } from "./axes.js";
import { quantity, unitOf } from "./machine.js";
import { inOrder, isDiscrete, restartsOf, smooth } from "./segments.js";

/** @import { Turn } from "../data/leaves.js" */
/** @import { Series } from "../data/rings.js" */
/** @import { Other } from "./compare.js" */
/**
 * @typedef {{path: string, label: string, right?: boolean, rate?: boolean, isNamed?: boolean, series: Series,
 *   turns: () => Turn[], brokenAt: (moment: number | null) => Turn | null}} Line `isNamed`: its label says more than
 *   the title of the chart; `turns`: the times at which it became NaN or infinite, or a number again
 *
 * @typedef {"step" | "time" | "episode"} Axis
 *
 * @typedef {{x: Axis, axis: () => Axis, smoothing: number, log: boolean, zoom: [number, number] | null,
 *   startMs: number, episodeAt: (timeMs: number) => number, stepAt: (timeMs: number) => number | null,
 *   moment: () => number | null, mark: {t: number, step: number | null} | null, others: (path: string) => Other[],
 *   onZoom: (zoom: [number, number] | null) => void}} Scene the state that all charts share; `x`: the chosen axis;
 *   `axis`: the available one, time if no entry ever had a step; `mark`: of the evidence that a viewer chose
 *
 * @typedef {{xs: number[], ys: number[], line: number, other: Other | null, isNewest: boolean, isSmooth: boolean}} Part
 *   a line, or one segment of it, as a column of the plot's data: a restored run counts its steps again, and each pass
 *   over the same steps is a segment
 */

/** Colours of the compared sessions; their dashes follow. */
export const COMPARED = ["--series-6", "--series-5", "--series-4", "--text-2"];
const DASHES = [
  [6, 3],
  [2, 3],
  [9, 3, 2, 3],
  [4, 6],
];
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
    const others = this.lines.map((line) => this.scene.others(line.path));
    const drawn = [
      this.scene.axis(),
      ...this.lines.map((line) => line.series.version),
      ...others.flat().map((other) => `${other.key} ${other.version}`),
    ].join();
    if (drawn === this.drawn && this.plot) return;
    this.drawn = drawn;
    const data = this.data(others);
    const shape = this.parts
      .map(({ line, other, isNewest, isSmooth }) => [line, other?.key, isNewest, isSmooth].join(" "))
      .join();
    if (shape !== this.shape) {
      this.drop();
      this.shape = shape;
      fill(this.legend);
      this.node.classList.toggle("multi", this.lines.length > 1 || others.some((some) => some.length > 0));
    }
    this.empty.hidden = data[0].length > 0;
    const isNew = !this.plot;
    if (isNew) this.plot = new /** @type {any} */ (uPlot)(this.options(data), data, this.area);
    else this.plot.setData(data, false);
    this.scaleX(data[0]);
    if (isNew && this.area.matches(":hover")) this.plot.setCursor(this.cursor);
    this.paintLegend(this.plot.cursor.left >= 0 ? this.plot.posToIdx(this.plot.cursor.left) : null);
  }

  /** @param {ArrayLike<number>} xs */
  scaleX(xs) {
    const zoom = this.scene.zoom;
    const first = xs[0];
    const last = xs[xs.length - 1];
    if (zoom) this.plot.setScale("x", { min: zoom[0], max: zoom[1] });
    else if (!xs.length) this.plot.setScale("x", { min: 0, max: 1 });
    else if (first === last)
      this.plot.setScale("x", { min: first - 1, max: first + 1 }); // one point: only its mark has a text
    else this.plot.setScale("x", { min: first, max: Math.max(last, first + Math.abs(first) * LEAST_SPAN) });
  }

  /**
   * Columns for uPlot: x, then each part; with smoothing, the values of this session's lines and then the smoothed
   * ones. Sets `parts`.
   * @param {Other[][]} others for each line
   */
  data(others) {
    const { startMs, smoothing } = this.scene;
    this.restarts = [];
    /** @type {Part[]} */
    const raw = [];
    const put = (
      /** @type {number} */ line,
      /** @type {Other | null} */ other,
      /** @type {number[][][]} */ segments,
    ) => {
      segments.forEach(([xs, ys], i) =>
        raw.push({ xs, ys, line, other, isNewest: i === segments.length - 1, isSmooth: false }),
      );
      if (!other && !line) this.restarts = segments.slice(1).map(([xs]) => xs[0]);
    };
    this.lines.forEach((line, i) =>
      put(i, null, this.columns(line.series, startMs, line.rate, null, line.rate ? [] : line.turns())),
    );
    this.lines.forEach((line, i) =>
      others[i].forEach((other) => put(i, other, this.columns(other.series, other.startMs, line.rate, other))),
    );
    const [xs, ...columns] =
      raw.length === 1
        ? [raw[0].xs, raw[0].ys]
        : /** @type {any[]} */ (uPlot.join(raw.map((part) => /** @type {any} */ ([part.xs, part.ys]))));
    const smoothed = /** @type {[Part, any][]} */ ([]);
    const shown = /** @type {[Part, any][]} */ ([]);
    raw.forEach((part, i) => {
      const isSmooth = smoothing > 0 && !isDiscrete(this.lines[part.line].path, part.ys);
      if (!part.other || !isSmooth) shown.push([part, columns[i]]);
      if (isSmooth) smoothed.push([{ ...part, isSmooth }, smooth(columns[i], smoothing)]);
    });
    const all = [...shown, ...smoothed];
    this.parts = all.map(([part]) => part);
    return [xs, ...all.map(([, column]) => column)];
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
        x === "step" ? stepOf(i) : x === "time" ? (series.time[i] - startMs) / 1000 : episodeAt(series.time[i]);
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
      label: part.other?.name ?? this.lines[part.line].label,
      scale: this.lines[part.line].right ? "right" : "y",
      stroke:
        theme(this.colourOf(part)) +
        (!part.other && !part.isSmooth && hasSmooth(part) ? "55" : part.isNewest ? "" : "99"),
      width: 1, // 1.5 px lines cost a quarter of the rate
      ...(part.other ? { dash: DASHES[part.other.slot % DASHES.length] } : {}),
      points: { show: (/** @type {any} */ plot) => plot.data[0].length < 3, size: 5 },
      spanGaps: false, // undefined (no point at this x) joins, null makes a gap
    });
    const hasRight = this.lines.some((one) => one.right);
    const side = (/** @type {boolean} */ right) =>
      data.slice(1).filter((_, i) => Boolean(this.lines[this.parts[i].line].right) === right);
    const single = data[0].length === 1 ? data[0][0] : null;
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
        y: this.scale(side(false)),
        ...(hasRight ? { right: this.scale(side(true)) } : {}),
      },
      axes: [
        {
          ...axis,
          size: 24,
          space: 46,
          incrs: this.scene.axis() === "time" ? SECONDS : WHOLE,
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
            splits.map((x) => (single === null || x === single ? this.xText(x, true) : "")),
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
        setCursor: [(/** @type {any} */ plot) => this.paintLegend(plot.cursor.idx)],
        setSelect: [(/** @type {any} */ plot) => this.select(plot)],
        draw: [(/** @type {any} */ plot) => this.drawMarks(plot)],
        ready: [(/** @type {any} */ plot) => plot.over.addEventListener("dblclick", () => this.scene.onZoom(null))],
      },
    };
  }

  /** @param {(number | null)[][]} columns */
  scale(columns) {
    const calm = (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => {
      if (!isNumber(low) || !isNumber(high)) return [0, 1];
      // uPlot would add axis marks without end if doubles could not tell them apart.
      const size = Math.max(Math.abs(low), Math.abs(high));
      const pad = (high - low > size * LEAST_SPAN ? high - low : size || 1) * 0.06;
      return [low - pad, high + pad];
    };
    if (!this.scene.log) return { range: calm };
    const positive = columns.every((column) => column.every((y) => y === null || y === undefined || y > 0));
    // asinh: a logarithm for both signs, if a value is zero or negative.
    return positive ? { distr: 3 } : { distr: 4, asinh: 0.01 };
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

  /** The custom property of a part's colour. @param {Part} part */
  colourOf(part) {
    return part.other ? COMPARED[part.other.slot % COMPARED.length] : COLOURS[part.line % COLOURS.length];
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
    if (x === "time") return (timeMs - startMs) / 1000;
    if (x === "episode") return episodeAt(timeMs);
    return stepAt(timeMs) ?? NaN;
  }

  /** The place of an event on the x axis. @param {{t: number, step: number | null}} event */
  xOfTurn({ t, step }) {
    return this.scene.axis() === "step" && step !== null ? step : this.xOf(t);
  }

  /** @param {number} x @param {boolean} short */
  xText(x, short) {
    if (this.scene.axis() === "time")
      return short ? clock(x * 1000) : `${clock(x * 1000)} (${time(this.scene.startMs + x * 1000)})`;
    return short ? axisText(x, 1) : number(x);
  }

  /**
   * The value of a line: under the cursor, else at the moment shown.
   * @param {any} data @param {number} line @param {Other | null} other
   * @param {number | null | undefined} index under the cursor
   * @returns {number | null}
   */
  valueOf(data, line, other, index) {
    const all = this.parts.filter((part) => part.line === line && part.other?.key === other?.key);
    if (isNumber(index)) {
      const x = data[0][index];
      // The newest pass over this place counts; between two points of a line, the earlier point.
      const over = all.findLast(({ xs }) => xs.length && xs[0] <= x && x <= xs[xs.length - 1]);
      return over ? over.ys[lastAt(over.xs.length, (i) => over.xs[i], x)] : null;
    }
    const moment = other ? null : this.scene.moment();
    const { series, rate } = this.lines[line];
    if (moment !== null) {
      const at = series.indexAt(moment);
      if (!rate) return at >= 0 ? series.value[at] : null;
      const until = Object.assign(Object.create(series), { length: at + 1 });
      return this.columns(until, 0, rate).at(-1)?.[1].at(-1) ?? null;
    }
    return all.findLast(({ isNewest }) => isNewest)?.ys.at(-1) ?? null;
  }

  /** @param {number | null | undefined} index of the point under the cursor; nothing: of the moment, or the newest */
  paintLegend(index) {
    const data = this.plot?.data ?? this.plot?._data;
    /** @type {{line: number, other: Other | null}[]} */
    const entries = [];
    for (const { line, other } of this.parts)
      if (!entries.some((one) => one.other?.key === other?.key && (other || one.line === line)))
        entries.push({ line, other });
    if (!entries.length) this.lines.forEach((_, line) => entries.push({ line, other: null }));
    const isSingle = entries.length < 2;
    this.legend.tabIndex = entries.length > LEGEND_FITS ? 0 : -1; // the keyboard must reach a legend that scrolls
    const told = entries.map(({ line, other }) => {
      const name = other ? other.name : this.lines[line].label;
      // All lines of a compared session share a colour, so it has one entry with its values in the order of the lines.
      const values = (other ? this.lines.map((_, i) => i) : [line]).map((one) =>
        data ? this.valueOf(data, one, other, index) : null,
      );
      const text = values.some(isNumber) ? values.map((y) => quantity(this.lines[line].path, y)).join(" · ") : "";
      const broken = other || isNumber(index) ? null : this.lines[line].brokenAt(this.scene.moment());
      const colour = other ? COMPARED[other.slot % COMPARED.length] : COLOURS[line % COLOURS.length];
      return {
        name: cut(name, 24),
        title: cut(this.lines[line].path, 300),
        shown: broken ? `${broken.value} since ${time(broken.t)}` : text,
        colour,
      };
    });
    told.forEach(({ name, title, shown, colour }, i) => {
      let item = this.legend.children[i];
      if (!item) {
        item = el("span", { title }, el("i"), el("span"));
        /** @type {HTMLElement} */ (item.firstElementChild).style.color = `var(${colour})`;
        /** @type {HTMLElement} */ (item.lastElementChild).style.minWidth = isSingle
          ? ""
          : `${Math.round(name.length * 0.8 + 6)}ch`; // the entries must not move while their numbers change
        this.legend.append(item);
      }
      item.classList.toggle("absent", !shown);
      setText(
        /** @type {Element} */ (item.lastElementChild),
        (isSingle && !this.lines[0].isNamed ? "" : `${name} `) + shown,
      );
    });
    if (isNumber(index) && data) this.legend.title = `${this.scene.axis()} ${this.xText(data[0][index], false)}`;
    this.paintReadout(isNumber(index) ? index : null, data, told);
  }

  /**
   * Show x and every value under the pointer, in the chart that contains the pointer.
   * @param {number | null} index @param {any} data @param {{name: string, shown: string, colour: string}[]} told
   */
  paintReadout(index, data, told) {
    const isHere = index !== null && data && this.area.matches(":hover");
    this.readout.hidden = !isHere;
    if (!isHere) return;
    const row = (/** @type {string} */ name, /** @type {string} */ text, /** @type {string} */ colour) => {
      const label = el("dt", {}, name);
      if (colour) label.style.color = `var(${colour})`;
      return el("div", {}, label, el("dd", {}, text));
    };
    fill(
      this.readout,
      row(this.scene.axis(), this.xText(data[0][index], false), ""),
      ...told.map(({ name, shown, colour }) => row(name, shown || ABSENT, colour)),
    );
    const isLeft = this.plot.cursor.left > this.plot.over.clientWidth / 2;
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
