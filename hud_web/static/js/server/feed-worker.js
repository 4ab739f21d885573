// @ts-check
/**
 * The SharedWorker: one Feed for all tabs of the browser that show the same channel and session. feed-client.js starts
 * it.
 */

import { Feed } from "./feed.js";
import "./address.js"; // also named here, so that the browser fetches all modules at once
import "./base64.js";
import "./json.js";
import "./event-stream.js";
import "../data/mind.js";
import "../data/nested.js";
import "../data/reports.js";

/** @type {Feed | null} */
let feed = null;

/** @type {any} */ (self).onconnect = (/** @type {MessageEvent} */ event) => {
  const port = event.ports[0];
  let id = 0;
  port.onmessage = ({ data }) => {
    if (data.kind === "hello") {
      feed ??= new Feed(data.selection);
      if (id) feed.remove(id);
      id = feed.add((messages) => port.postMessage(messages), data.visible);
    } else if (data.kind === "visible") feed?.setVisible(id, data.visible);
    else if (data.kind === "bye") {
      feed?.remove(id);
      id = 0;
    }
  };
};
