// @ts-check
/** One run on the wall: a link to its dashboard with its picture, state, return and pace. Changes elements in place. */

import { isNumber } from "../data/nested.js";
import { el, fill, icon, setText } from "../ui/dom.js";
import { ABSENT, cut, duration, number } from "../ui/format.js";
import { lookOf } from "../ui/verdict-look.js";
import { durationOf, stateOf, toneOf } from "../runs/look.js";
import { Curve } from "./curve.js";
import { nameOf } from "./order.js";
import { Shot } from "./shot.js";

/** @import { Card } from "../runs/feed.js" */

const LONGEST_NAME = 160;
/** Names often differ at their ends only: of a longer one, the end is always shown. */
const UNCUT_NAME = 14;
const TAIL = 5;
const LONGEST_VERDICT = 240;
const MOST_TAGS = 2;

let made = 0;

export class Tile {
  /** @param {string} key @param {Card} card @param {() => void} onReady a picture is decoded */
  constructor(key, card, onReady) {
    this.key = key;
    this.card = card;
    this.isInView = false;
    /** Whether the tile comes into view with the next page of the kiosk: its picture must be new by then. */
    this.isNext = false;
    this.isStale = true;
    this.shot = new Shot(onReady);
    this.curve = new Curve();
    this.state = el("span", { class: "run-state" });
    this.age = el("span", { class: "age", hidden: true });
    this.nameHead = el("span", { class: "text" });
    this.nameTail = el("span");
    this.name = el("span", { class: "name" }, this.nameHead, this.nameTail);
    this.verdict = el("span", { class: "judged" });
    this.value = el("b");
    this.returnLabel = el("span", { class: "sr" });
    this.return = el("span", { class: "return" }, this.returnLabel, this.value);
    this.rate = el("b");
    this.lasted = el("b");
    this.foot = el(
      "span",
      { class: "foot" },
      el("span", { class: "rate" }, this.rate, el("span", { class: "unit" }, el("span", {}, "\u2009steps"), "/s")),
      el("span", { class: "lasted" }, this.lasted),
    );
    this.about = el("span", { class: "about" });
    this.link = el(
      "a",
      { class: "tile-link", draggable: "false" },
      el("span", { class: "shot" }, this.shot.canvas, this.age),
      this.state,
      this.name,
      this.verdict,
      this.return,
      this.curve.canvas,
      this.foot,
      this.about,
    );
    const id = `run-${++made}`;
    const parts = Object.entries({ name: this.name, state: this.state, return: this.return, verdict: this.verdict });
    for (const [name, node] of parts) node.id = `${id}-${name}`;
    this.link.setAttribute("aria-labelledby", parts.map(([name]) => `${id}-${name}`).join(" "));
    this.node = el("li", { class: "run" }, this.link);
    /** The contents of elements for which comparing texts would not tell. @type {Record<string, string>} */
    this.shown = {};
  }

  /** Show the newest state of the card. @param {number} now on the server's clock */
  paint(now) {
    this.isStale = false;
    const { card } = this;
    const state = stateOf(card);
    if (this.isChanged("state", state.word)) fill(this.state, icon(state.icon), el("span", {}, state.word));
    set(this.state, "tone", state.tone);
    set(this.node, "tone", toneOf(card));
    set(this.node, "status", card.status);
    const name = nameOf(card);
    const text = cut(name, LONGEST_NAME);
    const tail = text.length > UNCUT_NAME ? TAIL : 0;
    setText(this.nameHead, text.slice(0, text.length - tail));
    setText(this.nameTail, text.slice(text.length - tail));
    if (this.isChanged("where", `${name}\n${card.channel}`)) {
      const query = new URLSearchParams({ channel: card.channel });
      this.name.title = card.channel === name ? name : `${name} on ${card.channel}`;
      this.shown.live = `./?${query}`;
      query.set("session", card.sid);
      this.shown.past = `./?${query}`;
    }
    const href = card.status === "live" ? this.shown.live : this.shown.past;
    if (this.isChanged("href", href)) this.link.setAttribute("href", href);
    this.paintVerdict();
    this.paintReturn();
    setText(this.rate, rateText(card.steps_per_s));
    this.paintAbout();
    this.shot.setLive(card.status === "live");
    this.tick(now);
  }

  paintVerdict() {
    const { verdict } = this.card;
    const [tone, shape] = lookOf(verdict);
    const text = cut(verdict?.text ?? "No verdict yet", LONGEST_VERDICT);
    if (!this.isChanged("verdict", `${shape} ${text}`)) return;
    set(this.verdict, "tone", tone);
    this.verdict.title = text;
    fill(this.verdict, icon(shape), el("span", { class: "text" }, text));
  }

  paintReturn() {
    const { return: made, curve } = this.card;
    setText(this.value, number(made?.value, { short: true }));
    if (this.isChanged("return", `${made?.label}\n${made?.path}`)) {
      this.return.title = made ? `${made.label} (${made.path})` : "No return yet";
      setText(this.returnLabel, made ? `${made.label} ` : "Return ");
    }
    this.curve.show(curve ?? null);
    this.node.classList.toggle("curved", this.curve.hasLine);
  }

  paintAbout() {
    const { info, tags, step, pinned } = this.card;
    const parts = [info?.env, info?.algorithm].filter(Boolean).map((part) => cut(String(part), 60));
    const shown = tags.slice(0, MOST_TAGS).map((tag) => cut(tag, 24));
    const steps = isNumber(step) ? `step ${number(step, { short: true })}` : "";
    if (!this.isChanged("about", [...parts, ...shown, steps, pinned].join("\n"))) return;
    this.about.title = [...parts, steps, ...tags.map((tag) => `#${tag}`)].filter(Boolean).join(" · ");
    fill(
      this.about,
      pinned && icon("star"),
      el("span", { class: "text" }, parts.join(" · ") || steps || ABSENT),
      ...shown.map((tag) => el("span", { class: "tag" }, tag)),
    );
  }

  /** Show the times that pass. @param {number} now on the server's clock */
  tick(now) {
    setText(this.lasted, short(durationOf(this.card, now)));
    const old = this.card.status === "live" ? this.shot.oldMs(now) : 0;
    this.age.hidden = !old;
    if (old) setText(this.age, `${short(old)} old`);
  }

  /** Draw a picture that is decoded. */
  drawShot() {
    if (this.shot.draw()) this.node.classList.add("pictured");
  }

  /** Whether the tile is painted. */
  get isWatched() {
    return this.isInView || this.isNext;
  }

  /** @param {{isInView?: boolean, isNext?: boolean}} place */
  set({ isInView = this.isInView, isNext = this.isNext }) {
    this.isInView = isInView;
    this.isNext = isNext;
    this.shot.watch(this.isWatched);
  }

  /** Take the tile off the wall. */
  remove() {
    this.set({ isInView: false, isNext: false });
    this.curve.forget();
    this.node.remove();
  }

  /** @param {string} name @param {string} value */
  isChanged(name, value) {
    if (this.shown[name] === value) return false;
    this.shown[name] = value;
    return true;
  }
}

/** Steps per second with three digits: more of them only flicker. @param {number | null} rate */
function rateText(rate) {
  return isNumber(rate) ? number(Number(rate.toPrecision(3)), { short: true }) : ABSENT;
}

/**
 * A duration without the seconds and minutes that do not matter: "41 s", "3 min", "2 h 07 min", "13 h".
 * @param {number | null} ms
 */
function short(ms) {
  return duration(ms).replace(/(?<= min) \d\d s$|(?<=\d\d h) \d\d min$/, "");
}

/** @param {HTMLElement} node @param {string} name @param {string} value */
function set(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}
