// @ts-check
/** The dialog that chooses the columns of the table and their order. */

import { fetchRuns } from "../server/runs.js";
import { openDialog } from "../ui/dialogs.js";
import { button, el, fill, setText } from "../ui/dom.js";
import { cut } from "../ui/format.js";
import { matcher } from "../ui/match.js";
import { OWN_COLUMNS, titleOf } from "./columns.js";
import { DEFAULT_COLUMNS } from "./view.js";

/** Columns offered at once; the search finds further ones. */
const MOST_OFFERED = 100;

/** @param {string[]} chosen names in their order @param {(columns: string[]) => void} onChange */
export async function openChooser(chosen, onChange) {
  let columns = [...chosen];
  /** @type {{name: string, runs: number}[]} */
  let known = OWN_COLUMNS.map((name) => ({ name, runs: 0 }));
  const shown = el("ol", { class: "columns-shown", "aria-label": "Columns of the table" });
  const find = el("input", {
    type: "search",
    placeholder: "search settings and results",
    "aria-label": "Search columns",
    title: "Words, or a regular expression between slashes: /lr|gamma/",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => offer(),
  });
  const offered = el("ul", { class: "columns-offered", "aria-label": "Further columns" });
  const told = el("p", { class: "muted", role: "status" }, "Loading the columns of all runs …");
  const dialog = openDialog("columns", "Columns", () => [
    shown,
    el(
      "div",
      { class: "columns-bar" },
      find,
      button("columns", "Default columns", () => set([...DEFAULT_COLUMNS])),
    ),
    told,
    offered,
  ]);
  if (!dialog.isConnected) return;

  const set = (/** @type {string[]} */ next) => {
    columns = next;
    onChange(columns);
    list();
    offer();
  };
  /** @param {number} from @param {number} to */
  const move = (from, to) => {
    const next = [...columns];
    next.splice(to, 0, ...next.splice(from, 1));
    set(next);
  };
  const list = () => fill(shown, ...columns.map((name, i) => chosenRow(name, i)));
  /** @param {string} name @param {number} i */
  const chosenRow = (name, i) => {
    const title = cut(titleOf(name), 80);
    const step = (/** @type {string} */ shape, /** @type {string} */ label, /** @type {number} */ to) => {
      const node = button(shape, `Move ${title} ${label}`, () => {
        move(i, to);
        const moved = shown.children[to]?.querySelector(`[aria-label$="${label}"]:not(:disabled)`);
        /** @type {HTMLElement | null} */ (moved ?? shown.children[to]?.querySelector("button"))?.focus();
      }, { quiet: true }); // prettier-ignore
      node.disabled = to < 0 || to >= columns.length;
      return node;
    };
    const row = el(
      "li",
      { draggable: "true", class: "column" },
      el("span", { class: "grip", "aria-hidden": "true" }, "⠿"),
      el("span", { class: "column-name", title: name }, title),
      step("up", "up", i - 1),
      step("down", "down", i + 1),
      button("close", `Remove ${title}`, () => set(columns.filter((other) => other !== name)), { quiet: true }),
    );
    row.addEventListener("dragstart", (event) => {
      event.dataTransfer?.setData("text/plain", String(i));
      row.classList.add("dragged");
    });
    row.addEventListener("dragend", () => row.classList.remove("dragged"));
    row.addEventListener("dragover", (event) => event.preventDefault());
    row.addEventListener("drop", (event) => {
      event.preventDefault();
      const from = Number(event.dataTransfer?.getData("text/plain"));
      if (Number.isInteger(from) && from !== i && columns[from]) move(from, i);
    });
    return row;
  };
  const offer = () => {
    const fits = matcher(find.value);
    const found = known.filter(({ name }) => !columns.includes(name) && fits(`${name} ${titleOf(name)}`));
    fill(
      offered,
      ...found
        .slice(0, MOST_OFFERED)
        .map(({ name, runs }) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", class: "bare", title: name, onclick: () => set([...columns, name]) },
              el("span", { class: "kind" }, name.includes(".") ? name.slice(0, name.indexOf(".")) : "run"),
              el("span", { class: "column-name" }, cut(titleOf(name), 100)),
              runs ? el("span", { class: "muted" }, `${runs} ${runs === 1 ? "run" : "runs"}`) : null,
            ),
          ),
        ),
    );
    const more = found.length - MOST_OFFERED;
    setText(told, found.length ? (more > 0 ? `${more} more: search` : "Click a column to add it") : "Nothing matches.");
  };
  list();
  find.focus();
  const answer = await fetchRuns(new URLSearchParams({ limit: "1", columns: "1" }));
  if (!dialog.isConnected) return;
  known = [...known, ...(answer?.columns ?? [])];
  offer();
  if (answer?.error) setText(told, answer.error);
}
