/**
 * Storage for the state that survives a page: client id, numbering, outbox, position. One page owns a stored identity at a time.
 *
 * A storage grants leases. A lease is one identity (client id with all its data) that no other page has until it is released;
 * when the page ends, its lease is free. All data of one `save` is stored together or not at all, and `save` resolves
 * when it is stored. A driver sends only stored data (`writer.js`).
 */

import { IndexedDbStorage } from "./indexeddb.js";

/**
 * @typedef {import("../machine/events.js").RunState} RunState
 * @typedef {import("../machine/outbox.js").Numbering} Numbering
 * @typedef {import("./failures.js").Failure} Failure
 * @typedef {import("../machine/outbox.js").StoredMessage} StoredMessage
 *
 * @typedef {{ clientId: string, generation: number, sessionId: string | null, numbering: Numbering }} StoredIdentity
 * @typedef {{ epoch: string, last: number, state: RunState | null }} StoredPosition state: the fold up to `last`, if it is known
 * @typedef {Omit<StoredMessage, "queuedAt"> & { queuedAtMs: number }} KeptMessage queuedAtMs: on the wall clock
 * @typedef {{ identity: StoredIdentity, position: StoredPosition | null, messages: KeptMessage[] }} StoredState
 * @typedef {object} Changes
 * @property {StoredIdentity | null} identity
 * @property {StoredPosition | null} position
 * @property {KeptMessage[]} put
 * @property {number[]} removed tickets
 * @property {Failure[]} failures publishes that were given up
 * @property {string[]} dismissed ids of failures that need not be kept any longer
 *
 * @typedef {object} Lease
 * @property {boolean} isKept false: nothing of it survives this page
 * @property {() => Promise<StoredState | null>} load null: it is new
 * @property {() => Promise<Failure[]>} loadFailures of all tabs of this run, oldest first
 * @property {(changes: Changes) => Promise<void>} save
 * @property {() => Promise<void>} clear forget all of it but the failures
 * @property {() => Promise<void>} release let others have it, at once; they load after everything that was given to `save` before
 * @property {() => Promise<boolean>} retake have it again after `release`; false: somebody else has had it since
 *
 * @typedef {{ acquire(key: string): Promise<Lease> }} StateStorage
 */

/** Nothing survives. @implements {StateStorage} */
export class MemoryStorage {
  /** @returns {Promise<Lease>} */
  async acquire() {
    return {
      isKept: false,
      load: async () => null,
      loadFailures: async () => [],
      save: async () => {},
      clear: async () => {},
      release: async () => {},
      retake: async () => true,
    };
  }
}

/** The storage of this page, as far as it has one that can be owned. @returns {StateStorage} */
export function storageOfPage() {
  const canOwn = typeof indexedDB !== "undefined" && typeof navigator !== "undefined" && "locks" in navigator;
  return canOwn ? new IndexedDbStorage() : new MemoryStorage(); // both need a secure context: https, or localhost
}
