// @ts-check
/**
 * The lines of other runs in one chart, and the mean and the band of each group. They are drawn below the plot's own
 * lines. uPlot would need one row for each place of every run; here each line keeps its own places, so 24 runs
 * of 2,000 points cost a few milliseconds.
 */

import { lastAt } from "../data/rings.js";
import { theme } from "../ui/theme.js";
import { bandOf } from "./align.js";
import { colourOf, DASHES, dashOf } from "./run-names.js";
import { isDiscrete, smooth } from "./segments.js";

/** @import { Band, Segments } from "./align.js" */
/** @import { Other } from "./compare.js" */
/** @import { Group } from "./run-names.js" */
/**
 * @typedef {{key: string, name: string, line: number, right: boolean, slot: number, stamp: string, segments: Segments,
 *   drawn: Segments, band: Band | null, edges: [(number | null)[], (number | null)[]] | null,
 *   members: string[], paths: {stamp: string, line: Path2D, area: Path2D | null} | null, madeAt: number}} Curve one
 *   line of a run, or of a group: `segments` have the values, `drawn` the smoothed ones; `edges`: of the band
 *
 * @typedef {{path: string, right?: boolean, rate?: boolean}} LineOf
 *
 * @typedef {{lines: LineOf[], others: Other[][], groups: Group[], own: {key: string, segments: Segments[],
 *   stamp: string}, stamp: string, smoothing: number, columns: (other: Other, line: LineOf) => Segments}} Content
 *   `others`: by line;
 *   `own`: the run that the plot shows; `stamp`: of the axis
 */

/** The band of a group with a live run is computed again at this interval: it costs a few milliseconds. */
const BAND_EVERY_MS = 1_000;
/** The share of opacity that is left to the lines beside a highlighted one. */
const FADED = 0.12;
/** Lines after the first of a chart are fainter, because all lines of a run have one colour. */
const SECOND = 0.55;

export class Overlay {
  constructor() {
    /** In the order in which they are drawn. @type {Curve[]} */
    this.curves = [];
    /** @type {Map<string, Curve>} */
    this.known = new Map();
    /** Whether a band is older than its lines. */
    this.isStale = false;
  }

  /** The values that the legend shows, as one text. */
  get shape() {
    return this.curves.map(({ key, name, line, slot }) => [key, name, line, slot].join(" ")).join();
  }

  /** @param {Content} content */
  update({ lines, others, groups, own, stamp, smoothing, columns }) {
    this.isStale = false;
    /** @type {Map<string, Curve>} */
    const before = this.known;
    this.known = new Map();
    /** @type {Curve[]} */
    const curves = [];
    lines.forEach((line, number) => {
      const right = Boolean(line.right);
      const singles = others[number].map((other) => {
        const id = `${other.key} ${number}`;
        const mark = [other.version, stamp, smoothing, other.startMs].join(" ");
        let curve = before.get(id);
        if (curve?.stamp !== mark) {
          const segments = columns(other, line);
          const drawn = segments.map(([xs, ys]) => [xs, smoothed(line.path, ys, smoothing)]);
          curve = made(other, { line: number, right, slot: other.slot, stamp: mark, segments, drawn });
        }
        curve.name = other.name;
        curve.slot = other.slot;
        this.known.set(id, curve);
        return curve;
      });
      const grouped = new Set();
      const ownLine = { key: own.key, segments: own.segments[number] ?? [], stamp: own.stamp, slot: -1 };
      for (const group of groups) {
        const members = [ownLine, ...singles].filter(
          ({ key, segments }) => group.keys.includes(key) && segments.length,
        );
        if (members.length < 2) continue;
        for (const { key } of members) grouped.add(key);
        const { slot } = group;
        const id = `${group.key} ${number}`;
        const mark = [...members.map(({ key, stamp: one }) => `${key} ${one}`), smoothing].join();
        const old = before.get(id);
        const isSame = old?.members.join() === members.map(({ key }) => key).join() && old.right === right;
        const isRecent = old && isSame && performance.now() - old.madeAt < BAND_EVERY_MS;
        let curve = old;
        if (!curve || (curve.stamp !== mark && !(isRecent && curve.stamp.endsWith(`,${smoothing}`)))) {
          const band = bandOf(members.map(({ segments }) => segments));
          const even = (/** @type {(number | null)[]} */ ys) => smoothed(line.path, ys, smoothing);
          const segments = /** @type {Segments} */ (/** @type {unknown} */ ([[band.xs, band.mean]]));
          const drawn = /** @type {Segments} */ (/** @type {unknown} */ ([[band.xs, even(band.mean)]]));
          curve = made(group, { line: number, right, slot, stamp: mark, segments, drawn });
          curve.band = band;
          curve.edges = [even(band.low), even(band.high)];
          curve.members = members.map(({ key }) => key);
        } else if (curve.stamp !== mark) this.isStale = true;
        curve.slot = slot;
        this.known.set(id, curve);
        curves.push(curve);
      }
      curves.push(...singles.filter(({ key }) => !grouped.has(key)));
    });
    this.curves = curves;
  }

  /** The first and the last place of all lines; Infinity and −Infinity without any. @returns {[number, number]} */
  extent() {
    let first = Infinity;
    let last = -Infinity;
    for (const { segments } of this.curves)
      for (const [xs] of segments) {
        if (!xs.length) continue;
        first = Math.min(first, xs[0]);
        last = Math.max(last, xs[xs.length - 1]);
      }
    return [first, last];
  }

  /**
   * The lowest and the highest value between two places; Infinity and −Infinity without any.
   * @param {boolean} right of the lines with an axis on the right @param {number} from @param {number} to
   * @returns {[number, number]}
   */
  range(right, from, to) {
    let low = Infinity;
    let high = -Infinity;
    for (const curve of this.curves) {
      if (curve.right !== right) continue;
      const [[places]] = curve.drawn.length ? curve.drawn : [[[]]];
      /** @type {[number[], (number | null)[]][]} */
      const columns = curve.edges ? curve.edges.map((ys) => [places, ys]) : curve.drawn.map(([xs, ys]) => [xs, ys]);
      for (const [xs, ys] of columns)
        for (let i = startOf(xs, from); i < xs.length && xs[i] <= to; i++) {
          const y = ys[i];
          if (y === null) continue;
          if (y < low) low = y;
          if (y > high) high = y;
        }
    }
    return [low, high];
  }

  /** The place of a point that is nearest to a place; NaN without any. @param {number} x */
  nearest(x) {
    let nearest = NaN;
    for (const { segments } of this.curves)
      for (const [xs] of segments) {
        const at = lastAt(xs.length, (i) => xs[i], x);
        for (const i of [at, at + 1])
          if (i >= 0 && i < xs.length && !(Math.abs(xs[i] - x) >= Math.abs(nearest - x))) nearest = xs[i];
      }
    return nearest;
  }

  /**
   * Draw all lines.
   * @param {any} plot @param {string | null} highlight the key of the run or group that the viewer points at
   */
  draw(plot, highlight) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    const ratio = devicePixelRatio || 1;
    const isLit = (/** @type {Curve} */ { key, members }) =>
      highlight !== null && (key === highlight || members.includes(highlight));
    const order = [...this.curves].sort((a, b) => Number(isLit(a)) - Number(isLit(b)));
    for (const curve of order) {
      const { line, area } = this.pathsOf(curve, plot);
      const colour = theme(colourOf(curve.slot));
      ctx.globalAlpha = highlight !== null && !isLit(curve) ? FADED : curve.line ? SECOND : 1;
      if (area) {
        ctx.fillStyle = `${colour}30`;
        ctx.fill(area);
      }
      ctx.strokeStyle = colour;
      ctx.lineWidth = ratio * (isLit(curve) || curve.band ? 2 : 1);
      ctx.setLineDash(DASHES[dashOf(curve.slot)].map((length) => length * ratio));
      ctx.stroke(line);
    }
    ctx.restore();
  }

  /** @param {Curve} curve @param {any} plot */
  pathsOf(curve, plot) {
    const key = curve.right ? "right" : "y";
    const { min, max } = plot.scales.x;
    const { min: low, max: high, distr } = plot.scales[key] ?? plot.scales.y;
    const { left, top, width, height } = plot.bbox;
    const stamp = [min, max, low, high, distr, left, top, width, height].join();
    if (curve.paths?.stamp === stamp) return curve.paths;
    const toX = (/** @type {number} */ x) => left + ((x - min) / (max - min)) * width;
    const toY =
      distr === 1
        ? (/** @type {number} */ y) => top + (1 - (y - low) / (high - low)) * height
        : (/** @type {number} */ y) => plot.valToPos(y, key, true);
    const line = new Path2D();
    for (const [xs, ys] of curve.drawn) trace(line, xs, ys, min, max, toX, toY);
    const area = curve.edges && new Path2D();
    if (area && curve.edges) fillBetween(area, curve.drawn[0][0], ...curve.edges, toX, toY);
    return (curve.paths = { stamp, line, area });
  }
}

/**
 * @param {{key: string, name: string}} of
 * @param {Pick<Curve, "line" | "right" | "slot" | "stamp" | "segments" | "drawn">} more
 * @returns {Curve}
 */
function made({ key, name }, more) {
  return { key, name, ...more, band: null, edges: null, members: [], paths: null, madeAt: performance.now() };
}

/** @param {string} path @param {(number | null)[]} ys @param {number} weight @returns {any[]} */
function smoothed(path, ys, weight) {
  return weight > 0 && !isDiscrete(path, /** @type {number[]} */ (ys)) ? smooth(ys, weight) : ys;
}

/** The index of the last point at or before a place, or 0. @param {number[]} xs @param {number} x */
function startOf(xs, x) {
  return Math.max(
    0,
    lastAt(xs.length, (i) => xs[i], x),
  );
}

/**
 * Add a line to a path, in each column of pixels only its first, lowest, highest and last point.
 * @param {Path2D} path @param {number[]} xs @param {(number | null)[]} ys null: a gap @param {number} from
 * @param {number} to @param {(x: number) => number} toX @param {(y: number) => number} toY
 */
function trace(path, xs, ys, from, to, toX, toY) {
  const start = startOf(xs, from);
  let column = NaN;
  let low = 0;
  let high = 0;
  let last = 0;
  let count = 0;
  let isDown = false;
  const finish = () => {
    if (count < 2) return;
    const x = column + 0.5;
    path.lineTo(x, low);
    if (high !== low) path.lineTo(x, high);
    if (last !== high) path.lineTo(x, last);
  };
  for (let i = start; i < xs.length; i++) {
    const value = ys[i];
    const y = value === null ? NaN : toY(value);
    if (Number.isNaN(y)) {
      finish();
      column = NaN;
      count = 0;
      isDown = false;
      continue;
    }
    const x = toX(xs[i]);
    if (Math.floor(x) === column) {
      if (y < low) low = y;
      if (y > high) high = y;
      last = y;
      count++;
    } else {
      finish();
      if (isDown) path.lineTo(x, y);
      else path.moveTo(x, y);
      const isAlone = !isDown && (i + 1 >= xs.length || ys[i + 1] === null);
      if (isAlone) path.arc(x, y, 1.5, 0, 7); // a line of one point
      isDown = true;
      column = Math.floor(x);
      low = high = last = y;
      count = 1;
    }
    if (xs[i] > to) break;
  }
  finish();
}

/**
 * Add the area between two lines to a path.
 * @param {Path2D} path @param {number[]} xs @param {(number | null)[]} lows @param {(number | null)[]} highs
 * @param {(x: number) => number} toX @param {(y: number) => number} toY
 */
function fillBetween(path, xs, lows, highs, toX, toY) {
  for (let start = 0; start < xs.length; start++) {
    if (lows[start] === null) continue;
    let end = start;
    while (end + 1 < xs.length && lows[end + 1] !== null) end++;
    for (let i = start; i <= end; i++) {
      const y = toY(/** @type {number} */ (highs[i]));
      if (i === start) path.moveTo(toX(xs[i]), y);
      else path.lineTo(toX(xs[i]), y);
    }
    for (let i = end; i >= start; i--) path.lineTo(toX(xs[i]), toY(/** @type {number} */ (lows[i])));
    path.closePath();
    start = end;
  }
}
