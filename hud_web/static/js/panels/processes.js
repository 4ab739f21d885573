// @ts-check
/**
 * The dialog of the run's processes: who died, was lost or was restarted, with the cause, the last frames of the
 * traceback and the memory at that time; and the processes' log lines, which can be searched.
 */

import { openDialog } from "../ui/dialogs.js";
import { button, el, fill, icon, setText } from "../ui/dom.js";
import { bytes, cut, duration, inLocalTime, number, time } from "../ui/format.js";
import { matcher } from "../ui/match.js";
import { painter } from "../ui/paint.js";
import { loadSheet } from "../ui/sheet.js";
import { lookOf } from "../ui/annotation-look.js";

/** @import { Annotation, Report } from "../data/types.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Reports } from "./reports.js" */

await loadSheet("processes");

const MOST_INCIDENTS = 60;
const MOST_LINES = 400;
/** A report and the annotation that the monitor made of it have times this close together. */
const SAME_MS = 2_000;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
const TONES = /** @type {Record<string, string>} */ ({ WARNING: "warn", ERROR: "error", CRITICAL: "error" });

/**
 * @param {Store} store @param {Reports} reports
 * @param {(annotation: Annotation) => void} onChart the chart of a process's memory is wanted
 */
export function openProcesses(store, reports, onChart) {
  const incidents = el("ol", { class: "incidents" });
  const lines = el("ol", {
    class: "log-lines scroll",
    tabindex: 0,
    "aria-label": "Log lines, the newest first",
  });
  const count = el("span", { class: "muted" });
  const find = el("input", {
    type: "search",
    placeholder: "search log lines",
    "aria-label": "Search log lines",
    title: "Words, or a regular expression between slashes: /oom|killed/",
    autocomplete: "off",
    spellcheck: "false",
  });
  const least = el(
    "select",
    { "aria-label": "Least level" },
    ...LEVELS.slice(1, 4).map((level) => el("option", { value: level }, level.toLowerCase())),
  );
  const logs = el(
    "section",
    { class: "logs", hidden: true },
    el("div", { class: "logs-bar" }, el("h3", { class: "eyebrow" }, "Log lines"), count, find, least),
    lines,
  );
  /** Nodes of the incidents, by key: an opened traceback stays open. @type {Map<string, HTMLElement>} */
  const nodes = new Map();
  const showChart = (/** @type {Annotation} */ annotation) => {
    dialog.close();
    onChart(annotation);
  };
  const paint = () => {
    const all = incidentsOf(reports, showChart).slice(0, MOST_INCIDENTS);
    const newest = all.findIndex(({ isDeath }) => isDeath);
    const wanted = all.map(({ key, make }, i) => nodes.get(key) ?? put(nodes, key, make(i === newest)));
    if (wanted.some((node, i) => incidents.children[i] !== node) || wanted.length !== incidents.children.length)
      fill(incidents, ...wanted);
    if (!all.length) fill(incidents, el("li", { class: "empty" }, "No process of this run died or was restarted."));
    paintLines();
  };
  const paintLines = () => {
    const known = reports.all.filter(({ kind }) => kind === "log");
    const fits = matcher(find.value);
    const from = LEVELS.indexOf(least.value);
    const found = known.filter((one) => LEVELS.indexOf(levelOf(one)) >= from && fits(textOf(one))).reverse();
    logs.hidden = !known.length;
    setText(count, found.length === known.length ? String(known.length) : `${found.length} of ${known.length}`);
    fill(lines, ...found.slice(0, MOST_LINES).map(logLine));
  };
  const request = painter(paint, 200);
  const dialog = openDialog("processes", "Processes", () => [incidents, logs]);
  if (!dialog.isConnected) return;
  dialog.classList.add("wide");
  find.addEventListener("input", request);
  least.addEventListener("change", request);
  const follow = () => dialog.isConnected && request();
  store.onEach("reports cleared", follow);
  request();
}

/** @param {Map<string, HTMLElement>} nodes @param {string} key @param {HTMLElement} node */
function put(nodes, key, node) {
  nodes.set(key, node);
  return node;
}

/**
 * Deaths, losses and restarts, the newest first. A report tells more than the monitor's annotation of it, which is left
 * out.
 * @param {Reports} reports @param {(annotation: Annotation) => void} onChart
 * @returns {{key: string, t: number, isDeath: boolean, make: (isOpen: boolean) => HTMLElement}[]}
 */
function incidentsOf(reports, onChart) {
  const told = reports.all.filter(({ kind }) => kind === "death" || kind === "restart");
  const others = reports.annotations.filter(
    (annotation) =>
      !["process_died", "restarted"].includes(annotation.kind) || !told.some((report) => isSame(report, annotation)),
  );
  return [
    ...told.map((one) => ({
      key: one.id,
      t: one.time_ms,
      isDeath: one.kind === "death",
      make: (/** @type {boolean} */ isOpen) => death(one, isOpen),
    })),
    ...others.map((one) => ({ key: one.id, t: one.time_ms, isDeath: false, make: () => finding(one, onChart) })),
  ].sort((a, b) => b.t - a.t);
}

/** @param {Report} report @param {Annotation} annotation */
function isSame(report, annotation) {
  return (
    annotation.entry_id === report.id ||
    (annotation.kind === (report.kind === "death" ? "process_died" : "restarted") &&
      Math.abs(annotation.time_ms - report.time_ms) < SAME_MS)
  );
}

/** @param {Report} report a death or a restart @param {boolean} isOpen whether its traceback is shown */
function death(report, isOpen) {
  const {
    exception,
    message,
    exit_code: code,
    signal,
    thread,
    memory_bytes: memory,
    peak_memory_bytes: peak,
  } = report.data;
  const isDeath = report.kind === "death";
  const who = thread ? `The thread ${cut(String(thread), 80)} of ${report.process}` : report.process;
  const cause = report.data.cause ?? report.data.text;
  const frames = report.data.traceback;
  const traceback = Array.isArray(frames) ? frames.join("\n") : typeof frames === "string" ? frames : "";
  const facts = [
    ["Exit code", code],
    ["Signal", signal],
    ["Memory then", memory === undefined || memory === null ? null : bytes(memory)],
    ["Peak memory", peak === undefined || peak === null ? null : bytes(peak)],
    ["Step", report.step === null ? null : number(report.step)],
  ].filter(([, fact]) => fact !== null && fact !== undefined && fact !== "");
  return el(
    "li",
    { class: "incident", "data-tone": isDeath ? "error" : "warn" },
    heading(isDeath ? "error" : "live", `${who} ${isDeath ? "died" : "was restarted"}`, report.time_ms),
    exception || message
      ? el(
          "p",
          { class: "exception" },
          el("strong", {}, cut(String(exception ?? ""), 200)),
          exception && message ? ": " : "",
          cut(String(message ?? ""), 2000),
        )
      : null,
    cause ? el("p", {}, `Cause: ${cut(String(cause), 2000)}`) : null,
    facts.length
      ? el(
          "dl",
          { class: "facts" },
          ...facts.map(([name, fact]) => el("div", {}, el("dt", {}, String(name)), el("dd", {}, String(fact)))),
        )
      : null,
    traceback
      ? el(
          "details",
          { open: isOpen },
          el("summary", {}, "Last frames of the traceback"),
          el("pre", { tabindex: 0, "aria-label": `Traceback of ${report.process}` }, traceback),
        )
      : null,
  );
}

/**
 * What the monitor found about a process.
 * @param {Annotation} annotation @param {(annotation: Annotation) => void} onChart
 */
function finding(annotation, onChart) {
  const look = lookOf(annotation);
  return el(
    "li",
    { class: "incident", "data-tone": look.tone },
    heading(look.icon, inLocalTime(annotation.text, annotation.time_ms), annotation.time_ms),
    annotation.fields.length ? button("chart", "Chart of its memory", () => onChart(annotation)) : null,
  );
}

/** @param {string} shape @param {string} text @param {number} timeMs */
function heading(shape, text, timeMs) {
  const ago = Date.now() - timeMs;
  return el(
    "h3",
    {},
    icon(shape),
    el("span", { class: "text" }, cut(text, 600)),
    el(
      "time",
      { datetime: new Date(timeMs).toISOString(), title: ago > 0 ? `${duration(ago)} ago` : "" },
      time(timeMs),
    ),
  );
}

/** @param {Report} report @returns {string} */
function levelOf({ data }) {
  return String(data.level ?? "WARNING").toUpperCase();
}

/** @param {Report} report */
function textOf(report) {
  return `${report.process} ${report.data.logger ?? ""} ${report.data.text ?? ""}`;
}

/** A note of the lines before this one that were not sent: a process sends a bounded number. @param {unknown} count */
function leftOut(count) {
  return typeof count === "number" && count > 0
    ? el("span", { class: "muted" }, ` (${count} lines before it were not sent)`)
    : null;
}

/** @param {Report} report */
function logLine(report) {
  const level = levelOf(report);
  return el(
    "li",
    { "data-tone": TONES[level] ?? "muted" },
    el("time", {}, time(report.time_ms)),
    el("span", { class: "log-level" }, level.toLowerCase()),
    el("span", { class: "who" }, [report.process, report.data.logger].filter(Boolean).join(" · ")),
    el("span", { class: "text" }, cut(String(report.data.text ?? ""), 2000), leftOut(report.data.left_out)),
  );
}
