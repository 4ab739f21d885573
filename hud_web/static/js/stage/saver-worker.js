// @ts-check
/** The worker of saver.js: decodes frames and writes a GIF, an animated WebP or a PNG strip. */

import { applyPalette, GIFEncoder, quantize } from "../../vendor/gifenc/gifenc.js";
import { muxWebp } from "./webp.js";

/** @typedef {{blob: Blob, t: number}} Shot */

/** The largest number of frames in a strip: canvases are limited to 16,384 pixels. */
const MOST_IN_STRIP = 96;
const STRIP_COLUMNS = 12;
/** Browsers show shorter delays as 100 ms. */
const LEAST_DELAY_MS = 20;
const LONGEST_DELAY_MS = 1000;

/** @type {any} */ (self).onmessage = async (/** @type {MessageEvent} */ { data }) => {
  const { shots, kind, scale } = data;
  const tell = (/** @type {number} */ share) => self.postMessage({ share });
  const make = { gif: makeGif, webp: makeWebp, png: makeStrip }[/** @type {"gif" | "webp" | "png"} */ (kind)];
  self.postMessage({ blob: await make(shots, scale, tell).catch(() => null) });
};

/**
 * @param {Shot} shot @param {number} scale @param {OffscreenCanvas} canvas
 * @returns {Promise<OffscreenCanvasRenderingContext2D>}
 */
async function draw(shot, scale, canvas) {
  const bitmap = await createImageBitmap(shot.blob);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  if (canvas.width !== bitmap.width * scale || canvas.height !== bitmap.height * scale) {
    canvas.width = bitmap.width * scale;
    canvas.height = bitmap.height * scale;
  }
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return context;
}

/** The display time of a frame, in milliseconds. @param {Shot[]} shots @param {number} i */
function delay(shots, i) {
  const next = shots[i + 1]?.t ?? shots[i].t + 500;
  return Math.min(LONGEST_DELAY_MS, Math.max(LEAST_DELAY_MS, next - shots[i].t));
}

/** @param {Shot[]} shots @param {number} scale @param {(share: number) => void} tell */
async function makeGif(shots, scale, tell) {
  const gif = GIFEncoder();
  const canvas = new OffscreenCanvas(1, 1);
  let width = 0;
  let height = 0;
  for (let i = 0; i < shots.length; i++) {
    const context = await draw(shots[i], scale, canvas);
    if (!i) ({ width, height } = canvas);
    if (canvas.width !== width || canvas.height !== height) continue; // a picture of another env
    const { data } = context.getImageData(0, 0, width, height);
    const palette = exactPalette(data) ?? quantize(data, 256);
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay: delay(shots, i) });
    tell((i + 1) / shots.length);
  }
  gif.finish();
  return new Blob([gif.bytes()], { type: "image/gif" });
}

/**
 * The exact colours if a GIF can hold them, as with pixel art; null if there are more than 256.
 * @param {Uint8ClampedArray} data
 * @returns {number[][] | null}
 */
function exactPalette(data) {
  const pixels = new Uint32Array(data.buffer, data.byteOffset, data.byteLength / 4);
  const colours = new Set();
  for (const pixel of pixels) {
    colours.add(pixel);
    if (colours.size > 256) return null;
  }
  return [...colours].map((pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255]);
}

/** @param {Shot[]} shots @param {number} scale @param {(share: number) => void} tell */
async function makeWebp(shots, scale, tell) {
  const canvas = new OffscreenCanvas(1, 1);
  const frames = [];
  let width = 0;
  let height = 0;
  for (let i = 0; i < shots.length; i++) {
    await draw(shots[i], scale, canvas);
    if (!i) ({ width, height } = canvas);
    if (canvas.width !== width || canvas.height !== height) continue;
    const blob = await canvas.convertToBlob({ type: "image/webp", quality: 1 });
    if (blob.type !== "image/webp") throw new Error("this browser writes no WebP");
    frames.push({ bytes: new Uint8Array(await blob.arrayBuffer()), delay: delay(shots, i) });
    tell((i + 1) / shots.length);
  }
  return new Blob(muxWebp(frames, width, height), { type: "image/webp" });
}

/** @param {Shot[]} shots @param {number} scale @param {(share: number) => void} tell */
async function makeStrip(shots, scale, tell) {
  const every = Math.max(1, Math.ceil(shots.length / MOST_IN_STRIP));
  const chosen = shots.filter((_, i) => i % every === 0);
  const cell = new OffscreenCanvas(1, 1);
  await draw(chosen[0], scale, cell);
  const { width, height } = cell;
  const columns = Math.min(STRIP_COLUMNS, chosen.length, Math.max(1, Math.floor(16_000 / width)));
  const strip = new OffscreenCanvas(columns * width, Math.ceil(chosen.length / columns) * height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (strip.getContext("2d"));
  for (let i = 0; i < chosen.length; i++) {
    await draw(chosen[i], scale, cell);
    context.drawImage(cell, (i % columns) * width, Math.floor(i / columns) * height, width, height);
    tell((i + 1) / chosen.length);
  }
  return strip.convertToBlob({ type: "image/png" });
}
