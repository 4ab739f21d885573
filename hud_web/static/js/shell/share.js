// @ts-check
/** The dialog that copies a link to the view: of this session, or of whatever runs in its channel. */

import { openDialog } from "../ui/dialogs.js";
import { button, el } from "../ui/dom.js";
import { cut, time } from "../ui/format.js";
import { viewUrl } from "../ui/page-url.js";

/** @import { Store } from "../data/store.js" */
/** @import { Notice } from "../panels/notices.js" */

/** @param {Store} store @param {string} channel @param {(notice: Notice) => void} toast */
export function openShare(store, channel, toast) {
  const session = store.session?.sid ?? "";
  // In whole microseconds, and not before the moment: a page that opens the link shows the same entries.
  const t = store.moment === null ? null : Math.ceil(store.moment * 1000) / 1000;
  openDialog("share", "Copy link", (close) => {
    const copy = async (/** @type {string} */ url) => {
      close();
      const ms = store.now();
      try {
        await navigator.clipboard.writeText(url);
        toast({ ms, tone: "ok", icon: "check", title: "Link copied", text: url });
      } catch {
        toast({ ms, tone: "info", icon: "link2", title: "Link to this view", text: url });
      }
    };
    const choice = (/** @type {string} */ label, /** @type {string} */ about, /** @type {string} */ sid) =>
      el(
        "p",
        { class: "share" },
        button("link2", label, () => copy(viewUrl({ channel, session: sid }, t))),
        about,
      );
    const moment = t === null ? "" : `, at ${time(t)}`;
    return [
      session && choice("This session", `${cut(store.session?.name || "unnamed run", 60)}${moment}`, session),
      choice("Whatever runs in this channel", `the newest run in ${channel}, live`, ""),
      el("p", { class: "muted" }, "The link holds the charts, their layout, the filter and the theme as you see them."),
    ];
  });
}
