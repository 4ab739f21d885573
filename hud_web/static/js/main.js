// @ts-check
/** Starts the page: makes each part once, and connects the feed to the store. */

import { Api } from "./api.js";
import { Charts } from "./charts.js";
import { byId, button, el, fill, icon } from "./dom.js";
import { listen } from "./feed-client.js";
import { Frames } from "./frames.js";
import { Notices } from "./notices.js";
import { Player } from "./player.js";
import { Scrubber } from "./scrubber.js";
import { Stage } from "./stage.js";
import { StatusBar } from "./status.js";
import { Store } from "./store.js";
import { Table } from "./table.js";
import { currentTheme, setTheme, startTheme, THEMES } from "./theme.js";
import { Tiles } from "./tiles.js";
import { Vision } from "./vision.js";

/** @typedef {import("./types.js").Session} Session */

startTheme();
const query = new URLSearchParams(location.search);
const what = { channel: query.get("channel") || "default", session: query.get("session") ?? "" };
const store = new Store();
const api = new Api(what);
const notices = new Notices();
const frames = new Frames(() => api);
const status = new StatusBar(store, () => store.moment !== null);
new Tiles(store);
const stage = new Stage(store, frames);
const player = new Player(store, frames, { showFrame: (frame) => stage.showFrame(frame), goLive: () => stage.goLive() });
new Charts(store, () => api, () => store.moment);
new Vision(store);
new Table(store);
new Scrubber({ store, player, frames, notices, onSave: () => {} });
store.on("update", ({ fields }) => frames.learn(fields));
store.on("cleared", () => frames.clear());
startTabs();
for (const spot of document.querySelectorAll("[data-icon]")) if (spot.id !== "state") spot.append(icon(/** @type {HTMLElement} */ (spot).dataset.icon ?? ""));
fill(byId("top-tools"), button("theme", "Theme", nextTheme, { quiet: true }));

store.on("session", (before) => announce(before, store.session));
listen(what, (message) => store.take(message));

/** @param {Session | null} before @param {Session | null} now */
function announce(before, now) {
  if (!now || (before && before.sid === now.sid && before.status === now.status)) return;
  const ms = store.now();
  const name = now.name ?? "a run";
  if (before?.sid && now.sid && before.sid !== now.sid) {
    status.announceTakeover();
    notices.add({ ms, tone: "warn", icon: "taken", title: "Channel taken over", text: `${name} took the channel from ${before.name ?? "the run before"}` }, { toast: true });
  } else if (now.status === "live") notices.add({ ms: now.started_ms ?? ms, tone: "ok", icon: "live", title: before ? `${name} is live again` : `${name} started` });
  else if (now.status === "taken over") notices.add({ ms, tone: "warn", icon: "taken", title: `${name} was taken over` }, { toast: before !== null });
  else if (now.status === "lapsed") notices.add({ ms, tone: "error", icon: "warn", title: `${name} was lost`, text: "its lease ran out without an end" }, { toast: before !== null });
  else if (now.status === "ended") notices.add({ ms: now.ended_ms ?? ms, tone: "muted", icon: "ended", title: `${name} ended`, text: now.ended_by ?? "" }, { toast: before !== null });
}

function nextTheme() {
  const at = THEMES.indexOf(/** @type {any} */ (currentTheme()));
  setTheme(THEMES[(at + 1) % THEMES.length]);
}

function startTabs() {
  const page = byId("page");
  const tabs = [["watch", "eye", "Watch"], ["charts", "chart", "Charts"], ["vision", "game", "VLM"], ["metrics", "table", "Metrics"]];
  const buttons = tabs.map(([name, iconName, label]) => el("button", { type: "button", role: "tab", "aria-selected": String(name === "watch"), onclick: () => choose(name) }, icon(iconName), label));
  fill(byId("tabs"), ...buttons);
  const choose = (/** @type {string} */ name) => {
    page.dataset.tab = name;
    buttons.forEach((node, i) => node.setAttribute("aria-selected", String(tabs[i][0] === name)));
    scrollTo(0, 0);
    dispatchEvent(new Event("resize"));
  };
}
