// @ts-check
/** The settings dialog: theme, alerts, and what can be taken away from here. */

import { button, el, icon } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { currentTheme, setTheme, THEMES } from "./theme.js";
import { DEFAULT_LIMITS } from "./alerts.js";

/** @import { Alerts, Limits } from "./alerts.js" */

const WORDS = { dark: "Dark", light: "Light", contrast: "High contrast" };
const LIMITS = /** @type {[keyof Limits, string, string, number, number][]} */ ([
  ["stalledS", "Stalled after", "s without data", 5, 3600],
  ["collapsePercent", "Return collapses at", "% below its best", 5, 500],
  ["vlmOkPercent", "Vision LLM fails below", "% success", 1, 100],
  ["vlmSlowS", "Vision LLM is slow above", "s per call", 1, 600],
]);

/** @param {{alerts: Alerts, api: import("./api.js").Api, onKeys: () => void}} parts */
export function openSettings({ alerts, api, onKeys }) {
  openDialog("settings", "Settings", (close) => [
    el("fieldset", {}, el("legend", {}, "Theme"), el("div", { class: "choices" }, ...THEMES.map((name) => el("label", {}, el("input", { type: "radio", name: "theme", value: name, checked: currentTheme() === name, onchange: () => setTheme(name) }), WORDS[name])))),
    el("fieldset", {}, el("legend", {}, "Alerts"), ...LIMITS.map(([name, before, after, least, most]) => limitField(alerts, name, before, after, least, most)), notifications(alerts)),
    el("fieldset", {}, el("legend", {}, "Take away"), el("div", { class: "choices" },
      el("a", { class: "button", href: api.address("/api/export", { format: "csv" }), download: true }, icon("save"), "All metrics as CSV"),
      el("a", { class: "button", href: api.address("/api/export", { format: "json" }), download: true }, icon("save"), "All metrics as JSON"))),
    el("div", { class: "choices" }, button("help", "Keyboard", () => {
      close();
      onKeys();
    })),
  ]);
}

/** @param {Alerts} alerts @param {keyof Limits} name @param {string} before @param {string} after @param {number} least @param {number} most */
function limitField(alerts, name, before, after, least, most) {
  const field = el("input", { type: "number", min: least, max: most, value: alerts.limits[name], onchange: () => {
    const value = Number(field.value);
    const fits = Number.isFinite(value) && value >= least && value <= most;
    if (!fits) field.value = String(DEFAULT_LIMITS[name]);
    alerts.setLimits({ ...alerts.limits, [name]: Number(field.value) });
  } });
  return el("label", { class: "limit" }, el("span", {}, before), field, el("span", { class: "muted" }, after));
}

/** @param {Alerts} alerts */
function notifications(alerts) {
  const check = el("input", { type: "checkbox", checked: alerts.wantsNotifications, onchange: async () => {
    check.checked = await alerts.setNotifications(check.checked);
  } });
  return el("label", { class: "limit" }, el("span", {}, "Browser notifications"), check, el("span", { class: "muted" }, "while this tab is hidden"));
}
