/**
 * Mailboxes: the unread deliveries of one `for await` loop.
 *
 * Sequenced events and snapshots wait in order, and each of them counts. Presence and cursors are latest values and do not count: of
 * each user at most one leave, one join and one cursor wait. A cursor takes the place of the one before. A leave removes what waits of
 * that user, and stays when the user returns: the page may know a cursor that ended with it. A page cannot make a WebSocket wait, so
 * when a mailbox is full the session holds (protocol 7.19) until half of it has been read.
 */

import { CURSOR_MOVE, USER_JOIN, USER_LEAVE } from "../machine/events.js";

/**
 * @typedef {import("../machine/events.js").RunEvent} RunEvent
 * @typedef {import("../machine/events.js").RunState} RunState
 * @typedef {{ kind: "event", event: RunEvent }
 *   | { kind: "snapshot" | "reset", epoch: string, sequenceNumber: number, state: RunState, reason: string | null }
 *   | { kind: "end", code: number | null, message: string }} Delivery
 */

/** The default limit of unread deliveries of one loop. */
export const DELIVERIES_MAX = 1024;

/** An async iterator over deliveries; the end of the session is the last of them. @implements {AsyncIterableIterator<Delivery>} */
export class Mailbox {
  #onRead;
  #onClose;
  #most;
  /** @type {Map<number | string, Delivery>} */
  #waiting = new Map();
  #counted = 0;
  #nextKey = 0;
  #isFinished = false;
  /** @type {{ resolve: (result: IteratorResult<Delivery>) => void, reject: (error: unknown) => void }[]} */
  #readers = [];
  /** @type {{ reason: unknown } | null} */
  #aborted = null;

  /**
   * @param {{ onRead: () => void, onClose: (mailbox: Mailbox) => void, most: number, signal?: AbortSignal }} how
   */
  constructor({ onRead, onClose, most, signal }) {
    this.#most = most;
    this.#onRead = onRead;
    this.#onClose = onClose;
    if (signal === undefined) return;
    if (signal.aborted) this.#abort(signal.reason);
    else signal.addEventListener("abort", () => this.#abort(signal.reason), { once: true });
  }

  get isFull() {
    return this.#counted >= this.#most;
  }

  get isHalfEmpty() {
    return this.#counted <= this.#most / 2;
  }

  /** @param {Delivery} delivery */
  put(delivery) {
    if (this.#isFinished) return;
    if (delivery.kind === "end") this.#finish();
    const reader = this.#readers.shift();
    if (reader !== undefined) reader.resolve({ done: false, value: delivery });
    else {
      const key = keyOf(delivery) ?? this.#nextKey++;
      if (delivery.kind === "event" && delivery.event.eventType === USER_LEAVE) this.#forget(delivery.event.userId);
      this.#waiting.set(key, delivery);
      if (typeof key === "number") this.#counted += 1;
    }
    if (this.#isFinished) for (const left of this.#readers.splice(0)) left.resolve({ done: true, value: undefined });
  }

  /** @returns {Promise<IteratorResult<Delivery>>} */
  next() {
    if (this.#aborted !== null) return Promise.reject(this.#aborted.reason);
    for (const [key, value] of this.#waiting) {
      this.#waiting.delete(key);
      if (typeof key === "number") this.#counted -= 1;
      this.#onRead();
      return Promise.resolve({ done: false, value });
    }
    if (this.#isFinished) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** The loop was left. @returns {Promise<IteratorResult<Delivery>>} */
  return() {
    this.#drop();
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** What waits of this user's presence is over. @param {string} user */
  #forget(user) {
    for (const eventType of [USER_LEAVE, USER_JOIN, CURSOR_MOVE]) this.#waiting.delete(`${eventType} ${user}`);
  }

  #finish() {
    this.#isFinished = true;
    this.#onClose(this);
  }

  #drop() {
    this.#waiting.clear();
    this.#counted = 0;
    this.#finish();
    this.#onRead();
  }

  /** @param {unknown} reason */
  #abort(reason) {
    if (this.#isFinished && this.#waiting.size === 0) return;
    this.#aborted = { reason };
    this.#drop();
    for (const reader of this.#readers.splice(0)) reader.reject(reason);
  }
}

/**
 * Events alone, of a mailbox of their own. Not a generator: one that was never started would not return its mailbox.
 *
 * @param {Mailbox} mailbox
 * @returns {AsyncIterableIterator<RunEvent>}
 */
export function eventsOf(mailbox) {
  return {
    async next() {
      for (;;) {
        const { done, value } = await mailbox.next();
        if (done) return { done, value };
        if (value.kind === "event") return { done, value: value.event };
      }
    },
    async return() {
      await mailbox.return();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/**
 * The key under which a newer delivery replaces an older one, or null: it counts for itself.
 *
 * @param {Delivery} delivery
 */
function keyOf(delivery) {
  if (delivery.kind !== "event" || delivery.event.sequenceNumber !== null) return null;
  return `${delivery.event.eventType} ${delivery.event.userId}`;
}
