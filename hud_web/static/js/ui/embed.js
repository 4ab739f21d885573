// @ts-check
/**
 * The part of the page that another page embeds: `?embed=stage`, `?embed=chart&chart=NAME` or `?embed=card`. It is for
 * viewing only, so a page around it cannot make a viewer click on something that changes the run.
 */

const VIEWS = ["stage", "chart", "card"];
const query = new URLSearchParams(location.search);
const asked = query.get("embed") ?? "";

/** The embedded part; empty on the whole page. */
export const embedded = VIEWS.includes(asked) ? asked : "";

/** Tell the style sheet which part is shown. */
export function startEmbed() {
  if (embedded) document.documentElement.dataset.embed = embedded;
}

/** The address of the whole page. */
export function wholePage() {
  const whole = new URLSearchParams(query);
  whole.delete("embed");
  whole.delete("chart");
  return whole.size ? `./?${whole}` : "./";
}
