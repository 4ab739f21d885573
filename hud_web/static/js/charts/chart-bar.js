// @ts-check
/** The bar above the charts: the settings that all charts share, and below them the runs that are drawn. */

import { button, byId, el, fill, setText } from "../ui/dom.js";
import { remember } from "../ui/memory.js";
import { AXIS_NAMES } from "./chart.js";
import { RunLegend } from "./run-legend.js";

/** @import { Scene } from "./chart.js" */
/** @import { Compare } from "./compare.js" */

export class ChartBar {
  /**
   * @param {Scene} scene @param {() => void} onChange
   * @param {() => void} onLight the viewer points at a run
   * @param {() => Compare | null} compare
   * @param {() => void} onFind something else is looked for
   * @param {() => void} onMachine the charts of the machine are wanted, or those of training again
   * @param {() => void} onClosed the list of closed charts is wanted
   */
  constructor(scene, onChange, onLight, compare, onFind, onMachine, onClosed) {
    this.scene = scene;
    this.onChange = onChange;
    this.axis = el(
      "select",
      { "aria-label": "Horizontal axis", onchange: () => this.set("x", this.axis.value) },
      ...Object.entries(AXIS_NAMES).map(([x, name]) => el("option", { value: x, selected: x === scene.x }, name)),
    );
    this.slider = el("input", {
      type: "range",
      min: 0,
      max: 0.98,
      step: 0.02,
      value: scene.smoothing,
      "aria-label": "Smoothing",
      oninput: () => this.set("smoothing", Number(this.slider.value)),
    });
    this.log = el(
      "button",
      { type: "button", title: "Logarithmic values", onclick: () => this.set("log", !scene.log) },
      "log",
    );
    this.unzoom = el("button", { type: "button", onclick: () => scene.onZoom(null) }, "whole run");
    this.find = el("input", {
      type: "search",
      placeholder: "find charts",
      "aria-label": "Find charts by name",
      title: "Regular expressions, all of which must match: loss|kl$ or layer[0-3] norm",
      spellcheck: "false",
      autocomplete: "off",
      oninput: onFind,
    });
    this.hint = el("span", { class: "muted", role: "status" });
    this.closed = el("button", { type: "button", hidden: true, onclick: onClosed });
    this.machine = button("server", "Machine", onMachine, { pressed: false });
    this.machine.hidden = true;
    this.runs = new RunLegend(compare, (key) => {
      scene.highlight = key;
      onLight();
    });
    fill(
      byId("chart-bar"),
      el("h2", { class: "eyebrow" }, "Charts"),
      el("label", {}, "over", this.axis),
      el("label", {}, "smooth", this.slider),
      this.log,
      this.find,
      this.hint,
      this.machine,
      this.unzoom,
      this.closed,
      this.runs.byLabel,
      this.runs.node,
    );
    this.paint();
  }

  /** @param {"x" | "smoothing" | "log"} name @param {any} value */
  set(name, value) {
    /** @type {any} */ (this.scene)[name] = value;
    remember(`chart.${name}`, value);
    if (name === "x") this.scene.zoom = null;
    this.paint();
    this.onChange();
  }

  /** @param {boolean} isKnown whether the run reports its machine @param {boolean} isShown */
  setMachine(isKnown, isShown) {
    this.machine.hidden = !isKnown;
    this.machine.setAttribute("aria-pressed", String(isShown));
  }

  /** Say why a search means something else than its text. @param {string} text "" for nothing */
  setHint(text) {
    setText(this.hint, text);
  }

  /** @param {number} count of closed charts */
  setClosed(count) {
    this.closed.hidden = !count;
    setText(this.closed, `${count} closed`);
  }

  paint() {
    this.log.setAttribute("aria-pressed", String(this.scene.log));
    this.unzoom.hidden = this.scene.zoom === null;
  }

  /** List the runs that are drawn. @param {{key: string, name: string}} own the run that the page shows */
  showRuns(own) {
    this.runs.show(own);
  }
}
