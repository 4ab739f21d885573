// @ts-check
/** Starts the page: makes each part once, connects them, and switches between sessions and channels. */

import { Api, setToken } from "./api.js";
import { byId, button, fill, icon } from "./dom.js";
import { connect, listen, whatOf } from "./feed-client.js";
import { envName } from "./format.js";
import { Frames } from "./frames.js";
import { pressed, startKeys } from "./keys.js";
import { Notices } from "./notices.js";
import { Player, SPEEDS } from "./player.js";
import { Scrubber } from "./scrubber.js";
import { Stage } from "./stage.js";
import { StatusBar } from "./status.js";
import { Store } from "./store.js";
import { startTabs } from "./tabs.js";
import { Tiles } from "./tiles.js";

/** @import { Session, What } from "./types.js" */

/** The other panels are loaded when the first picture is drawn, or after so long without one. */
const PANELS_AFTER_MS = 400;
const MOST_EARLY = 2_000;

for (const spot of document.querySelectorAll("[data-icon]")) if (!spot.firstChild) spot.append(icon(/** @type {HTMLElement} */ (spot).dataset.icon ?? ""));

let what = whatOf();
let api = new Api(what);
/** Made when sessions are first compared. @type {import("./compare.js").Compare | null} */
let compare = null;
const store = new Store();
const frames = new Frames(() => api);
const notices = new Notices();
const status = new StatusBar(store, () => store.moment !== null);
const stage = new Stage(store, frames);
const player = new Player(store, frames, { showFrame: (frame) => stage.showFrame(frame), goLive: () => stage.goLive() });
new Tiles(store, () => api);
new Scrubber({ store, player, frames, notices, onSave: save });
startTabs();

store.on("update", ({ fields }) => frames.learn(fields));
store.on("cleared", () => {
  frames.clear();
  notices.clear();
});
store.on("session", (before) => announce(before, store.session));
store.on("reset", (reason) => notices.add({ ms: store.now(), tone: "warn", icon: "link", title: "Some events were missed", text: reason ?? "", kind: "session" }));

const shareButton = button("link2", "Copy link", share, { class: "wide-only" });
fill(byId("top-tools"), shareButton, button("sliders", "Settings", settings, { quiet: true }), button("help", "Keyboard", keySheet, { quiet: true, key: "?", class: "bare wide-only" }));
byId("picker").addEventListener("click", pick);
addEventListener("popstate", () => show(whatOf()));
listen((message) => store.take(message));

/** Updates that come before the alerts are there to see them. @type {any[] | null} */
let early = [];
store.on("update", (update) => early && early.length < MOST_EARLY && early.push(update));
/** @type {Promise<ReturnType<typeof import("./panels.js").startPanels>>} */
const panels = Promise.race([stage.firstDrawn, new Promise((resolve) => setTimeout(resolve, PANELS_AFTER_MS))])
  .then(() => import("./panels.js"))
  .then(({ startPanels }) => {
    const started = startPanels({ store, frames, notices, api: () => api, compare: () => compare, chooseEnv });
    for (const { fields, origin, timeMs } of early ?? []) started.alerts.look(fields, origin, timeMs);
    early = null;
    return started;
  });

/** Turn the page to another session or channel. @param {What} next */
function show(next) {
  api.stop();
  if (next.channel !== what.channel) compare = null;
  what = next;
  api = new Api(what);
  player.live();
  store.session = null;
  store.clear();
  store.emit("cleared");
  if (early) early = [];
  connect(what);
}

/** @param {What} next */
function go(next) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(next)) {
    if (value && !(name === "channel" && value === "default")) query.set(name, value);
    else query.delete(name);
  }
  history.pushState(null, "", query.size ? `?${query}` : location.pathname);
  show(next);
}

/** @param {Session | null} before @param {Session | null} now */
function announce(before, now) {
  if (!now || (before && before.sid === now.sid && before.status === now.status)) return;
  const ms = store.now();
  const name = now.name || "a run";
  const kind = /** @type {const} */ ("session");
  if (before?.sid && now.sid && before.sid !== now.sid) {
    if (before.status === "live" || before.status === "taken over") {
      status.announceTakeover();
      warn({ ms, kind, tone: "warn", icon: "taken", marked: true, title: "Channel taken over", text: `${name} took the channel from ${before.name || "the run before"}` });
    } else notices.add({ ms, kind, tone: "ok", icon: "live", title: `${name} started` }, { toast: true });
  } else if (now.status === "live") notices.add({ ms: before ? ms : (now.started_ms ?? ms), kind, tone: "ok", icon: "live", title: before?.sid ? `${name} is live again` : `${name} started` });
  else if (now.status === "taken over") warn({ ms: now.ended_ms ?? ms, kind, tone: "warn", icon: "taken", marked: true, title: `${name} was taken over` }, before !== null);
  else if (now.status === "lapsed") warn({ ms, kind, tone: "error", icon: "warn", marked: true, title: `${name} was lost`, text: "its lease ran out without an end" }, before !== null);
  else if (now.status === "ended") notices.add({ ms: now.ended_ms ?? ms, kind, tone: "muted", icon: "ended", title: `${name} ended`, text: now.ended_by ?? "" }, { toast: before !== null });
}

/** What happened to a session while somebody may look elsewhere. @param {import("./notices.js").Notice} notice @param {boolean} [isNew] */
function warn(notice, isNew = true) {
  notices.add(notice, { toast: isNew });
  if (isNew) panels.then(({ alerts }) => alerts.notify("session", notice));
}

/** Ask for an env to be shown. @param {[number, number]} env */
async function chooseEnv(env) {
  let answer = await api.chooseReporter(env);
  for (let tries = 0; answer === 401 && tries < 3; tries++) {
    const { askForToken } = await import("./dialogs.js");
    const token = await askForToken(tries ? "That token was not accepted." : "To change which env is shown, this server wants a token.");
    if (!token) return;
    setToken(token);
    answer = await api.chooseReporter(env);
  }
  const ms = store.now();
  if (answer === 200) notices.add({ ms, kind: "session", tone: "info", icon: "pin", title: `${envName(env)} will be shown from its next episode on` }, { toast: true });
  else notices.add({ ms, kind: "session", tone: "warn", icon: "warn", title: `The server did not take the wish for ${envName(env)}`, text: answer === 403 ? "this address is for looking only" : "" }, { toast: true });
}

// What is seldom opened is loaded when it is.

async function pick() {
  const [{ openPicker }, { Compare }] = await Promise.all([import("./picker.js"), import("./compare.js")]);
  const sessions = (compare ??= new Compare(what.channel));
  openPicker({ api, what, compared: sessions.chosen, onChoose: go, onCompare: (chosen) => {
    sessions.choose(chosen);
    panels.then(({ charts }) => charts.showCompared());
  } });
}

async function settings() {
  const [{ openSettings }, { alerts }] = await Promise.all([import("./settings.js"), panels]);
  openSettings({ alerts, api, onKeys: keySheet });
}

async function save() {
  if (!frames.all.length) return;
  const { openSaver } = await import("./saver.js");
  openSaver(frames, store.moment);
}

async function share() {
  const query = new URLSearchParams({ channel: what.channel });
  if (store.session?.sid) query.set("session", store.session.sid);
  const url = `${location.origin}${location.pathname}?${query}`;
  try {
    await navigator.clipboard.writeText(url);
    notices.toast({ ms: store.now(), tone: "ok", icon: "check", title: "Link copied", text: url });
  } catch {
    notices.toast({ ms: store.now(), tone: "info", icon: "link2", title: "Link to this session", text: url });
  }
}

/** @type {import("./keys.js").Binding[]} */
const bindings = [
  { keys: "Space", what: "Hold the moment, or play on", match: pressed(" "), run: () => player.toggle() },
  { keys: "← or →", what: "One frame back or on", match: (event) => pressed("arrowleft")(event) || pressed("arrowright")(event), run: (event) => player.stepFrame(event.key === "ArrowLeft" ? -1 : 1) },
  { keys: "Shift+← or Shift+→", what: "One episode back or on", match: (event) => pressed("arrowleft", { shift: true })(event) || pressed("arrowright", { shift: true })(event), run: (event) => player.stepEpisode(event.key === "ArrowLeft" ? -1 : 1) },
  { keys: "L", what: "Back to now", match: pressed("l"), run: () => player.live() },
  { keys: "B", what: "Replay the best episode", match: pressed("b"), run: () => player.replay(frames.best()) },
  { keys: "E", what: "Replay the last finished episode", match: pressed("e"), run: () => player.replay(frames.finished().at(-1) ?? null) },
  { keys: "+ or −", what: "Play faster or slower", match: (event) => ["+", "=", "-"].includes(event.key) && !event.ctrlKey && !event.metaKey, run: (event) => changeSpeed(event.key === "-" ? -1 : 1) },
  { keys: "1 … 9", what: "Show that env of the strip", match: (event) => /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey, run: (event) => panels.then(({ strip }) => strip.choose(Number(event.key) - 1)) },
  { keys: "/", what: "Filter the metrics", match: (event) => event.key === "/" && !event.ctrlKey, run: () => panels.then(({ table }) => table.filterField.focus()) },
  { keys: "Ctrl+K", what: "Sessions and channels", match: pressed("k", { ctrl: true }), run: pick },
  { keys: "F", what: "Full screen", match: pressed("f"), run: () => stage.toggleFull() },
  { keys: "S", what: "Save this frame as PNG", match: pressed("s"), run: () => stage.savePng() },
  { keys: "G", what: "Save an episode", match: pressed("g"), run: save },
  { keys: "?", what: "This sheet", match: (event) => event.key === "?", run: keySheet },
];
startKeys(bindings);

async function keySheet() {
  const { openKeySheet } = await import("./key-sheet.js");
  openKeySheet(bindings);
}

/** @param {1 | -1} by */
function changeSpeed(by) {
  const at = SPEEDS.indexOf(player.speed) + by;
  if (SPEEDS[at]) player.setSpeed(SPEEDS[at]);
}
