// @ts-check
/**
 * The changes of the run's last minutes: they yield the value of every field at any moment.
 *
 * Each change keeps the previous value, so a step back costs the same as a step forward. Bounded by entries and values.
 */

/** @typedef {{t: number, step: number | null, paths: string[], values: any[], before: any[]}} Change */

const MOST_CHANGES = 24_000;
const MOST_VALUES = 600_000;

export class Timeline {
  /** @type {Change[]} oldest first */
  changes = [];
  /** Changes before this index are dropped; the array is cut when half of it is dropped. */
  head = 0;
  values = 0;
  /** The number of changes applied to the values shown; valid between `begin` and the end of a rewind. */
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
    // A run sends the same fields again and again: the changes share one list of names.
    if (last && last.paths.length === change.paths.length && change.paths.every((path, i) => path === last.paths[i]))
      change.paths = last.paths;
    if (last && change.t < last.t) change.t = last.t; // entries of two streams may arrive out of order
    this.changes.push(change);
    this.values += change.paths.length;
    while (
      this.changes.length - this.head > MOST_CHANGES ||
      (this.values > MOST_VALUES && this.changes.length - this.head > 1)
    ) {
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
   * Walk to a moment and call back with each value on the way; the last value of a path is final.
   * @param {number} t @param {(path: string, value: any) => void} put undefined: not there yet
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
   * Insert older changes before the recorded ones.
   * @param {{t: number, step: number | null, paths: string[], values: any[]}[]} older oldest first
   */
  prepend(older) {
    const start = this.start;
    /** @type {Map<string, any>} */
    const known = new Map();
    const added = [];
    for (const { t, step, paths, values } of older) {
      if (t >= start) break;
      added.push({ t, step, paths, values, before: paths.map((path) => known.get(path)) });
      paths.forEach((path, i) => known.set(path, values[i]));
      this.values += paths.length;
    }
    this.cursor += added.length - this.head;
    const later = this.changes.slice(this.head);
    for (const { paths, before } of later) {
      paths.forEach((path, i) => {
        before[i] ??= known.get(path);
        known.delete(path);
      });
    }
    this.changes = [...added, ...later];
    this.head = 0;
  }
}
