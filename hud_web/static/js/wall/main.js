// @ts-check
/** Starts the wall: one stream of all live runs, their tiles, the controls in the bar, and the kiosk. */

import { byId, button, el, fill, icon, setText } from "../ui/dom.js";
import { currentTheme, setTheme, startTheme, THEMES } from "../ui/theme.js";
import { RunFeed } from "../runs/feed.js";
import { pressed, startKeys } from "../shell/keys.js";
import { Board } from "./board.js";
import { Kiosk } from "./kiosk.js";
import { filterOf, GROUPS, SORTS } from "./order.js";
import { sortOf, viewFromUrl, writeUrl } from "./view.js";

/** @import { RunFeedStatus } from "../runs/feed.js" */
/** @import { Counts } from "./board.js" */
/** @import { View } from "./view.js" */

/** A filter is applied when the viewer pauses for this time. */
const TYPED_MS = 150;

startTheme();
let view = viewFromUrl();
const feed = new RunFeed({ pictures: true, curves: true });
const kiosk = new Kiosk(feed, byId("board"), {
  onTurn: () => board.arrangeSoon(),
  onLeave: () => change({ kiosk: false }),
});
const board = new Board(feed, byId("board"), view, kiosk, showCounts);
const sort = select("Sort by", SORTS, (value) => change({ sort: value }));
const group = select("Group by", GROUPS, (value) => change({ group: value }));
const filter = el("input", {
  type: "search",
  placeholder: "Filter by name, env, tag …",
  "aria-label": "Filter the runs by a regular expression",
  "aria-describedby": "filter-error",
  autocomplete: "off",
  spellcheck: "false",
  oninput: onFilter,
});
let typedTimer = 0;
fill(byId("wall-tools"), filter, el("label", {}, "Sort", sort), el("label", {}, "Group", group));
fill(
  byId("top-tools"),
  el("a", { class: "button", href: "./runs" }, icon("table"), "Run table"),
  button("full", "Kiosk", () => change({ kiosk: true }, true), { key: "k", class: "wide-only" }),
  button("theme", "Theme", nextTheme, { quiet: true }),
  button("help", "Keyboard shortcuts", keySheet, { quiet: true, key: "?", class: "bare wide-only" }),
);
fill(byId("kiosk-exit"), icon("close"), "Leave");
byId("kiosk-exit").addEventListener("click", () => change({ kiosk: false }));
feed.on("status", showStatus);
feed.on("runs", () => board.arrangeSoon());
addEventListener("popstate", () => change(viewFromUrl()));
apply();

/** @param {Partial<View>} part @param {boolean} [isAsked] by a key or a click */
function change(part, isAsked = false) {
  view = { ...view, ...part };
  writeUrl(view);
  apply(isAsked);
}

function apply(isAsked = false) {
  sort.value = sortOf(view);
  group.value = view.group;
  if (document.activeElement !== filter) filter.value = view.filter;
  const { error } = filterOf(view.filter);
  setText(byId("filter-error"), error);
  filter.setAttribute("aria-invalid", String(Boolean(error)));
  kiosk.set(view.kiosk, isAsked);
  board.setView(view);
}

function onFilter() {
  clearTimeout(typedTimer);
  typedTimer = setTimeout(() => change({ filter: filter.value }), TYPED_MS);
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(/** @type {any} */ (currentTheme())) + 1) % THEMES.length]);
  board.request();
}

/** @param {Counts} counts */
function showCounts(counts) {
  const { all, shown, live, problems } = counts;
  const parts = [
    view.filter ? `${shown} of ${all} shown` : "",
    `${live} live`,
    shown > live ? `${shown - live} ended` : "",
    problems ? `${problems} with a problem` : "",
  ];
  setText(byId("counts"), parts.filter(Boolean).join(" · "));
  kiosk.showCounts(counts);
  byId("nothing").hidden = shown > 0 || !feed.isLoaded;
  byId("no-runs").hidden = all > 0;
  byId("no-match").hidden = all === 0;
  document.title = problems ? `(${problems}) Wall · HUD` : "Wall · HUD";
}

/** @param {RunFeedStatus} status */
function showStatus({ state, redis, detail, redisDetail }) {
  const [word, shape, tone] =
    state === "connecting"
      ? ["CONNECTING", "link", "muted"]
      : state === "down"
        ? ["RECONNECTING", "link", "warn"]
        : redis === "away"
          ? ["REDIS AWAY", "error", "error"]
          : ["LIVE", "live", "ok"];
  const chip = byId("state");
  if (chip.dataset.word === word) return;
  chip.dataset.word = word;
  chip.dataset.tone = tone;
  chip.title = (state === "open" ? redisDetail : detail) ?? "";
  fill(chip, icon(shape), el("span", {}, word));
}

/**
 * @template {string} T
 * @param {string} label @param {Record<T, string>} choices @param {(value: T) => void} onChoose
 */
function select(label, choices, onChoose) {
  const node = el(
    "select",
    { "aria-label": label, onchange: () => onChoose(/** @type {T} */ (node.value)) },
    ...Object.entries(choices).map(([value, text]) => el("option", { value }, /** @type {string} */ (text))),
  );
  return node;
}

/** @type {import("../shell/keys.js").Binding[]} */
const bindings = [
  { keys: "K", label: "Kiosk on or off", match: pressed("k"), run: () => change({ kiosk: !view.kiosk }, true) },
  { keys: "Escape", label: "Leave the kiosk", match: pressed("escape"), run: () => change({ kiosk: false }) },
  {
    keys: "← or →",
    label: "Previous or next page of the kiosk",
    match: (event) => view.kiosk && (pressed("arrowleft")(event) || pressed("arrowright")(event)),
    run: (event) => kiosk.turn(event.key === "ArrowLeft" ? -1 : 1),
  },
  {
    keys: "/",
    label: "Filter the runs",
    match: (event) => event.key === "/" && !event.ctrlKey && !view.kiosk,
    run: () => filter.focus(),
  },
  { keys: "?", label: "Keyboard shortcuts", match: (event) => event.key === "?", run: keySheet },
];
startKeys(bindings);

async function keySheet() {
  const { openKeySheet } = await import("../shell/key-sheet.js");
  openKeySheet(bindings, "In the kiosk, press F11 for a full screen that lasts when the page reloads itself.");
}
