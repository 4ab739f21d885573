// @ts-check
/** The settings dialog: theme, alerts, and downloads. */

import { openDialog } from "../ui/dialogs.js";
import { button, el, icon } from "../ui/dom.js";
import { currentTheme, setTheme, THEMES } from "../ui/theme.js";

/** @import { Alerts } from "../panels/alerts.js" */

const WORDS = { dark: "Dark", light: "Light", contrast: "High contrast" };
/**
 * @param {{alerts: Alerts, api: import("../server/api.js").Api, onKeys: () => void, onShare: () => void}} parts
 */
export function openSettings({ alerts, api, onKeys, onShare }) {
  openDialog("settings", "Settings", (close) => [
    el(
      "fieldset",
      {},
      el("legend", {}, "Theme"),
      el(
        "div",
        { class: "choices" },
        ...THEMES.map((name) =>
          el(
            "label",
            {},
            el("input", {
              type: "radio",
              name: "theme",
              value: name,
              checked: currentTheme() === name,
              onchange: () => setTheme(name),
            }),
            WORDS[name],
          ),
        ),
      ),
    ),
    el("fieldset", {}, el("legend", {}, "Alerts"), notifications(alerts)),
    el(
      "fieldset",
      {},
      el("legend", {}, "Download"),
      el(
        "div",
        { class: "choices" },
        el(
          "a",
          { class: "button", href: api.address("api/export", { format: "csv" }), download: true },
          icon("save"),
          "All metrics as CSV",
        ),
        el(
          "a",
          { class: "button", href: api.address("api/export", { format: "json" }), download: true },
          icon("save"),
          "All metrics as JSON",
        ),
      ),
    ),
    el(
      "div",
      { class: "choices" },
      button("help", "Keyboard shortcuts", () => {
        close();
        onKeys();
      }),
      button("link2", "Copy link", () => {
        close();
        onShare();
      }),
    ),
  ]);
}

/** @param {Alerts} alerts */
function notifications(alerts) {
  const check = el("input", {
    type: "checkbox",
    checked: alerts.wantsNotifications,
    onchange: async () => {
      check.checked = await alerts.setNotifications(check.checked);
    },
  });
  return el(
    "label",
    { class: "limit" },
    el("span", {}, "Browser notifications"),
    check,
    el("span", { class: "muted" }, "while this tab is hidden"),
  );
}
