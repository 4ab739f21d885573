// @ts-check
/** The controls above the table: filters, groups, columns, and actions on the ticked runs. */

import { MOST_COMPARED } from "../charts/compare.js";
import { button, el, fill, icon, setText } from "../ui/dom.js";
import { cut } from "../ui/format.js";
import { GROUPS } from "./groups.js";
import { titleOf } from "./columns.js";
import { isLookedUp } from "./view.js";

/** @import { Listing } from "./listing.js" */
/** @import { View } from "./view.js" */

const STATUSES = ["live", "lapsed", "ended", "taken over"];
/** The list is fetched this long after the last key. */
const TYPING_MS = 200;

export class Bar {
  /**
   * @param {{bar: HTMLElement, chosen: HTMLElement, onChange: (change: Partial<View>) => void, onColumns: () => void,
   *   onNew: () => void, overlay: (ticked: string[]) => string}} parts
   */
  constructor({ bar, chosen, onChange, onColumns, onNew, overlay }) {
    this.chosen = chosen;
    this.onChange = onChange;
    this.overlay = overlay;
    let typing = 0;
    this.error = el("p", { class: "filter-error", id: "filter-error", role: "alert", hidden: true });
    this.filter = el("input", {
      type: "search",
      placeholder: "filter: regular expression",
      "aria-label": "Filter runs by a regular expression",
      "aria-describedby": "filter-error",
      "aria-keyshortcuts": "/",
      title: "Searches names, channels, environments, tags, notes, verdicts and shown settings: ppo|lr=0.0003",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => {
        clearTimeout(typing);
        typing = setTimeout(() => onChange({ filter: this.filter.value.trim() }), TYPING_MS);
      },
    });
    this.status = el(
      "select",
      { "aria-label": "Status", onchange: () => onChange({ status: this.status.value ? [this.status.value] : [] }) },
      el("option", { value: "" }, "any status"),
      ...STATUSES.map((status) => el("option", { value: status }, status)),
    );
    this.group = el("select", {
      "aria-label": "Group runs",
      onchange: () => onChange({ group: this.group.value, open: [] }),
    });
    this.chips = el("span", { class: "chips" });
    this.fresh = button("live", "", onNew, { class: "fresh" });
    this.fresh.hidden = true;
    fill(
      bar,
      el("span", { class: "filter" }, this.filter, this.error),
      this.status,
      this.group,
      this.chips,
      el("span", { class: "space" }),
      this.fresh,
      button("columns", "Columns", onColumns),
    );
    this.ticked = el("strong");
    this.link = el("a", { class: "button primary" }, icon("chart"), el("span"));
    this.differences = button(
      "filter",
      "Only differences",
      () => onChange({ differences: this.differences.getAttribute("aria-pressed") !== "true" }),
      { pressed: false },
    );
    this.differences.title = "List the ticked runs, with the settings that differ between them";
    fill(
      chosen,
      this.ticked,
      this.link,
      this.differences,
      button("close", "Untick all", () => onChange({ ticked: [], differences: false })),
      (this.note = el("span", { class: "muted", role: "status" })),
    );
  }

  /** @param {View} view @param {Listing} listing @param {string} note about the differences */
  paint(view, listing, note) {
    if (document.activeElement !== this.filter) this.filter.value = view.filter;
    setText(this.error, view.filter ? listing.error : "");
    this.error.hidden = !this.error.textContent;
    if (this.error.hidden) this.filter.removeAttribute("aria-invalid");
    else this.filter.setAttribute("aria-invalid", "true");
    this.status.value = view.status.length === 1 ? view.status[0] : "";
    const groups = [...Object.keys(GROUPS), ...view.columns.filter(isLookedUp)];
    if (view.group && !groups.includes(view.group)) groups.push(view.group);
    const options = groups.join();
    if (this.group.dataset.options !== options) {
      this.group.dataset.options = options;
      fill(
        this.group,
        el("option", { value: "" }, "no groups"),
        ...groups.map((name) => el("option", { value: name }, `by ${GROUPS[name] ?? cut(titleOf(name), 40)}`)),
      );
    }
    this.group.value = view.group;
    this.paintChips(view);
    this.paintChosen(view, note);
  }

  /** The other filters, which are set by clicks in the table. @param {View} view */
  paintChips(view) {
    const wanted = JSON.stringify([view.channel, view.tag, view.status]);
    if (this.chips.dataset.drawn === wanted) return;
    this.chips.dataset.drawn = wanted;
    const kinds = /** @type {("channel" | "tag" | "status")[]} */ (["channel", "tag"]);
    if (view.status.length > 1) kinds.push("status");
    fill(
      this.chips,
      ...kinds.flatMap((kind) =>
        view[kind].map((one) =>
          el(
            "span",
            { class: "chip" },
            el("span", { class: "text" }, `${kind} `, el("b", {}, cut(one, 40))),
            button("close", `Remove the filter ${kind} ${one}`, () => this.drop(view, kind, one), { quiet: true }),
          ),
        ),
      ),
    );
  }

  /** @param {View} view @param {"channel" | "tag" | "status"} kind @param {string} one */
  drop(view, kind, one) {
    this.onChange({ [kind]: view[kind].filter((other) => other !== one) });
    this.filter.focus();
  }

  /** @param {View} view @param {string} note */
  paintChosen(view, note) {
    const count = view.ticked.length;
    this.chosen.hidden = count === 0;
    if (!count) return;
    setText(this.ticked, `${count} ticked`);
    const most = MOST_COMPARED + 1; // the first one is the run that the dashboard shows
    this.link.href = this.overlay(view.ticked.slice(0, most));
    const words =
      count === 1 ? "Open 1 run" : count > most ? `Overlay the first ${most} runs` : `Overlay ${count} runs`;
    setText(/** @type {Element} */ (this.link.lastElementChild), words);
    this.differences.disabled = count < 2 && !view.differences;
    this.differences.setAttribute("aria-pressed", String(view.differences));
    setText(this.note, note);
  }

  /** Offer runs that started since the list was fetched. @param {number} count */
  offer(count) {
    this.fresh.hidden = count === 0;
    setText(/** @type {Element} */ (this.fresh.firstElementChild?.nextSibling ?? this.fresh), "");
    fill(this.fresh, icon("live"), count === 1 ? "1 new run" : `${count} new runs`);
    this.fresh.title = "Fetch the list again";
  }
}
