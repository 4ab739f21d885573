// @ts-check
/** The tabs of a phone's views, at the bottom; on a wide screen all views are visible and the tabs are hidden. */

import { byId, el, fill, icon } from "../ui/dom.js";
import { linkPart, urlPart } from "../ui/page-url.js";

const TABS = [
  ["watch", "eye", "Watch"],
  ["charts", "chart", "Charts"],
  ["vision", "brain", "VLM"],
  ["metrics", "table", "Metrics"],
];

/** Show a view, if the page shows one view at a time. @param {string} name */
export let chooseTab = (name) => {};

export function startTabs() {
  const page = byId("page");
  const buttons = TABS.map(([name, iconName, label]) =>
    el("button", { type: "button", onclick: () => choose(name) }, icon(iconName), label),
  );
  const choose = (/** @type {string} */ name) => {
    page.dataset.tab = name;
    buttons.forEach((node, i) => {
      if (TABS[i][0] === name) node.setAttribute("aria-current", "page");
      else node.removeAttribute("aria-current");
    });
    scrollTo(0, 0);
  };
  chooseTab = (name) => document.getElementById("tabs")?.checkVisibility() && choose(name);
  fill(byId("tabs"), ...buttons);
  const asked = urlPart("tab") ?? "";
  linkPart("tab", () => (page.dataset.tab === TABS[0][0] ? "" : (page.dataset.tab ?? "")));
  choose(TABS.some(([name]) => name === asked) ? asked : "watch");
}
