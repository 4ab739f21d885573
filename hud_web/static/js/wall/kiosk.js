// @ts-check
/**
 * The kiosk: the wall on a screen without an operator. All tiles fit the screen, or pages of them alternate. The screen
 * stays on, the cursor disappears, and the page reloads itself when the server has newer files.
 */

import { byId, fill, icon, setText } from "../ui/dom.js";
import { time } from "../ui/format.js";
import { fitGrid } from "./fit.js";

/** @import { RunFeed, RunFeedStatus } from "../runs/feed.js" */
/** @import { Counts } from "./board.js" */
/** @import { Tile } from "./tile.js" */

/** The time for which a page is shown: two seconds for each of its about six larger tiles. */
const PAGE_MS = 12_000;
const CURSOR_MS = 3_000;
/** The connection counts as lost after this time: a restart of the server takes less. */
const LOST_MS = 3_000;
/** The page is loaded anew after this time: a browser that runs for weeks collects memory. */
const RELOAD_MS = 24 * 3_600_000;
/** More pages than this are counted in words, not in dots. */
const MOST_DOTS = 12;

export class Kiosk {
  /**
   * @param {RunFeed} feed @param {HTMLElement} board
   * @param {{onTurn: () => void, onLeave: () => void}} on `onTurn`: the tiles shall be put in order for the next page
   */
  constructor(feed, board, { onTurn, onLeave }) {
    this.feed = feed;
    this.board = board;
    this.onTurn = onTurn;
    this.onLeave = onLeave;
    this.isOn = false;
    this.page = 0;
    this.pages = 1;
    /** @type {Tile[]} */
    this.tiles = [];
    this.turnTimer = 0;
    this.cursorTimer = 0;
    /** @type {WakeLockSentinel | null} */
    this.lock = null;
    /** The time since which there is no connection. @type {number | null} */
    this.lostMs = null;
    /** The tag of the page's files when the page was loaded. @type {Promise<string>} */
    this.build = buildTag();
    this.count = byId("kiosk-count");
    this.news = byId("kiosk-news");
    this.dots = byId("kiosk-dots");
    this.clock = byId("kiosk-clock");
    new ResizeObserver(() => this.isOn && this.place(this.tiles)).observe(board);
    feed.on("status", (status) => this.onStatus(status));
    document.addEventListener("fullscreenchange", () => this.isOn && !document.fullscreenElement && onLeave());
    document.addEventListener("visibilitychange", () => this.keepAwake());
    for (const type of ["pointermove", "pointerdown"]) addEventListener(type, () => this.showCursor());
    setInterval(() => this.tick(), 1_000);
  }

  /** @param {boolean} isOn @param {boolean} [isAsked] by a key or a click: a browser requires one for full screen */
  set(isOn, isAsked = false) {
    if (isOn === this.isOn) return;
    this.isOn = isOn;
    document.body.classList.toggle("kiosk", isOn);
    this.page = 0;
    clearInterval(this.turnTimer);
    if (isOn) {
      this.turnTimer = setInterval(() => this.turn(1), PAGE_MS);
      if (isAsked) document.documentElement.requestFullscreen?.().catch(() => {}); // it may be forbidden
    } else if (document.fullscreenElement) document.exitFullscreen();
    this.keepAwake();
    this.showCursor();
    this.tick();
  }

  /** Show another page. @param {1 | -1} by */
  turn(by) {
    if (!this.isOn) return;
    this.page = (this.page + by + this.pages) % this.pages;
    clearInterval(this.turnTimer);
    this.turnTimer = setInterval(() => this.turn(1), PAGE_MS);
    this.onTurn();
  }

  /** Show the tiles of the page. @param {Tile[]} tiles all, in their order */
  place(tiles) {
    this.tiles = tiles;
    const { clientWidth: width, clientHeight: height } = this.board;
    const style = getComputedStyle(this.board);
    const gap = parseFloat(style.getPropertyValue("--kiosk-gap")) || 0;
    const grid = fitGrid(tiles.length, width, height, gap);
    this.pages = grid.pages;
    this.page = Math.min(this.page, grid.pages - 1);
    const next = (this.page + 1) % grid.pages;
    tiles.forEach((tile, i) => {
      const page = Math.floor(i / grid.perPage);
      tile.node.hidden = page !== this.page;
      tile.set({ isNext: page === next });
    });
    for (const [name, value] of Object.entries({ columns: grid.columns, rows: grid.rows, unit: `${grid.unit}px` }))
      this.board.style.setProperty(`--kiosk-${name}`, String(value));
    this.board.dataset.layout = grid.layout;
    this.paintDots();
  }

  paintDots() {
    const { page, pages, dots } = this;
    const key = `${page}/${pages}`;
    if (dots.dataset.key === key) return;
    dots.dataset.key = key;
    dots.hidden = pages < 2;
    dots.setAttribute("aria-label", `Page ${page + 1} of ${pages}`);
    if (pages > MOST_DOTS) {
      setText(dots, `${page + 1} / ${pages}`);
      return;
    }
    dots.replaceChildren(
      ...Array.from({ length: pages }, (_, i) => {
        const dot = document.createElement("i");
        dot.className = i === page ? "dot on" : "dot";
        return dot;
      }),
    );
  }

  /** @param {Counts} counts */
  showCounts({ shown, problems }) {
    const runs = `${shown} run${shown === 1 ? "" : "s"}`;
    setText(this.count, problems ? `${runs} · ${problems} problem${problems === 1 ? "" : "s"}` : runs);
    this.count.dataset.tone = problems ? "warn" : "muted";
  }

  /** @param {RunFeedStatus} status */
  onStatus({ state }) {
    if (state === "open") {
      if (this.lostMs !== null) this.reloadIfNewer();
      this.lostMs = null;
    } else if (state === "down") this.lostMs ??= Date.now();
    this.tick();
  }

  tick() {
    if (!this.isOn) return;
    setText(this.clock, time(Date.now()).slice(0, 5));
    const isLost = this.lostMs !== null && Date.now() - this.lostMs > LOST_MS;
    const isAway = this.feed.status.redis === "away";
    const news = isLost
      ? `No connection since ${time(this.lostMs)}`
      : isAway
        ? "The server cannot reach Redis: training continues"
        : "";
    if (this.news.dataset.text !== news) {
      this.news.dataset.text = news;
      fill(this.news, ...(news ? [icon("link"), news] : []));
    }
    document.body.classList.toggle("cut-off", isLost || isAway);
    if (performance.now() > RELOAD_MS && this.feed.status.state === "open") location.reload();
  }

  /** Load the page anew if the server has other files than those of this page, after an update. */
  async reloadIfNewer() {
    const [before, now] = await Promise.all([this.build, buildTag()]);
    if (this.isOn && before && now && before !== now) location.reload();
  }

  async keepAwake() {
    if (!this.isOn) {
      this.lock?.release();
      this.lock = null;
    } else if (document.visibilityState === "visible") {
      try {
        this.lock = await navigator.wakeLock.request("screen");
      } catch {
        // no permission, or no secure context: the system decides
      }
    }
  }

  showCursor() {
    document.body.classList.remove("no-cursor");
    clearTimeout(this.cursorTimer);
    if (this.isOn) this.cursorTimer = setTimeout(() => document.body.classList.add("no-cursor"), CURSOR_MS);
  }
}

/** The tag of the server's version of this page's files; "" if it is unknown. */
async function buildTag() {
  try {
    const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
    return answer.ok ? (answer.headers.get("ETag") ?? "").replace(/^W\//, "") : "";
  } catch {
    return "";
  }
}
