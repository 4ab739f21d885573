// @ts-check
/** Listeners by topic. */

/** @template {string} Topic */
export class Topics {
  /** @type {Map<Topic, Set<(detail?: any) => void>>} */
  listeners = new Map();

  /** @param {Topic} topic @param {(detail?: any) => void} listener */
  on(topic, listener) {
    let set = this.listeners.get(topic);
    if (!set) this.listeners.set(topic, (set = new Set()));
    set.add(listener);
  }

  /** @param {string} topics separated by spaces @param {() => void} listener */
  onEach(topics, listener) {
    for (const topic of topics.split(" ")) this.on(/** @type {Topic} */ (topic), listener);
  }

  /** @param {Topic} topic @param {any} [detail] */
  emit(topic, detail) {
    for (const listener of this.listeners.get(topic) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        console.error(error); // an error in one panel must not stop the others
      }
    }
  }
}
