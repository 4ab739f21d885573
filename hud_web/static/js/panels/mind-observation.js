// @ts-check
/** The observation as the policy receives it: its picture, pixel by pixel and whole, or its numbers as bars. */

import { isNumber } from "../data/nested.js";
import { Bars, scaleOf } from "../ui/bars.js";
import { el, setText } from "../ui/dom.js";
import { cut, number } from "../ui/format.js";
import { painter } from "../ui/paint.js";

/** @import { Mind } from "../data/types.js" */
/** @import { Minds } from "../stage/minds.js" */

const MOST_NUMBERS = 12;

export class Observation {
  canvas = el("canvas", { class: "mind-picture", role: "img", "aria-label": "Observation" });
  size = el("span", { class: "mind-note" });
  bars = new Bars("Observation");
  note = el("p", { class: "mind-note" });
  /** The view whose picture is wanted. @type {Mind | null} */
  wanted = null;
  /**
   * The view whose picture is drawn next; `bitmap`: null if its picture is no longer kept.
   * @type {{mind: Mind, bitmap: ImageBitmap | null} | null}
   */
  ready = null;
  isDecoding = false;

  /** @param {Minds} minds */
  constructor(minds) {
    this.minds = minds;
    this.node = el(
      "section",
      { class: "mind-part" },
      el("h3", { class: "eyebrow" }, "Observation ", this.size),
      this.canvas,
      this.bars.node,
      this.note,
    );
    this.request = painter(() => this.draw());
  }

  /** @param {Mind} mind */
  paint(mind) {
    const { observation, observationNames, hasPicture } = mind;
    const shown = observation.slice(0, MOST_NUMBERS);
    this.node.hidden = !hasPicture && !shown.length;
    this.canvas.hidden = !hasPicture;
    this.bars.node.hidden = !shown.length;
    const rows = shown.map((value, i) => ({ name: observationNames[i] || String(i), value, text: number(value) }));
    this.bars.paint(rows, scaleOf(shown), observation.length - shown.length);
    setText(this.note, noteOf(mind));
    if (!hasPicture) setText(this.size, observation.length > 1 ? `${observation.length} numbers` : "");
    if (!hasPicture || this.wanted === mind) return;
    this.wanted = mind;
    if (!this.isDecoding) this.decode();
  }

  /** Decode the wanted picture; a newer one replaces it meanwhile. */
  async decode() {
    this.isDecoding = true;
    /** @type {Mind | null} */
    let mind = null;
    while (this.wanted && this.wanted !== mind) {
      mind = this.wanted;
      const blob = await this.minds.picture(mind);
      const bitmap = blob && (await createImageBitmap(blob).catch(() => null));
      this.ready?.bitmap?.close();
      this.ready = { mind, bitmap };
      this.request();
    }
    this.isDecoding = false;
  }

  draw() {
    if (!this.ready) return;
    const { mind, bitmap } = this.ready;
    this.ready = null;
    this.canvas.width = bitmap?.width ?? 1;
    this.canvas.height = bitmap?.height ?? 1;
    this.canvas.dataset.id = mind.id;
    setText(this.size, bitmap ? sizeOf(mind, bitmap) : "its picture is no longer kept");
    if (bitmap) this.canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap?.close();
  }
}

/** "84×84, 4 channels" for a sheet of tiles. @param {Mind} mind @param {ImageBitmap} bitmap */
function sizeOf({ observationTiles: [columns, tiles] }, { width, height }) {
  if (!columns || !tiles) return `${width}×${height}`;
  return `${width / columns}×${height / Math.ceil(tiles / columns)}, ${tiles} channels`;
}

/** The parts that the publisher left out, and the numbers that black and white show. @param {Mind} mind */
function noteOf({ observationNote: note, observationRange: [low, high] }) {
  const isPlain = low === 0 && high === 255;
  const range = isNumber(low) && isNumber(high) && !isPlain ? `black ${number(low)}, white ${number(high)}` : "";
  return [range, note ? cut(note, 200) : ""].filter(Boolean).join("; ");
}
