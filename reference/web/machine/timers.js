/**
 * Named timers in one table, with one next deadline; and the unit of time.
 *
 * Time is whole nanoseconds in ordinary numbers, counted from some moment in the life of this page. A number holds integers up to 2^53
 * exactly, which is 104 days in ns: longer than a page stays open, and it spares every comparison and sum the price of BigInt. It is the
 * unit of the Python machines, so that both sides have the same deadlines, to the last digit.
 *
 * Timers that expire together fire in the order of their deadlines, then in the order in which they were set.
 */

export const NS_PER_S = 1_000_000_000;
export const NS_PER_MS = 1_000_000;

/**
 * To the nearest whole number; halves go to the even neighbour, as Python rounds.
 *
 * @param {number} exact
 */
export function rounded(exact) {
  const below = Math.floor(exact);
  const rest = exact - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/**
 * Seconds as whole nanoseconds.
 *
 * @param {number} seconds
 */
export function ns(seconds) {
  return rounded(seconds * NS_PER_S);
}

/**
 * Everything that a client session waits for.
 *
 * @typedef {keyof typeof TIMERS} Timer
 */
export const TIMERS = Object.freeze({
  CONNECT: "the connection is to be open, or welcomed, by now",
  RETRY: "the next attempt",
  PING: "the next ping",
  PONG: "no byte for as long as the keepalive policy allows: half-open",
  FALLBACK: "polling takes over if no transport carries the session by now",
  STEADY: "useful for long enough to forget earlier failures",
  PROBE: "the next probe of WebSocket while polling",
  TOKEN: "the application must have supplied a token by now",
  REFRESH: "ask the application again for a token, because it supplied the old one",
  TAIL: "events that must exist have not arrived",
  ACK: "acknowledge the events that were handed over",
  CURSOR: "the cursor may be sent again",
  RESEND: "send rejected messages again",
  EXPIRE: "the oldest waiting message has become too old",
  POLL: "the next poll",
  POLL_LIMIT: "the poll is to be answered by now",
  PUBLISH_LIMIT: "the publish request is to be answered by now",
});

/** Deadlines by name, in ns. A name has at most one. */
export class Timers {
  /** @type {Map<Timer, number>} in the order in which they were set */
  #deadlines = new Map();

  /**
   * Let `timer` expire at `deadline`, instead of whenever it would have.
   *
   * @param {Timer} timer
   * @param {number} deadline
   */
  set(timer, deadline) {
    this.#deadlines.delete(timer);
    this.#deadlines.set(timer, deadline);
  }

  /** @param {Timer} timer */
  cancel(timer) {
    this.#deadlines.delete(timer);
  }

  /**
   * When `timer` expires, or null if it is not set.
   *
   * @param {Timer} timer
   */
  deadlineOf(timer) {
    return this.#deadlines.get(timer) ?? null;
  }

  /** @param {Timer} timer */
  has(timer) {
    return this.#deadlines.has(timer);
  }

  get size() {
    return this.#deadlines.size;
  }

  /** When the first timer expires, or null if none is set. */
  nextDeadline() {
    let first = null;
    for (const deadline of this.#deadlines.values()) if (first === null || deadline < first) first = deadline;
    return first;
  }

  /**
   * Remove and return the first timer that has expired by `now`, or null. Call until null: firing one may set others.
   *
   * @param {number} now
   * @returns {Timer | null}
   */
  popExpired(now) {
    let expired = null;
    let earliest = Infinity;
    for (const [timer, deadline] of this.#deadlines) {
      if (deadline <= now && deadline < earliest) {
        expired = timer;
        earliest = deadline;
      }
    }
    if (expired !== null) this.#deadlines.delete(expired);
    return expired;
  }

  cancelAll() {
    this.#deadlines.clear();
  }
}
