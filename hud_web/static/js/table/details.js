// @ts-check
/** The dialog of one run: its facts, tags and note, and its deletion. */

import { setToken } from "../server/api.js";
import { deleteRun } from "../server/runs.js";
import { actWithToken, openDialog } from "../ui/dialogs.js";
import { button, el, fill, icon, setText } from "../ui/dom.js";
import { cut, date, number } from "../ui/format.js";
import { statusLook } from "../ui/status-look.js";
import { lookOf } from "../ui/verdict-look.js";

/** @import { Run } from "../server/runs.js" */
/** @typedef {{tags?: string[], note?: string, pinned?: boolean}} Labels */

/** The server's bounds. */
const MOST_TAGS = 20;
const LONGEST_TAG = 64;
const LONGEST_NOTE = 4_000;
const VIEW_ONLY = "This address is view-only. Open the server’s other port to change labels.";

/**
 * @param {{run: Run, isViewOnly: boolean, tags: string[], address: string, onDeleted: () => void, onClose: () => void,
 *   onLabel: (labels: Labels) => Promise<string>}} parts `tags`: of other runs; `onLabel` resolves to "", or to the
 *   reason why the labels were not saved
 */
export function openDetails({ run, isViewOnly, tags, address, onLabel, onDeleted, onClose }) {
  const told = el("span", { class: "saved", role: "status" });
  const save = async (/** @type {Labels} */ labels) => {
    told.dataset.tone = "muted";
    setText(told, "Saving …");
    const reason = await onLabel(labels);
    told.dataset.tone = reason ? "error" : "ok";
    setText(told, reason ? `Not saved: ${reason}` : "Saved");
    return !reason;
  };
  const title = cut(run.name || "unnamed run", 80);
  const dialog = openDialog("details", title, (close) => [
    facts(run),
    el("h3", {}, "Tags"),
    tagsField(run, isViewOnly, tags, save),
    el("label", { class: "note-title", for: "run-note" }, "Note"),
    noteField(run, isViewOnly, save, () => dialog),
    told,
    isViewOnly && el("p", { class: "muted" }, VIEW_ONLY),
    el(
      "div",
      { class: "details-foot" },
      el("a", { class: "button primary", href: address }, icon("eye"), "Open"),
      el("span", { class: "space" }),
      ...deletion(run, isViewOnly, () => {
        close();
        onDeleted();
      }),
    ),
  ]);
  if (dialog.isConnected) dialog.addEventListener("close", onClose);
}

/** @param {Run} run */
function facts(run) {
  const [shape, tone] = statusLook(run.status);
  const rows = /** @type {[string, unknown][]} */ ([
    ["Channel", run.channel],
    ["Session", run.sid],
    ["Environment", run.info?.env],
    ["Algorithm", run.info?.algorithm],
    ["Started", run.started_ms && date(run.started_ms)],
    ["Ended", run.ended_ms && `${date(run.ended_ms)}${run.ended_by ? ` by ${run.ended_by}` : ""}`],
    ["Step", run.step && number(run.step)],
    ["Return", run.return && `${number(run.return.value)} (${run.return.label})`],
  ]);
  return el(
    "div",
    { class: "facts" },
    el(
      "p",
      { class: "fact-status" },
      el("span", { class: "status", "data-tone": tone }, icon(shape), run.status),
      run.verdict && el("span", { class: "judged", "data-tone": lookOf(run.verdict)[0] }, run.verdict.text),
    ),
    el(
      "dl",
      {},
      ...rows
        .filter(([, value]) => value)
        .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, cut(String(value), 200)))),
    ),
  );
}

/**
 * @param {Run} run @param {boolean} isViewOnly @param {string[]} known
 * @param {(labels: Labels) => Promise<boolean>} save
 */
function tagsField(run, isViewOnly, known, save) {
  const chips = el("span", { class: "chips" });
  const field = el("input", {
    type: "text",
    "aria-label": "Add a tag",
    placeholder: "add a tag",
    maxlength: LONGEST_TAG,
    list: "known-tags",
    autocomplete: "off",
    disabled: isViewOnly,
    title: isViewOnly ? VIEW_ONLY : "Enter adds the tag",
  });
  const change = async (/** @type {string[]} */ tags) => {
    if (await save({ tags })) show();
  };
  const show = () =>
    fill(
      chips,
      ...run.tags.map((tag) => {
        const remove = button("close", `Remove the tag ${tag}`, () => change(run.tags.filter((one) => one !== tag)), {
          quiet: true,
        });
        remove.disabled = isViewOnly;
        return el("span", { class: "chip" }, el("span", { class: "text" }, tag), remove);
      }),
    );
  show();
  return el(
    "form",
    {
      class: "tags-form",
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        const tag = field.value.trim();
        if (!tag || isViewOnly || run.tags.length >= MOST_TAGS) return;
        await change([...new Set([...run.tags, tag])]);
        if (run.tags.includes(tag)) field.value = "";
        field.focus();
      },
    },
    chips,
    field,
    el("datalist", { id: "known-tags" }, ...known.slice(0, 200).map((tag) => el("option", { value: tag }))),
  );
}

/**
 * @param {Run} run @param {boolean} isViewOnly @param {(labels: Labels) => Promise<boolean>} save
 * @param {() => HTMLDialogElement} dialog
 */
function noteField(run, isViewOnly, save, dialog) {
  const note = el(
    "textarea",
    {
      id: "run-note",
      rows: 4,
      maxlength: LONGEST_NOTE,
      disabled: isViewOnly,
      placeholder: "What is this run about?",
      title: "Saved when you leave the field, or with Ctrl+Enter",
    },
    run.note,
  );
  let saved = run.note;
  const keep = async () => {
    const text = note.value;
    if (text === saved) return;
    saved = text;
    if (!(await save({ note: text }))) saved = run.note; // the text stays, and is tried again
  };
  note.addEventListener("blur", keep);
  note.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
  });
  queueMicrotask(() => dialog().addEventListener("close", keep));
  return note;
}

/** @param {Run} run @param {boolean} isViewOnly @param {() => void} onDeleted */
function deletion(run, isViewOnly, onDeleted) {
  const reason = isViewOnly
    ? VIEW_ONLY
    : run.status === "live"
      ? `It is live. End it first: hud reset --channel ${run.channel}`
      : "";
  const node = button("close", "Delete …", () => confirmDeletion(run, onDeleted), { class: "danger" });
  node.disabled = Boolean(reason);
  if (!reason) return [node];
  node.setAttribute("aria-describedby", "why-not-deleted");
  return [el("span", { class: "muted", id: "why-not-deleted" }, isViewOnly ? "" : reason), node];
}

/** @param {Run} run @param {() => void} onDeleted */
function confirmDeletion(run, onDeleted) {
  const told = el("p", { class: "filter-error", role: "alert", hidden: true });
  const act = async () => {
    let answer = await deleteRun(run);
    if (answer.status === 401) {
      const again = async () => (answer = await deleteRun(run)).status;
      if ((await actWithToken(again, setToken, "This server requires a token to delete a run.")) === null) return;
    }
    if (answer.status === 200 || answer.status === 404) {
      dialog.close();
      onDeleted();
      return;
    }
    told.hidden = false;
    setText(told, `Not deleted: ${answer.detail || "the server refused it"}`);
  };
  const name = cut(run.name || "unnamed run", 80);
  const dialog = openDialog("delete", "Delete a run", (close) => [
    el("p", {}, "Delete ", el("strong", {}, name), ` of channel ${run.channel}, started ${date(run.started_ms)}?`),
    el("p", {}, "Its metrics, pictures, configuration and labels are removed from the server. This cannot be undone."),
    told,
    el(
      "div",
      { class: "details-foot" },
      el("span", { class: "space" }),
      el("button", { type: "button", onclick: close }, "Cancel"),
      el("button", { type: "button", class: "danger", onclick: act }, "Delete this run"),
    ),
  ]);
}
