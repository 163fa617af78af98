/**
 * The writer: stores changes in order, one transaction at a time, and knows which of them are stored.
 *
 * Each change has a number; `isStored(number)` says whether it and all before it are stored. A frame is sent only when its data is
 * stored: a publish after its number, a hello after its generation. So a page that is killed at any moment sends
 * the same again after a reload, and never uses a number for another publish.
 *
 * The position is stored from time to time: an older one is also valid, it only delivers some events again.
 *
 * When the storage fails, or does not answer in time, nothing more is stored, and what waits to be sent waits on: what was sent until
 * then is stored. The driver decides what becomes of the rest (`driver.js`).
 */

import { NoAnswer, inTime } from "./storage.js";

/**
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./storage.js").Changes} Changes
 * @typedef {import("./storage.js").Failure} Failure
 * @typedef {import("./storage.js").KeptMessage} KeptMessage
 * @typedef {import("./storage.js").Lease} Lease
 * @typedef {import("./storage.js").StoredIdentity} StoredIdentity
 * @typedef {import("./storage.js").StoredPosition} StoredPosition
 */

export class Writer {
  #lease;
  #clock;
  #onStored;
  #onFailure;
  #last = 0;
  #begun = 0;
  #stored = 0;
  #isWriting = false;
  #hasFailed = false;
  #isGivenUp = false;
  /** Tickets of the publishes that are stored for certain. @type {Set<number>} */
  #kept;
  /** Changes that the storage was given, and of which nobody knows whether they are stored. @type {Set<Changes>} */
  #unknown = new Set();
  #running = 0;
  /** @type {StoredIdentity | null} */
  #identity = null;
  /** @type {StoredPosition | null} */
  #position = null;
  /** @type {Map<number, KeptMessage>} */
  #put = new Map();
  /** @type {Set<number>} */
  #removed = new Set();
  /** @type {Map<string, Failure>} */
  #failures = new Map();
  /** @type {Set<string>} */
  #dismissed = new Set();
  /** @type {(() => void)[]} */
  #waiting = [];

  /**
   * @param {Lease} lease
   * @param {object} how
   * @param {Clock} how.clock
   * @param {readonly number[]} how.kept tickets of publishes that are stored already
   * @param {() => void} how.onStored something more is stored
   * @param {(error: unknown) => void} how.onFailure the storage has failed; from now on nothing is stored
   */
  constructor(lease, { clock, kept, onStored, onFailure }) {
    this.#lease = lease;
    this.#clock = clock;
    this.#kept = new Set(kept);
    this.#onStored = onStored;
    this.#onFailure = onFailure;
  }

  /** The number of the last change. */
  get last() {
    return this.#last;
  }

  /** Whether frames leave although nothing of them is stored. */
  get isGivenUp() {
    return this.#isGivenUp || !this.#lease.isKept;
  }

  /** @param {number} number */
  isStored(number) {
    return number <= this.#stored || this.isGivenUp;
  }

  /**
   * Whether an unsettled publish is stored: `null` if nobody knows.
   *
   * @param {number} ticket
   * @returns {boolean | null}
   */
  isKept(ticket) {
    if (this.#kept.has(ticket)) return true;
    return [...this.#unknown].some(({ put }) => put.some((message) => message.ticket === ticket)) ? null : false;
  }

  /** Nothing is stored any more, of earlier changes neither; nothing waits for it. */
  giveUp() {
    this.#isGivenUp = true;
    this.#kept.clear();
  }

  /**
   * Store this soon, together with waiting changes.
   *
   * @param {Partial<Changes>} changes
   */
  write({ identity, position, put = [], removed = [], failures = [], dismissed = [] }) {
    this.#last += 1;
    if (this.#hasFailed || !this.#lease.isKept) return;
    this.#identity = identity ?? this.#identity;
    this.#position = position ?? this.#position;
    for (const ticket of removed) {
      this.#put.delete(ticket);
      this.#removed.add(ticket);
    }
    for (const message of put) this.#put.set(message.ticket, message);
    for (const failure of failures) this.#failures.set(failure.id, failure);
    for (const id of dismissed) {
      this.#failures.delete(id);
      this.#dismissed.add(id);
    }
    if (!this.#isWriting) void this.#writeAll();
  }

  /** Resolves when everything that was to be stored is, or the storage has failed. @returns {Promise<void>} */
  settled() {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Pass everything to the storage before this returns: the page may end at any time. */
  flush() {
    if (this.#begun < this.#last && !this.#hasFailed && this.#lease.isKept) void this.#save();
  }

  async #writeAll() {
    this.#isWriting = true;
    this.#running += 1;
    await null; // the changes of one turn of the driver are one transaction
    while (this.#begun < this.#last && !this.#hasFailed) await this.#save();
    this.#isWriting = false;
    this.#ran();
  }

  /** Everything that waits, in one transaction. One that was begun later ends later. */
  async #save() {
    const number = this.#last;
    this.#begun = number;
    const changes = this.#take();
    this.#running += 1;
    this.#unknown.add(changes);
    try {
      await inTime(this.#clock, this.#lease.save(changes));
    } catch (error) {
      if (!(error instanceof NoAnswer)) this.#unknown.delete(changes); // none of them is stored
      if (!this.#hasFailed) {
        this.#hasFailed = true;
        this.#onFailure(error);
      }
      return this.#ran();
    }
    this.#isDone(number, changes);
    this.#ran();
  }

  /**
   * @param {number} number
   * @param {Changes} changes
   */
  #isDone(number, changes) {
    this.#unknown.delete(changes);
    for (const ticket of changes.removed) this.#kept.delete(ticket);
    for (const { ticket } of changes.put) this.#kept.add(ticket);
    if (this.#hasFailed) return; // one that was begun earlier is not stored
    this.#stored = Math.max(this.#stored, number);
    this.#onStored();
  }

  #ran() {
    this.#running -= 1;
    if (this.#running === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** @returns {Changes} */
  #take() {
    const changes = {
      identity: this.#identity,
      position: this.#position,
      put: [...this.#put.values()],
      removed: [...this.#removed],
      failures: [...this.#failures.values()],
      dismissed: [...this.#dismissed],
    };
    this.#identity = this.#position = null;
    for (const taken of [this.#put, this.#removed, this.#failures, this.#dismissed]) taken.clear();
    return changes;
  }
}
