// @ts-check
/** The sheet of all keys. */

import { openDialog } from "./dialogs.js";
import { el } from "./dom.js";

/** @import { Binding } from "./keys.js" */

/** @param {Binding[]} bindings */
export function openKeySheet(bindings) {
  openDialog("keys", "Keyboard", () => [
    el("dl", { class: "keys-sheet" }, ...bindings.map(({ keys, what }) => el("div", {}, el("dt", {}, ...keys.split(" or ").flatMap((one, i) => [i ? " or " : null, ...(one === "+" ? [one] : one.split("+")).flatMap((key, j) => [j ? "+" : null, el("kbd", {}, key)])])), el("dd", {}, what)))),
    el("p", { class: "muted" }, "Drag across a chart to zoom all of them; double-click to see the whole run again."),
  ]);
}
