// @ts-check
/** Makes elements. All text becomes text nodes, so no name or value from a run can become markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Outlines on a 24×24 field, drawn for this page. */
const ICONS = /** @type {Record<string, string>} */ ({
  live: "M12 12m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
  learning: "M12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M18.4 5.6l-2.1 2.1M7.7 16.3l-2.1 2.1",
  stalled: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18",
  pause: "M8 5v14M16 5v14",
  play: "M7 4.5v15l12-7.5z",
  link: "M4 12a8 8 0 0 1 14-5.3L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.3L4 15M4 20v-5h5",
  waiting: "M7 3h10M7 21h10M8 3c0 5 8 6 8 9s-8 4-8 9M16 3c0 5-8 6-8 9s8 4 8 9",
  taken: "M4 8h13l-4-4M20 16H7l4 4",
  ended: "M6 6h12v12H6z",
  warn: "M12 4L2.8 20h18.4zM12 10v4M12 17v.1",
  error: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M9 9l6 6M15 9l-6 6",
  info: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M12 11v5M12 8v.1",
  star: "M12 3.5l2.6 5.5 6 .8-4.4 4.1 1.1 5.9L12 17l-5.3 2.8 1.1-5.9L3.4 9.8l6-.8z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  ring: "M12 5a7 7 0 1 0 0 14a7 7 0 0 0 0-14",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  left: "M19 12H5M11 6l-6 6 6 6",
  right: "M5 12h14M13 6l6 6-6 6",
  caret: "M6 9l6 6 6-6",
  up: "M12 19V5M6 11l6-6 6 6",
  more: "M5 12v.1M12 12v.1M19 12v.1",
  plus: "M12 5v14M5 12h14",
  tag: "M4 4h8l8 8-8 8-8-8zM8 8v.1",
  columns: "M4 5h16v14H4zM10 5v14M15 5v14",
  back: "M6 5v14M19 5L9 12l10 7z",
  forward: "M18 5v14M5 5l10 7-10 7z",
  episodeBack: "M4 5v14M13 5l-7 7 7 7M21 5l-7 7 7 7",
  episodeForward: "M20 5v14M11 5l7 7-7 7M3 5l7 7-7 7",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  grip: "M9 6v.1M15 6v.1M9 12v.1M15 12v.1M9 18v.1M15 18v.1",
  corner: "M20 9v11H9M20 15l-5 5",
  camera: "M4 8h4l1.5-3h5L16 8h4v11H4zM12 10a3.5 3.5 0 1 0 0 7a3.5 3.5 0 0 0 0-7",
  save: "M12 4v11M7 11l5 5 5-5M4 20h16",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  filter: "M4 5h16l-6 8v6l-4-2v-4z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M12 9.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 0 0 0-5",
  chart: "M4 4v16h16M7 15l4-5 3 3 5-7",
  table: "M4 5h16v14H4zM4 10h16M10 10v9",
  wall: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  game:
    "M7 8h10a4 4 0 0 1 4 4.5l-.6 4a2.5 2.5 0 0 1-4.4 1L14.5 16h-5L8 17.5a2.5 2.5 0 0 1-4.4-1l-.6-4A4 4 0 0 1 7 8" +
    "M7 12h3M8.5 10.5v3M15.5 11v.1M17.5 13v.1",
  heart: "M12 20S3.5 14.8 3.5 8.8A4.6 4.6 0 0 1 12 6.3a4.6 4.6 0 0 1 8.5 2.5C20.5 14.8 12 20 12 20z",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
  brain:
    "M12 5v14M12 6.5A3 3 0 0 0 6.6 8 3 3 0 0 0 5 13a3.2 3.2 0 0 0 3 4.5A2.5 2.5 0 0 0 12 18" +
    "M12 6.5A3 3 0 0 1 17.4 8 3 3 0 0 1 19 13a3.2 3.2 0 0 1-3 4.5 2.5 2.5 0 0 1-4 .5",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.1M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18",
  link2: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17",
  server: "M4 4h16v6H4zM4 14h16v6H4zM8 7v.1M8 17v.1",
  writer: "M4 20l1-5L16 4l4 4L9 19zM14 6l4 4",
});

/** Icons drawn as filled shapes. */
const SOLID = new Set(["live", "play", "ended", "star", "heart"]);

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Return a new element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag its name
 * @param {Record<string, any>} [attributes] `on…` become listeners; booleans set or leave out; null leaves out
 * @param {...Child} children nodes, or text
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

/** Append children; null, undefined and false are skipped. @param {Element} node @param {Child[]} children */
export function add(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replace the children of an element. @param {Element} node @param {...Child} children */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

/** Set an element's text; the document changes only if the text differs. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Return an icon, hidden from screen readers because the text beside it has the same meaning.
 * @param {string} name one of ICONS
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", SOLID.has(name) ? "icon solid" : "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] ?? ICONS.info);
  svg.append(path);
  return svg;
}

/**
 * Return a button with an icon; `label` is its name, its tooltip, and its text unless `quiet`.
 * @param {string} iconName @param {string} label @param {(event: MouseEvent) => void} onclick
 * @param {{quiet?: boolean, key?: string, class?: string, pressed?: boolean}} [options] `key`: the shortcut that does
 *   the same
 */
export function button(iconName, label, onclick, options = {}) {
  return el(
    "button",
    {
      type: "button",
      class: options.class ?? (options.quiet ? "bare" : null),
      title: options.key ? `${label} (${options.key})` : label,
      "aria-label": options.quiet ? label : null,
      "aria-keyshortcuts": options.key ?? null,
      "aria-pressed": options.pressed === undefined ? null : String(options.pressed),
      onclick,
    },
    icon(iconName),
    options.quiet ? null : label,
  );
}

/**
 * Return the element of the page with this id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`expected an element with id ${id} in index.html`);
  return /** @type {T} */ (node);
}
