// @ts-check
/** The SharedWorker: one Feed for all tabs of the browser that show the same channel and session. Named by feed-client.js. */

import { Feed } from "./feed.js";
import "./link.js"; // named here, too, so that all are fetched at once
import "./nested.js";

/** @type {Feed | null} */
let feed = null;

/** @type {any} */ (self).onconnect = (/** @type {MessageEvent} */ event) => {
  const port = event.ports[0];
  let id = 0;
  port.onmessage = ({ data }) => {
    if (data.kind === "hello") {
      feed ??= new Feed(data.what);
      if (id) feed.remove(id);
      id = feed.add((messages) => port.postMessage(messages), data.visible);
    } else if (data.kind === "visible") feed?.setVisible(id, data.visible);
    else if (data.kind === "bye") {
      feed?.remove(id);
      id = 0;
    }
  };
};
