// @ts-check
/** The button of the agent's mind, and the loading of its parts: with a run's first view, or when the viewer asks. */

import { button, byId } from "../ui/dom.js";
import { urlPart } from "../ui/page-url.js";

/** @import { Api } from "../server/api.js" */
/** @import { Store } from "../data/store.js" */
/** @import { Stage } from "../stage/stage.js" */

export class MindLoader {
  /**
   * @param {Store} store @param {() => Api} api @param {Stage} stage
   * @param {() => unknown} suggested the action that the vision LLM suggested at the moment shown
   */
  constructor(store, api, stage, suggested) {
    this.store = store;
    this.api = api;
    this.stage = stage;
    this.suggested = suggested;
    /** @type {Promise<import("../stage/mind-overlay.js").MindOverlay> | null} */
    this.overlay = null;
    this.button = button("brain", "Agent’s mind on the picture", () => this.toggle(), {
      quiet: true,
      key: "m",
      pressed: false,
    });
    byId("stage-tools").prepend(this.button);
    if (urlPart("mind") === "1") this.toggle();
  }

  /** Show or hide the overlay on the picture. */
  async toggle() {
    (await this.load()).toggle();
  }

  load() {
    return (this.overlay ??= this.start());
  }

  async start() {
    const [{ Minds }, { MindOverlay }, { MindPanel }] = await Promise.all([
      import("../stage/minds.js"),
      import("../stage/mind-overlay.js"),
      import("../panels/mind.js"),
    ]);
    const minds = new Minds(this.store, this.api, () => this.stage.shown);
    new MindPanel(this.store, minds, this.suggested);
    return new MindOverlay(this.store, minds, this.button);
  }
}
