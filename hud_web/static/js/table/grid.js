// @ts-check
/**
 * The table's elements: titles that sort, and the rows in view. Rows out of view are one empty row above and one below,
 * so 10,000 runs take as many elements as a screen of them.
 */

import { keyOf } from "../runs/feed.js";
import { el, fill, icon, setText } from "../ui/dom.js";
import { cut, number } from "../ui/format.js";
import { NAME } from "./columns.js";

/** @import { Run } from "../server/runs.js" */
/** @import { Cell, Column } from "./columns.js" */
/** @import { Group } from "./groups.js" */
/** @import { Item, Listing } from "./listing.js" */
/**
 * @typedef {{node: HTMLTableRowElement, cells: HTMLTableCellElement[], drawn: string[], item: Item, index: number,
 *   tick: HTMLInputElement, pin: HTMLButtonElement | null, link: HTMLElement, tags: HTMLElement | null}} Row
 *
 * @typedef {{isTicked: (key: string) => boolean, isOpen: (group: string) => boolean, address: (run: Run) => string,
 *   now: () => number, onSort: (column: Column) => void, onTick: (keys: string[], isTicked: boolean) => void,
 *   onPin: (run: Run) => void, onDetails: (run: Run) => void, onOpen: (group: string) => void,
 *   onTag: (tag: string) => void}} Actions
 */

/** Rows above and below the view that are elements, too. */
const MARGIN = 6;
const MOST_TAGS = 3;

export class Grid {
  /** @param {HTMLElement} box @param {Listing} listing @param {Actions} actions */
  constructor(box, listing, actions) {
    this.box = box;
    this.listing = listing;
    this.actions = actions;
    this.widths = el("colgroup");
    this.titles = el("tr");
    this.body = el("tbody");
    this.above = spacer();
    this.below = spacer();
    this.body.append(this.above, this.below);
    this.table = el("table", { class: "runs" }, this.widths, el("thead", {}, this.titles), this.body);
    box.append(this.table);
    /** @type {Column[]} */
    this.columns = [];
    /** The rows that are elements. @type {Map<string, Row>} */
    this.rows = new Map();
    /** The row that was ticked last, where a range with the shift key begins. */
    this.anchor = -1;
    this.body.addEventListener("keydown", (event) => this.move(event));
  }

  get rowPx() {
    return parseFloat(getComputedStyle(this.box).getPropertyValue("--row-height")) || 46;
  }

  /** The first row in view. */
  get first() {
    return Math.floor(this.box.scrollTop / this.rowPx);
  }

  /** Put a row at the top of the view. @param {number} index */
  scrollTo(index) {
    this.box.scrollTop = index * this.rowPx;
  }

  get isAtTop() {
    return this.box.scrollTop < this.rowPx / 2;
  }

  /** @param {Column[]} columns without the first one @param {string} sort @param {"asc" | "desc"} order */
  setColumns(columns, sort, order) {
    this.columns = [NAME, ...columns];
    fill(
      this.widths,
      el("col", { class: "marks" }),
      ...this.columns.map(({ name, width }) => {
        const col = el("col", { class: name === "name" ? "name" : null });
        if (name !== "name") col.style.width = `${width}px`;
        return col;
      }),
      el("col", { class: "filler" }),
    );
    const wide = columns.reduce((sum, { width }) => sum + width, 0);
    this.table.style.setProperty("--columns-width", `calc(${wide}px + var(--marks-width) + var(--name-width))`);
    fill(
      this.titles,
      el("th", { scope: "col", class: "marks" }, el("span", { class: "sr" }, "Tick and pin")),
      ...this.columns.map((column) => this.title(column, sort, order)),
    );
    for (const { node } of this.rows.values()) node.remove();
    this.rows.clear();
  }

  /** @param {Column} column @param {string} sort @param {"asc" | "desc"} order */
  title(column, sort, order) {
    const isSorted = column.sort === sort;
    const parts = [
      el("span", { class: "text" }, cut(column.label, 80)),
      isSorted && icon(order === "asc" ? "up" : "down"),
    ];
    return el(
      "th",
      {
        scope: "col",
        class: `${column.isNumber ? "number" : ""} ${column.name === "name" ? "name" : ""}`.trim() || null,
        title: column.label,
        "aria-sort": isSorted ? (order === "asc" ? "ascending" : "descending") : null,
      },
      column.sort
        ? el("button", { type: "button", class: "bare", onclick: () => this.actions.onSort(column) }, ...parts)
        : el("span", { class: "plain" }, ...parts),
    );
  }

  paint() {
    const { listing, box, rowPx } = this;
    const total = listing.items.length;
    this.table.setAttribute("aria-rowcount", String(total + 1));
    const first = Math.max(0, Math.min(this.first, total) - MARGIN);
    const last = Math.min(total, this.first + Math.ceil(box.clientHeight / rowPx) + MARGIN);
    height(this.above, first * rowPx);
    height(this.below, Math.max(0, total - last) * rowPx);
    /** @type {Element} */
    let before = this.above;
    /** @type {Map<string, Row>} */
    const rows = new Map();
    for (let index = first; index < last; index++) {
      const item = listing.at(index);
      const key = nameOf(item, index);
      const row = this.rows.get(key) ?? this.make(item);
      rows.set(key, row);
      row.item = item;
      row.index = index;
      if (before.nextElementSibling !== row.node) before.after(row.node);
      before = row.node;
      this.paintRow(row);
    }
    for (const [key, { node }] of this.rows) if (!rows.has(key)) node.remove();
    this.rows = rows;
    if (total) listing.need(first, last - 1);
  }

  /** @param {Item} item @returns {Row} */
  make(item) {
    if (item.group) return this.makeGroup(item.group);
    const tick = el("input", {
      type: "checkbox",
      class: "tick",
      onclick: (/** @type {MouseEvent} */ event) => toggle(event),
    });
    /** @type {Row} */
    let row;
    const toggle = (/** @type {MouseEvent} */ event) => this.tick(row, event.shiftKey);
    const pin = el(
      "button",
      { type: "button", class: "bare pin", onclick: () => row.item.run && this.actions.onPin(row.item.run) },
      icon("star"),
    );
    const link = el("a", { class: "run-name" });
    const tags = el("span", { class: "run-tags" });
    const below = el("span", { class: "below" });
    const details = el(
      "button",
      {
        type: "button",
        class: "bare details",
        "aria-haspopup": "dialog",
        onclick: () => row.item.run && this.actions.onDetails(row.item.run),
      },
      icon("more"),
    );
    const cells = this.columns.slice(1).map(({ isNumber }) => el("td", { class: isNumber ? "number" : null }));
    const node = el(
      "tr",
      {},
      el("td", { class: "marks" }, el("span", {}, tick, pin)),
      el(
        "th",
        { scope: "row", class: "name" },
        el("span", { class: "lines" }, link, el("span", {}, tags, below)),
        details,
      ),
      ...cells,
    );
    row = { node, cells, drawn: [], item, index: -1, tick, pin, link, tags };
    return row;
  }

  /** @param {Group} group @returns {Row} */
  makeGroup({ key }) {
    const tick = el("input", {
      type: "checkbox",
      class: "tick",
      onclick: () => {
        const runs = row.item.group?.runs ?? [];
        this.actions.onTick(runs.map(keyOf), tick.checked);
      },
    });
    const opener = el(
      "button",
      { type: "button", class: "bare opener", onclick: () => this.actions.onOpen(key) },
      icon("caret"),
      el("strong"),
    );
    // The group's numbers are in the column of the return; without that column they take the space of all.
    const hasReturn = this.columns.slice(2).some(({ name }) => name === "return");
    const about = el("td", { class: "about", colspan: hasReturn ? null : this.columns.length - 1 });
    const cells = (hasReturn ? this.columns.slice(2) : []).map(() => el("td"));
    cells.forEach((cell, i) => cell.classList.toggle("number", this.columns[i + 2].isNumber));
    const node = el(
      "tr",
      { class: "group" },
      el("td", { class: "marks" }, el("span", {}, tick)),
      el("th", { scope: "rowgroup", class: "name" }, opener),
      about,
      ...cells,
    );
    /** @type {Row} */
    const row = { node, cells, drawn: [], item: PLACE, index: -1, tick, pin: null, link: opener, tags: about };
    return row;
  }

  /** @param {Row} row */
  paintRow(row) {
    const { item, node, index } = row;
    node.setAttribute("aria-rowindex", String(index + 2));
    if (item.group) this.paintGroup(row, item.group);
    else if (item.run) this.paintRun(row, item.run);
    else node.classList.add("pending");
    node.classList.toggle("inside", item.isInside);
  }

  /** @param {Row} row @param {Run} run */
  paintRun(row, run) {
    const { actions } = this;
    const now = actions.now();
    const isTicked = actions.isTicked(keyOf(run));
    row.node.classList.remove("pending");
    row.node.classList.toggle("ticked", isTicked);
    row.node.classList.toggle("live", run.status === "live");
    row.tick.checked = isTicked;
    const name = NAME.cell(run, now);
    draw(row, 0, JSON.stringify([name, run.tags, run.pinned, run.channel]), () => {
      const { pin, link, tags, tick } = row;
      setText(link, name.text);
      link.title = name.title ?? "";
      /** @type {HTMLAnchorElement} */ (link).href = actions.address(run);
      tick.setAttribute("aria-label", `Tick ${name.text}`);
      pin?.setAttribute("aria-pressed", String(run.pinned));
      pin?.setAttribute("aria-label", `Pin ${name.text}`);
      if (pin) pin.title = run.pinned ? "Pinned: click to unpin" : "Pin to the top";
      const details = row.node.querySelector(".details");
      details?.setAttribute("aria-label", `Details of ${name.text}`);
      details?.setAttribute("title", "Tags, note, delete");
      setText(/** @type {Element} */ (tags?.nextElementSibling), name.below ?? "");
      if (tags)
        fill(tags, ...run.tags.slice(0, MOST_TAGS).map((tag) => this.tag(tag)), rest(run.tags.length - MOST_TAGS));
    });
    row.cells.forEach((cell, i) => {
      const found = this.columns[i + 1].cell(run, now);
      draw(row, i + 1, JSON.stringify(found), () => paintCell(cell, found));
    });
  }

  /** @param {string} tag */
  tag(tag) {
    return el(
      "button",
      { type: "button", class: "tag", title: `Only runs with the tag ${tag}`, onclick: () => this.actions.onTag(tag) },
      cut(tag, 24),
    );
  }

  /** @param {Row} row @param {Group} group */
  paintGroup(row, { key, label, runs, mean, deviation, count }) {
    const isOpen = this.actions.isOpen(key);
    const ticked = runs.filter((run) => this.actions.isTicked(keyOf(run))).length;
    row.tick.checked = ticked === runs.length;
    row.tick.indeterminate = ticked > 0 && ticked < runs.length;
    row.tick.setAttribute("aria-label", `Tick all of ${label}`);
    row.link.setAttribute("aria-expanded", String(isOpen));
    setText(/** @type {Element} */ (row.link.lastElementChild), cut(label, 80));
    const spread = deviation === null ? "" : ` ± ${number(deviation)}`;
    const told = mean === null ? "" : `${number(mean)}${spread}`;
    const size = `${runs.length} ${runs.length === 1 ? "run" : "runs"}`;
    const place = this.columns.findIndex(({ name }) => name === "return") - 2;
    setText(/** @type {Element} */ (row.tags), place < 0 && told ? `${size} · return ${told}` : size);
    if (place >= 0) setText(row.cells[place], told);
    row.node.title = mean === null ? "" : `Mean${spread && " ± standard deviation"} of the return of ${count} runs`;
  }

  /** @param {Row} row @param {boolean} isRange */
  tick({ item, index, tick }, isRange) {
    const from = isRange && this.anchor >= 0 ? Math.min(this.anchor, index) : index;
    const to = isRange && this.anchor >= 0 ? Math.max(this.anchor, index) : index;
    this.anchor = index;
    if (!item.run) return;
    const keys = [];
    for (let i = from; i <= to; i++) {
      const { run } = this.listing.at(i);
      if (run) keys.push(keyOf(run));
    }
    this.actions.onTick(keys, tick.checked);
  }

  /** Move to the same control of the next row with the arrow keys. @param {KeyboardEvent} event */
  move(event) {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const from = /** @type {HTMLElement} */ (event.target);
    const row = [...this.rows.values()].find(({ node }) => node.contains(from));
    if (!by || !row || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = row.index + by;
    if (to < 0 || to >= this.listing.items.length) return;
    event.preventDefault();
    const { box, rowPx } = this;
    const head = this.titles.offsetHeight;
    box.scrollTop = Math.min(to * rowPx, Math.max(box.scrollTop, (to + 1) * rowPx + head - box.clientHeight));
    this.paint();
    const next = [...this.rows.values()].find(({ index }) => index === to)?.node;
    const same =
      [".tick", ".pin", ".run-name", ".details", ".opener"].find((kind) => from.matches(kind)) ?? ".run-name";
    /** @type {HTMLElement | null | undefined} */ (
      next?.querySelector(same) ?? next?.querySelector(".run-name, .opener")
    )?.focus({ preventScroll: true });
  }
}

const PLACE = /** @type {Item} */ ({ run: null, group: null, isInside: false });

/**
 * The name of a row among the elements: a run keeps its row when others move.
 * @param {Item} item @param {number} index
 */
function nameOf({ run, group, isInside }, index) {
  if (group) return `group ${group.key}`;
  if (!run) return `pending ${index}`;
  return isInside ? `inside ${index} ${keyOf(run)}` : keyOf(run);
}

/** @param {number} count */
function rest(count) {
  return count > 0 ? el("span", { class: "muted" }, `+${count}`) : null;
}

/**
 * Act if `now` differs from the last time.
 * @param {Row} row @param {number} place @param {string} now @param {() => void} act
 */
function draw(row, place, now, act) {
  if (row.drawn[place] === now) return;
  row.drawn[place] = now;
  act();
}

/** @param {HTMLElement} cell @param {Cell} found */
function paintCell(cell, { text, title = "", icon: shape, tone, below, belowTone }) {
  cell.title = title;
  if (!shape && !below) {
    setText(cell, text);
    return;
  }
  fill(
    cell,
    el(
      "span",
      { class: "lines" },
      el("span", { class: "status", "data-tone": tone }, shape && icon(shape), text),
      below && el("span", { class: "below judged", "data-tone": belowTone }, below),
    ),
  );
}

function spacer() {
  return el("tr", { class: "spacer", "aria-hidden": "true" }, el("td"));
}

/** @param {HTMLElement} row @param {number} px */
function height(row, px) {
  const text = `${px}px`;
  if (row.style.height === text) return;
  row.style.height = text;
  row.hidden = px === 0;
}
