// @ts-check
/** Chooses what is shown: the live run, a past session, another channel; and which past sessions to compare with. */

import { el, fill, icon } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { ABSENT, cut, duration, isNumber, time } from "./format.js";
import { recall, remember } from "./memory.js";

/** @import { Session } from "./types.js" */
/** @typedef {{channel: string, session: string}} What */

const ICONS = /** @type {Record<string, [string, string]>} */ ({ live: ["live", "ok"], lapsed: ["warn", "error"], ended: ["ended", "muted"], "taken over": ["taken", "warn"], waiting: ["waiting", "accent"] });
const MOST_COMPARED = 4;

/**
 * @param {{api: import("./api.js").Api, what: What, compared: Set<string>, onChoose: (what: What) => void,
 *   onCompare: (sessions: Session[]) => void}} parts
 */
export async function openPicker({ api, what, compared, onChoose, onCompare }) {
  const list = el("ul", { class: "sessions" }, el("li", { class: "empty" }, "Loading …"));
  const filter = el("input", { type: "search", placeholder: "filter by name", "aria-label": "Filter sessions", autocomplete: "off" });
  const channel = el("input", { type: "text", value: what.channel, "aria-label": "Channel", list: "channels", spellcheck: "false", autocomplete: "off" });
  const known = new Set([...recall("channels", /** @type {string[]} */ ([])), "default", what.channel]);
  const channels = el("datalist", { id: "channels" }, ...[...known].map((name) => el("option", { value: name })));
  const dialog = openDialog("picker", "Sessions", (close) => {
    const choose = (/** @type {What} */ next) => {
      known.add(next.channel);
      remember("channels", [...known].slice(-20));
      close();
      onChoose(next);
    };
    return [
      el("form", { class: "picker-bar", onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(channel.value)) choose({ channel: channel.value, session: "" });
      } }, filter, el("label", {}, "Channel ", channel), channels, el("button", { type: "submit" }, "Open")),
      el("button", { type: "button", class: what.session ? "follow" : "follow primary", onclick: () => choose({ channel: what.channel, session: "" }) }, icon("live"), "Follow whoever holds the channel"),
      list,
    ];
  });
  if (!dialog.isConnected) return;
  filter.focus();
  const answer = await api.get("/api/sessions");
  /** @type {Session[]} */
  const sessions = answer?.sessions ?? [];
  for (const name of answer?.channels ?? []) if (!known.has(name)) channels.append(el("option", { value: name }));
  const show = () => {
    const words = filter.value.toLowerCase();
    const rows = sessions.filter((session) => `${session.name} ${session.sid}`.toLowerCase().includes(words));
    fill(list, ...rows.slice(0, 100).map((session) => row(session)));
    if (!rows.length) fill(list, el("li", { class: "empty" }, answer ? "No session." : "The server does not answer."));
  };
  const row = (/** @type {Session} */ session) => {
    const [shape, tone] = ICONS[session.status] ?? ICONS.ended;
    const about = [session.info?.env, session.info?.algorithm].filter(Boolean).map((part) => cut(String(part), 60)).join(" · ");
    const lasted = session.started_ms ? duration((session.ended_ms ?? Date.now()) - session.started_ms) : "";
    const isShown = session.sid === what.session || (!what.session && session.status === "live");
    const check = el("input", { type: "checkbox", checked: compared.has(session.sid ?? ""), "aria-label": `Compare with ${session.name ?? session.sid}`, onchange: () => {
      if (check.checked && compared.size < MOST_COMPARED) compared.add(session.sid ?? "");
      else compared.delete(session.sid ?? "");
      check.checked = compared.has(session.sid ?? "");
      onCompare(sessions.filter((one) => compared.has(one.sid ?? "")));
    } });
    return el("li", { "data-tone": tone },
      el("button", { type: "button", class: isShown ? "session shown" : "session", "aria-current": isShown ? "true" : null, onclick: () => {
        dialog.close();
        onChoose({ channel: what.channel, session: session.status === "live" ? "" : (session.sid ?? "") });
      } },
      icon(shape),
      el("span", { class: "session-name" }, el("strong", {}, cut(session.name || "unnamed run", 120)), el("span", { class: "muted" }, about)),
      el("span", { class: "session-state" }, session.status, el("span", { class: "muted", title: time(session.started_ms) }, `${date(session.started_ms)}${lasted ? ` · ${lasted}` : ""}`))),
      isShown ? null : el("label", { class: "compare", title: "Its charts as faint lines" }, check, "compare"));
  };
  filter.addEventListener("input", show);
  show();
}

/** Day and time, "22 Nov 12:04". @param {unknown} ms */
function date(ms) {
  if (!isNumber(ms) || Math.abs(ms) >= 8.64e15) return ABSENT;
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(new Date(ms)).replace(",", "");
}
