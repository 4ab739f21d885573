// @ts-check
/** The settings that differ between the ticked runs, as columns of the table. */

import { differences, settingsOf } from "../data/tree.js";
import { Api } from "../server/api.js";
import { keyOf } from "../runs/feed.js";
import { columnOf, settingCell } from "./columns.js";

/** @import { Column } from "./columns.js" */

/** Settings that are shown: two programs differ in hundreds. */
const MOST = 60;
const KEPT = ["status", "return"];

export class Differences {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    /** The result in words. */
    this.note = "";
    /** @type {Column[]} */
    this.columns = [];
    /**
     * The settings of each run that was ticked, by CHANNEL:SID; null while they are fetched.
     * @type {Map<string, Map<string, unknown> | null>}
     */
    this.settings = new Map();
    /** @type {string[]} */
    this.chosen = [];
  }

  /** @param {string[]} keys CHANNEL:SID of each run; none hides the differences */
  async choose(keys) {
    this.chosen = keys;
    this.show();
    await Promise.all(keys.filter((key) => !this.settings.has(key)).map((key) => this.fetch(key)));
    if (this.chosen === keys && keys.length) this.show();
  }

  /** @param {string} key */
  async fetch(key) {
    this.settings.set(key, null);
    const [channel, session] = key.split(":");
    const answer = await new Api({ channel, session }).get("api/config");
    if (answer) this.settings.set(key, settingsOf(answer));
    else this.settings.delete(key); // asked again with the next change
  }

  show() {
    const known = this.chosen.filter((key) => this.settings.get(key));
    const isLoading = this.chosen.some((key) => this.settings.get(key) === null);
    const found = isLoading ? [] : differences(known.map((key) => this.settings.get(key) ?? new Map()));
    const missing = this.chosen.length - known.filter((key) => this.settings.get(key)?.size).length;
    this.note = isLoading
      ? "Loading the configurations …"
      : [
          found.length
            ? `${found.length} ${found.length === 1 ? "setting differs" : "settings differ"}`
            : "No difference",
          found.length > MOST && `the first ${MOST} are shown`,
          missing && `${missing} without a configuration`,
        ]
          .filter(Boolean)
          .join(", ");
    this.columns = [
      ...KEPT.map(columnOf).filter((one) => one !== null),
      ...found.slice(0, MOST).map(({ path }) => this.column(path)),
    ];
    this.onChange();
  }

  /** @param {string} path of a setting @returns {Column} */
  column(path) {
    const name = `config.${path.replace(/^config › /, "").replaceAll(" › ", "/")}`;
    const column = /** @type {Column} */ (columnOf(name));
    return { ...column, cell: (run) => settingCell(this.settings.get(keyOf(run))?.get(path), true) };
  }
}
