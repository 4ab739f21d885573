// @ts-check
/**
 * The calls of the vision LLM: picture, prompt and response, with times and rates. Shows the newest call, the one at
 * the moment shown, or any of the last fifty.
 */

import { entryPlace, entryTime, isNumber } from "../data/nested.js";
import { button, byId, el, fill, setText } from "../ui/dom.js";
import { cut, milliseconds, number, percent, time, value } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { loadSheet } from "../ui/sheet.js";
import { drawSpark } from "../ui/spark.js";
import { onTheme } from "../ui/theme.js";
import { LLM_FIELDS } from "../charts/recipes.js";

/** @import { Store } from "../data/store.js" */
/** @import { Picture, Fields } from "../data/types.js" */
/**
 * @typedef {{id: string, t: number, step: number | null, response_time: number | null, prompt: string | null,
 *   response: string | null, extra: Fields | null, blob: Blob | null}} Call
 */

await loadSheet("vision");

const MOST_CALLS = 50;
/** An older suggestion says nothing about the moment. */
const SUGGESTED_WITHIN_MS = 30_000;
/** Extra fields of a response that have a fixed place. */
const PLACED = new Set([
  "action",
  "suggestion",
  "model",
  "error",
  "aligned",
  "choices",
  "reasoning",
  "refusal",
  "picture",
]);

export class Vision {
  image = el("img", { alt: "", decoding: "async" });
  picture = el("button", { type: "button", class: "vision-picture", title: "Enlarge" }, this.image);
  action = el("p", { class: "vision-action" });
  text = el("p", { class: "vision-text", tabindex: "0", role: "group", "aria-label": "Response" });
  reasoning = el("pre", { tabindex: "0", role: "group", "aria-label": "Reasoning" });
  thoughts = el("details", {}, el("summary", {}, "Reasoning"), this.reasoning);
  note = el("p", { class: "vision-extras" });
  extras = el("p", { class: "vision-extras" });
  spark = el("canvas", { "aria-hidden": "true", title: "Response times" });
  foot = el("p", { class: "vision-foot" });
  prompt = el("pre", { tabindex: "0", role: "group", "aria-label": "Prompt" });
  details = el("details", {}, el("summary", {}, "Prompt"), this.prompt);
  empty = el("p", { class: "empty" }, "No call of a vision LLM yet.");
  where = el("span", { class: "muted vision-where" });
  guidance = el("h3", { class: "eyebrow" }, "LLM guidance");

  /** @param {Store} store @param {() => import("../server/api.js").Api} api */
  constructor(store, api) {
    this.store = store;
    this.api = api;
    this.body = byId("vision-body");
    this.meta = byId("vision-meta");
    /** @type {Call[]} oldest first */
    this.calls = [];
    /** @type {string} of the call that was chosen by hand */
    this.chosen = "";
    /** Paths of shares that were above 1 at some time, so they are in per cent. @type {Set<string>} */
    this.hundreds = new Set();
    /** The moment shown when the call was chosen; NaN for now. */
    this.chosenAt = NaN;
    /** @type {Call | null} */
    this.shown = null;
    this.url = "";
    fill(
      this.body,
      this.picture,
      this.action,
      this.text,
      this.note,
      this.extras,
      this.details,
      this.spark,
      this.guidance,
      this.foot,
      this.empty,
    );
    this.newer = button("right", "Newer call", () => this.step(1), { quiet: true });
    this.older = button("left", "Older call", () => this.step(-1), { quiet: true });
    fill(byId("vision-tools"), this.where, this.older, this.newer);
    this.picture.addEventListener("click", () => this.enlarge());
    this.image.addEventListener("error", () => {
      if (this.url) this.showNote("the browser cannot decode the picture");
    });
    this.request = painter(() => this.paint(), 150);
    store.on("vision", (picture) => this.add(picture));
    store.on("snapshot", () => this.load());
    store.on("cleared", () => this.clear());
    store.on("fields", this.request);
    store.on("moment", (moment) => this.follow(moment));
    setInterval(() => this.calls.length && this.request(), 1000);
    onTheme(this.request);
    if (store.vision) this.add(store.vision);
    if (store.snapshotSeen) this.load();
    this.paint();
  }

  clear() {
    this.calls = [];
    this.chosen = "";
    this.hundreds.clear();
    this.request();
  }

  /** @param {Picture} picture */
  add(picture) {
    const blob = picture.bytes ? new Blob([picture.bytes], { type: picture.mime }) : null;
    this.insert({
      id: picture.id ?? `${picture.time_ms}`,
      t: entryTime(picture),
      step: picture.step,
      response_time: picture.response_time,
      prompt: picture.prompt,
      response: picture.response,
      extra: picture.extra,
      blob,
    });
  }

  /** @param {Call} call */
  insert(call) {
    const known = this.calls.find((one) => one.id === call.id);
    if (known) known.blob ??= call.blob;
    else {
      this.calls.push(call);
      this.calls.sort((a, b) => a.t - b.t || entryPlace(a.id) - entryPlace(b.id));
      if (this.calls.length > MOST_CALLS) this.calls.shift();
    }
    this.store.emit("calls");
    this.request();
  }

  /** Fetch the calls from before the page was opened; a picture is fetched when its call is shown. */
  async load() {
    if (!this.store.session?.sid) return;
    const answer = await this.api().get("api/vision", { limit: MOST_CALLS });
    if (!Array.isArray(answer?.calls)) return;
    for (const call of answer.calls) {
      if (typeof call.id !== "string") continue;
      this.insert({
        id: call.id,
        t: entryTime(call),
        step: call.step ?? null,
        response_time: call.response_time ?? null,
        prompt: call.prompt ?? null,
        response: call.response ?? null,
        extra: call.extra ?? null,
        blob: null,
      });
    }
  }

  /** The index of the call to show: the chosen one, else the last one before the moment. */
  current() {
    const { moment } = this.store;
    const chosen = this.calls.findIndex((call) => call.id === this.chosen);
    if (chosen >= 0) return chosen;
    if (moment === null) return this.calls.length - 1;
    return this.calls.findLastIndex((call) => call.t <= moment);
  }

  /** The action that the newest call before the moment suggested; undefined without one. */
  suggestion() {
    const at = this.store.moment ?? this.store.now();
    const call = this.calls.findLast(({ t }) => t <= at || this.store.moment === null);
    if (!call || at - call.t > SUGGESTED_WITHIN_MS) return undefined;
    return call.extra?.action ?? call.extra?.advice ?? call.extra?.suggestion;
  }

  /** Show the call of a moment; a choice by hand ends when the moment changes. @param {number | null} moment */
  follow(moment) {
    if (moment !== this.chosenAt) this.chosen = "";
    this.request();
  }

  /** @param {1 | -1} direction */
  step(direction) {
    const at = this.current() + direction;
    if (at < 0) return;
    this.chosenAt = this.store.moment ?? NaN; // so that pressing Live ends the choice even if the page is live
    this.chosen = at >= this.calls.length - 1 && this.store.moment === null ? "" : (this.calls[at]?.id ?? "");
    this.request();
  }

  paint() {
    const at = this.current();
    const call = this.calls[at] ?? null;
    this.empty.hidden = call !== null;
    setText(
      this.empty,
      this.store.moment !== null && this.calls.length ? "No call at this moment yet." : "No call of a vision LLM yet.",
    );
    if (call !== this.shown || !call) this.paintCall(call);
    this.where.textContent = this.calls.length > 1 ? `${at + 1}/${this.calls.length}` : "";
    this.older.disabled = at <= 0;
    this.newer.disabled = at >= this.calls.length - 1;
    this.older.hidden = this.newer.hidden = this.calls.length < 2;
    this.paintFoot();
    const parts = call
      ? [
          call.extra?.model ? cut(String(call.extra.model), 40) : "",
          milliseconds(call.response_time),
          this.chosen || this.store.moment !== null ? time(call.t) : ago(this.store.now() - call.t),
        ]
      : [];
    setText(this.meta, parts.filter((part) => part && part !== "—").join(" · "));
    this.meta.title = call ? `step ${number(call.step)} at ${time(call.t)}` : "";
  }

  /** @param {Call | null} call */
  async paintCall(call) {
    this.shown = call;
    this.picture.hidden = call === null;
    const action = call?.extra?.action ?? call?.extra?.suggestion;
    const { error, refusal } = call?.extra ?? {};
    const failure = error ? String(error) : refusal ? `Refused: ${refusal}` : "";
    this.action.classList.toggle("failed", Boolean(failure));
    setText(
      this.action,
      failure ? cut(failure, 200) : action === undefined || action === null ? "" : value(action, 120),
    );
    if (call?.extra?.aligned === true) this.action.append(" ✓");
    this.action.hidden = !this.action.textContent;
    const text = answer(call);
    setText(this.text, text);
    this.text.hidden = !text;
    const reasoning = call?.extra?.reasoning;
    setText(this.reasoning, reasoning ? cut(String(reasoning), 16_384) : "");
    if (reasoning) this.details.before(this.thoughts);
    else this.thoughts.remove();
    this.thoughts.open = Boolean(reasoning) && !text;
    this.showNote(call?.extra?.picture);
    setText(this.prompt, cut(call?.prompt ?? "", 16_384));
    this.details.hidden = !call?.prompt;
    const extras = Object.entries(call?.extra ?? {})
      .filter(([name]) => !PLACED.has(name))
      .slice(0, 12);
    fill(
      this.extras,
      ...extras.map(([name, shown]) => el("span", {}, `${cut(name, 40)} `, el("b", {}, value(shown, 60)))),
    );
    this.extras.hidden = !extras.length;
    this.image.alt = call ? `Picture sent to the model at step ${number(call.step)}` : "";
    if (call && !call.blob) call.blob = await this.api().blob(`api/vision/${encodeURIComponent(call.id)}`);
    if (call !== this.shown) return;
    URL.revokeObjectURL(this.url);
    this.url = call?.blob ? URL.createObjectURL(call.blob) : "";
    if (this.url) this.image.src = this.url;
    else this.image.removeAttribute("src");
  }

  /** Show a note about the picture. @param {unknown} note the reason for a missing picture, or how it was changed */
  showNote(note) {
    this.note.hidden = !note;
    fill(this.note, el("span", {}, "picture ", el("b", {}, cut(String(note ?? ""), 300))));
  }

  paintFoot() {
    const { store } = this;
    const find = (/** @type {string[]} */ names) => store.leaves.find(names)?.value;
    const count = (/** @type {string[]} */ names) => store.leaves.find(names, isNumber)?.value;
    const parts = /** @type {[string, string][]} */ ([]);
    const put = (/** @type {string} */ label, /** @type {unknown} */ told, /** @type {(told: any) => string} */ show) =>
      told !== undefined && parts.push([label, show(told)]);
    put("suggests", find(LLM_FIELDS.suggestion), (told) => value(told, 120));
    put("sees", find(LLM_FIELDS.scene), (told) => value(told, 300));
    put("calls", count(LLM_FIELDS.calls), number);
    const share = (/** @type {string[]} */ names) => {
      const leaf = store.leaves.find(names, isNumber);
      if (leaf && (leaf.value > 1 || countsToHundred(leaf))) this.hundreds.add(leaf.path);
      return leaf ? percent(leaf.value, this.hundreds.has(leaf.path)) : undefined;
    };
    put("ok", share(LLM_FIELDS.success), String);
    put("aligned", share(LLM_FIELDS.alignment), String);
    put("bonus", count(LLM_FIELDS.bonus), number);
    this.guidance.hidden = !parts.length;
    if (this.calls.length && count(LLM_FIELDS.calls) === undefined)
      parts.unshift(["calls", `${this.calls.length}${this.calls.length < MOST_CALLS ? "" : "+"}`]);
    const times = this.calls.map((call) => call.response_time).filter(isNumber);
    if (times.length > 4)
      parts.push(["p95", milliseconds([...times].sort((a, b) => a - b)[Math.floor(times.length * 0.95)])]);
    this.foot.hidden = !parts.length;
    byId("vision").classList.toggle("used", this.calls.length > 0 || parts.length > 0);
    const text = parts.map((part) => part.join(" ")).join();
    if (this.foot.dataset.text !== text) {
      this.foot.dataset.text = text;
      fill(this.foot, ...parts.map(([label, shown]) => el("span", {}, `${label} `, el("b", {}, shown))));
    }
    this.spark.hidden = times.length < 2;
    drawSpark(this.spark, times, times.length, "--series-3");
  }

  async enlarge() {
    if (!this.url) return;
    const { openDialog } = await import("../ui/dialogs.js");
    openDialog("picture", "Picture sent to the model", () => [
      el("img", { class: "picture", src: this.url, alt: this.image.alt }),
    ]);
  }
}

/** The response text; several choices get numbers. @param {Call | null} call */
function answer(call) {
  const choices = call?.extra?.choices;
  const several = Array.isArray(choices) && choices.length > 1;
  return cut(several ? choices.map((choice, at) => `${at + 1}. ${choice}`).join("\n") : (call?.response ?? ""), 65_536);
}

/**
 * Whether a share is in per cent: its name says so, or it was above 1 before.
 * @param {import("../data/leaves.js").Leaf} leaf
 */
function countsToHundred({ spark, name }) {
  return /percent|pct/i.test(name) || Boolean(spark?.values.subarray(0, spark.length).some((value) => value > 1));
}

/** @param {number} ms */
function ago(ms) {
  return ms < 1000 ? "now" : `${milliseconds(ms)} ago`;
}
