// @ts-check
/** The page's connection to the feed: through a SharedWorker if the browser has one, else with a Feed in the page. */

/** @import { Message, Selection } from "../data/types.js" */

/** Part of the worker's name, so that a page of a newer version does not connect to a worker of an older one. */
const VERSION = 4;
const WORKER = new URL("./feed-worker.js", import.meta.url);

/** Messages that arrived before the first listener. @type {Message[]} */
let waiting = [];
/** @type {((message: Message) => void) | null} */
let listener = null;
let stop = () => {};

/** The channel and session in the address: `?channel=` and `?session=`. @param {string} [search] */
export function selectionFromUrl(search = location.search) {
  const query = new URLSearchParams(search);
  return { channel: query.get("channel") || "default", session: query.get("session") ?? "" };
}

/**
 * Connect to a channel, by default to that of the page's address; messages are kept until there is a listener.
 * @param {Selection} [selection]
 */
export function connect(selection = selectionFromUrl()) {
  stop();
  waiting = [];
  let isOver = false;
  const deliver = (/** @type {Message[]} */ messages) => {
    if (isOver) return; // a message of the previous channel
    if (listener) messages.forEach(listener);
    else waiting.push(...messages);
  };
  const close = openWorker(selection, deliver) ?? openInPage(selection, deliver);
  stop = () => {
    isOver = true;
    close();
  };
}

/** Receive the kept messages and all further ones. @param {(message: Message) => void} onMessage */
export function listen(onMessage) {
  listener = onMessage;
  waiting.splice(0).forEach(onMessage);
}

const isVisible = () => document.visibilityState === "visible";

/**
 * @param {Selection} selection
 * @param {(messages: Message[]) => void} deliver
 * @returns {(() => void) | null} null without a SharedWorker
 */
function openWorker(selection, deliver) {
  if (typeof SharedWorker === "undefined") return null;
  let worker;
  try {
    worker = new SharedWorker(WORKER, {
      type: "module",
      name: `hud-${VERSION}:${selection.channel}:${selection.session}`,
    });
  } catch {
    return null; // forbidden in this context
  }
  const port = worker.port;
  let fallback = /** @type {(() => void) | null} */ (null);
  let hasAnswered = false;
  const hello = () => port.postMessage({ kind: "hello", selection, visible: isVisible() });
  const onVisibility = () => port.postMessage({ kind: "visible", visible: isVisible() });
  const onHide = () => port.postMessage({ kind: "bye" });
  const onShow = (/** @type {PageTransitionEvent} */ event) => event.persisted && hello();
  port.onmessage = ({ data }) => {
    hasAnswered = true;
    if (!fallback) deliver(data);
  };
  worker.onerror = () => {
    if (!hasAnswered) fallback ??= openInPage(selection, deliver);
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

/** @param {Selection} selection @param {(messages: Message[]) => void} deliver */
function openInPage(selection, deliver) {
  let stop = () => {};
  let isStopped = false;
  // Only this fallback loads the feed into the page.
  import("./feed.js").then(({ Feed }) => {
    if (isStopped) return;
    const feed = new Feed(selection);
    const id = feed.add(deliver, isVisible());
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
