// @ts-check
/** Starts the page: makes each part once, connects them, and switches between sessions and channels. */

import { Store } from "../data/store.js";
import { Api, setToken } from "../server/api.js";
import { watchOtherChannels } from "../server/channels.js";
import { connect, listen, selectionFromUrl } from "../server/feed-client.js";
import { byId, button, el, fill, icon } from "../ui/dom.js";
import { embedded, wholePage } from "../ui/embed.js";
import { envName } from "../ui/format.js";
import { kept, urlPart, urlNumber } from "../ui/page-url.js";
import { Frames } from "../stage/frames.js";
import { Player, SPEEDS } from "../stage/player.js";
import { Scrubber } from "../stage/scrubber.js";
import { Stage } from "../stage/stage.js";
import { Notices } from "../panels/notices.js";
import { Tiles } from "../panels/tiles.js";
import { pressed, startKeys } from "./keys.js";
import { StatusBar } from "./status.js";
import { startTabs } from "./tabs.js";
import { startWhy } from "./why.js";

/** @import { Session, Selection } from "../data/types.js" */

/** The other panels are loaded once the first picture is drawn, or after this time without one. */
const PANELS_AFTER_MS = 400;

for (const spot of document.querySelectorAll("[data-icon]"))
  if (!spot.firstChild) spot.append(icon(/** @type {HTMLElement} */ (spot).dataset.icon ?? ""));

let selection = selectionFromUrl();
let api = new Api(selection);
/** Made when sessions are first compared. @type {import("../charts/compare.js").Compare | null} */
let compare = null;
const store = new Store();
const frames = new Frames(() => api);
const notices = new Notices();
const stage = new Stage(store, frames);
const player = new Player(store, frames, {
  showFrame: (frame) => stage.showFrame(frame),
  goLive: () => stage.goLive(),
});
const status = new StatusBar(store, () => player.behind);
new Tiles(store, () => api);
watchOtherChannels(
  store,
  () => api,
  (channels) => stage.showOtherChannels(channels),
);
new Scrubber({ store, player, frames, onSave: save });
startTabs();

store.on("update", ({ fields, timeMs }) => frames.addReturnOf(fields, timeMs));
store.on("cleared", () => {
  frames.clear();
  notices.clear();
});
store.on("session", (before) => announce(before, store.session));
store.on("reset", (reason) =>
  notices.toast({ ms: store.now(), tone: "warn", icon: "link", title: "Some events were missed", text: reason ?? "" }),
);

const shareButton = button("link2", "Copy link", share, { class: "wide-only" });
if (embedded) showPart();
else {
  fill(
    byId("top-tools"),
    el("a", { class: "button bare", href: "./wall", title: "Wall: all live runs", "aria-label": "Wall" }, icon("wall")),
    el(
      "a",
      { class: "button bare", href: "./runs", title: "Run table: all runs", "aria-label": "Runs" },
      icon("table"),
    ),
    shareButton,
    button("sliders", "Settings", settings, { quiet: true }),
    button("help", "Keyboard shortcuts", keySheet, { quiet: true, key: "?", class: "bare wide-only" }),
  );
  byId("picker").addEventListener("click", pick);
}
addEventListener("popstate", () => show(selectionFromUrl()));

/** @type {Promise<ReturnType<typeof import("./panels.js").startPanels>>} */
const panels = Promise.race([stage.firstDrawn, new Promise((resolve) => setTimeout(resolve, PANELS_AFTER_MS))])
  .then(() => import("./panels.js"))
  .then(({ startPanels }) =>
    startPanels({
      store,
      frames,
      stage,
      notices,
      api: () => api,
      compare: () => compare,
      chooseEnv,
      seek: (timeMs) => player.seek(timeMs),
    }),
  );

const why = startWhy({
  store,
  frames,
  panels,
  api: () => api,
  seek: (timeMs) => player.seek(timeMs),
  compared: () => compare?.drawn.find(({ session }) => session.channel === selection.channel)?.session.sid ?? "",
});
restoreCompared(urlPart("compare"));
const askedMoment = urlNumber("t", 1, 8.64e15);
if (askedMoment !== null)
  store.on(
    "snapshot",
    once(async () => {
      await frames.load(0);
      player.seek(askedMoment, true);
    }),
  );
listen((message) => store.onMessage(message)); // last, because it delivers the messages that came before

/** @param {() => void} act @returns {() => void} */
function once(act) {
  let isDone = false;
  return () => {
    if (!isDone) act();
    isDone = true;
  };
}

/** Show the embedded part alone: for viewing, with a link to the whole page. */
function showPart() {
  /** @type {HTMLButtonElement} */ (byId("picker")).disabled = true;
  const title = "Open the whole page";
  fill(
    byId("top-tools"),
    el(
      "a",
      { class: "button bare", href: wholePage(), target: "_blank", rel: "noopener", title, "aria-label": title },
      icon("link2"),
    ),
  );
}

/** Show another session or channel. @param {Selection} next */
function show(next) {
  api.stop();
  const isElsewhere = next.channel !== selection.channel;
  selection = next;
  if (isElsewhere) {
    compare?.close();
    compare = null;
    restoreCompared();
  }
  api = new Api(selection);
  player.live();
  store.session = null;
  store.clear();
  store.emit("cleared");
  connect(selection);
}

/** @param {Selection} next */
function go(next) {
  const query = new URLSearchParams(location.search);
  query.delete("t"); // the moment of another session
  for (const [name, value] of Object.entries(next)) {
    if (value && !(name === "channel" && value === "default")) query.set(name, value);
    else query.delete(name);
  }
  history.pushState(null, "", query.size ? `?${query}` : location.pathname);
  show(next);
}

/**
 * Show a notice of a session's change while the page is open; the list of events has it as an annotation.
 * @param {Session | null} before @param {Session | null} now
 */
function announce(before, now) {
  if (!now || !before || (before.sid === now.sid && before.status === now.status)) return;
  const ms = store.now();
  const name = now.name || "a run";
  if (before.sid && now.sid && before.sid !== now.sid) {
    if (before.status === "live" || before.status === "taken over") {
      status.announceTakeover();
      notify({
        ms,
        tone: "warn",
        icon: "taken",
        title: "Channel taken over",
        text: `${name} took the channel from ${before.name || "the run before"}`,
      });
    } else notices.toast({ ms, tone: "ok", icon: "live", title: `${name} started` });
  } else if (now.status === "live")
    notices.toast({ ms, tone: "ok", icon: "live", title: before.sid ? `${name} is live again` : `${name} started` });
  else if (now.status === "taken over" && selection.session)
    notify({ ms, tone: "warn", icon: "taken", title: `${name} was taken over` });
  // A page that follows the channel is notified when the next run starts.
  else if (now.status === "lapsed")
    notify({ ms, tone: "error", icon: "warn", title: `${name} was lost`, text: "its lease expired before a release" });
  else if (now.status === "ended")
    notices.toast({ ms, tone: "muted", icon: "ended", title: `${name} ended`, text: now.ended_by ?? "" });
}

/**
 * Show a notice, also as a browser notification if the tab is hidden.
 * @param {import("../panels/notices.js").Notice} notice
 */
function notify(notice) {
  notices.toast(notice);
  panels.then(({ alerts }) => alerts.notify("session", notice));
}

/** Request that an env is shown. @param {[number, number]} env */
async function chooseEnv(env) {
  const act = () => api.chooseReporter(env);
  let answer = /** @type {number | null} */ (await act());
  if (answer === 401) {
    const { actWithToken } = await import("../ui/dialogs.js");
    answer = await actWithToken(act, setToken, "This server requires a token to change the env that is shown.");
    if (answer === null) return;
  }
  const ms = store.now();
  if (answer === 200)
    notices.toast({ ms, tone: "info", icon: "pin", title: `${envName(env)} will be shown from its next episode on` });
  else
    notices.toast({
      ms,
      tone: "warn",
      icon: "warn",
      title: `The server rejected the request for ${envName(env)}`,
      text: answer === 403 ? "this address is view-only" : "",
    });
}

// Rarely needed modules are loaded at first use.

async function pick() {
  const [{ openPicker }, sessions] = await Promise.all([import("./picker.js"), comparing()]);
  openPicker({
    selection,
    shown: store.session?.sid ?? "",
    compared: sessions.chosen,
    onChoose: go,
    onCompare: (session, isCompared) => {
      if (isCompared) sessions.add(session);
      else sessions.remove(session);
    },
  });
}

async function comparing() {
  const [{ Compare }, { charts }] = await Promise.all([import("../charts/compare.js"), panels]);
  compare ??= new Compare(selection.channel, {
    shown: () => store.session,
    roles: () => store.roles,
    seen: () => charts.seenPaths(),
    onPoints: () => charts.requestSeen(),
    onRuns: () => charts.showCompared(),
  });
  return compare;
}

/** Compare with the runs in the address, or with the ones of the last visit. @param {string | null} [asked] */
async function restoreCompared(asked) {
  const { channel } = selection;
  const text = asked ?? kept(`compare.${channel}`, /** @type {string[]} */ ([])).join();
  const { charts } = await panels;
  charts.showCompared();
  if (!text) return;
  const { readKeys } = await import("../charts/compare.js");
  const made = await comparing();
  made.by = urlPart("group") ?? kept("compare.group", "");
  await made.restore(readKeys(text, channel));
}

async function settings() {
  const [{ openSettings }, { alerts }] = await Promise.all([import("./settings.js"), panels]);
  openSettings({ alerts, api, onKeys: keySheet, onShare: share });
}

async function save() {
  if (!frames.all.length) return;
  const { openSaver } = await import("../stage/saver.js");
  openSaver(frames, store.moment);
}

async function share() {
  const [{ openShare }] = await Promise.all([import("./share.js"), panels]); // the panels have registered their parts
  openShare(store, selection.channel, (notice) => notices.toast(notice));
}

/** @type {import("./keys.js").Binding[]} */
const bindings = [
  { keys: "Space", label: "Pause or resume", match: pressed(" "), run: () => player.toggle() },
  {
    keys: "← or →",
    label: "Previous or next frame",
    match: (event) => pressed("arrowleft")(event) || pressed("arrowright")(event),
    run: (event) => player.stepFrame(event.key === "ArrowLeft" ? -1 : 1),
  },
  {
    keys: "Shift+← or Shift+→",
    label: "Previous or next episode",
    match: (event) => pressed("arrowleft", { shift: true })(event) || pressed("arrowright", { shift: true })(event),
    run: (event) => player.stepEpisode(event.key === "ArrowLeft" ? -1 : 1),
  },
  { keys: "L", label: "Back to live", match: pressed("l"), run: () => player.live() },
  { keys: "B", label: "Replay the best episode", match: pressed("b"), run: () => player.replay(frames.best()) },
  {
    keys: "E",
    label: "Replay the last finished episode",
    match: pressed("e"),
    run: () => player.replay(frames.finished().at(-1) ?? null),
  },
  {
    keys: "+ or −",
    label: "Play faster or slower",
    match: (event) => ["+", "=", "-"].includes(event.key) && !event.ctrlKey && !event.metaKey,
    run: (event) => changeSpeed(event.key === "-" ? -1 : 1),
  },
  {
    keys: "1 … 9",
    label: "Show that env of the strip",
    match: (event) => /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey,
    run: (event) => panels.then(({ strip }) => strip.choose(Number(event.key) - 1)),
  },
  {
    keys: "/",
    label: "Filter the metrics",
    match: (event) => event.key === "/" && !event.ctrlKey,
    run: () => panels.then(({ table }) => table.filterField.focus()),
  },
  { keys: "Ctrl+K", label: "Sessions and channels", match: pressed("k", { ctrl: true }), run: pick },
  { keys: "C", label: "Configuration of the run", match: pressed("c"), run: () => why.openConfiguration() },
  {
    keys: "M",
    label: "Agent’s mind on the picture",
    match: pressed("m"),
    run: () => panels.then(({ mind }) => mind.toggle()),
  },
  {
    keys: "Esc",
    label: "Back from an enlarged chart",
    match: (event) => event.key === "Escape" && byId("chart-scroll").classList.contains("large"),
    run: () => panels.then(({ charts }) => charts.shrink()),
  },
  { keys: "F", label: "Full screen", match: pressed("f"), run: () => stage.toggleFull() },
  { keys: "S", label: "Save this frame as PNG", match: pressed("s"), run: () => stage.savePng() },
  { keys: "G", label: "Save an episode", match: pressed("g"), run: save },
  { keys: "?", label: "Keyboard shortcuts", match: (event) => event.key === "?", run: keySheet },
];
if (!embedded) startKeys(bindings);

async function keySheet() {
  const { openKeySheet } = await import("./key-sheet.js");
  openKeySheet(bindings);
}

/** @param {1 | -1} by */
function changeSpeed(by) {
  const at = SPEEDS.indexOf(player.speed) + by;
  if (SPEEDS[at]) player.setSpeed(SPEEDS[at]);
}
