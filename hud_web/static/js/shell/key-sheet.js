// @ts-check
/** The dialog that lists the keyboard shortcuts. */

import { openDialog } from "../ui/dialogs.js";
import { el } from "../ui/dom.js";

/** @import { Binding } from "./keys.js" */

const OF_CHARTS = "Drag across a chart to zoom all charts; double-click to show the whole run.";

/** @param {Binding[]} bindings @param {string} [hint] below them */
export function openKeySheet(bindings, hint = OF_CHARTS) {
  openDialog("keys", "Keyboard shortcuts", () => [
    el(
      "dl",
      { class: "keys-sheet" },
      ...bindings.map(({ keys, label }) =>
        el(
          "div",
          {},
          el(
            "dt",
            {},
            ...keys
              .split(" or ")
              .flatMap((one, i) => [
                i ? " or " : null,
                ...(one === "+" ? [one] : one.split("+")).flatMap((key, j) => [j ? "+" : null, el("kbd", {}, key)]),
              ]),
          ),
          el("dd", {}, label),
        ),
      ),
    ),
    el("p", { class: "muted" }, hint),
  ]);
}
