// @ts-check
/**
 * The grid of the kiosk: the columns, rows, layout and type size with which all cards fit a screen, or the number of
 * pages if they would be too small to read.
 */

/**
 * @typedef {{columns: number, rows: number, unit: number, layout: "stacked" | "side", perPage: number,
 *   pages: number}} Grid `unit`: the type size in pixels, of which a card's lines are multiples
 */

/** The smallest cards of both layouts, in units: of text, with a picture above it or beside it. */
const SMALLEST = { stacked: { width: 13.5, height: 13 }, side: { width: 25, height: 8 } };
/** The part of a card that is no picture, in units. */
const TEXT = { stacked: { width: 1, height: 7.2 }, side: { width: 14.5, height: 1 } };
/** The shape of most pictures, which decides the layout of large cards. */
const PICTURE = 4 / 3;

/**
 * Type of this share of the board's shorter side can be read from 5 m: 2.2 % of a 55 inch TV are 15 mm, 10 minutes of
 * arc. ISO 9241-303 requires 16 for text that is read for long, and 10 for a few words.
 */
const READABLE = 0.023;
const SMALLEST_UNIT_PX = 13;

/**
 * @param {number} count of cards @param {number} width of the board, in CSS pixels @param {number} height
 * @param {number} gap between cards
 * @returns {Grid}
 */
export function fitGrid(count, width, height, gap) {
  const least = Math.max(SMALLEST_UNIT_PX, READABLE * Math.min(width, height));
  const room = (width * height) / (least ** 2 * SMALLEST.stacked.width * SMALLEST.stacked.height);
  let perPage = Math.max(1, Math.min(count, Math.ceil(room)));
  // The most cards of a readable size; then the pages get equally many.
  while (perPage > 1 && bestGrid(perPage, width, height, gap, least).unit < least) perPage--;
  const pages = Math.max(1, Math.ceil(count / perPage));
  perPage = Math.ceil(Math.max(1, count) / pages);
  return { ...bestGrid(perPage, width, height, gap, least), perPage, pages };
}

/**
 * The grid with readable type and the largest pictures; if there is none, the one with the largest type.
 * @param {number} count @param {number} width @param {number} height @param {number} gap
 * @param {number} least the unit of readable type
 */
function bestGrid(count, width, height, gap, least) {
  // Type that is larger than it must be takes room from the pictures: only a few cards get it.
  const most = least * (1 + 0.5 / count);
  let best = { columns: 1, rows: count, unit: 0, layout: /** @type {Grid["layout"]} */ ("stacked"), picture: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const w = (width - (columns - 1) * gap) / columns;
    const h = (height - (rows - 1) * gap) / rows;
    for (const layout of /** @type {const} */ (["stacked", "side"])) {
      const unit = Math.min(w / SMALLEST[layout].width, h / SMALLEST[layout].height, most);
      const picture = Math.min((w - TEXT[layout].width * unit) / PICTURE, h - TEXT[layout].height * unit);
      const isReadable = Math.min(unit, least) - Math.min(best.unit, least);
      if (isReadable > 0 || (isReadable === 0 && picture > best.picture))
        best = { columns, rows, unit, layout, picture };
    }
  }
  return best;
}
