// @ts-check
/** Joins still WebP pictures into an animated one (WebP container specification, RFC 9649 §2.7). */

/**
 * @param {{bytes: Uint8Array<ArrayBuffer>, delay: number}[]} frames still pictures of one size, each for `delay`
 *   milliseconds
 * @param {number} width @param {number} height
 * @returns {Uint8Array<ArrayBuffer>[]} the file's parts
 */
export function muxWebp(frames, width, height) {
  const isAnimated = 0x02;
  const body = [chunk("VP8X", [new Uint8Array([isAnimated, 0, 0, 0, ...uint24(width - 1), ...uint24(height - 1)])])];
  body.push(chunk("ANIM", [new Uint8Array([0, 0, 0, 255, 0, 0])])); // black, endless
  for (const { bytes, delay } of frames) {
    const head = new Uint8Array([
      0,
      0,
      0,
      0,
      0,
      0,
      ...uint24(width - 1),
      ...uint24(height - 1),
      ...uint24(delay),
      0x02,
    ]); // 0x02: no blending
    body.push(chunk("ANMF", [head, ...pictureChunks(bytes)]));
  }
  const size = body.reduce((sum, part) => sum + part.length, 4);
  return [ascii("RIFF"), uint32(size), ascii("WEBP"), ...body];
}

/** The chunks of a still picture that hold its pixels. @param {Uint8Array<ArrayBuffer>} bytes */
function pictureChunks(bytes) {
  const parts = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length;) {
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size + (size & 1);
    if (name === "VP8 " || name === "VP8L" || name === "ALPH") parts.push(bytes.subarray(at, end));
    at = end;
  }
  return parts;
}

/** @param {string} name @param {Uint8Array<ArrayBuffer>[]} parts @returns {Uint8Array<ArrayBuffer>} */
function chunk(name, parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(8 + size + (size & 1));
  bytes.set(ascii(name));
  bytes.set(uint32(size), 4);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** @param {number} value */
function uint24(value) {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255];
}

/** @param {number} value */
function uint32(value) {
  return new Uint8Array([value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255]);
}

/** @param {string} text */
function ascii(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
