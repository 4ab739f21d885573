// @ts-check
/**
 * The runs that are drawn in all charts: each with its colour, its name and its state, a link to it and a button that
 * removes it; and the choice of how they are grouped. Pointing at a run or group shows it stronger than the others.
 */

import { button, el, fill } from "../ui/dom.js";
import { cut } from "../ui/format.js";
import { swatch } from "./chart.js";
import { colourOf, dashOf, keyOf } from "./run-names.js";

/** @import { Session } from "../data/types.js" */
/** @import { Compare } from "./compare.js" */
/** @import { Group } from "./run-names.js" */

const LONGEST_NAME = 32;

export class RunLegend {
  /**
   * @param {() => Compare | null} compare
   * @param {(key: string | null) => void} onPoint at a run or group; null: at none
   */
  constructor(compare, onPoint) {
    this.compare = compare;
    this.onPoint = onPoint;
    this.list = el("ul", { "aria-label": "Runs in the charts" });
    this.by = el("select", {
      "aria-label": "Group runs by",
      title: "Draw the mean of each group and its standard deviation",
      onchange: () => this.compare()?.group(this.by.value),
    });
    this.byLabel = el("label", {}, "group by", this.by);
    this.missing = el("p", { class: "missing", role: "status" });
    this.byLabel.hidden = true;
    this.node = el("div", { class: "runs-box", hidden: true }, this.list, this.missing);
    this.shown = "";
  }

  /** @param {{key: string, name: string}} own the run that the page shows */
  show(own) {
    const compare = this.compare();
    const drawn = compare?.drawn ?? [];
    this.node.hidden = !drawn.length && !compare?.missing.length;
    if (!compare) return;
    const names = compare.names();
    const groups = compare.groups();
    const isIn = (/** @type {string} */ key) => groups.find(({ keys }) => keys.includes(key));
    const content = JSON.stringify([
      own,
      drawn.map(({ session, slot, isGone }) => [keyOf(session), session.status, slot, isGone]),
      [...names],
      groups,
      compare.by,
      compare.columns,
      compare.missing,
    ]);
    if (content === this.shown) return; // the pointer may be on an entry
    this.shown = content;
    const singles = drawn.filter(({ session }) => !isIn(keyOf(session)));
    fill(
      this.list,
      this.entry({ key: own.key, name: own.name, colour: "--series-1", dash: 0, state: "shown", isOwn: true }),
      ...groups.map((group) => this.groupEntry(group, names)),
      ...singles.map(({ session, slot, isGone }) =>
        this.entry({
          key: keyOf(session),
          name: names.get(keyOf(session)) ?? "",
          colour: colourOf(slot),
          dash: dashOf(slot),
          state: isGone ? "deleted" : session.status,
          href: this.addressOf(session),
          onLeave: () => compare.remove(session),
        }),
      ),
    );
    this.byLabel.hidden = !drawn.length;
    const options = ["", "name", "tag", ...compare.columns];
    if (!options.includes(compare.by)) options.push(compare.by);
    fill(this.by, ...options.map((by) => el("option", { value: by, selected: by === compare.by }, by || "nothing")));
    const gone = compare.missing;
    const forget = () => {
      compare.missing = [];
      compare.onRuns();
    };
    fill(
      this.missing,
      gone.length > 0 && `Not found, because deleted or expired: ${cut(gone.join(", "), 120)}`,
      gone.length > 0 && button("close", "Hide this notice", forget, { quiet: true }),
    );
  }

  /** @param {Group} group @param {Map<string, string>} names */
  groupEntry(group, names) {
    const compare = this.compare();
    const members = compare?.drawn.filter(({ session }) => group.keys.includes(keyOf(session))) ?? [];
    return this.entry({
      key: group.key,
      name: `${cut(group.name, LONGEST_NAME)} (${group.keys.length} runs)`,
      title: `mean ± standard deviation of ${group.keys.map((key) => names.get(key) ?? key).join(", ")}`,
      colour: colourOf(group.slot),
      dash: dashOf(group.slot),
      state: "mean ± sd",
      onLeave: () => compare?.remove(...members.map(({ session }) => session)),
    });
  }

  /**
   * @param {{key: string, name: string, title?: string, colour: string, dash: number, state: string, href?: string,
   *   isOwn?: boolean, onLeave?: () => void}} of
   */
  entry({ key, name, title, colour, dash, state, href, isOwn, onLeave }) {
    const text = el("span", { class: "text" }, cut(name, LONGEST_NAME + 12));
    const label = href ? el("a", { href, title: `Show ${name} on this page` }, text) : text;
    return el(
      "li",
      {
        class: isOwn ? "chip own" : "chip compared",
        title: title ?? (isOwn ? "The run that this page shows" : null),
        onpointerenter: () => this.onPoint(key),
        onpointerleave: () => this.onPoint(null),
        onfocusin: () => this.onPoint(key),
        onfocusout: () => this.onPoint(null),
      },
      swatch(colour, dash),
      label,
      el("span", { class: "state", "data-status": state }, state),
      onLeave && button("close", `Stop comparing with ${name}`, onLeave, { quiet: true }),
    );
  }

  /** The page of a compared run, which then has the run shown here among its compared ones. @param {Session} session */
  addressOf({ channel, sid }) {
    const compare = this.compare();
    const others = [...(compare?.chosen ?? [])].filter((key) => key !== keyOf({ channel, sid }));
    const query = new URLSearchParams({ channel, session: sid ?? "" });
    const shown = compare?.shown();
    query.set("compare", [...(shown ? [shown] : []), ...others].join());
    if (compare?.by) query.set("group", compare.by);
    return `?${query}`;
  }
}
