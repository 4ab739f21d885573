// @ts-check
/** The curve of a run's return on a small canvas: a line over the steps with its newest value as a dot. */

import { isNumber } from "../data/nested.js";
import { el } from "../ui/dom.js";
import { onTheme, theme } from "../ui/theme.js";

/** @typedef {import("../runs/feed.js").Curve} Points */

/** Curves of which the size or the colours changed. @type {WeakMap<Element, Curve>} */
const curves = new WeakMap();
const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) curves.get(target)?.resize(contentRect.width, contentRect.height);
});
let themes = 0;
onTheme(() => themes++);

export class Curve {
  constructor() {
    this.canvas = el("canvas", { class: "curve", "aria-hidden": "true", width: 1, height: 1 });
    this.width = 0;
    this.height = 0;
    /** @type {Points | null} */
    this.points = null;
    /** The content of the canvas. */
    this.drawn = "";
    curves.set(this.canvas, this);
    sizes.observe(this.canvas);
  }

  get hasLine() {
    return (this.points?.value.length ?? 0) > 1;
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.width = width;
    this.height = height;
    this.draw();
  }

  forget() {
    sizes.unobserve(this.canvas);
  }

  /** @param {Points | null} points */
  show(points) {
    this.points = points;
  }

  draw() {
    const { points, width, height } = this;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    const { time_ms: times = [], step: steps = [], value: values = [] } = points ?? {};
    const last = values.length - 1;
    const drawn = [width, height, ratio, themes, times[0], times[last], values[last], last].join(" ");
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const { canvas } = this;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    const xs = steps.length && steps.every(isNumber) ? /** @type {number[]} */ (steps) : times;
    const known = values.flatMap((value, i) => (isNumber(value) && isNumber(xs[i]) ? [[xs[i], value]] : []));
    if (!context || known.length < 2) return;
    const dot = Math.max(2, Math.min(4, height / 14)) * ratio;
    draw(context, known, { width: canvas.width, height: canvas.height, dot, line: Math.max(1.5, height / 60) * ratio });
  }
}

/**
 * @param {CanvasRenderingContext2D} context @param {number[][]} points x and y
 * @param {{width: number, height: number, dot: number, line: number}} look in pixels of the canvas
 */
function draw(context, points, { width, height, dot, line }) {
  const [left, right] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  const [low, high] = [Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y))];
  const pad = dot + line;
  const place = (/** @type {number[]} */ [x, y]) => [
    pad + ((x - left) / (right - left || 1)) * (width - 2 * pad),
    high > low ? height - pad - ((y - low) / (high - low)) * (height - 2 * pad) : height / 2,
  ];
  const placed = points.map(place);
  const [endX, endY] = placed[placed.length - 1];
  const colour = theme("--series-1");
  const path = new Path2D();
  for (const [x, y] of placed) path.lineTo(x, y);
  const area = new Path2D(path);
  area.lineTo(endX, height);
  area.lineTo(placed[0][0], height);
  const shade = context.createLinearGradient(0, 0, 0, height);
  shade.addColorStop(0, `${colour}55`);
  shade.addColorStop(1, `${colour}00`);
  context.fillStyle = shade;
  context.fill(area);
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.lineJoin = "round";
  context.lineCap = "round";
  context.stroke(path);
  context.fillStyle = theme("--accent-strong");
  context.beginPath();
  context.arc(endX, endY, dot, 0, 2 * Math.PI);
  context.fill();
}
