/**
 * The writer: stores changes in order, one transaction at a time, and knows which of them are stored.
 *
 * Each change has a number; `isStored(number)` says whether it and all before it are stored. A frame is sent only when its data is
 * stored: a publish after its number, a hello after its generation. So a page that is killed at any moment sends
 * the same again after a reload, and never uses a number for another publish.
 *
 * The position is stored from time to time: an older one is also valid, it only delivers some events again.
 */

/**
 * @typedef {import("./storage.js").Changes} Changes
 * @typedef {import("./storage.js").Failure} Failure
 * @typedef {import("./storage.js").KeptMessage} KeptMessage
 * @typedef {import("./storage.js").Lease} Lease
 * @typedef {import("./storage.js").StoredIdentity} StoredIdentity
 * @typedef {import("./storage.js").StoredPosition} StoredPosition
 */

export class Writer {
  #lease;
  #onStored;
  #onFailure;
  #last = 0;
  #begun = 0;
  #stored = 0;
  #isWriting = false;
  #isBroken = false;
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
   * @param {() => void} onStored something more is stored
   * @param {(error: unknown) => void} onFailure the storage has failed; from now on nothing is stored, and nothing waits for it
   */
  constructor(lease, onStored, onFailure) {
    this.#lease = lease;
    this.#onStored = onStored;
    this.#onFailure = onFailure;
  }

  /** The number of the last change. */
  get last() {
    return this.#last;
  }

  /** @param {number} number */
  isStored(number) {
    return number <= this.#stored || this.#isBroken || !this.#lease.isKept;
  }

  /**
   * Store this soon, together with waiting changes.
   *
   * @param {Partial<Changes>} changes
   */
  write({ identity, position, put = [], removed = [], failures = [], dismissed = [] }) {
    this.#last += 1;
    if (this.#isBroken || !this.#lease.isKept) return;
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
    if (!this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Pass everything to the storage before this returns: the page may end at any time. */
  flush() {
    if (this.#begun < this.#last && !this.#isBroken && this.#lease.isKept) void this.#save();
  }

  async #writeAll() {
    this.#isWriting = true;
    await null; // the changes of one turn of the driver are one transaction
    while (this.#begun < this.#last && !this.#isBroken) await this.#save();
    this.#isWriting = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Everything that waits, in one transaction. One that was begun later ends later. */
  async #save() {
    const number = this.#last;
    this.#begun = number;
    try {
      await this.#lease.save(this.#take());
    } catch (error) {
      if (!this.#isBroken) this.#onFailure(error);
      this.#isBroken = true;
      return;
    }
    this.#stored = Math.max(this.#stored, number);
    this.#onStored();
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
