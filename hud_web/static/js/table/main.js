// @ts-check
/** Starts the page of the run table, and connects its parts. */

import { setToken } from "../server/api.js";
import { fetchRuns, labelRun } from "../server/runs.js";
import { keyOf, RunFeed } from "../runs/feed.js";
import { copyText } from "../ui/clipboard.js";
import { button, byId, el, fill, icon, setText } from "../ui/dom.js";
import { recall, remember } from "../ui/memory.js";
import { painter } from "../ui/paint.js";
import { currentTheme, setTheme, startTheme } from "../ui/theme.js";
import { pressed, startKeys } from "../shell/keys.js";
import { Bar } from "./bar.js";
import { columnOf } from "./columns.js";
import { Differences } from "./differences.js";
import { Grid } from "./grid.js";
import { Listing, MOST_GROUPED } from "./listing.js";
import { isLookedUp, MOST_TICKED, readView, writeView } from "./view.js";

/** @import { Run } from "../server/runs.js" */
/** @import { Column } from "./columns.js" */
/** @import { View } from "./view.js" */

/** Whether runs are new to the list is asked at most this often. */
const LOOK_MS = 1_000;
/** The URL follows when the viewer stops scrolling for this time; browsers allow it 200 times in 30 s. */
const SETTLE_MS = 300;
/** Durations of live runs advance by a second. */
const TICK_MS = 1_000;

startTheme();

let view = readView(location.search, recall("runs.columns", /** @type {string[]} */ ([])));
let settling = 0;
/** The timer of the next look for new runs; 0 for none. */
let looking = 0;
const feed = new RunFeed();
const box = byId("rows");
const request = painter(paint, 100);
const listing = new Listing(feed.runs, request);
const differences = new Differences(() => {
  showColumns();
  request();
});
const bar = new Bar({
  bar: byId("bar"),
  chosen: byId("chosen"),
  onChange: update,
  onColumns: chooseColumns,
  onNew: () => {
    grid.scrollTo(0);
    reload();
  },
  overlay,
});
const grid = new Grid(box, listing, {
  isTicked: (key) => view.ticked.includes(key),
  isOpen: (group) => view.open.includes(group),
  address: ({ channel, sid }) => `./?${new URLSearchParams({ channel, session: sid })}`,
  now: () => feed.now(),
  onSort: (column) => update(sortBy(column)),
  onTick: tick,
  onPin: (run) => label(run, { pinned: !run.pinned }),
  onDetails: (run) => update({ details: keyOf(run) }),
  onOpen: (group) =>
    update({ open: view.open.includes(group) ? view.open.filter((one) => one !== group) : [...view.open, group] }),
  onTag: (tag) => update({ tag: [...new Set([...view.tag, tag])] }),
});

fill(
  byId("top-tools"),
  el("a", { class: "button bare", href: "./" }, icon("eye"), "Dashboard"),
  el("a", { class: "button bare", href: "wall" }, icon("table"), "Wall"),
  button("link2", "Copy link", share, { class: "wide-only" }),
  button("theme", "Light or dark", () => setTheme(currentTheme() === "light" ? "dark" : "light"), { quiet: true }),
);
startKeys([
  { keys: "/", label: "Filter the runs", match: (event) => event.key === "/", run: () => bar.filter.focus() },
  { keys: "Ctrl+K", label: "Filter the runs", match: pressed("k", { ctrl: true }), run: () => bar.filter.focus() },
]);
box.addEventListener("scroll", onScroll, { passive: true });
new ResizeObserver(request).observe(box);
addEventListener("popstate", () => show(readView(location.search)));
setInterval(request, TICK_MS);
feed.on("runs", (runs) => follow([...runs.values()]));
feed.on("changes", ({ changes }) => follow(changes.map(({ card }) => card)));
feed.on("status", ({ state }) => state === "open" && listing.isAway && reload());
showColumns();
listing.load(view, view.at, feed.now()).then(() => {
  paint();
  grid.scrollTo(view.at);
  if (view.details) openDetails();
});

/** Change the view, and the URL with it. @param {Partial<View>} change */
function update(change) {
  show({ ...view, ...change });
  history.replaceState(null, "", `?${writeView(view)}`);
}

function onScroll() {
  request();
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (listing.view && grid.first !== view.at) update({ at: grid.first });
  }, SETTLE_MS);
}

/** @param {View} next */
function show(next) {
  const before = view;
  view = next;
  const isOther = (/** @type {(keyof View)[]} */ names) =>
    names.some((name) => JSON.stringify(before[name]) !== JSON.stringify(next[name]));
  if (isOther(["columns"])) remember("runs.columns", next.columns);
  if (isOther(["differences", "ticked"])) differences.choose(next.differences ? next.ticked : []);
  const isOtherList = isOther(["sort", "order", "filter", "status", "channel", "tag", "group", "differences"]);
  if (isOther(["columns", "sort", "order", "differences", "group"])) showColumns();
  if (isOtherList || (isOther(["ticked"]) && next.differences) || next.columns.some(isNew)) {
    if (isOtherList) grid.scrollTo(0);
    reload();
  } else if (isOther(["open"])) listing.unfold(next);
  if (isOther(["details"]) && next.details) openDetails();
  request();

  /** Whether the values of a column were not asked for yet. @param {string} name */
  function isNew(name) {
    return isLookedUp(name) && !before.columns.includes(name);
  }
}

/** Fetch the list again, and keep the place. */
function reload() {
  clearTimeout(looking);
  looking = 0;
  bar.offer(0);
  return listing.load(view, grid.first, feed.now());
}

function showColumns() {
  const columns = view.differences ? differences.columns : view.columns.map(columnOf).filter((one) => one !== null);
  grid.setColumns(columns, view.sort, view.order);
}

function paint() {
  bar.paint(view, listing, view.differences ? differences.note : "");
  grid.paint();
  box.setAttribute("aria-busy", String(listing.isLoading));
  const { total, error } = listing;
  const held = Math.min(total, MOST_GROUPED);
  const groups = view.group && listing.grouped ? `${listing.grouped.length} groups of ` : "";
  const cutTo = groups && held < total ? `the first ${held.toLocaleString("en-US")} of ` : "";
  const runs = `${total.toLocaleString("en-US")} ${total === 1 ? "run" : "runs"}`;
  setText(byId("count"), error ? (view.filter ? "" : error) : listing.view ? groups + cutTo + runs : "Loading …");
  paintEmpty();
}

/** Tell why there is no row. */
function paintEmpty() {
  const isEmpty = Boolean(listing.view) && !listing.total && !listing.isLoading && !listing.error;
  const isFiltered = Boolean(view.filter || view.status.length || view.channel.length || view.tag.length);
  const kind = !isEmpty ? "" : view.differences ? "ticked" : isFiltered ? "filtered" : "none";
  if (box.dataset.empty === kind) return;
  box.dataset.empty = kind;
  box.querySelector(".nothing")?.remove();
  if (!kind) return;
  const clear = { filter: "", status: [], channel: [], tag: [] };
  box.append(
    el(
      "div",
      { class: "nothing" },
      icon(kind === "none" ? "waiting" : "filter"),
      el("strong", {}, { none: "No run yet", filtered: "No run matches", ticked: "The ticked runs are gone" }[kind]),
      kind === "none" &&
        el(
          "p",
          {},
          "Runs appear here when they start: ",
          el("code", {}, 'Publisher(channel="my-run")'),
          " in training.",
        ),
      kind === "filtered" && button("close", "Clear the filters", () => update(clear)),
      kind === "ticked" && button("close", "Untick all", () => update({ ticked: [], differences: false })),
    ),
  );
}

/** @param {Column} column @returns {Partial<View>} */
function sortBy(column) {
  const order = view.sort !== column.sort ? column.firstOrder : view.order === "asc" ? "desc" : "asc";
  return { sort: column.sort ?? "started", order };
}

/** @param {string[]} keys @param {boolean} isTicked */
function tick(keys, isTicked) {
  const others = view.ticked.filter((key) => !keys.includes(key));
  const ticked = isTicked ? [...others, ...keys].slice(0, MOST_TICKED) : others;
  update({ ticked, differences: view.differences && ticked.length > 0 });
}

/** The dashboard's URL with these runs. @param {string[]} ticked CHANNEL:SID */
function overlay([first, ...others]) {
  const [channel, session] = first.split(":");
  const query = new URLSearchParams({ channel, session });
  if (others.length) query.set("compare", others.join(","));
  if (view.group && (view.group === "name" || view.group === "tag" || view.group.startsWith("config.")))
    query.set("group", view.group);
  return `./?${String(query).replaceAll("%3A", ":").replaceAll("%2C", ",")}`;
}

/** Merge news of runs; runs that the list does not have lead to a look for new ones. @param {Run[]} cards */
function follow(cards) {
  let isAnyNew = false;
  for (const card of cards)
    if (!listing.patch(card)) isAnyNew ||= (card.started_ms ?? 0) > listing.loadedMs && listing.loadedMs > 0;
  if (isAnyNew && !looking && !view.differences) looking = setTimeout(look, LOOK_MS);
  request();
}

/** List new runs at once if they come where the viewer looks, and offer them otherwise. */
async function look() {
  looking = 0;
  const isInOrder = view.sort === "started" && view.order === "desc" && !view.group;
  if (isInOrder && grid.isAtTop) {
    await reload();
    return;
  }
  const total = await listing.count();
  if (total !== null) bar.offer(Math.max(0, total - listing.total));
}

/** Change the labels of a run. @param {Run} run @param {{tags?: string[], note?: string, pinned?: boolean}} labels */
async function label(run, labels) {
  if (listing.isViewOnly) return refuse("This address is view-only: labels are changed at the server’s other port.");
  let written = await labelRun(run, labels);
  if (written.status === 401) {
    const { actWithToken } = await import("../ui/dialogs.js");
    const act = async () => (written = await labelRun(run, labels)).status;
    await actWithToken(act, setToken, "This server requires a token to change labels.");
  }
  if (written.run) {
    const { channel, sid, tags, note, pinned } = written.run;
    Object.assign(run, { tags, note, pinned }); // of a link, it may not be listed
    listing.patch({ channel, sid, tags, note, pinned });
  }
  if (!written.run && written.status !== 401) refuse(written.detail);
  request();
  return written.run ? "" : written.detail || "the server requires a token";
}

/** Show that the server did not do something. @param {string} text */
function refuse(text) {
  const toast = el(
    "div",
    { class: "toast", "data-tone": "warn" },
    icon("warn"),
    el("strong", {}, "Not changed"),
    button("close", "Close", () => toast.remove(), { quiet: true }),
    el("p", {}, text),
  );
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), 10_000);
  return text;
}

async function chooseColumns() {
  const { openChooser } = await import("./chooser.js");
  openChooser(view.columns, (columns) => update({ columns }));
}

async function openDetails() {
  const key = view.details;
  const [{ openDetails: open }, run] = await Promise.all([import("./details.js"), runOf(key)]);
  if (view.details !== key) return;
  if (!run) {
    refuse("The run of this link does not exist any more.");
    update({ details: "" });
    return;
  }
  open({
    run,
    isViewOnly: listing.isViewOnly,
    tags: [...new Set([...listing.runs.values()].flatMap(({ tags }) => tags))].sort(),
    address: overlay([key]),
    onLabel: (labels) => label(run, labels),
    onDeleted: () => {
      update({ ticked: view.ticked.filter((one) => one !== key) });
      reload();
    },
    onClose: () => view.details === key && update({ details: "" }),
  });
}

/** A run of the list, or one that is not fetched yet. @param {string} key @returns {Promise<Run | undefined>} */
async function runOf(key) {
  return listing.runs.get(key) ?? (await fetchRuns(new URLSearchParams({ run: key })))?.runs[0];
}

async function share() {
  const url = `${location.origin}${location.pathname}?${writeView(view)}&theme=${currentTheme()}`;
  const isCopied = await copyText(url);
  const copy = byId("top-tools").querySelector(".wide-only");
  if (!copy) return;
  fill(copy, icon(isCopied ? "check" : "warn"), isCopied ? "Link copied" : "Copy the address bar");
  setTimeout(() => fill(copy, icon("link2"), "Copy link"), 2_000);
}
