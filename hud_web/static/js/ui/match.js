// @ts-check
/**
 * Matches names of fields: by regular expressions, case-insensitive, separated by spaces, all of which must match. A
 * name that contains the text itself matches too, so names with brackets or plus signs are found as they are.
 */

/**
 * @param {string} text as typed; slashes around it make the whole text one expression, with its spaces
 * @returns {(name: string) => boolean}
 */
export function matcher(text) {
  const tests = termsOf(text).map((term) => {
    const plain = term.toLowerCase();
    const pattern = compile(term);
    return (/** @type {string} */ name) => name.toLowerCase().includes(plain) || Boolean(pattern?.test(name));
  });
  return (name) => tests.every((test) => test(name));
}

/** The first term that is no regular expression; "" if there is none. @param {string} text as typed */
export function unusableTerm(text) {
  return termsOf(text).find((term) => !compile(term)) ?? "";
}

/** @param {string} text */
function termsOf(text) {
  const between = /^\/(.+?)\/?$/.exec(text.trim());
  return between ? [between[1]] : text.split(/\s+/).filter(Boolean);
}

/** @param {string} term */
function compile(term) {
  try {
    return new RegExp(term, "i");
  } catch {
    return null;
  }
}
