// @ts-check
/**
 * The policy's view over a corner of the picture, which shell/mind.js switches. A run that sends no views gets an
 * explanation when the viewer asks for them.
 */

import { mostEntropy } from "../data/mind.js";
import { Bars } from "../ui/bars.js";
import { byId, el, fill, setText } from "../ui/dom.js";
import { number } from "../ui/format.js";
import { remember } from "../ui/memory.js";
import { kept, linkPart, urlPart } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { continuousRows, probabilityRows, qRows } from "./mind-rows.js";

/** @import { Minds } from "./minds.js" */
/** @import { Store } from "../data/store.js" */

const MOST_ROWS = 7;

export class MindOverlay {
  bars = new Bars("Actions", "chosen");
  facts = el("p", { class: "mind-facts" });
  /** The panel has the same for screen readers. */
  node = el("div", { class: "mind-over", "aria-hidden": "true" }, this.bars.node, this.facts);
  why = el("div", { class: "mind-why" });

  /** @param {Store} store @param {Minds} minds @param {HTMLElement} button that switches it */
  constructor(store, minds, button) {
    this.store = store;
    this.button = button;
    this.minds = minds;
    /** The viewer's choice. */
    this.isWanted = urlPart("mind") === "0" ? false : kept("mind.overlay", true);
    /** Whether the viewer asked for it although the run sends no views. */
    this.isAsked = false;
    linkPart("mind", () => (this.store.mind && !this.isWanted ? 0 : this.isAsked ? 1 : ""));
    this.node.hidden = true;
    byId("screen").append(this.node);
    this.request = painter(() => this.paint());
    minds.on("shown", this.request);
    store.onEach("cleared mind drawn", this.request);
    this.request();
  }

  /** Show or hide it; the choice is remembered. */
  toggle() {
    if (this.store.mind) {
      this.isWanted = !this.isWanted;
      remember("mind.overlay", this.isWanted);
    } else this.isAsked = !this.isAsked;
    this.request();
  }

  paint() {
    const { store, minds, node } = this;
    const { shown } = minds;
    if (store.mind) this.isAsked = false;
    const isOn = store.mind ? this.isWanted : this.isAsked;
    node.hidden = !isOn || !store.mind || !minds.frame(); // without a picture the place has other texts
    this.button.setAttribute("aria-pressed", String(isOn));
    this.explain(isOn && !store.mind);
    if (node.hidden) return;
    node.classList.toggle("absent", !shown);
    if (!shown) {
      setText(this.facts, minds.isLoading ? "Loading…" : "No data of the policy at this moment");
      return;
    }
    const rows = shown.probabilities.length ? probabilityRows : shown.mean.length ? continuousRows : qRows;
    this.bars.paint(...rows(shown, MOST_ROWS));
    const facts = [];
    if (shown.value !== null) facts.push(["Value", number(shown.value)]);
    const most = mostEntropy(shown);
    if (shown.entropy !== null) facts.push(["Entropy", number(shown.entropy) + (most ? ` of ${number(most)}` : "")]);
    fill(this.facts, ...facts.map(([name, text]) => el("span", {}, `${name} `, el("b", {}, text))));
  }

  /** @param {boolean} isWanted */
  explain(isWanted) {
    if (!isWanted) {
      this.why.remove();
      return;
    }
    if (this.why.isConnected) return;
    fill(
      this.why,
      el("p", {}, "This trainer sends no policy output."),
      el("p", {}, "Call ", el("code", {}, "hud.mind(…)"), " after each step."),
      el("button", { type: "button", onclick: () => this.openHelp() }, "How to send it"),
    );
    byId("screen").append(this.why);
  }

  async openHelp() {
    const { openDialog } = await import("../ui/dialogs.js");
    openDialog("mind-help", "Send the agent’s mind", () => [
      el(
        "p",
        {},
        "HudCallbacks for RLlib and the callback for Stable-Baselines3 send it by themselves. In any other training " +
          "loop, pass what the policy computed; each argument is optional:",
      ),
      el("pre", { class: "code", tabindex: "0" }, EXAMPLE),
      el(
        "p",
        { class: "muted" },
        "Views are taken only while somebody watches, at most five per second. See docs/publisher.md.",
      ),
    ]);
  }
}

const EXAMPLE = [
  "hud.mind(",
  '    probabilities=[0.12, 0.80, 0.08], action=1, action_names=["UP", "DOWN", "FIRE"],',
  "    value=3.2, entropy=0.62,",
  '    observation=obs, reward_parts={"score": 1.0, "time": -0.01},',
  "    step=step, episode=episode,",
  ")",
].join("\n");
