// @ts-check
/** The line above the charts: what all of them have in common, and the sessions that they are compared with. */

import { button, byId, el, fill } from "./dom.js";
import { cut } from "./format.js";
import { remember } from "./memory.js";

/** @import { Session } from "./types.js" */
/** @import { Scene } from "./chart.js" */

export class ChartBar {
  /** @param {Scene} scene @param {() => void} onChange @param {(sessions: Session[]) => void} onCompare */
  constructor(scene, onChange, onCompare) {
    this.scene = scene;
    this.onChange = onChange;
    this.onCompare = onCompare;
    this.axis = el("select", { "aria-label": "Horizontal axis", onchange: () => this.set("x", this.axis.value) }, ...["step", "time", "episode"].map((x) => el("option", { value: x, selected: x === scene.x }, x)));
    this.slider = el("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: scene.smoothing, "aria-label": "Smoothing", oninput: () => this.set("smoothing", Number(this.slider.value)) });
    this.log = el("button", { type: "button", title: "Logarithmic values", onclick: () => this.set("log", !scene.log) }, "log");
    this.unzoom = el("button", { type: "button", onclick: () => scene.onZoom(null) }, "whole run");
    this.compared = el("span", { class: "compared-box" });
    fill(byId("chart-bar"), el("h2", { class: "eyebrow" }, "Charts"), el("label", {}, "over", this.axis), el("label", {}, "smooth", this.slider), this.log, this.unzoom, this.compared);
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

  paint() {
    this.log.setAttribute("aria-pressed", String(this.scene.log));
    this.unzoom.hidden = this.scene.zoom === null;
  }

  /** Which sessions are beside this one, each with a way to leave. @param {Session[]} sessions */
  setCompared(sessions) {
    fill(this.compared, ...sessions.map((session) => {
      const name = cut(session.name || `…${session.sid?.slice(-5)}`, 24);
      const leave = () => this.onCompare(sessions.filter((one) => one !== session));
      return el("span", { class: "chip compared" }, el("span", { class: "text" }, `vs ${name}`), button("close", `No longer compare with ${name}`, leave, { quiet: true }));
    }));
  }
}
