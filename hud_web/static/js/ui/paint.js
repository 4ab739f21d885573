// @ts-check
/**
 * Owns requestAnimationFrame: panels request a painting, and each is painted at most once per animation frame. A hidden
 * tab gets no animation frames, so it paints nothing.
 */

/** @typedef {{paint: () => void, everyMs: number, last: number, wanted: boolean}} Job */

/** @type {Set<Job>} */
const wanted = new Set();
let requested = false;
let timer = 0;

/**
 * A painting moves by up to this time to share an animation frame with another one: each animation frame has a fixed
 * cost.
 */
const SHARE_FRAME_MS = 30;

/**
 * Return a function that requests a painting.
 * @param {() => void} paint draws the changes @param {number} [everyMs] the shortest interval between two paintings
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
  for (const job of wanted) soonest = Math.min(soonest, job.last + job.everyMs + (job.everyMs && SHARE_FRAME_MS));
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
    if (now - job.last < job.everyMs - SHARE_FRAME_MS) continue;
    job.last = now;
    job.wanted = false;
    wanted.delete(job);
    try {
      job.paint();
    } catch (error) {
      console.error(error); // an error in one panel must not stop the others
    }
  }
  if (wanted.size) plan();
}
