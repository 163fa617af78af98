/**
 * Failures: publishes that were given up, until the application dismisses them.
 *
 * A publish leaves the outbox and becomes a failure in one change, which is stored at once. So a user who reloads the page, or opens it
 * after it was killed, still learns what was not stored. The newest FAILURES_MAX are kept, for all tabs of a run together.
 */

/**
 * @typedef {object} Failure
 * @property {string} id
 * @property {string} eventType
 * @property {import("../machine/events.js").Data} data
 * @property {string} code of protocol 6.7 or 6.8
 * @property {string} message
 * @property {boolean} mayHaveArrived
 * @property {number} failedAtMs since 1970
 */

export const FAILURES_MAX = 20;

/** Oldest first. */
export class Failures {
  /** @type {Map<string, Failure>} */
  #all = new Map();

  get all() {
    return [...this.#all.values()];
  }

  /**
   * Returns the ids of those that had to make room.
   *
   * @param {Failure} failure
   * @returns {string[]}
   */
  add(failure) {
    this.#all.set(failure.id, failure);
    return this.dismiss([...this.#all.keys()].slice(0, -FAILURES_MAX));
  }

  /**
   * Returns which of them there were.
   *
   * @param {readonly string[]} ids
   */
  dismiss(ids) {
    return ids.filter((id) => this.#all.delete(id));
  }
}
