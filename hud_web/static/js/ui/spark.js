// @ts-check
/** Draws sparklines on small canvases: thin lines without axes. */

import { theme } from "./theme.js";

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values
 * @param {number} length how many of them
 * @param {string} [colour] a custom property's name
 */
export function drawSpark(canvas, values, length, colour = "--series-1") {
  const ratio = devicePixelRatio || 1;
  const width = Math.round((canvas.clientWidth || 60) * ratio);
  const height = Math.round((canvas.clientHeight || 16) * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, width, height);
  if (length < 2) return;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < length; i++) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  const span = high - low;
  if (!Number.isFinite(span)) return;
  const pad = 1.5 * ratio;
  const y = (/** @type {number} */ value) =>
    span ? height - pad - ((value - low) / span) * (height - 2 * pad) : height / 2;
  context.strokeStyle = theme(colour);
  context.lineWidth = 1.25 * ratio;
  context.lineJoin = "round";
  context.beginPath();
  for (let i = 0; i < length; i++) context.lineTo(pad + (i / (length - 1)) * (width - 2 * pad), y(values[i]));
  context.stroke();
}
