// @ts-check
/**
 * The run's last minutes as changes that can be walked in both directions: what every field was at any moment of them.
 *
 * Each change keeps the value before it, so going back costs no more than going forward. Bounded by entries and by values.
 */

/** @typedef {{t: number, paths: string[], values: any[], before: any[]}} Change */

const MOST_CHANGES = 24_000;
const MOST_VALUES = 600_000;

export class Timeline {
  /** @type {Change[]} oldest first */
  changes = [];
  /** Changes before this index are dropped; the array is cut when half of it is. */
  head = 0;
  values = 0;
  /** How many of the changes the view has behind it; only meaningful while walking. */
  cursor = 0;

  /** Time of the oldest change; Infinity without any. */
  get start() {
    return this.head < this.changes.length ? this.changes[this.head].t : Infinity;
  }

  clear() {
    this.changes = [];
    this.head = this.values = this.cursor = 0;
  }

  /** @param {Change} change no older than the last one */
  add(change) {
    if (!change.paths.length) return;
    const last = this.changes.at(-1);
    // A run names the same fields again and again: one list of names serves all its changes.
    if (last && last.paths.length === change.paths.length && change.paths.every((path, i) => path === last.paths[i])) change.paths = last.paths;
    if (last && change.t < last.t) change.t = last.t; // two streams' clocks are one, but entries may cross on the way
    this.changes.push(change);
    this.values += change.paths.length;
    while (this.changes.length - this.head > MOST_CHANGES || (this.values > MOST_VALUES && this.changes.length - this.head > 1)) {
      this.values -= this.changes[this.head].paths.length;
      this.head++;
    }
    if (this.head > 4096 && this.head > this.changes.length / 2) {
      this.cursor = Math.max(0, this.cursor - this.head);
      this.changes = this.changes.slice(this.head);
      this.head = 0;
    }
  }

  /** Begin a walk at the newest moment. */
  begin() {
    this.cursor = this.changes.length;
  }

  /**
   * Walk to a moment and hand over each value on the way; the last one handed over for a path stands.
   * @param {number} t
   * @param {(path: string, value: any) => void} put undefined: not there yet
   */
  walk(t, put) {
    this.cursor = Math.max(this.cursor, this.head);
    while (this.cursor > this.head && this.changes[this.cursor - 1].t > t) {
      const { paths, before } = this.changes[--this.cursor];
      for (let i = paths.length - 1; i >= 0; i--) put(paths[i], before[i]);
    }
    while (this.cursor < this.changes.length && this.changes[this.cursor].t <= t) {
      const { paths, values } = this.changes[this.cursor++];
      for (let i = 0; i < paths.length; i++) put(paths[i], values[i]);
    }
  }

  /**
   * Put older changes before those of the page's own time.
   * @param {{t: number, paths: string[], values: any[]}[]} older oldest first
   */
  prepend(older) {
    const start = this.start;
    /** @type {Map<string, any>} */
    const known = new Map();
    const added = [];
    for (const { t, paths, values } of older) {
      if (t >= start) break;
      added.push({ t, paths, values, before: paths.map((path) => known.get(path)) });
      paths.forEach((path, i) => known.set(path, values[i]));
      this.values += paths.length;
    }
    this.cursor += added.length - this.head;
    this.changes = [...added, ...this.changes.slice(this.head)];
    this.head = 0;
  }
}
