// @ts-check
/** Stores the viewer's choices in this browser. If storage is forbidden, the choices last as long as the page. */

/** @template T @param {string} name @param {T} fallback */
export function recall(name, fallback) {
  try {
    const text = localStorage.getItem(`hud.${name}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** @param {string} name @param {unknown} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`hud.${name}`, JSON.stringify(value));
  } catch {
    // a private window, or storage is full: the choice lasts as long as the page
  }
}
