// @ts-check
/**
 * The dialog of the run's configuration: a tree that can be searched, and its differences from that of another session
 * of the channel.
 */

import { isMapping } from "../data/nested.js";
import { differences, flatten, settingsOf, valueText } from "../data/tree.js";
import { Api } from "../server/api.js";
import { copyText } from "../ui/clipboard.js";
import { openDialog } from "../ui/dialogs.js";
import { button, el, fill, setText } from "../ui/dom.js";
import { ABSENT, cut } from "../ui/format.js";
import { matcher } from "../ui/match.js";
import { loadSheet } from "../ui/sheet.js";

/** @import { Fields, Session } from "../data/types.js" */
/** @import { Child } from "../ui/dom.js" */

await loadSheet("configuration");

/** A longer value is cut until the viewer opens it. */
const LONG = 120;
/** Branches below this depth start closed, unless something is searched. */
const OPEN_DEPTH = 2;

/**
 * @param {Api} api of the session shown @param {string} sid of it
 * @param {string} compared sid of the session that the charts are compared with, "" for none
 */
export async function openConfiguration(api, sid, compared) {
  const find = el("input", {
    type: "search",
    placeholder: "search names and values",
    "aria-label": "Search the configuration",
    title: "Words, or a regular expression between slashes: /lr|gamma/",
    autocomplete: "off",
    spellcheck: "false",
  });
  const against = el(
    "select",
    { "aria-label": "Compare with another session" },
    el("option", { value: "" }, "no other session"),
  );
  const all = el("input", { type: "checkbox" });
  const allLabel = el("label", { hidden: true }, all, "also equal values");
  const count = el("p", { class: "muted", role: "status" });
  const body = el("div", { class: "config" }, el("p", { class: "empty" }, "Loading …"));
  const copy = button("copy", "Copy as JSON", async () => {
    setText(count, (await copyText(JSON.stringify(config, null, 2))) ? "Copied." : "The browser refused to copy.");
  });
  const { channel } = api.selection;
  const configOf = (/** @type {string} */ session) => new Api({ channel, session }).get("api/config");
  const dialog = openDialog("configuration", "Configuration", () => [
    el("div", { class: "config-bar" }, find, el("label", {}, "compare with ", against), allLabel, copy),
    count,
    body,
  ]);
  if (!dialog.isConnected) return;
  dialog.classList.add("wide");
  const [answer, listed] = await Promise.all([configOf(sid), api.get("api/sessions")]);
  /** @type {Fields} */
  const config = inOrder(answer ?? {});
  /** @type {Session[]} */
  const others = (listed?.sessions ?? []).filter((/** @type {Session} */ one) => one.sid && one.sid !== sid);
  against.append(...others.map((one) => el("option", { value: one.sid, selected: one.sid === compared }, label(one))));
  /** @type {Fields | null} */
  let other = null;
  const show = () => {
    allLabel.hidden = !other;
    const fits = matcher(find.value);
    if (!Object.keys(config).length && !other) {
      setText(count, "");
      fill(body, el("p", { class: "empty" }, answer ? NOTHING : "The server has no configuration of this session."));
    } else if (other) showDifferences(body, count, config, other, nameOf(others, against.value), fits, all.checked);
    else showTree(body, count, config, fits, Boolean(find.value.trim()));
  };
  const compare = async () => {
    const wanted = against.value;
    const found = wanted ? ((await configOf(wanted)) ?? {}) : null;
    if (against.value !== wanted) return;
    other = found;
    show();
  };
  find.addEventListener("input", show);
  all.addEventListener("change", show);
  against.addEventListener("change", compare);
  find.focus();
  if (against.value) await compare();
  else show();
}

/** Titles of the sections that runs send, in the order of the dialog; other sections follow. */
const SECTIONS = /** @type {Record<string, string>} */ ({
  changed: "Changed from the defaults",
  config: "Configuration",
  command: "Command",
  git: "Git",
  versions: "Versions",
});

/** The sections in the order of the dialog. @param {Fields} config @returns {Fields} */
function inOrder(config) {
  const names = [...Object.keys(SECTIONS).filter((name) => name in config), ...Object.keys(config)];
  return Object.fromEntries(names.map((name) => [name, config[name]]));
}

const NOTHING =
  "This run sent no configuration. RLlib and Stable-Baselines3 runs send theirs; others call hud.configure({…}).";

/** @param {Session} session */
function label(session) {
  const started = session.started_ms ? new Date(session.started_ms) : null;
  const day = started?.toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return `${cut(session.name || "unnamed run", 60)} (${day ?? ABSENT})`;
}

/** @param {Session[]} sessions @param {string} sid */
function nameOf(sessions, sid) {
  return cut(sessions.find((one) => one.sid === sid)?.name || "the other run", 40);
}

/**
 * @param {Element} body @param {Element} count @param {Fields} config @param {(text: string) => boolean} fits
 * @param {boolean} isSearching
 */
function showTree(body, count, config, fits, isSearching) {
  let shown = 0;
  const branch = (/** @type {Fields} */ tree, /** @type {string[]} */ path) => {
    /** @type {Child[]} */
    const items = [];
    for (const name of Object.keys(tree)) {
      const value = tree[name];
      const here = [...path, name];
      if (isMapping(value) && Object.keys(value).length) {
        const before = shown;
        const inner = branch(value, here);
        if (inner.length)
          items.push(
            el(
              "li",
              {},
              el(
                "details",
                // RLlib's whole configuration has 400 values, of which a run changes a few.
                { open: isSearching || (here.length < OPEN_DEPTH && !(name === "config" && "changed" in tree)) },
                el(
                  "summary",
                  {},
                  cut(path.length ? name : (SECTIONS[name] ?? name), 120),
                  el("span", { class: "muted" }, ` ${shown - before}`),
                ),
                el("ul", {}, ...inner),
              ),
            ),
          );
      } else if (fits(`${here.join("/")} ${valueText(value)}`)) {
        shown++;
        items.push(el("li", { class: "leaf" }, el("span", { class: "name" }, cut(name, 160)), valueNode(value)));
      }
    }
    return items;
  };
  const items = branch(config, []);
  fill(body, items.length ? el("ul", { class: "tree" }, ...items) : el("p", { class: "empty" }, "Nothing matches."));
  const total = flatten(config).size;
  setText(count, shown === total ? `${total} values` : `${shown} of ${total} values`);
}

/**
 * @param {Element} body @param {Element} count @param {Fields} config @param {Fields} other @param {string} name of the
 * other run @param {(text: string) => boolean} fits @param {boolean} withEqual
 */
function showDifferences(body, count, config, other, name, fits, withEqual) {
  const [own, theirs] = [config, other].map(settingsOf);
  const found = differences([own, theirs]).map(({ path, values }) => ({ path, own: values[0], other: values[1] }));
  const different = new Set(found.map(({ path }) => path));
  const equal = withEqual
    ? [...own].filter(([path]) => !different.has(path)).map(([path, value]) => ({ path, own: value, other: value }))
    : [];
  const rows = [...found, ...equal].filter((row) => fits(`${row.path} ${valueText(row.own)} ${valueText(row.other)}`));
  const cell = (/** @type {unknown} */ value) =>
    el("td", {}, value === undefined ? el("span", { class: "muted" }, "not set") : valueNode(value));
  fill(
    body,
    rows.length
      ? el(
          "table",
          { class: "differences" },
          el(
            "thead",
            {},
            el("tr", {}, ...["Setting", "This run", name].map((text) => el("th", { scope: "col" }, text))),
          ),
          el(
            "tbody",
            {},
            ...rows.map((row) =>
              el(
                "tr",
                { class: different.has(row.path) ? "different" : null },
                el("th", { scope: "row" }, cut(row.path, 200)),
                cell(row.own),
                cell(row.other),
              ),
            ),
          ),
        )
      : el("p", { class: "empty" }, found.length ? "Nothing matches." : "The two configurations are equal."),
  );
  setText(count, `${found.length} of ${new Set([...own.keys(), ...theirs.keys()]).size} values differ`);
}

/** A value; a long one is cut until it is clicked. @param {unknown} value */
function valueNode(value) {
  const text = valueText(value);
  if (text.length <= LONG) return el("span", { class: "value" }, text || "\u201c\u201d");
  const shown = el("span", { class: "text" }, cut(text, LONG));
  const toggle = el("button", { type: "button", class: "bare", "aria-expanded": "false" }, "more");
  toggle.addEventListener("click", () => {
    const isOpen = toggle.getAttribute("aria-expanded") === "false";
    toggle.setAttribute("aria-expanded", String(isOpen));
    setText(toggle, isOpen ? "less" : "more");
    setText(shown, isOpen ? text : cut(text, LONG));
  });
  return el("span", { class: "value" }, shown, " ", toggle);
}
