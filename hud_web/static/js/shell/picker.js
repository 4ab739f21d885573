// @ts-check
/**
 * The dialog that chooses the data shown: the channel's current run, a past session, or a run of another channel; and
 * runs to compare. The server searches all runs, and the stream of runs keeps the lists up to date.
 */

import { fetchRuns } from "../server/runs.js";
import { RunFeed } from "../runs/feed.js";
import { openDialog } from "../ui/dialogs.js";
import { el, icon, setText } from "../ui/dom.js";
import { cut, date, duration, time } from "../ui/format.js";
import { recall, remember } from "../ui/memory.js";
import { channelUrl } from "../ui/page-url.js";
import { painter } from "../ui/paint.js";
import { statusLook } from "../ui/status-look.js";
import { lookOf } from "../ui/verdict-look.js";
import { keyOf, MOST_COMPARED } from "../charts/compare.js";

/** @import { Selection, Session } from "../data/types.js" */
/** @import { Run } from "../server/runs.js" */
/**
 * @typedef {{node: HTMLElement, update: (run: Run) => void}} Row
 *
 * @typedef {{runs: Run[], total: number, error: string}} Found `total`: on the server
 */

/** Rows shown of each list; the filter finds further ones. */
const MOST_ROWS = 100;
/** Of one answer: the runs of all channels contain those of the page's channel. */
const MOST_FETCHED = 500;
/** The server is asked when the viewer pauses for this time. */
const TYPING_MS = 150;
const NONE = /** @type {Found} */ ({ runs: [], total: 0, error: "Loading …" });

/**
 * @param {{selection: Selection, shown: string, compared: Set<string>, onChoose: (selection: Selection) => void,
 *   onCompare: (session: Session, isCompared: boolean) => void}} parts `shown`: the SID; `compared`: CHANNEL:SID of
 *   each
 */
export function openPicker({ selection, shown, compared, onChoose, onCompare }) {
  const filter = el("input", {
    type: "search",
    placeholder: "search all runs",
    "aria-label": "Filter sessions and channels",
    title: "Searches names, channels, environments, tags, notes and verdicts",
    autocomplete: "off",
  });
  const channel = el("input", {
    type: "text",
    value: selection.channel,
    "aria-label": "Channel",
    list: "channels",
    spellcheck: "false",
    autocomplete: "off",
  });
  const known = new Set([...recall("channels", /** @type {string[]} */ ([])), "default", selection.channel]);
  const channels = el("datalist", { id: "channels" }, ...[...known].map((name) => el("option", { value: name })));
  const own = new RunList({ class: "sessions own", "aria-label": "Sessions of this channel" });
  const others = new RunList({ class: "sessions channels", "aria-label": "Other channels" });
  const othersTitle = el("h3", { hidden: true }, "Other channels");
  const choose = (/** @type {Selection} */ next) => {
    known.add(next.channel);
    remember("channels", [...known].slice(-20));
    dialog.close();
    onChoose(next);
  };
  const dialog = openDialog("picker", "Sessions", () => [
    el(
      "form",
      {
        class: "picker-bar",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(~[1-9][0-9]{0,3})?$/.test(channel.value))
            choose({ channel: channel.value, session: "" });
        },
      },
      filter,
      el("label", {}, "Channel ", channel),
      channels,
      el("button", { type: "submit" }, "Open"),
      el("a", { class: "button", href: "./runs", title: "All runs in a table" }, icon("table"), "Run table"),
      el("a", { class: "button", href: "./wall", title: "All live runs" }, icon("wall"), "Wall"),
    ),
    el(
      "button",
      {
        type: "button",
        class: selection.session ? "follow" : "follow primary",
        onclick: () => choose({ channel: selection.channel, session: "" }),
      },
      icon("live"),
      "Follow the channel's current run",
    ),
    own.node,
    othersTitle,
    others.node,
  ]);
  if (!dialog.isConnected) return;
  filter.focus();

  const feed = new RunFeed();
  let found = { own: NONE, all: NONE };
  const abort = new AbortController();
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (/** @type {Run} */ run) => words.every((word) => textOf(run).includes(word));
    // The stream knows the live runs better than an answer of some time ago.
    const all = new Map([...found.all.runs, ...found.own.runs, ...feed.runs.values()].map((run) => [keyOf(run), run]));
    const matching = [...all.values()].filter(fits).sort(byTime);
    const isOwn = (/** @type {Run} */ run) => run.channel === selection.channel;
    const mine = matching.filter(isOwn);
    const theirs = matching.filter((run) => !isOwn(run)).sort((a, b) => isLive(b) - isLive(a)); // stable
    own.show(
      mine,
      found.own.total,
      found.own.error || (words.length ? "No session of this channel matches." : "No session on this channel."),
      (run) => ownRow(run),
    );
    others.show(theirs, found.all.total - found.own.total, "", (run) => otherRow(run));
    othersTitle.hidden = !theirs.length;
    for (const { channel: name } of theirs) if (!known.has(name)) channels.append(el("option", { value: name }));
    for (const { channel: name } of theirs) known.add(name);
  };
  const request = painter(show, 300);
  const ask = async () => {
    const longest = longestOf(filter.value);
    const query = { sort: "started", pinned_first: "0", filter: longest.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&") };
    const answers = await Promise.all([
      fetchRuns(new URLSearchParams({ ...query, limit: String(MOST_ROWS), channel: selection.channel }), abort.signal),
      fetchRuns(new URLSearchParams({ ...query, limit: String(MOST_FETCHED) }), abort.signal),
    ]);
    const [mine, all] = answers;
    if (!mine || !all || longest !== longestOf(filter.value)) return;
    found = { own: mine, all };
    request();
  };
  /** @param {Run} run @param {Selection} target @param {{title: string, about: string, isShown: boolean}} look */
  const makeRow = (run, target, { title, about, isShown }) => {
    const parts = {
      mark: el("span", { class: "mark" }),
      judged: el("span", { class: "judged" }),
      status: el("span"),
      times: el("span", { class: "muted" }),
    };
    const key = keyOf(run);
    const place = run.channel === selection.channel ? "" : ` of ${run.channel}`;
    const check = el("input", {
      type: "checkbox",
      checked: compared.has(key),
      "aria-label": `Compare with ${run.name ?? run.sid}${place}`,
      onchange: () => {
        if (check.checked && compared.size < MOST_COMPARED) compared.add(key);
        else compared.delete(key);
        check.checked = compared.has(key);
        onCompare({ ...run, ttl_s: null, reporter: null }, check.checked);
      },
    });
    const open = (/** @type {MouseEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab or window
      event.preventDefault();
      choose(target);
    };
    const node = el(
      "li",
      {},
      el(
        "a",
        {
          class: isShown ? "session shown" : "session",
          "aria-current": isShown ? "true" : null,
          href: channelUrl(target.channel, target.session),
          onclick: open,
        },
        parts.mark,
        el(
          "span",
          { class: "session-name" },
          el("strong", {}, cut(title, 120)),
          el("span", { class: "muted" }, about),
          parts.judged,
        ),
        el("span", { class: "session-state" }, parts.status, parts.times),
      ),
      isShown ? null : el("label", { class: "compare", title: "Draw it in the charts" }, check, "compare"),
    );
    return { node, update: (/** @type {Run} */ now) => paintRow(node, parts, now, feed.now()) };
  };
  const about = (/** @type {unknown[]} */ ...texts) =>
    texts
      .filter(Boolean)
      .map((text) => cut(String(text), 60))
      .join(" · ");
  const ownRow = (/** @type {Run} */ run) =>
    makeRow(run, targetOf(run), {
      title: run.name || "unnamed run",
      about: about(run.info?.env, run.info?.algorithm, ...run.tags),
      isShown: run.sid === (selection.session || shown),
    });
  const otherRow = (/** @type {Run} */ run) =>
    makeRow(run, targetOf(run), {
      title: run.channel,
      about: about(run.name || "unnamed run", run.info?.env, run.info?.algorithm, ...run.tags),
      isShown: false,
    });

  let typing = 0;
  filter.addEventListener("input", () => {
    request();
    clearTimeout(typing);
    typing = setTimeout(ask, TYPING_MS);
  });
  feed.on("runs", request);
  feed.on("changes", request);
  const ticking = setInterval(request, 1_000);
  dialog.addEventListener("close", () => {
    feed.close();
    abort.abort();
    clearInterval(ticking);
  });
  ask();
}

/** The longest word of a search, which the server searches for. @param {string} text */
function longestOf(text) {
  return text.split(/\s+/).sort((a, b) => b.length - a.length)[0] ?? "";
}

/** A live run is followed, as long as its channel has it. @param {Run} run @returns {Selection} */
function targetOf({ channel, sid, status }) {
  return { channel, session: status === "live" ? "" : sid };
}

/** @param {Run} run */
const isLive = ({ status }) => Number(status === "live");

/** @param {Run} a @param {Run} b the newer one first */
const byTime = (a, b) => (b.started_ms ?? 0) - (a.started_ms ?? 0);

/** The texts of a run that are searched, as on the server. @param {Run} run */
function textOf({ channel, name, status, info, tags, note, verdict, sid }) {
  return [channel, name, sid, status, info?.env, info?.algorithm, ...tags, note, verdict?.text]
    .join("\n")
    .toLowerCase();
}

/**
 * Change a row in place: it keeps the focus while its run goes on.
 * @param {HTMLElement} node @param {Record<"mark" | "judged" | "status" | "times", HTMLElement>} parts
 * @param {Run} run @param {number} now
 */
function paintRow(node, { mark, judged, status, times }, run, now) {
  const [shape, tone] = statusLook(run.status);
  if (node.dataset.status !== run.status) {
    node.dataset.status = run.status;
    node.dataset.tone = tone;
    mark.replaceChildren(icon(shape));
  }
  setText(status, run.status);
  const { started_ms: startedMs, verdict } = run;
  const endMs = run.status === "live" ? now : (run.ended_ms ?? run.last_ms);
  const lasted = startedMs && endMs ? ` · ${duration(Math.max(0, endMs - startedMs))}` : "";
  setText(times, date(startedMs) + lasted);
  times.title = time(startedMs);
  const isSaid = verdict?.text.toLowerCase() === run.status;
  setText(judged, verdict && !isSaid ? cut(verdict.text, 160) : "");
  judged.dataset.tone = verdict ? lookOf(verdict)[0] : "muted";
}

/** A list of runs that keeps the elements of those that stay. */
class RunList {
  /** @param {Record<string, string>} attributes */
  constructor(attributes) {
    this.end = el("li", { class: "empty" }, "Loading …");
    this.node = el("ul", attributes, this.end);
    /** @type {Map<string, Row>} */
    this.rows = new Map();
  }

  /**
   * @param {Run[]} runs @param {number} total on the server @param {string} empty the text without a run
   * @param {(run: Run) => Row} make
   */
  show(runs, total, empty, make) {
    const before = this.rows;
    this.rows = new Map();
    for (const run of runs.slice(0, MOST_ROWS)) {
      const key = `${keyOf(run)} ${run.status === "live"}`; // the link of a run that has ended is another
      const row = before.get(key) ?? make(run);
      row.update(run);
      this.rows.set(key, row);
      before.delete(key);
    }
    for (const { node } of before.values()) node.remove();
    let at = /** @type {Element} */ (this.node.firstElementChild);
    for (const { node } of this.rows.values()) {
      if (at === node) at = /** @type {Element} */ (at.nextElementSibling);
      else this.node.insertBefore(node, at);
    }
    const more = Math.max(total, runs.length) - this.rows.size;
    setText(this.end, this.rows.size ? (more > 0 ? `${more} more: filter by name` : "") : empty);
    this.end.hidden = !this.end.textContent;
  }
}
