// @ts-check
/** Draws the value estimates of one episode as a line, with a marker at the moment shown. */

import { theme } from "../ui/theme.js";

/** A longer gap between two estimates is not drawn as a line: the learner had its turn. */
const LONGEST_GAP_MS = 5_000;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{t: number, value: number}[]} points in order of time
 * @param {number} t the moment shown
 * @returns {{low: number, high: number} | null} the range of the values; null if there is nothing to draw
 */
export function drawCurve(canvas, points, t) {
  const ratio = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, width, height);
  if (points.length < 2 || !width) return null;
  let low = Infinity;
  let high = -Infinity;
  for (const { value } of points) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const pad = 4 * ratio;
  const start = points[0].t;
  const duration = points[points.length - 1].t - start || 1;
  const x = (/** @type {number} */ at) => pad + ((at - start) / duration) * (width - 2 * pad);
  const y = (/** @type {number} */ value) =>
    high > low ? height - pad - ((value - low) / (high - low)) * (height - 2 * pad) : height / 2;
  if (low < 0 && high > 0) {
    context.fillStyle = theme("--line");
    context.fillRect(pad, Math.round(y(0)), width - 2 * pad, ratio);
  }
  context.strokeStyle = theme("--series-1");
  context.lineWidth = 1.5 * ratio;
  context.lineJoin = "round";
  context.beginPath();
  points.forEach(({ t: at, value }, i) => {
    if (i && at - points[i - 1].t > LONGEST_GAP_MS) context.moveTo(x(at), y(value));
    else context.lineTo(x(at), y(value));
  });
  context.stroke();
  const shown = points.findLast((point) => point.t <= t);
  if (!shown) return { low, high };
  context.fillStyle = theme("--cyan");
  context.globalAlpha = 0.35;
  context.fillRect(x(shown.t) - ratio / 2, 0, ratio, height);
  context.globalAlpha = 1;
  context.beginPath();
  context.arc(x(shown.t), y(shown.value), 3 * ratio, 0, 2 * Math.PI);
  context.fill();
  return { low, high };
}
