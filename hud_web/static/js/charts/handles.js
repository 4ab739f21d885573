// @ts-check
/** The controls of one chart's place: pin, move, enlarge, close, and the corner that resizes. Mouse, touch or keys. */

import { button, fill } from "../ui/dom.js";

/** @import { Chart } from "./chart.js" */
/**
 * @typedef {object} Actions
 * @property {(chart: Chart) => void} pin
 * @property {(chart: Chart) => void} enlarge or back to its size
 * @property {(chart: Chart) => void} close or show again
 * @property {(chart: Chart, by: 1 | -1) => void} step to the previous or the next place
 * @property {(chart: Chart, target: HTMLElement, isAfter: boolean) => void} drop beside another chart
 * @property {(chart: Chart, columns: number, rows: number) => void} resize
 * @property {(chart: Chart) => [number, number]} spanOf columns and rows
 * @property {(chart: Chart) => number} columns of its grid
 * @property {(isHeld: boolean) => void} hold nothing else may move the charts meanwhile
 */

/** A drag begins after this distance in pixels; a shorter one is a click. */
const DRAG_PX = 4;
/** Dragging within this distance of an edge scrolls, by this many pixels per animation frame. */
const EDGE_PX = 40;
const SCROLL_PX = 12;
const GAP_PX = 8;
const STEPS = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
});

/** @param {Chart} chart @param {Actions} actions */
export function addHandles(chart, actions) {
  const pin = button("pin", "Pin to the top", () => actions.pin(chart), { quiet: true, pressed: false });
  const grip = button("grip", "Move this chart: drag, or press the arrow keys", () => {}, {
    quiet: true,
    class: "bare grip",
  });
  const grow = button("full", "Enlarge", () => actions.enlarge(chart), { quiet: true, class: "bare grow" });
  const close = button("close", "Close this chart", () => actions.close(chart), { quiet: true });
  const corner = button("corner", "Resize this chart: drag, or press the arrow keys", () => {}, {
    quiet: true,
    class: "bare corner",
  });
  fill(chart.tools, grip, pin, grow, close);
  chart.node.append(corner);
  onArrows(grip, ([x, y]) => actions.step(chart, x + y > 0 ? 1 : -1));
  onArrows(corner, ([x, y]) => {
    const [columns, rows] = actions.spanOf(chart);
    actions.resize(chart, Math.min(columns, actions.columns(chart)) + x, rows + y);
  });
  grip.addEventListener("pointerdown", (event) => startMove(event, chart, actions));
  corner.addEventListener("pointerdown", (event) => startResize(event, chart, actions));
  corner.addEventListener("dblclick", () => actions.resize(chart, 1, 1));
  chart.node.querySelector("header")?.addEventListener("dblclick", (event) => {
    if (!(/** @type {Element} */ (event.target).closest("button"))) actions.enlarge(chart);
  });
  return { pin, grip, grow, close, corner };
}

/** @param {HTMLElement} node @param {(by: [number, number]) => void} act */
function onArrows(node, act) {
  node.addEventListener("keydown", (event) => {
    const by = STEPS[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // the arrow keys of the page step through frames
    act(by);
    node.focus(); // moving the chart took the focus away
  });
}

/**
 * Follow a pointer until it is released.
 * @param {PointerEvent} event @param {(event: PointerEvent) => void} move
 * @param {(isDone: boolean) => void} end `isDone`: false if the viewer pressed Escape
 */
function follow(event, move, end) {
  if (event.button) return;
  event.preventDefault();
  /** @type {HTMLElement} */ (event.currentTarget).focus();
  const stop = (/** @type {boolean} */ isDone) => {
    over.abort();
    end(isDone);
  };
  const over = new AbortController();
  const { signal } = over;
  addEventListener("pointermove", move, { signal });
  addEventListener("pointerup", () => stop(true), { signal });
  addEventListener("pointercancel", () => stop(false), { signal });
  addEventListener(
    "keydown",
    (key) => {
      if (key.key !== "Escape") return;
      key.stopPropagation();
      stop(false);
    },
    { signal, capture: true },
  );
}

/** @param {PointerEvent} event @param {Chart} chart @param {Actions} actions */
function startMove(event, chart, actions) {
  const { node } = chart;
  const box = /** @type {HTMLElement} */ (node.closest(".chart-scroll"));
  /** @type {HTMLElement | null} */
  let target = null;
  let isAfter = false;
  let scrollBy = 0;
  const scroll = () => {
    if (!scrollBy) return;
    box.scrollTop += scrollBy;
    requestAnimationFrame(scroll);
  };
  const mark = (/** @type {HTMLElement | null} */ next) => {
    target?.classList.remove("drop-before", "drop-after");
    target = next;
    target?.classList.add(isAfter ? "drop-after" : "drop-before");
  };
  follow(
    event,
    (now) => {
      if (!node.classList.contains("held")) {
        if (Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) < DRAG_PX) return;
        node.classList.add("held");
        actions.hold(true);
      }
      const { top, bottom } = box.getBoundingClientRect();
      const wasScrolling = scrollBy !== 0;
      scrollBy = now.clientY < top + EDGE_PX ? -SCROLL_PX : now.clientY > bottom - EDGE_PX ? SCROLL_PX : 0;
      if (scrollBy && !wasScrolling) scroll();
      const under = document.elementFromPoint(now.clientX, now.clientY);
      const over = /** @type {HTMLElement | null} */ (under?.closest(".chart-grid > .chart") ?? null);
      const place = over?.getBoundingClientRect();
      isAfter = Boolean(place && now.clientX > place.left + place.width / 2);
      mark(over === node ? null : over);
    },
    (isDone) => {
      scrollBy = 0;
      const over = target;
      mark(null);
      if (!node.classList.contains("held")) return;
      node.classList.remove("held");
      actions.hold(false);
      if (isDone && over) actions.drop(chart, over, isAfter);
    },
  );
}

/** @param {PointerEvent} event @param {Chart} chart @param {Actions} actions */
function startResize(event, chart, actions) {
  const { node } = chart;
  const before = actions.spanOf(chart);
  const { width, height } = node.getBoundingClientRect();
  const columns = Math.min(before[0], actions.columns(chart));
  const wide = (width + GAP_PX) / columns;
  const high = (height + GAP_PX) / before[1];
  actions.hold(true);
  follow(
    event,
    (now) =>
      actions.resize(
        chart,
        Math.min(actions.columns(chart), columns + Math.round((now.clientX - event.clientX) / wide)),
        before[1] + Math.round((now.clientY - event.clientY) / high),
      ),
    (isDone) => {
      actions.hold(false);
      if (!isDone) actions.resize(chart, ...before);
    },
  );
}
