// @ts-check
/**
 * The state of the table: filters, order, groups, columns and ticked runs. All of it is in the page's
 * URL, so a link shows the same table.
 */

/**
 * @typedef {{sort: string, order: "asc" | "desc", filter: string, status: string[], channel: string[], tag: string[],
 *   columns: string[], group: string, open: string[], ticked: string[], differences: boolean, details: string,
 *   at: number}} View `columns`: names in their order, without the first one, which is always the run's name; `open`:
 *   the groups whose runs are listed; `ticked`, `details`: CHANNEL:SID; `at`: the row at the top
 */

export const DEFAULT_COLUMNS = ["status", "channel", "started", "duration", "step", "return", "speed"];
/** Columns of values that the server looks up: `config.PATH` and `result.PATH`. */
const LOOKED_UP = /^(config|result)\./;
const RUN = /^[^:,]+:\d+$/;
/** More make the URL longer than proxies accept. */
const MOST_COLUMNS = 60;
export const MOST_TICKED = 100;

/** @param {string} name of a column */
export const isLookedUp = (name) => LOOKED_UP.test(name);

/**
 * @param {string} search a URL's query @param {string[]} remembered columns, for a URL without any state
 * @returns {View}
 */
export function readView(search, remembered = []) {
  const query = new URLSearchParams(search);
  const list = (/** @type {string} */ name) => [...new Set(query.getAll(name).filter(Boolean))];
  const columns = query.has("sort") || query.has("column") ? list("column") : remembered;
  return {
    sort: query.get("sort") || "started",
    order: query.get("order") === "asc" ? "asc" : "desc",
    filter: query.get("filter") ?? "",
    status: list("status"),
    channel: list("channel"),
    tag: list("tag"),
    columns: columns.length ? columns.slice(0, MOST_COLUMNS) : [...DEFAULT_COLUMNS],
    group: query.get("group") ?? "",
    open: list("open"),
    ticked: (query.get("ticked") ?? "").split(",").filter((run) => RUN.test(run)),
    differences: query.get("differences") === "1",
    at: Math.max(0, Math.trunc(Number(query.get("at")) || 0)),
    details: RUN.test(query.get("details") ?? "") ? (query.get("details") ?? "") : "",
  };
}

/**
 * The query of the page's URL. It always has `sort`: a URL without it shows the viewer's own columns.
 * @param {View} view
 */
export function writeView(view) {
  const query = new URLSearchParams({ sort: view.sort });
  if (view.order === "asc") query.set("order", "asc");
  for (const name of /** @type {const} */ (["filter", "group", "details"])) if (view[name]) query.set(name, view[name]);
  for (const name of /** @type {const} */ (["status", "channel", "tag", "open"]))
    for (const one of view[name]) query.append(name, one);
  if (view.columns.join() !== DEFAULT_COLUMNS.join())
    for (const name of view.columns.length ? view.columns : ["name"]) query.append("column", name);
  if (view.ticked.length) query.set("ticked", view.ticked.join(","));
  if (view.differences) query.set("differences", "1");
  if (view.at) query.set("at", String(view.at));
  return String(query).replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/**
 * The query of api/runs for a view.
 * @param {View} view @param {{limit: number, offset?: number}} part
 */
export function listQuery(view, { limit, offset = 0 }) {
  const query = new URLSearchParams({ limit: String(limit), sort: view.sort, order: view.order });
  if (offset) query.set("offset", String(offset));
  if (view.differences) for (const run of view.ticked) query.append("run", run);
  else {
    if (view.filter) query.set("filter", view.filter);
    for (const name of /** @type {const} */ (["status", "channel", "tag"]))
      for (const one of view[name]) query.append(name, one);
  }
  for (const name of new Set([...view.columns, view.group])) if (isLookedUp(name)) query.append("column", name);
  return query;
}
