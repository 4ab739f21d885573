// @ts-check
/** Shows the state of the run in a word, an icon and a colour, in the bar, the title and the favicon. */

import { byId, fill, icon, setText, el } from "../ui/dom.js";
import { clock, cut, duration, latency, milliseconds } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { lookOf } from "../ui/verdict-look.js";
import { titleOf } from "./verdict.js";

/** @import { Store } from "../data/store.js" */
/** @typedef {{word: string, icon: string, tone: string, detail: string, banner: string}} State */

/** A writer counts as sending for this time after an entry. */
const SENDING_MS = 5_000;
/** Limits while the server does not know the run's rhythm: only a long silence means something. */
const UNKNOWN_STALL_MS = 300_000;
const UNKNOWN_HUNG_MS = 55_000;
/** The phase in which steps arrive all the time, so its silences are judged. */
const STEPPING = "sampling";
/** States of the page, of its connection or of the channel: the verdict says nothing about them. */
const OF_PAGE = new Set(["RECONNECTING", "CONNECTING", "REDIS AWAY", "PAUSED", "TAKEN OVER", "WAITING"]);
/** The state bar shows a takeover for this time. */
const TAKEOVER_SHOWN_MS = 8_000;

/**
 * Return the state of the page.
 * @param {Store} store
 * @param {{paused: boolean, behindMs: number, takenOverAt: number, now: number}} around `behindMs`: from the moment
 *   shown to the newest one
 * @returns {State}
 */
export function stateOf(store, { paused, behindMs, takenOverAt, now }) {
  const { connection, session, status } = store;
  if (connection.state !== "open" && (connection.state === "down" || store.snapshotSeen)) {
    const wait = connection.retryAt ? Math.max(0, Math.ceil((connection.retryAt - now) / 1000)) : 0;
    const again = wait ? `Trying again in ${wait} s.` : "Trying again.";
    return {
      word: "RECONNECTING",
      icon: "link",
      tone: "warn",
      detail: wait ? `${wait} s` : "",
      banner: `${connection.detail ?? "The connection to the server broke."} ${again} The data shown may be old.`,
    };
  }
  if (connection.state !== "open") return { word: "CONNECTING", icon: "link", tone: "muted", detail: "", banner: "" };
  if (status.redis !== "ok") {
    const reason = status.detail ? ` (${status.detail})` : "";
    return {
      word: "REDIS AWAY",
      icon: "error",
      tone: "error",
      detail: "",
      banner: `The server cannot reach Redis${reason}. Training continues, and the page recovers by itself.`,
    };
  }
  if (paused)
    return { word: "PAUSED", icon: "pause", tone: "info", detail: `−${clock(Math.max(0, behindMs))}`, banner: "" };
  if (takenOverAt && now - takenOverAt < TAKEOVER_SHOWN_MS)
    return { word: "TAKEN OVER", icon: "taken", tone: "warn", detail: session?.name ?? "", banner: "" };
  if (!session || session.status === "waiting" || !session.sid) {
    return { word: "WAITING", icon: "waiting", tone: "accent", detail: "for a run", banner: "" };
  }
  if (session.status === "taken over")
    return {
      word: "TAKEN OVER",
      icon: "taken",
      tone: "warn",
      detail: "",
      banner: "Another run took this channel; this session gets no more data.",
    };
  if (session.status === "lapsed")
    return {
      word: "LAPSED",
      icon: "warn",
      tone: "error",
      detail: "no heartbeat",
      banner: store.verdict
        ? "" // the verdict says so, with the cause
        : "The run has sent no heartbeat since its lease expired: it died, or lost its connection to Redis.",
    };
  if (session.status === "ended")
    return {
      word: "ENDED",
      icon: "ended",
      tone: "muted",
      detail: session.ended_ms ? `${duration(store.now() - session.ended_ms)} ago` : "",
      banner: "",
    };
  const quiet = quietMs(store);
  const phase = store.leaves.get("phase")?.live;
  if (typeof phase === "string" && phase && phase !== STEPPING && !store.activity.phaseSendsEntries) {
    const since = store.activity.phaseSinceMs || store.activity.lastEntryMs;
    if (quiet > 1000 || !store.activity.lastEntryMs) return phaseState(store, phase, since ? store.now() - since : 0);
  } else if (quiet > (store.activity.rhythm?.stall_after_ms ?? UNKNOWN_STALL_MS)) {
    const isTold = /no data/i.test(store.verdict?.text ?? "");
    const detail = isTold ? "" : `${duration(quiet)} without data`;
    return { word: "STALLED", icon: "stalled", tone: "warn", detail, banner: "" };
  }
  return { word: "LIVE", icon: "live", tone: "ok", detail: latency(store.clock.latencyMs), banner: "" };
}

/** The time since the newest entry, by the server's clock: a hidden tab receives entries late. @param {Store} store */
function quietMs(store) {
  return store.activity.lastEntryMs ? Math.max(0, store.now() - store.activity.lastEntryMs) : 0;
}

/**
 * Return the state of a phase without entries, such as learning; the run's own rhythm decides when it counts as hung.
 * @param {Store} store @param {string} phase @param {number} lasted in milliseconds
 * @returns {State}
 */
function phaseState(store, phase, lasted) {
  const { usualMs = null, hungAfterMs = UNKNOWN_HUNG_MS } = store.activity.phases.get(phase) ?? {};
  const usual =
    usualMs === null
      ? ""
      : ` (usually ${usualMs < 1000 ? milliseconds(usualMs) : minutes(Math.round(usualMs / 1000) * 1000)})`;
  const isHung = lasted > hungAfterMs;
  return {
    word: /learn|train|update|optimi/i.test(phase) ? "LEARNING" : cut(phase.toUpperCase(), 16),
    icon: isHung ? "stalled" : "learning",
    tone: isHung ? "error" : "accent",
    detail: lasted > 2000 ? `for ${minutes(lasted)}${isHung && store.verdict ? "" : usual}` : "",
    banner:
      isHung && !store.verdict
        ? `The run has been in the phase “${cut(phase, 40)}” for ${minutes(lasted)}${usual}: it may hang.`
        : "",
  };
}

/**
 * Whether the verdict tells more than the state: not about the connection, and not while it is older than an alarm.
 * @param {State} state @param {import("../data/types.js").Verdict | null} verdict
 */
function isJudged({ word, tone }, verdict) {
  if (!verdict || OF_PAGE.has(word)) return false;
  const isAlarm = tone === "error" || word === "STALLED";
  return !isAlarm || (["bad", "ended"].includes(verdict.level) && !/^(no data|stalled)/i.test(verdict.text));
}

/** "6 s", "4 min" or "2 h 07 min". @param {number} ms */
function minutes(ms) {
  return ms < 120_000 ? duration(ms) : ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : duration(ms);
}

export class StatusBar {
  /**
   * @param {Store} store @param {() => number} behind how far the moment shown is behind the newest, in milliseconds
   */
  constructor(store, behind) {
    this.store = store;
    this.behind = behind;
    this.takenOverAt = 0;
    this.word = "";
    /** Whether the run is silent for longer than usual. */
    this.isOverdue = false;
    this.nodes = {
      state: byId("state"),
      announce: byId("announce"),
      banner: byId("banner"),
      lights: byId("lights"),
      name: byId("run-name"),
      session: byId("session-chip"),
      flow: byId("flow-chip"),
      favicon: /** @type {any} */ (byId("favicon")),
    };
    const word = el("span");
    const detail = el("b");
    this.state = { icon: el("span"), word, detail };
    fill(this.nodes.state, this.state.icon, word, detail);
    this.server = light("server", "Server");
    this.writer = light("writer", "Writer");
    fill(this.nodes.lights, this.server.node, this.writer.node);
    const request = painter(() => this.paint(), 200);
    store.onEach("connection session status fields frame moment verdict", request);
    // Texts such as "7 s without data" change while nothing comes; hidden tabs need them for the title.
    setInterval(() => (document.hidden ? this.paint() : request()), 1000);
    this.paint();
  }

  /** Show a takeover for TAKEOVER_SHOWN_MS. */
  announceTakeover() {
    this.takenOverAt = Date.now();
    this.paint();
  }

  paint() {
    const now = Date.now();
    const state = stateOf(this.store, {
      paused: this.store.moment !== null,
      behindMs: this.behind(),
      takenOverAt: this.takenOverAt,
      now,
    });
    const { nodes, store } = this;
    if (nodes.state.dataset.icon !== state.icon) {
      nodes.state.dataset.icon = state.icon;
      fill(this.state.icon, icon(state.icon));
    }
    nodes.state.dataset.tone = state.tone;
    setText(this.state.word, state.word);
    setText(this.state.detail, state.detail);
    nodes.banner.hidden = !state.banner;
    if (state.banner && nodes.banner.dataset.text !== state.banner) {
      nodes.banner.dataset.text = state.banner;
      nodes.banner.dataset.tone = state.tone === "muted" ? "accent" : state.tone;
      fill(nodes.banner, icon(state.icon), el("span", {}, state.banner));
    }
    this.isOverdue = state.word === "STALLED" || state.icon === "stalled";
    this.paintLights();
    this.paintChips(now);
    const name = store.session?.name || (store.session?.sid ? "unnamed run" : "no run");
    setText(nodes.name, name);
    // After a takeover, the run shown is the one that took over.
    const shown = state.word === "TAKEN OVER" && store.session?.status === "live" ? "LIVE" : state.word;
    const silence = state.word === "STALLED" && state.detail ? ` ${state.detail.split(" without")[0]}` : "";
    const judged = isJudged(state, store.verdict) ? titleOf(store.verdict) : "";
    const word = judged || shown + silence;
    const title = `${word} · ${name} · HUD`;
    if (document.title !== title) document.title = title;
    const tone = judged && store.verdict ? lookOf(store.verdict)[0] : state.tone;
    const news = `${shown} ${judged} ${tone}`;
    if (this.word !== news) {
      this.word = news;
      setText(nodes.announce, `${shown}. ${judged ? `${judged}.` : state.banner}`);
      nodes.favicon.href = favicon(tone);
    }
  }

  paintLights() {
    const { connection, status, session } = this.store;
    if (connection.state !== "open") this.server.set("warn", connection.state === "down" ? "down" : "connecting");
    else if (status.redis !== "ok") this.server.set("error", "no Redis");
    else this.server.set("ok", "connected");
    if (connection.state !== "open" || status.redis !== "ok") this.writer.set("muted", "unknown");
    else if (!session?.sid || session.status !== "live")
      this.writer.set("muted", session?.sid ? session.status : "none");
    else if (!this.store.activity.lastEntryMs) this.writer.set("muted", "awaited");
    else if (quietMs(this.store) < SENDING_MS) this.writer.set("ok", "sending");
    else if (this.isOverdue) this.writer.set("warn", "silent");
    else this.writer.set("ok", "connected");
  }

  /** @param {number} now */
  paintChips(now) {
    const { session, viewers } = this.store;
    const { session: chip, flow } = this.nodes;
    chip.hidden = !session?.sid;
    if (session?.sid) {
      const parts = [["session", `…${session.sid.slice(-5)}`]];
      if (session.started_ms)
        parts.push([
          session.status === "live" ? "for" : "ran",
          duration((session.ended_ms ?? this.store.now()) - session.started_ms),
        ]);
      if (session.status === "live" && session.ttl_s) parts.push(["TTL", `${Math.round(session.ttl_s)} s`]);
      sayParts(chip, parts);
    }
    const parts =
      this.store.frame && session?.status === "live" ? [["fps", this.store.frameRate.at(now).toFixed(1)]] : [];
    if (this.store.writers.size) parts.push(["writers", String(this.store.writers.size)]);
    if (viewers !== null) parts.push(["viewers", String(Math.max(1, viewers))]);
    flow.hidden = !parts.length;
    sayParts(flow, parts);
  }
}

/** @param {HTMLElement} node @param {string[][]} parts label and value, by turns */
function sayParts(node, parts) {
  while (node.childElementCount > parts.length) node.lastElementChild?.remove();
  parts.forEach(([label, value], i) => {
    let item = node.children[i];
    if (!item) node.append((item = el("span", {}, el("span"), " ", el("b"))));
    setText(/** @type {Element} */ (item.firstElementChild), (i ? "· " : "") + label);
    setText(/** @type {Element} */ (item.lastElementChild), value);
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
      setText(text, `${label} ${word}`);
    },
  };
}

/** @param {string} tone @returns {string} a data URL */
function favicon(tone) {
  const colour = getComputedStyle(document.documentElement)
    .getPropertyValue(`--${tone === "info" ? "cyan" : tone}`)
    .trim();
  const shapes = /** @type {Record<string, string>} */ ({
    ok: '<circle cx="16" cy="16" r="9"/>',
    warn: '<path d="M16 5 29 27H3z"/>',
    error: '<path d="M16 3 29 16 16 29 3 16z"/>',
    muted: '<rect x="7" y="7" width="18" height="18"/>',
    info: '<path d="M8 6h6v20H8zM18 6h6v20h-6z"/>',
    accent: '<path d="M16 6a10 10 0 1 0 0 20 10 10 0 0 0 0-20m0 5a5 5 0 1 1 0 10 5 5 0 0 1 0-10"/>',
  });
  const head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">';
  const ground = '<rect width="32" height="32" rx="7" fill="#0b0714"/>';
  const svg = `${head}${ground}<g fill="${colour}">${shapes[tone] ?? shapes.muted}</g></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
