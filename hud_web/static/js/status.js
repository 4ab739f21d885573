// @ts-check
/** Says how things stand, in a word, an icon and a colour, in the bar, the title and the favicon. */

import { byId, fill, icon, say, el } from "./dom.js";
import { clock, duration, milliseconds } from "./format.js";
import { painter } from "./paint.js";

/** @import { Store } from "./store.js" */
/** @typedef {{word: string, icon: string, tone: string, detail: string, banner: string}} State */

const STALLED_AFTER_MS = 5_000;
/** A takeover stays announced for so long. */
const TAKEOVER_SHOWN_MS = 8_000;

/**
 * Work out the one state that the page is in.
 * @param {Store} store
 * @param {{paused: boolean, takenOverAt: number, now: number}} around
 * @returns {State}
 */
export function stateOf(store, { paused, takenOverAt, now }) {
  const { link, session, status } = store;
  if (link.state !== "open" && (link.state === "down" || store.snapshotSeen)) {
    const wait = link.retryAt ? Math.max(0, Math.ceil((link.retryAt - now) / 1000)) : 0;
    const again = wait ? `Trying again in ${wait} s.` : "Trying again.";
    return { word: "RECONNECTING", icon: "link", tone: "warn", detail: wait ? `${wait} s` : "", banner: `${link.detail ?? "The connection to the server broke."} ${again} What you see may be old.` };
  }
  if (link.state !== "open") return { word: "CONNECTING", icon: "link", tone: "muted", detail: "", banner: "" };
  if (status.redis !== "ok") {
    return { word: "REDIS AWAY", icon: "error", tone: "error", detail: "", banner: `The server cannot reach Redis${status.detail ? ` (${status.detail})` : ""}. Training goes on; the page heals by itself.` };
  }
  if (paused) return { word: "PAUSED", icon: "pause", tone: "info", detail: store.moment === null ? "" : `−${clock(Math.max(0, store.now() - store.moment))}`, banner: "" };
  if (takenOverAt && now - takenOverAt < TAKEOVER_SHOWN_MS) return { word: "TAKEN OVER", icon: "taken", tone: "warn", detail: session?.name ?? "", banner: "" };
  if (!session || session.status === "waiting" || !session.sid) {
    return { word: "WAITING", icon: "waiting", tone: "accent", detail: "for a run", banner: "" };
  }
  if (session.status === "taken over") return { word: "TAKEN OVER", icon: "taken", tone: "warn", detail: "", banner: "Another run took this channel; this session gets no more data." };
  if (session.status === "lapsed") return { word: "LAPSED", icon: "warn", tone: "error", detail: "no heartbeat", banner: "The run has not been heard of since its lease ran out: it died, or is cut off from Redis." };
  if (session.status === "ended") return { word: "ENDED", icon: "ended", tone: "muted", detail: session.ended_ms ? `${duration(store.now() - session.ended_ms)} ago` : "", banner: "" };
  const quiet = store.lastDataMs ? now - store.lastDataMs : 0;
  if (isLearning(store) && (quiet > 1000 || !store.lastDataMs)) return { word: "LEARNING", icon: "learning", tone: "accent", detail: quiet > 2000 ? duration(quiet) : "", banner: "" };
  if (!store.lastDataMs) {
    const since = now - store.link.since;
    if (since < STALLED_AFTER_MS) return { word: "LIVE", icon: "live", tone: "ok", detail: "", banner: "" };
    return { word: "STALLED", icon: "stalled", tone: "warn", detail: `${duration(since)} without data`, banner: "" };
  }
  if (quiet > STALLED_AFTER_MS) return { word: "STALLED", icon: "stalled", tone: "warn", detail: `${duration(quiet)} without data`, banner: "" };
  return { word: "LIVE", icon: "live", tone: "ok", detail: latencyText(store), banner: "" };
}

/** @param {Store} store */
function isLearning(store) {
  const phase = store.find(["phase"], (value) => typeof value === "string");
  return phase !== null && /learn|train|update|optimi/i.test(phase.value);
}

/** From the moment a frame or value was made to now; "" where the clocks do not allow to say. @param {Store} store */
export function latencyText(store) {
  const made = store.latencyMs;
  return made === null || made < 0 || made > 60_000 ? "" : milliseconds(made);
}

export class StatusBar {
  /** @param {Store} store @param {() => boolean} isPaused */
  constructor(store, isPaused) {
    this.store = store;
    this.isPaused = isPaused;
    this.takenOverAt = 0;
    this.word = "";
    this.nodes = {
      state: byId("state"), announce: byId("announce"), banner: byId("banner"), lights: byId("lights"), name: byId("run-name"),
      session: byId("session-chip"), flow: byId("flow-chip"), favicon: /** @type {any} */ (byId("favicon")),
    };
    const word = el("span");
    const detail = el("b");
    this.state = { icon: el("span"), word, detail };
    fill(this.nodes.state, this.state.icon, word, detail);
    this.server = light("server", "Server");
    this.writer = light("writer", "Writer");
    fill(this.nodes.lights, this.server.node, this.writer.node);
    const request = painter(() => this.paint(), 200);
    store.onEach("link session status fields frame moment", request);
    // Words such as "7 s without data" go on while nothing comes; hidden tabs need them for the title.
    setInterval(() => (document.hidden ? this.paint() : request()), 1000);
    this.paint();
  }

  /** Show the takeover for a while. */
  announceTakeover() {
    this.takenOverAt = Date.now();
    this.paint();
  }

  paint() {
    const now = Date.now();
    const state = stateOf(this.store, { paused: this.isPaused(), takenOverAt: this.takenOverAt, now });
    const { nodes, store } = this;
    if (nodes.state.dataset.icon !== state.icon) {
      nodes.state.dataset.icon = state.icon;
      fill(this.state.icon, icon(state.icon));
    }
    nodes.state.dataset.tone = state.tone;
    say(this.state.word, state.word);
    say(this.state.detail, state.detail);
    nodes.banner.hidden = !state.banner;
    if (state.banner && nodes.banner.dataset.text !== state.banner) {
      nodes.banner.dataset.text = state.banner;
      nodes.banner.dataset.tone = state.tone === "muted" ? "accent" : state.tone;
      fill(nodes.banner, icon(state.icon), el("span", {}, state.banner));
    }
    this.paintLights(now);
    this.paintChips(now);
    const name = store.session?.name || (store.session?.sid ? "unnamed run" : "no run");
    say(nodes.name, name);
    const title = `${state.word}${state.word === "STALLED" ? ` ${state.detail.split(" without")[0]}` : ""} · ${name} · HUD`;
    if (document.title !== title) document.title = title;
    if (this.word !== state.word) {
      this.word = state.word;
      say(nodes.announce, `${state.word}. ${state.banner}`);
      nodes.favicon.href = favicon(state.tone);
    }
  }

  /** @param {number} now */
  paintLights(now) {
    const { link, status, session } = this.store;
    if (link.state !== "open") this.server.set("warn", link.state === "down" ? "down" : "connecting");
    else if (status.redis !== "ok") this.server.set("error", "no Redis");
    else this.server.set("ok", "connected");
    if (link.state !== "open" || status.redis !== "ok") this.writer.set("muted", "unknown");
    else if (!session?.sid || session.status !== "live") this.writer.set("muted", session?.sid ? session.status : "none");
    else if (this.store.lastDataMs && now - this.store.lastDataMs < STALLED_AFTER_MS) this.writer.set("ok", "sending");
    else if (!this.store.lastDataMs && now - link.since < STALLED_AFTER_MS) this.writer.set("muted", "awaited");
    else this.writer.set("warn", "silent");
  }

  /** @param {number} now */
  paintChips(now) {
    const { session, viewers } = this.store;
    const { session: chip, flow } = this.nodes;
    chip.hidden = !session?.sid;
    if (session?.sid) {
      const parts = [["session", `…${session.sid.slice(-5)}`]];
      if (session.started_ms) parts.push([session.status === "live" ? "for" : "ran", duration((session.ended_ms ?? this.store.now()) - session.started_ms)]);
      if (session.status === "live" && session.ttl_s) parts.push(["TTL", `${Math.round(session.ttl_s)} s`]);
      sayParts(chip, parts);
    }
    const parts = [["fps", this.store.frameRate.at(now).toFixed(1)]];
    if (this.store.writers.size) parts.push(["writers", String(this.store.writers.size)]);
    if (viewers !== null) parts.push(["viewers", String(Math.max(1, viewers))]);
    flow.hidden = false;
    sayParts(flow, parts);
  }
}

/** @param {HTMLElement} node @param {string[][]} parts label and value, by turns */
function sayParts(node, parts) {
  while (node.childElementCount > parts.length) node.lastElementChild?.remove();
  parts.forEach(([label, value], i) => {
    let item = node.children[i];
    if (!item) node.append((item = el("span", {}, el("span"), " ", el("b"))));
    say(/** @type {Element} */ (item.firstElementChild), (i ? "· " : "") + label);
    say(/** @type {Element} */ (item.lastElementChild), value);
  });
}

/** @param {string} iconName @param {string} label */
function light(iconName, label) {
  const text = el("span");
  const node = el("span", { class: "light", "data-tone": "muted" }, icon(iconName), text);
  return {
    node,
    set(/** @type {string} */ tone, /** @type {string} */ word) {
      node.dataset.tone = tone;
      say(text, `${label} ${word}`);
    },
  };
}

/** @param {string} tone @returns {string} a data URL */
function favicon(tone) {
  const colour = getComputedStyle(document.documentElement).getPropertyValue(`--${tone === "info" ? "cyan" : tone}`).trim();
  const shapes = /** @type {Record<string, string>} */ ({
    ok: '<circle cx="16" cy="16" r="9"/>', warn: '<path d="M16 5 29 27H3z"/>', error: '<path d="M16 3 29 16 16 29 3 16z"/>',
    muted: '<rect x="7" y="7" width="18" height="18"/>', info: '<path d="M8 6h6v20H8zM18 6h6v20h-6z"/>',
    accent: '<path d="M16 6a10 10 0 1 0 0 20 10 10 0 0 0 0-20m0 5a5 5 0 1 1 0 10 5 5 0 0 1 0-10"/>',
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b0714"/><g fill="${colour}">${shapes[tone] ?? shapes.muted}</g></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
