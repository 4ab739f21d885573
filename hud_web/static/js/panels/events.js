// @ts-check
/**
 * The list of events: the annotations that the server's monitor wrote. A click shows the moment of an event. All
 * decisions are the server's, so every page shows the same list.
 */

import { lookOf } from "../ui/annotation-look.js";
import { byId, el, icon, setText } from "../ui/dom.js";
import { cut, inLocalTime, number, time } from "../ui/format.js";

/** @import { Annotation } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */

const MOST_LINES = 300;

export class Events {
  /**
   * @param {Store} store @param {() => import("../server/api.js").Api} api
   * @param {(timeMs: number) => void} onSeek a moment is wanted
   */
  constructor(store, api, onSeek) {
    this.store = store;
    this.api = api;
    this.onSeek = onSeek;
    this.list = byId("log");
    this.empty = el("li", { class: "empty" }, "Nothing yet.");
    /** @type {Set<string>} */
    this.known = new Set();
    this.clear();
    store.on("annotation", (annotation) => this.add([annotation]));
    store.on("snapshot", () => this.load());
    store.on("cleared", () => this.clear());
    if (store.snapshotSeen) this.load();
  }

  clear() {
    this.known.clear();
    this.list.replaceChildren(this.empty);
    setText(byId("log-meta"), "");
  }

  /** Fetch the annotations from before the page was opened, or from while it was disconnected. */
  async load() {
    const api = this.api();
    const sid = this.store.session?.sid;
    if (!sid) return;
    const answer = await api.get("api/annotations", { limit: MOST_LINES });
    if (answer && api === this.api() && sid === this.store.session?.sid) this.add(answer.annotations ?? []);
  }

  /** @param {Annotation[]} annotations */
  add(annotations) {
    const { store } = this;
    const fresh = annotations.filter(({ id }) => !this.known.has(id));
    if (!fresh.length) return;
    for (const annotation of fresh) this.known.add(annotation.id);
    store.annotations = [...store.annotations, ...fresh]
      .sort((a, b) => a.time_ms - b.time_ms || inOrder(a.id, b.id))
      .slice(-MOST_LINES);
    for (const annotation of fresh) store.applyAnnotation(annotation); // also those that are too old for the list
    const told = store.annotations.filter(({ step, entry_id: entry }) => step !== null && entry);
    store.rewind.addSteps({ time_ms: told.map((one) => one.time_ms), step: told.map((one) => one.step) });
    this.paint();
    store.emit("fields");
    store.emit("annotations");
  }

  paint() {
    const { annotations } = this.store;
    const stand = new Map([...this.list.children].map((node) => [/** @type {HTMLElement} */ (node).dataset.id, node]));
    const lines = annotations.map((annotation) => stand.get(annotation.id) ?? this.line(annotation)).reverse();
    lines.forEach((line, i) => {
      if (this.list.children[i] !== line) this.list.insertBefore(line, this.list.children[i] ?? null);
    });
    while (this.list.childElementCount > Math.max(1, lines.length)) this.list.lastElementChild?.remove();
    setText(byId("log-meta"), String(annotations.length));
  }

  /** Show the line of an event and focus it. @param {string} id @returns {boolean} whether the list has it */
  reveal(id) {
    const line = /** @type {HTMLElement[]} */ ([...this.list.children]).find((node) => node.dataset.id === id);
    line?.scrollIntoView({ block: "nearest" });
    line?.querySelector("button")?.focus();
    return Boolean(line);
  }

  /** @param {Annotation} annotation */
  line(annotation) {
    const look = lookOf(annotation);
    const at = [time(annotation.time_ms)];
    if (annotation.step !== null) at.push(`step ${number(annotation.step)}`);
    if (annotation.iteration !== null) at.push(`iteration ${number(annotation.iteration)}`);
    const text = cut(inLocalTime(annotation.text, annotation.time_ms), 400);
    return el(
      "li",
      { "data-tone": look.tone, "data-id": annotation.id, "data-kind": annotation.kind },
      el(
        "button",
        {
          type: "button",
          class: "bare",
          title: `${text} (${at.join(", ")})`,
          onclick: () => this.onSeek(annotation.time_ms),
        },
        el("time", {}, at[0]),
        icon(look.icon),
        el("span", { class: "text" }, text),
      ),
    );
  }
}

/** Compare two entry ids by their order in the stream. @param {string} one @param {string} other */
function inOrder(one, other) {
  const [ms, count = 0] = one.split("-").map(Number);
  const [otherMs, otherCount = 0] = other.split("-").map(Number);
  return ms - otherMs || count - otherCount;
}
