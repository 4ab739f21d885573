// @ts-check
/** Matches names of fields: by words that all must occur, or by a regular expression between slashes. */

/** @param {string} text as typed @returns {(name: string) => boolean} */
export function matcher(text) {
  const wanted = text.trim();
  const between = /^\/(.+?)\/?$/.exec(wanted);
  if (between) {
    try {
      const pattern = new RegExp(between[1], "i");
      return (name) => pattern.test(name);
    } catch {
      // not complete yet: search for the text itself
    }
  }
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return (name) => words.every((word) => name.toLowerCase().includes(word));
}
