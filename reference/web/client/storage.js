/**
 * Storage for the state that survives a page: client id, numbering, outbox, position. One page owns a stored identity at a time.
 *
 * A storage grants leases. A lease is one identity (client id with all its data) that no other page has until it is released;
 * when the page ends, its lease is free. All data of one `save` is stored together or not at all, and `save` resolves
 * when it is stored. A driver sends only stored data (`writer.js`).
 *
 * A browser's storage may never answer (another tab's transaction that does not end, a full disk, a fault of the browser), so
 * nothing waits for it without a limit (`inTime`).
 */

import { IndexedDbStorage } from "./indexeddb.js";

/**
 * @typedef {import("../machine/events.js").RunState} RunState
 * @typedef {import("./clock.js").Clock} Clock
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

const ANSWER_MS_MAX = 10_000;
const STOOD_STILL_MS_MIN = 1000;
const READ_FIRST_MS = 1000; // a page that stood still hears the answer that has come meanwhile

/** The storage did not answer in time. What it was asked for may have been done, or may still be done later. */
export class NoAnswer extends Error {
  constructor() {
    super(`the browser's storage did not answer within ${ANSWER_MS_MAX / 1000} s`);
  }
}

/**
 * The storage's answer, if it comes within ANSWER_MS_MAX; else rejects with NoAnswer.
 *
 * @template T
 * @param {Clock} clock
 * @param {Promise<T>} given
 * @param {(late: T) => unknown} [giveBack] what to do with an answer that comes too late
 * @returns {Promise<T>}
 */
export function inTime(clock, given, giveBack) {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const dueAt = clock.monotonicMs() + ANSWER_MS_MAX;
    const judge = () => {
      isLate = true;
      reject(new NoAnswer());
    };
    let timer = clock.setTimer(ANSWER_MS_MAX, () => {
      if (clock.monotonicMs() - dueAt < STOOD_STILL_MS_MIN) judge();
      else timer = clock.setTimer(READ_FIRST_MS, judge);
    });
    given
      .finally(() => clock.clearTimer(timer))
      .then((value) => (isLate ? giveBack?.(value) : resolve(value)))
      .catch(reject); // after NoAnswer it has no effect
  });
}

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
