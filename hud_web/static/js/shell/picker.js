// @ts-check
/** The dialog that chooses the data shown: the live run, a past session or another channel; and sessions to compare. */

import { fetchChannels } from "../server/channels.js";
import { openDialog } from "../ui/dialogs.js";
import { el, fill, icon } from "../ui/dom.js";
import { cut, date, duration, time } from "../ui/format.js";
import { recall, remember } from "../ui/memory.js";
import { channelUrl } from "../ui/page-url.js";
import { statusLook } from "../ui/status-look.js";
import { lookOf } from "../ui/verdict-look.js";
import { keyOf, MOST_COMPARED } from "../charts/compare.js";

/** @import { Channel, Selection, Session } from "../data/types.js" */

/** Rows shown of each list; the filter finds further ones. */
const MOST_ROWS = 100;

/**
 * @param {{api: import("../server/api.js").Api, selection: Selection, shown: string, compared: Set<string>, onChoose:
 *   (selection: Selection) => void, onCompare: (session: Session, isCompared: boolean) => void}} parts `compared`:
 *   CHANNEL:SID of each
 */
export async function openPicker({ api, selection, shown, compared, onChoose, onCompare }) {
  const list = el("ul", { class: "sessions" }, el("li", { class: "empty" }, "Loading …"));
  const others = el("ul", { class: "sessions channels", "aria-label": "Other channels" });
  const filter = el("input", {
    type: "search",
    placeholder: "filter by name",
    "aria-label": "Filter sessions and channels",
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
  const othersTitle = el("h3", { hidden: true }, "Other channels");
  const dialog = openDialog("picker", "Sessions", (close) => {
    const choose = (/** @type {Selection} */ next) => {
      known.add(next.channel);
      remember("channels", [...known].slice(-20));
      close();
      onChoose(next);
    };
    return [
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
      list,
      othersTitle,
      others,
    ];
  });
  if (!dialog.isConnected) return;
  filter.focus();
  const [answer, found] = await Promise.all([api.get("api/sessions"), fetchChannels(api)]);
  /** @type {Session[]} */
  const sessions = answer?.sessions ?? [];
  const elsewhere = found.filter(({ name }) => name !== selection.channel);
  for (const { name } of elsewhere) if (!known.has(name)) channels.append(el("option", { value: name }));
  const show = () => {
    const words = filter.value.toLowerCase();
    const rows = sessions.filter((session) => `${session.name} ${session.sid}`.toLowerCase().includes(words));
    fill(list, ...rows.slice(0, MOST_ROWS).map((session) => row(session)), more(rows.length));
    if (!rows.length)
      fill(list, el("li", { class: "empty" }, answer ? "No session on this channel." : "The server does not answer."));
    const matching = elsewhere.filter(({ name, session }) =>
      `${name} ${session?.name ?? ""}`.toLowerCase().includes(words),
    );
    fill(others, ...matching.slice(0, MOST_ROWS).map((one) => channelRow(one)), more(matching.length));
    othersTitle.hidden = !matching.length;
  };
  const channelRow = (/** @type {Channel} */ { name, active, last_activity_ms: lastMs, session, verdict }) => {
    const [shape, tone] = statusLook(session?.status);
    return el(
      "li",
      { "data-tone": tone },
      el(
        "a",
        {
          class: "session",
          href: channelUrl(name),
          onclick: (/** @type {MouseEvent} */ event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab or window
            event.preventDefault();
            dialog.close();
            onChoose({ channel: name, session: "" });
          },
        },
        icon(shape),
        el(
          "span",
          { class: "session-name" },
          el("strong", {}, name),
          el("span", { class: "muted" }, cut(session?.name || "unnamed run", 120)),
          verdict && el("span", { class: "judged", "data-tone": lookOf(verdict)[0] }, cut(verdict.text, 160)),
        ),
        el(
          "span",
          { class: "session-state" },
          session?.status ?? "no session",
          el("span", { class: "muted" }, active ? `since ${date(session?.started_ms)}` : date(lastMs)),
        ),
      ),
    );
  };
  const row = (/** @type {Session} */ session) => {
    const [shape, tone] = statusLook(session.status);
    const about = [session.info?.env, session.info?.algorithm]
      .filter(Boolean)
      .map((part) => cut(String(part), 60))
      .join(" · ");
    const lasted = session.started_ms ? duration((session.ended_ms ?? Date.now()) - session.started_ms) : "";
    const isShown = session.sid === (selection.session || shown);
    const key = keyOf(session);
    const check = el("input", {
      type: "checkbox",
      checked: compared.has(key),
      "aria-label": `Compare with ${session.name ?? session.sid}`,
      onchange: () => {
        if (check.checked && compared.size < MOST_COMPARED) compared.add(key);
        else compared.delete(key);
        check.checked = compared.has(key);
        onCompare(session, check.checked);
      },
    });
    return el(
      "li",
      { "data-tone": tone },
      el(
        "button",
        {
          type: "button",
          class: isShown ? "session shown" : "session",
          "aria-current": isShown ? "true" : null,
          onclick: () => {
            dialog.close();
            onChoose({ channel: selection.channel, session: session.status === "live" ? "" : (session.sid ?? "") });
          },
        },
        icon(shape),
        el(
          "span",
          { class: "session-name" },
          el("strong", {}, cut(session.name || "unnamed run", 120)),
          el("span", { class: "muted" }, about),
        ),
        el(
          "span",
          { class: "session-state" },
          session.status,
          el(
            "span",
            { class: "muted", title: time(session.started_ms) },
            `${date(session.started_ms)}${lasted ? ` · ${lasted}` : ""}`,
          ),
        ),
      ),
      isShown ? null : el("label", { class: "compare", title: "Draw its charts as faint lines" }, check, "compare"),
    );
  };
  filter.addEventListener("input", show);
  show();
}

/** A row with the number of rows that are not shown; null for none. @param {number} count */
function more(count) {
  return count > MOST_ROWS ? el("li", { class: "empty" }, `${count - MOST_ROWS} more: filter by name`) : null;
}
