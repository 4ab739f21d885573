// @ts-check
/**
 * The chart of a field with histograms: time goes to the right, values up, and the colour of a cell is the share of its
 * interval among the values at that time. A line shows the mean.
 */

import { isNumber } from "../data/nested.js";
import { el, setText } from "../ui/dom.js";
import { number, percent } from "../ui/format.js";
import { theme } from "../ui/theme.js";
import { Chart, swatch } from "./chart.js";

/** @import { Columns, Histogram } from "../data/histograms.js" */
/** @import { Part } from "./chart.js" */
/** @typedef {{x: number, histogram: Histogram}} Column */

const CELLS = "--series-1";
const MEAN = "--series-2";
/** Cells with a single value among thousands stay visible. */
const FAINTEST = 0.1;

export class HistogramChart extends Chart {
  /** In the order of the x axis. @type {Column[]} */
  shown = [];

  /** @returns {any[]} */
  data() {
    const series = /** @type {Columns} */ (/** @type {unknown} */ (this.lines[0].series));
    this.restarts = [];
    this.shown = series.histograms
      .map((histogram, i) => {
        const step = series.step[i];
        return { x: this.xOfTurn({ t: series.time[i], step: Number.isNaN(step) ? null : step }), histogram };
      })
      .filter(({ x, histogram }) => isNumber(x) && histogram.counts.length > 0)
      .sort((a, b) => a.x - b.x);
    const xs = this.shown.map(({ x }) => x);
    const columns = [
      this.shown.map(({ histogram }) => histogram.low),
      this.shown.map(({ histogram }) => histogram.high),
      this.shown.map(({ histogram }) => histogram.mean ?? null),
    ];
    this.parts = columns.map((ys) => /** @type {Part} */ ({ xs, ys, line: 0, isNewest: true, isSmooth: false }));
    return [xs, ...columns];
  }

  /** @param {any[]} data @returns {any} */
  options(data) {
    const options = /** @type {any} */ (super.options(data));
    const [, low, high, mean] = options.series;
    for (const edge of [low, high]) Object.assign(edge, { paths: () => null, points: { show: false } });
    mean.stroke = theme(MEAN);
    options.cursor.points = { show: false };
    options.hooks.drawAxes = [(/** @type {any} */ plot) => this.drawCells(plot)];
    return options;
  }

  /** @param {any} plot */
  drawCells(plot) {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const places = this.shown.map(({ x }) => plot.valToPos(x, "x", true));
    const half = places.length > 1 ? (places[1] - places[0]) / 2 : 6;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    ctx.fillStyle = theme(CELLS);
    this.shown.forEach(({ histogram: { low, high, counts } }, i) => {
      const from = Math.round(i ? (places[i - 1] + places[i]) / 2 : places[i] - half);
      const to = Math.round(i + 1 < places.length ? (places[i] + places[i + 1]) / 2 : 2 * places[i] - from);
      if (to < left || from > left + width) return;
      const most = Math.max(...counts);
      let bottom = Math.round(plot.valToPos(low, "y", true));
      counts.forEach((count, bin) => {
        // Whole pixels: blurred edges of neighbours would draw a grid.
        const upper = Math.round(plot.valToPos(low + ((high - low) * (bin + 1)) / counts.length, "y", true));
        if (count) {
          ctx.globalAlpha = FAINTEST + (1 - FAINTEST) * Math.sqrt(count / most);
          ctx.fillRect(from, upper, Math.max(1, to - from), Math.max(1, bottom - upper));
        }
        bottom = upper;
      });
    });
    ctx.restore();
  }

  /** @param {number | null} x of the column under the cursor; null: at the moment, or the newest */
  paintLegend(x) {
    const moment = this.scene.moment();
    const series = /** @type {Columns} */ (/** @type {unknown} */ (this.lines[0].series));
    const now = moment === null ? series.histograms.at(-1) : series.histograms[series.indexAt(moment)];
    const histogram = x === null ? now : this.shown.findLast((column) => column.x === x)?.histogram;
    if (!this.legend.firstElementChild) {
      this.legend.append(el("span", {}, swatch(MEAN, 0), el("span")));
    }
    const mean = isNumber(histogram?.mean) ? `mean ${number(histogram.mean)}` : "";
    setText(/** @type {Element} */ (this.legend.firstElementChild?.lastElementChild), mean);
    if (x === null || !histogram || !this.area.matches(":hover")) {
      this.paintReadout(null, []);
      return;
    }
    const told = [
      { name: "mean", shown: number(histogram.mean), colour: MEAN },
      { name: "values", shown: number(histogram.n), colour: "" },
    ];
    const { low, high, counts } = histogram;
    const wide = (high - low) / counts.length;
    const bin = Math.floor((this.plot.posToVal(this.plot.cursor.top, "y") - low) / wide);
    if (counts[bin] !== undefined) {
      const total = counts.reduce((sum, count) => sum + count, 0);
      told.push({
        name: `${number(low + bin * wide)} to ${number(low + (bin + 1) * wide)}`,
        shown: total ? percent(counts[bin] / total) : "",
        colour: CELLS,
      });
    }
    this.paintReadout(x, told);
  }
}
