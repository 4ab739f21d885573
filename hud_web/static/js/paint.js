// @ts-check
/**
 * Owns requestAnimationFrame: panels say that they changed, and are painted once per animation frame at most. A hidden tab
 * gets no animation frames, so it paints nothing.
 */

/** @typedef {{paint: () => void, everyMs: number, last: number, wanted: boolean}} Job */

/** @type {Set<Job>} */
const wanted = new Set();
let requested = false;
let timer = 0;

/**
 * What is painted now and then goes along with a frame that comes anyway, a little early or late: each animation frame
 * costs the browser as much as what is painted in it.
 */
const RIDE_MS = 30;

/**
 * Return a function that asks for a repaint.
 * @param {() => void} paint draws what has changed
 * @param {number} [everyMs] at most once in so many milliseconds
 * @returns {() => void}
 */
export function painter(paint, everyMs = 0) {
  const job = { paint, everyMs, last: -Infinity, wanted: false };
  return () => {
    if (job.wanted) return;
    job.wanted = true;
    wanted.add(job);
    plan();
  };
}

function plan() {
  if (requested) return;
  let soonest = Infinity;
  for (const job of wanted) soonest = Math.min(soonest, job.last + job.everyMs + (job.everyMs && RIDE_MS));
  const wait = soonest - performance.now();
  clearTimeout(timer);
  if (wait > 4) timer = setTimeout(request, wait - 4);
  else request();
}

function request() {
  if (requested) return;
  requested = true;
  requestAnimationFrame(run);
}

/** @param {number} now */
function run(now) {
  requested = false;
  for (const job of [...wanted]) {
    if (now - job.last < job.everyMs - RIDE_MS) continue;
    job.last = now;
    job.wanted = false;
    wanted.delete(job);
    try {
      job.paint();
    } catch (error) {
      console.error(error); // one panel's mistake must not stop the others
    }
  }
  if (wanted.size) plan();
}
