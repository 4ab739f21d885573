// @ts-check
/** What the vision LLM was shown, what it was asked and what it said, with its times and shares. */

import { byId, el, fill, say } from "./dom.js";
import { cut, isNumber, milliseconds, number, percent, time, value } from "./format.js";
import { painter } from "./paint.js";
import { Spark } from "./rings.js";
import { drawSpark } from "./spark.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./types.js").Picture} Picture */

const NAMES = {
  calls: ["llm_calls", "vlm_calls", "llm/calls", "calls"],
  success: ["llm_success_rate", "vlm_success_rate", "llm/success_rate"],
  alignment: ["llm_alignment", "alignment", "llm/alignment"],
  suggestion: ["llm_suggestion", "suggestion"],
};

export class Vision {
  image = el("img", { alt: "" });
  picture = el("div", { class: "vision-picture" }, this.image);
  action = el("p", { class: "vision-action" });
  text = el("p", { class: "vision-text" });
  spark = el("canvas", { "aria-hidden": "true", title: "response times" });
  foot = el("p", { class: "vision-foot" });
  prompt = el("pre", { tabindex: "0" });
  details = el("details", {}, el("summary", {}, "Prompt"), this.prompt);
  empty = el("p", { class: "empty" }, "No call of a vision LLM yet.");

  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.body = byId("vision-body");
    this.meta = byId("vision-meta");
    /** @type {Picture | null} */
    this.shown = null;
    this.url = "";
    this.latency = new Spark();
    this.seen = 0;
    fill(this.body, this.picture, this.action, this.text, this.details, this.foot, this.empty);
    const request = painter(() => this.paint(), 200);
    store.on("vision", (picture) => {
      this.seen++;
      if (isNumber(picture.response_time)) this.latency.add(picture.response_time, picture.time_ms);
      request();
    });
    store.on("cleared", () => {
      this.latency = new Spark();
      this.seen = 0;
      request();
    });
    store.on("fields", request);
    setInterval(() => this.store.vision && request(), 1000);
    this.paint();
  }

  paint() {
    const picture = this.store.vision;
    this.empty.hidden = picture !== null;
    for (const node of [this.picture, this.action, this.text]) node.hidden = picture === null;
    this.details.hidden = !picture?.prompt;
    if (picture !== this.shown) this.paintCall(picture);
    this.paintFoot();
    if (picture) {
      const model = picture.extra?.model;
      say(this.meta, [model ? cut(String(model), 40) : null, milliseconds(picture.response_time), ago(this.store.now() - picture.time_ms)].filter((part) => part && part !== "—").join(" · "));
      this.meta.title = `at ${time(picture.time_ms)}`;
    } else say(this.meta, "");
  }

  /** @param {Picture | null} picture */
  paintCall(picture) {
    this.shown = picture;
    URL.revokeObjectURL(this.url);
    this.url = picture?.bytes ? URL.createObjectURL(new Blob([picture.bytes], { type: picture.mime })) : "";
    if (this.url) this.image.src = this.url;
    else this.image.removeAttribute("src");
    this.image.alt = picture ? `What the model was shown at step ${number(picture.step)}` : "";
    if (!picture) return;
    const action = picture.extra?.action ?? picture.extra?.suggestion ?? this.store.find(NAMES.suggestion)?.value;
    say(this.action, action === undefined || action === null ? "" : value(action, 120));
    this.action.hidden = !this.action.textContent;
    say(this.text, cut(picture.response ?? "", 16_384));
    this.text.hidden = !picture.response;
    say(this.prompt, cut(picture.prompt ?? "", 16_384));
  }

  paintFoot() {
    const { store } = this;
    const find = (/** @type {string[]} */ names) => store.find(names, isNumber)?.value;
    const calls = find(NAMES.calls) ?? (this.seen || undefined);
    const parts = [];
    if (calls !== undefined) parts.push(["calls", number(calls)]);
    const success = find(NAMES.success);
    if (success !== undefined) parts.push(["ok", percent(success)]);
    const alignment = find(NAMES.alignment);
    if (alignment !== undefined) parts.push(["aligned", percent(alignment)]);
    this.foot.hidden = !parts.length && !this.latency.length;
    const text = parts.map((part) => part.join(" ")).join();
    if (this.foot.dataset.text !== text || !this.foot.childElementCount) {
      this.foot.dataset.text = text;
      fill(this.foot, ...parts.map(([label, shown]) => el("span", {}, `${label} `, el("b", {}, shown))), this.spark);
    }
    drawSpark(this.spark, this.latency.values, this.latency.length, "--series-3");
  }
}

/** @param {number} ms */
function ago(ms) {
  return ms < 1000 ? "now" : `${milliseconds(ms)} ago`;
}
