// @ts-check
/** Typed-array rings of points. Each has a fixed bound, so a page can stay open for days. */

import { isNumber } from "./nested.js";

/**
 * Points of one field in order of time, in columns. A full series thins its older half: of every four points it keeps
 * the lowest and the highest, as the server does. So the whole run and its spikes stay visible, and the newest part
 * stays exact.
 */
export class Series {
  /** @param {number} [most] points kept */
  constructor(most = 4096) {
    this.most = most;
    this.length = 0;
    this.version = 0;
    this.time = new Float64Array(64);
    this.step = new Float64Array(64);
    this.value = new Float64Array(64);
  }

  /** @param {number} room */
  allocate(room) {
    const grow = (/** @type {Float64Array<ArrayBuffer>} */ old) => {
      const column = new Float64Array(room);
      column.set(old.subarray(0, this.length));
      return column;
    };
    this.time = grow(this.time);
    this.step = grow(this.step);
    this.value = grow(this.value);
  }

  /**
   * Add a point; one older than the last is dropped, for example a point that the history already contained.
   * @param {number} timeMs @param {number | null} step NaN inside where unknown @param {number} value
   */
  add(timeMs, step, value) {
    if (this.length && timeMs < this.time[this.length - 1]) return;
    if (this.length === this.most) this.thin();
    else if (this.length === this.time.length) this.allocate(Math.min(this.most, this.length * 2));
    this.time[this.length] = timeMs;
    this.step[this.length] = step ?? NaN;
    this.value[this.length] = value;
    this.length++;
    this.version++;
  }

  /** Keep the oldest points only. @param {number} length how many */
  truncate(length) {
    this.length = length;
  }

  /** Have the line drawn again, because a gap in it began or ended. */
  touch() {
    this.version++;
  }

  thin() {
    const half = (this.length >> 1) & ~3;
    let to = 0;
    const keep = (/** @type {number} */ from) => {
      this.time[to] = this.time[from];
      this.step[to] = this.step[from];
      this.value[to++] = this.value[from];
    };
    for (let first = 0; first < half; first += 4) {
      let low = first;
      let high = first;
      for (let i = first + 1; i < first + 4; i++) {
        if (this.value[i] < this.value[low]) low = i;
        if (this.value[i] >= this.value[high]) high = i;
      }
      keep(Math.min(low, high));
      if (low !== high) keep(Math.max(low, high));
    }
    for (let i = half; i < this.length; i++) keep(i);
    this.length = to;
  }

  /**
   * Insert the server's points before the ones that came later.
   * @param {ArrayLike<number>} times @param {ArrayLike<number | null>} steps @param {ArrayLike<number | null>} values
   */
  prepend(times, steps, values) {
    const last = times.length ? times[times.length - 1] : -Infinity;
    const since = { time: this.time, step: this.step, value: this.value, length: this.length };
    this.length = 0;
    this.allocate(Math.min(this.most, Math.max(64, times.length + since.length)));
    for (let i = 0; i < times.length; i++) {
      const value = values[i];
      if (value !== null && Number.isFinite(value)) this.add(times[i], steps[i] ?? null, value);
    }
    for (let i = 0; i < since.length; i++)
      if (since.time[i] > last) this.add(since.time[i], since.step[i], since.value[i]);
    this.version++;
  }

  /**
   * Add points whose values are steps, in order of time among the existing ones.
   * @param {ArrayLike<number>} times @param {ArrayLike<number | null>} steps
   */
  join(times, steps) {
    const all = Array.from({ length: this.length }, (_, i) => [this.time[i], this.step[i]]);
    for (let i = 0; i < times.length; i++) {
      const step = steps[i];
      if (isNumber(step)) all.push([times[i], step]);
    }
    all.sort((a, b) => a[0] - b[0]);
    this.length = 0;
    for (const [time, step] of all) this.addStep(time, step);
  }

  /**
   * Add a point whose value is its step; of several at one time the highest counts.
   * @param {number} timeMs @param {number} step
   */
  addStep(timeMs, step) {
    if (!this.length || timeMs !== this.time[this.length - 1]) this.add(timeMs, step, step);
    else if (step > this.value[this.length - 1]) this.step[this.length - 1] = this.value[this.length - 1] = step;
  }

  /** Index of the last point at or before a time; −1 before the first. @param {number} timeMs */
  indexAt(timeMs) {
    return lastAt(this.length, (i) => this.time[i], timeMs);
  }
}

/**
 * Index of the last item at or before a place, among items in order; −1 before the first.
 * @param {number} count @param {(i: number) => number} placeOf @param {number} place
 */
export function lastAt(count, placeOf, place) {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (placeOf(middle) <= place) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The points of a sparkline over the whole run: means over equal spans, which double when the array is full. */
export class Spark {
  /** @param {number} [room] points */
  constructor(room = 48) {
    this.values = new Float64Array(room);
    this.times = new Float64Array(room);
    this.length = 0;
    this.widthMs = 250;
    this.count = 0;
    this.version = 0;
  }

  /** @param {number} value @param {number} timeMs */
  add(value, timeMs) {
    this.version++;
    const last = this.length - 1;
    if (last >= 0 && timeMs - this.times[last] < this.widthMs) {
      this.values[last] += (value - this.values[last]) / ++this.count;
      return;
    }
    if (this.length === this.values.length) this.fold();
    this.values[this.length] = value;
    this.times[this.length++] = timeMs;
    this.count = 1;
  }

  /**
   * Start with points from the server's history.
   * @param {ArrayLike<number>} times @param {ArrayLike<number | null>} values
   */
  begin(times, values) {
    this.length = 0;
    const room = this.values.length;
    // A few points are kept as they are, even if they came close together.
    this.widthMs = times.length > room ? Math.max(250, (times[times.length - 1] - times[0]) / room) : 0;
    for (let i = 0; i < times.length; i++) {
      const value = values[i];
      if (value !== null && Number.isFinite(value)) this.add(value, times[i]);
    }
    if (this.length) this.widthMs = Math.max(250, (this.times[this.length - 1] - this.times[0]) / this.length);
  }

  fold() {
    const half = this.length >> 1;
    for (let i = 0; i < half; i++) {
      this.values[i] = (this.values[2 * i] + this.values[2 * i + 1]) / 2;
      this.times[i] = this.times[2 * i];
    }
    this.length = half;
    this.widthMs *= 2;
  }
}

/** How often something happens, per second, over a short window. */
export class Rate {
  /** @param {number} [windowMs] */
  constructor(windowMs = 3000) {
    this.windowMs = windowMs;
    this.times = new Float64Array(256);
    this.next = 0;
    this.filled = 0;
  }

  /** @param {number} now */
  count(now) {
    this.times[this.next] = now;
    this.next = (this.next + 1) % this.times.length;
    this.filled = Math.min(this.filled + 1, this.times.length);
  }

  /** @param {number} now @returns {number} per second */
  at(now) {
    let seen = 0;
    let oldest = now;
    for (let i = 0; i < this.filled; i++) {
      const time = this.times[i];
      if (now - time <= this.windowMs) {
        seen++;
        if (time < oldest) oldest = time;
      }
    }
    if (seen < 2) return 0;
    return ((seen - 1) * 1000) / Math.max(now - oldest, (this.windowMs * (seen - 1)) / this.times.length);
  }
}
