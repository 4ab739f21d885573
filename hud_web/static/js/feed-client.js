// @ts-check
/** The page's end of the feed: through a SharedWorker where there is one, else with a Feed of the page's own. */

/** @import { Message, What } from "./types.js" */

/** In the worker's name, so a page of a newer version does not meet a worker of an older one. */
const VERSION = 1;
const WORKER = new URL("./feed-worker.js", import.meta.url);

/** What came before anybody listened. @type {Message[]} */
let waiting = [];
/** @type {((message: Message) => void) | null} */
let listener = null;
let stop = () => {};

/** What the address asks for: `?channel=` and `?session=`. @param {string} [search] */
export function whatOf(search = location.search) {
  const query = new URLSearchParams(search);
  return { channel: query.get("channel") || "default", session: query.get("session") ?? "" };
}

/** Turn to a channel, or to what the address asks for; what comes is kept until somebody listens. @param {What} [what] */
export function connect(what = whatOf()) {
  stop();
  waiting = [];
  let isOver = false;
  const take = (/** @type {Message[]} */ messages) => {
    if (isOver) return; // of the channel before
    if (listener) messages.forEach(listener);
    else waiting.push(...messages);
  };
  const close = openWorker(what, take) ?? openOwn(what, take);
  stop = () => {
    isOver = true;
    close();
  };
}

/** Hear what came and what comes. @param {(message: Message) => void} onMessage */
export function listen(onMessage) {
  listener = onMessage;
  waiting.splice(0).forEach(onMessage);
}

const isVisible = () => document.visibilityState === "visible";

/**
 * @param {What} what
 * @param {(messages: Message[]) => void} take
 * @returns {(() => void) | null} null where there is no SharedWorker
 */
function openWorker(what, take) {
  if (typeof SharedWorker === "undefined") return null;
  let worker;
  try {
    worker = new SharedWorker(WORKER, { type: "module", name: `hud-${VERSION}:${what.channel}:${what.session}` });
  } catch {
    return null; // forbidden in this context
  }
  const port = worker.port;
  let fallback = /** @type {(() => void) | null} */ (null);
  let heard = false;
  const hello = () => port.postMessage({ kind: "hello", what, visible: isVisible() });
  const onVisibility = () => port.postMessage({ kind: "visible", visible: isVisible() });
  const onHide = () => port.postMessage({ kind: "bye" });
  const onShow = (/** @type {PageTransitionEvent} */ event) => event.persisted && hello();
  port.onmessage = ({ data }) => {
    heard = true;
    if (!fallback) take(data);
  };
  worker.onerror = () => {
    if (!heard) fallback ??= openOwn(what, take);
  };
  hello();
  document.addEventListener("visibilitychange", onVisibility);
  addEventListener("pagehide", onHide);
  addEventListener("pageshow", onShow);
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    removeEventListener("pagehide", onHide);
    removeEventListener("pageshow", onShow);
    port.postMessage({ kind: "bye" });
    port.close();
    fallback?.();
  };
}

/** @param {What} what @param {(messages: Message[]) => void} take */
function openOwn(what, take) {
  let stop = () => {};
  let isStopped = false;
  // Only here is the feed itself loaded into the page.
  import("./feed.js").then(({ Feed }) => {
    if (isStopped) return;
    const feed = new Feed(what);
    const id = feed.add(take, isVisible());
    const onVisibility = () => feed.setVisible(id, isVisible());
    document.addEventListener("visibilitychange", onVisibility);
    stop = () => {
      document.removeEventListener("visibilitychange", onVisibility);
      feed.remove(id);
    };
  });
  return () => {
    isStopped = true;
    stop();
  };
}
