// @ts-check
/**
 * The verdict: the monitor's judgement of the run in one line, whose clauses are buttons that show their evidence.
 * Also the words for the tab's title. Decides nothing about the run: the server does.
 */

import { byId, el, fill, icon, setText } from "../ui/dom.js";
import { embedded } from "../ui/embed.js";
import { cut, inLocalTime, time } from "../ui/format.js";
import { painter } from "../ui/paint.js";
import { lookOf, tellsOfDeath } from "../ui/verdict-look.js";

/** @import { Clause, Verdict } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */

const LONGEST_CLAUSE = 240;
/** A tab's title shows few characters. */
const LONGEST_HEAD = 28;

/**
 * The first words of a verdict: "Learning" of "Learning: return +0.4 in 10 min", "Memory" of "Memory of driver grows".
 * @param {string} text
 */
export function headOf(text) {
  return text.split(/: | for | since | of (?=\D)| \d\d:\d\d|, /, 1)[0];
}

/** The words for the tab's title; "" where the state of the session says as much. @param {Verdict | null} verdict */
export function titleOf(verdict) {
  if (!verdict || verdict.level === "early") return "";
  if (tellsOfDeath(verdict)) return "Died";
  return verdict.text.includes("last heard at") ? "Lost" : cut(headOf(verdict.text), LONGEST_HEAD);
}

/** The action of a clause's button, in words. @param {Clause} clause */
function hintOf({ fields, time_ms: timeMs }) {
  const at = timeMs === null ? "" : ` at ${time(timeMs)}`;
  return fields.length ? `Show the chart of ${cut(fields[0], 80)}${at}` : `Show the evidence${at}`;
}

export class VerdictLine {
  /** @param {Store} store @param {(clause: Clause) => void} onEvidence @param {Node[]} tools at the end of the line */
  constructor(store, onEvidence, tools) {
    this.store = store;
    this.onEvidence = onEvidence;
    this.box = byId("verdict");
    this.mark = el("span", { class: "mark" });
    this.level = el("span", { class: "level" });
    this.text = el("p", { class: "clauses" });
    /** The clauses shown, by place. @type {Clause[]} */
    this.clauses = [];
    fill(this.box, this.mark, this.level, this.text, el("div", { class: "tools" }, ...tools));
    const request = painter(() => this.paint(), 200);
    store.onEach("verdict session cleared moment", request);
    this.paint();
  }

  paint() {
    const { verdict, session, moment } = this.store;
    this.box.hidden = !session?.sid;
    const [tone, shape, word] = lookOf(verdict);
    if (this.box.dataset.shape !== shape) {
      this.box.dataset.shape = shape;
      fill(this.mark, icon(shape));
    }
    this.box.dataset.tone = tone;
    this.clauses = verdict?.clauses ?? [];
    // A rewound page shows old values beside the judgement of this moment.
    this.box.classList.toggle("worded", Boolean(word) || moment !== null);
    setText(this.level, [moment === null ? "" : "Now", word].filter(Boolean).join(" · "));
    while (this.text.childElementCount > this.clauses.length) this.text.lastElementChild?.remove();
    this.clauses.forEach((clause, i) => this.paintClause(clause, i));
    this.text.classList.toggle("none", !this.clauses.length);
    if (!this.clauses.length) setText(this.text, "No verdict yet");
    else if (this.text.firstChild?.nodeType === Node.TEXT_NODE) this.text.firstChild.remove();
  }

  /**
   * Change a clause in place: a button keeps the focus while its numbers change.
   * @param {Clause} clause @param {number} i
   */
  paintClause(clause, i) {
    let node = this.text.children[i];
    if (!node) {
      const onclick = () => this.onEvidence(this.clauses[i]);
      node = el(
        "button",
        { type: "button", class: "bare", disabled: Boolean(embedded), onclick },
        el("strong"),
        el("span"),
      );
      this.text.append(node);
    }
    const text = cut(inLocalTime(clause.text, clause.time_ms), LONGEST_CLAUSE);
    const head = i ? "" : headOf(text);
    setText(/** @type {Element} */ (node.firstElementChild), head);
    setText(/** @type {Element} */ (node.lastElementChild), text.slice(head.length));
    /** @type {HTMLElement} */ (node).title = hintOf(clause);
  }
}
