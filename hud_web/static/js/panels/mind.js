// @ts-check
/**
 * The agent's mind at the moment shown: the policy's observation, its choice, and its value estimate. Shows the parts
 * that the trainer sends; loaded with a run's first view.
 */

import { adviceFor, mostEntropy } from "../data/mind.js";
import { isNumber } from "../data/nested.js";
import { continuousRows, probabilityRows, qRows, rewardRows } from "../stage/mind-rows.js";
import { Bars } from "../ui/bars.js";
import { byId, el, fill, setText } from "../ui/dom.js";
import { cut, envName, number, percent } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { loadSheet } from "../ui/sheet.js";
import { onTheme } from "../ui/theme.js";
import { drawCurve } from "./mind-curve.js";
import { Observation } from "./mind-observation.js";

/** @import { Mind } from "../data/types.js" */
/** @import { Minds } from "../stage/minds.js" */
/** @import { Store } from "../data/store.js" */

await loadSheet("mind");

const MOST_ROWS = 18;
/** Below this many actions there is room for the reward parts. */
const FEW_ACTIONS = 8;
const CHOSEN = "chosen";
/** The shortest interval between two paintings: views come five times per second. */
const PAINT_MS = 80;

export class MindPanel {
  probabilities = new Bars("Action probabilities", CHOSEN);
  continuous = new Bars("Action mean and deviation");
  qValues = new Bars("Q values", CHOSEN);
  rewardParts = new Bars("Reward parts");
  value = el("b", { class: "mind-number" });
  valueRange = el("span", { class: "mind-note" });
  curve = el("canvas", { class: "mind-curve", role: "img" });
  entropy = el("p", { class: "mind-line" });
  entropyFill = el("i", { class: "bar-fill" });
  entropyTrack = el("div", { class: "bar-track mind-meter", role: "img" }, this.entropyFill);
  advice = el("p", { class: "mind-line" });
  agreement = el("b", { class: "mind-agreement" });
  reason = el("p", { class: "mind-reason" });
  note = el("p", { class: "mind-none" });

  /**
   * @param {Store} store @param {Minds} minds
   * @param {() => unknown} suggested the action that the vision LLM suggested at the moment shown
   */
  constructor(store, minds, suggested) {
    this.store = store;
    this.minds = minds;
    this.suggested = suggested;
    this.panel = byId("mind");
    /** The width for which the height is kept. */
    this.width = 0;
    this.observation = new Observation(minds);
    const part = (/** @type {string} */ title, /** @type {HTMLElement[]} */ ...nodes) =>
      el("section", { class: "mind-part" }, el("h3", { class: "eyebrow" }, title), ...nodes);
    this.parts = {
      probabilities: part("Action probabilities", this.probabilities.node),
      continuous: part("Action (mean ± deviation)", this.continuous.node),
      qValues: part("Q values", this.qValues.node),
      value: part("Value estimate", el("p", { class: "mind-line" }, this.value, this.valueRange), this.curve),
      entropy: part("Entropy", this.entropy, this.entropyTrack),
      advice: part("Advice", this.advice, this.reason),
      rewardParts: part("Reward parts", this.rewardParts.node),
    };
    const { parts } = this;
    this.columns = [
      [parts.probabilities, parts.continuous, parts.qValues],
      [parts.value, parts.entropy, parts.advice],
      [this.observation.node, parts.rewardParts],
    ].map((nodes) => el("div", { class: "mind-column" }, ...nodes));
    fill(byId("mind-body"), ...this.columns, this.note);
    const request = painter(() => this.paint(), PAINT_MS);
    minds.onEach("shown curve", request);
    store.onEach("moment cleared calls drawn", request);
    onTheme(request);
    new ResizeObserver(request).observe(this.curve);
    new ResizeObserver(() => this.keepHeight()).observe(byId("mind-body"));
    store.on("cleared", () => this.keepHeight(true));
    addEventListener("resize", () => this.keepHeight(true));
    request();
  }

  /**
   * Let the panel grow, but not shrink, at one width: a text that needs one line more or less must not move the charts.
   * @param {boolean} [isNew] whether another run is shown, or the window has another size
   */
  keepHeight(isNew = false) {
    const body = byId("mind-body");
    const isSame = body.clientWidth === this.width && !isNew;
    this.width = body.clientWidth;
    body.style.minHeight = isSame ? `${body.offsetHeight}px` : "";
  }

  paint() {
    const { minds, panel, store } = this;
    const { shown } = minds;
    panel.hidden = store.mind === null;
    panel.classList.toggle("absent", !shown);
    panel.setAttribute("aria-busy", String(minds.isLoading));
    setText(this.note, shown ? "" : minds.isLoading ? "Loading…" : "No data of the policy at this moment.");
    setText(byId("mind-meta"), shown ? where(shown, store.moment === null ? null : minds.frame()) : "");
    if (!shown) return;
    this.paintActions(shown);
    this.paintValue(shown);
    this.paintEntropy(shown);
    this.paintAdvice(shown);
    this.observation.paint(shown);
    this.parts.rewardParts.hidden = !shown.rewardParts.length;
    this.rewardParts.paint(...rewardRows(shown, MOST_ROWS));
    this.arrange(shown);
  }

  /**
   * Balance the columns: the reward parts are below the observation, or elsewhere if that is a long list.
   * @param {Mind} mind
   */
  arrange(mind) {
    const actions = Math.max(mind.probabilities.flat().length, mind.qValues.length, mind.mean.length);
    const column = this.columns[!mind.observation.length ? 2 : actions <= FEW_ACTIONS ? 0 : 1];
    if (this.parts.rewardParts.parentElement !== column) column.append(this.parts.rewardParts);
    for (const one of this.columns) one.hidden = !one.querySelector(":scope > :not([hidden])");
  }

  /** @param {Mind} mind */
  paintActions(mind) {
    const { parts } = this;
    parts.probabilities.hidden = !mind.probabilities.length;
    this.probabilities.paint(...probabilityRows(mind, MOST_ROWS));
    parts.continuous.hidden = !mind.mean.length;
    this.continuous.paint(...continuousRows(mind, MOST_ROWS));
    parts.qValues.hidden = !mind.qValues.length;
    this.qValues.paint(...qRows(mind, MOST_ROWS));
  }

  /** @param {Mind} mind */
  paintValue(mind) {
    const points = this.minds.episode().flatMap(({ t, value }) => (value === null ? [] : [{ t, value }]));
    this.parts.value.hidden = mind.value === null;
    if (mind.value === null) return;
    setText(this.value, number(mind.value));
    this.curve.hidden = points.length < 2;
    const range = drawCurve(this.curve, points, mind.t);
    const episode = mind.episode === null ? "" : `episode ${number(mind.episode)}`;
    const extent = range ? `${number(range.low)} to ${number(range.high)}` : "";
    setText(this.valueRange, [episode, extent].filter(Boolean).join(": "));
    const label = `Value estimates of ${episode || "the last minutes"}${extent && `, ${extent}`}`;
    if (this.curve.getAttribute("aria-label") !== label) this.curve.setAttribute("aria-label", label);
  }

  /** @param {Mind} mind */
  paintEntropy(mind) {
    const most = mostEntropy(mind);
    const { entropy } = mind;
    this.parts.entropy.hidden = entropy === null;
    if (entropy === null) return;
    const share = most ? Math.min(1, Math.max(0, entropy / most)) : null;
    const text = most ? `${number(entropy)} of ${number(most)} nats` : `${number(entropy)} nats`;
    setText(this.entropy, text);
    this.entropyTrack.hidden = share === null;
    if (share === null) return;
    this.entropyTrack.setAttribute("aria-label", `${percent(share)} of the greatest entropy`);
    this.entropyTrack.title = `${percent(share)} of the greatest entropy, log n for n actions`;
    this.entropyFill.style.width = `${100 * share}%`;
  }

  /** @param {Mind} mind */
  paintAdvice(mind) {
    const advice = adviceFor(mind, this.suggested());
    this.parts.advice.hidden = advice === null;
    if (!advice) return;
    const { action, probability, agrees, text } = advice;
    const name = cut(action, 60);
    const policy = isNumber(probability) ? `, policy ${percent(probability)} ${name}` : "";
    const key = JSON.stringify([advice, mind.actionName]);
    if (this.advice.dataset.key !== key) {
      this.advice.dataset.key = key;
      const taken = mind.actionName === null ? "" : `: it chose ${cut(mind.actionName, 60)}`;
      setText(this.agreement, agrees === null ? "" : agrees ? "The policy agrees" : `The policy disagrees${taken}`);
      this.agreement.dataset.tone = agrees ? "ok" : "warn";
      fill(this.advice, el("span", {}, `Advised ${name}${policy}`), this.agreement);
    }
    const reason = text && !/^advised /i.test(text) ? cut(text, 300) : ""; // the publisher's text says the same
    setText(this.reason, reason);
    this.reason.hidden = !reason;
  }
}

/**
 * "step 48,120 · 3 before the frame · episode 7 · w1/e0".
 * @param {Mind} mind @param {ReturnType<Minds["frame"]>} frame of the rewound moment; null while live
 */
function where(mind, frame) {
  const parts = [];
  if (mind.step !== null) parts.push(`step ${number(mind.step)}`);
  const before = mind.step !== null && frame && isNumber(frame.step) ? frame.step - mind.step : 0;
  if (before > 0) parts.push(`${number(before)} before the frame`);
  if (mind.episode !== null) parts.push(`episode ${number(mind.episode)}`);
  if (mind.env) parts.push(envName(mind.env));
  return parts.join(" · ");
}
