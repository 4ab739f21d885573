// @ts-check
/** The views of a phone, chosen at the bottom; on a wide screen all are seen at once and the tabs are hidden. */

import { byId, el, fill, icon } from "./dom.js";

const TABS = [["watch", "eye", "Watch"], ["charts", "chart", "Charts"], ["vision", "brain", "VLM"], ["metrics", "table", "Metrics"]];

export function startTabs() {
  const page = byId("page");
  const buttons = TABS.map(([name, iconName, label]) => el("button", { type: "button", onclick: () => choose(name) }, icon(iconName), label));
  const choose = (/** @type {string} */ name) => {
    page.dataset.tab = name;
    buttons.forEach((node, i) => {
      if (TABS[i][0] === name) node.setAttribute("aria-current", "page");
      else node.removeAttribute("aria-current");
    });
    scrollTo(0, 0);
  };
  fill(byId("tabs"), ...buttons);
  const asked = new URLSearchParams(location.search).get("tab") ?? "";
  choose(TABS.some(([name]) => name === asked) ? asked : "watch");
}
